"""Types that several modules share."""

from __future__ import annotations

from typing import Any

Matrix = Any
"""A numpy array, or a scipy csr/csc matrix or array; where it is said, also a dask array of such blocks."""
