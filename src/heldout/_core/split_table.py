"""The form of a published split, which ``get.split_table`` writes and ``pp.split_from`` reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heldout._core.partition import Axis

SCHEMA = 1
"""Version of the table. A file with a newer one is refused, an older one must stay readable."""

NAMES: dict[Axis, str] = {"obs": "cell", "var": "gene"}
"""Name of the index by axis, so that the table itself says what it splits."""

DIGEST = "blake2b:"
"""Start of the name of a row whose cell was dropped: its name is not known any more, but the digest of it is."""
