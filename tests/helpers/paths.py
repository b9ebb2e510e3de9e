"""Where the repository and the real data are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("HELDOUT_DATA_DIR", ROOT.parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real data not found in {DATA}; set HELDOUT_DATA_DIR")
