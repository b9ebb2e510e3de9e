"""Groups of cells, and the assignment of groups to partitions by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.partition import PARTITIONS
from heldout._core.store import factorize, some, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CODE = {name: code for code, name in enumerate(PARTITIONS)}


@dataclass(frozen=True)
class Groups:
    """The independent units: sorted names (G,), the group number of each cell (n,), one class name a group or None."""

    names: np.ndarray
    of_cell: np.ndarray
    labels: np.ndarray | None = None

    @classmethod
    def of(cls, groups: np.ndarray, labels: np.ndarray | None = None, *, argument: str = "label_key") -> Groups:
        """Build from one group and one label a cell; ``argument`` says in an error where the labels came from.

        Raises
        ------
        ValueError
            If a group has cells with different labels.
        """
        names, of_cell = factorize(groups)
        if labels is None:
            return cls(names, of_cell)
        classes, label_of_cell = factorize(labels)
        pairs = np.unique(np.stack([of_cell, label_of_cell]), axis=1)
        owner, times = np.unique(pairs[0], return_counts=True)
        if (times > 1).any():
            first = owner[times > 1][0]
            both = classes[pairs[1][pairs[0] == first]]
            msg = (
                f"{int((times > 1).sum())} of {len(names)} groups have cells with different values of {argument} (e.g. "
                f"{names[first]!r} has {some(both)}). It must be one value for the whole group; check the two columns, "
                "or name a finer group_key."
            )
            raise ValueError(msg)
        return cls(names, of_cell, classes[pairs[1]])

    def select(self, names: Sequence[str], *, argument: str) -> np.ndarray:
        """Group numbers of the given names; refuses a name that is not a group."""
        known = {name: number for number, name in enumerate(self.names)}
        for name in names:
            if name not in known:
                msg = f"{argument} names {name!r}, which is not a group. {suggest(name, self.names)}"
                raise ValueError(msg)
        return np.array([known[name] for name in names], dtype=int)

    def classes_in(self, numbers: np.ndarray) -> list[str]:
        """Sorted classes of the groups with these numbers."""
        return [] if self.labels is None else sorted(set(self.labels[numbers]))


def by_match(groups: Groups, match: np.ndarray, chosen: Mapping[str, Sequence[str]]) -> np.ndarray:
    """Codes of the groups, (G,): all groups with a chosen match value go to that partition, the rest to train."""
    codes = np.full(len(groups.names), CODE["train"], dtype=np.int8)
    available = sorted(set(match))
    for partition, values in chosen.items():
        for value in values:
            if value not in available:
                msg = f"{partition}={value!r} is not a value of match_key. {suggest(value, available)}"
                raise ValueError(msg)
            numbers = np.flatnonzero(match == value)
            if (codes[numbers] != CODE["train"]).any():
                msg = (
                    f"{partition}={value!r} names a value of match_key that is already asked for. A value can be in one "
                    "partition only, once: take it out of val or of test."
                )
                raise ValueError(msg)
            codes[numbers] = CODE[partition]
    return codes


def by_list(groups: Groups, lists: Mapping[str, Sequence[str]]) -> np.ndarray:
    """Codes of the groups, (G,): as listed; what is not listed is unused."""
    codes = np.full(len(groups.names), CODE["unused"], dtype=np.int8)
    taken: dict[str, str] = {}
    for partition, names in lists.items():
        for name in names:
            if name in taken:
                msg = (
                    f"The group {name!r} is listed in {taken[name]!r} and again in {partition!r}. A group can be in one "
                    "partition only, once: take it out of one list."
                )
                raise ValueError(msg)
            taken[name] = partition
        codes[groups.select(names, argument=partition)] = CODE[partition]
    return codes


def check_classes(groups: Groups, codes: np.ndarray, *, label_key: str) -> None:
    """Refuse a partition that has cells but not every class."""
    if groups.labels is None:
        return
    every = groups.classes_in(np.arange(len(groups.names)))
    if len(every) < 2:
        msg = f"label_key={label_key!r} has one class only ({every[0]!r}); there is nothing to predict."
        raise ValueError(msg)
    for partition in ("train", "val", "test"):
        numbers = np.flatnonzero(codes == CODE[partition])
        missing = sorted(set(every) - set(groups.classes_in(numbers)))
        if len(numbers) and missing:
            msg = (
                f"{partition} would have no group with {label_key} {some(missing)}; its groups are "
                f"{some(groups.names[numbers], 5)}. Every class must stand in every partition that is used: "
                "choose other groups or values for it."
            )
            raise ValueError(msg)
