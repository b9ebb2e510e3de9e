"""Format of a published split, which ``get.split_table`` writes and ``pp.split_from`` reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heldout._core.partition import Axis

SCHEMA = 1
"""Version of the format. A newer version is refused, an older version must stay readable."""

NAMES: dict[Axis, str] = {"obs": "cell", "var": "gene"}
"""Name of the index by axis, so that the table shows what it splits."""

DIGEST = "blake2b:"
"""Start of the row name of a dropped cell. The name of the cell is no longer known, but its digest is."""
