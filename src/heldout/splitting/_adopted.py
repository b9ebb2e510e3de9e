"""Columns that were made elsewhere and name partitions (``tr``, ``te``, 0 and 1) instead of units."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from heldout._core.partition import PARTITIONS
from heldout._core.partition_names import partition_of_name
from heldout._core.store import some
from heldout._core.unit_columns import looks_like_unit
from heldout.splitting._groups import CODE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

_NUMBERS = {"0", "1", "2", "true", "false", "yes", "no"}
_SPLIT_WORDS = re.compile(r"split|partition|subset|train|test|hold|(?:^|[^a-z])(?:set|part|side|use)(?:[^a-z]|$)")


def names_partitions(column: str, lists: Mapping[str, Sequence[str]]) -> bool:
    """Whether the listed values of a column are names of partitions and not of units.

    Numbers and yes/no count only if the name of the column is about a split, because a day or a donor can be 0 or 1.
    """
    listed = [name for names in lists.values() for name in names]
    if looks_like_unit(column) or any(len(names) > 1 for names in lists.values()):
        return False
    words = [partition_of_name(name) is not None for name in listed]
    numbers = [name.lower() in _NUMBERS for name in listed]
    return all(words) or (all(numbers) and bool(_SPLIT_WORDS.search(column.lower())))


def check_classes_of_cells(labels: np.ndarray, codes: np.ndarray, *, label_key: str) -> None:
    """Refuse a partition that has cells but lacks a class."""
    every = set(labels[codes != CODE["unused"]])
    for partition in PARTITIONS[:3]:
        inside = codes == CODE[partition]
        missing = sorted(every - set(labels[inside]))
        if inside.any() and missing:
            msg = (
                f"{partition} has no cell with {label_key} {some(missing)}. Every class must be in every partition "
                "that is used. Choose other values for the lists."
            )
            raise ValueError(msg)
