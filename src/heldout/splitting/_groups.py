"""Groups of cells, and the assignment of groups to partitions by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.partition import PARTITIONS
from heldout._core.store import as_names, factorize, some, suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CODE = {name: code for code, name in enumerate(PARTITIONS)}
"""Number of each partition in an array of codes."""


@dataclass(frozen=True)
class Groups:
    """The independent units of the data.

    ``names`` are the sorted names of the groups, (G,). ``of_cell`` is the group number of each cell, (n,). ``labels``
    is the class name of each group, (G,), or None. ``pairs`` are larger groups that stay whole, for example the
    patients of samples, or None. ``kept`` is the mask of the cells that are split, (n_all,), and ``of_cell`` has only
    these cells; if it is None, all cells are split. ``left_out`` are the names whose cells are not kept.
    """

    names: np.ndarray
    of_cell: np.ndarray
    labels: np.ndarray | None = None
    pairs: Groups | None = None
    kept: np.ndarray | None = None
    left_out: tuple[str, ...] = ()

    @property
    def drawn(self) -> Groups:
        """The groups that are assigned to partitions: the pairs, or the groups themselves."""
        return self if self.pairs is None else self.pairs

    def spread(self, codes: np.ndarray) -> np.ndarray:
        """Return the code of each group, (G,), from the codes of the drawn groups."""
        if self.pairs is None:
            return codes
        of_group = np.zeros(len(self.names), dtype=int)
        of_group[self.of_cell] = self.pairs.of_cell
        result: np.ndarray = codes[of_group]
        return result

    def among_kept(self, values: np.ndarray) -> np.ndarray:
        """Return the values of the cells that are split, from the values of all cells."""
        return values if self.kept is None else values[self.kept]

    def codes_of_cells(self, codes: np.ndarray) -> np.ndarray:
        """Return the partition code of each cell, (n_all,), from the codes of the groups. Other cells are unused."""
        if self.kept is None:
            return codes[self.of_cell]
        result = np.full(len(self.kept), CODE["unused"], dtype=np.int8)
        result[self.kept] = codes[self.of_cell]
        return result

    def without_left_out(self, codes: np.ndarray) -> np.ndarray:
        """Return the codes of all cells, (n_all,), with those of the left-out cells unused."""
        return codes if self.kept is None else np.where(self.kept, codes, CODE["unused"]).astype(np.int8)

    def listed(self, codes: np.ndarray) -> dict[str, list[str]]:
        """Return the names in each partition, for the record of the split."""
        lists = {name: self.names[codes == CODE[name]].tolist() for name in PARTITIONS}
        return {**lists, "unused": [*lists["unused"], *self.left_out]}

    @classmethod
    def of(
        cls,
        groups: np.ndarray,
        labels: np.ndarray | None = None,
        *,
        argument: str = "label_key",
        advice: Callable[[], str] | None = None,
    ) -> Groups:
        """Build the groups from the group and the label of each cell.

        ``argument`` names the source of the labels in an error message, and ``advice`` returns its next step.

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
                f"{int((times > 1).sum())} of {len(names)} groups have cells with different values of {argument}. "
                f"For example, {names[first]!r} has {some(both)}. A group must have one value. "
                f"{'Check the two columns.' if advice is None else advice()}"
            )
            raise ValueError(msg)
        return cls(names, of_cell, classes[pairs[1]])

    def select(self, names: Sequence[str], *, argument: str) -> np.ndarray:
        """Return the group numbers of the names. Refuse a name that is not a group."""
        known = {name: number for number, name in enumerate(self.names)}
        for name in names:
            if name not in known:
                msg = f"{argument}={name!r} is not a group. {suggest(name, self.names)}"
                raise ValueError(msg)
        return np.array([known[name] for name in names], dtype=int)

    def classes_in(self, numbers: np.ndarray) -> list[str]:
        """Return the sorted classes of the groups with these numbers."""
        return [] if self.labels is None else sorted(set(self.labels[numbers]))


def by_match(groups: Groups, match: np.ndarray, chosen: Mapping[str, Sequence[str]]) -> np.ndarray:
    """Return the partition code of each group, (G,), from the match value of each group.

    All groups with a chosen match value go to the partition that names the value. All others go to train.
    """
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
                    f"{partition}={value!r} names a value of match_key twice. A value can be in one partition only. "
                    "Remove it from val or from test."
                )
                raise ValueError(msg)
            codes[numbers] = CODE[partition]
    return codes


def by_list(groups: Groups, lists: Mapping[str, Sequence[str]]) -> np.ndarray:
    """Return the partition code of each group, (G,), from lists of names. Groups in no list are unused."""
    codes = np.full(len(groups.names), CODE["unused"], dtype=np.int8)
    taken: dict[str, str] = {}
    for partition, names in lists.items():
        for name in names:
            if name in taken:
                msg = (
                    f"The group {name!r} is listed in {taken[name]!r} and again in {partition!r}. A group can be in "
                    "one partition only. Remove it from one list."
                )
                raise ValueError(msg)
            taken[name] = partition
        codes[groups.select(names, argument=partition)] = CODE[partition]
    return codes


def check_classes(groups: Groups, codes: np.ndarray, *, label_key: str) -> None:
    """Refuse a partition that has cells but lacks a class."""
    if groups.labels is None:
        return
    every = groups.classes_in(np.arange(len(groups.names)))
    if len(every) < 2:
        msg = (
            f"label_key={label_key!r} has only one class ({every[0]!r}), so there is nothing to predict. Name a "
            "column with two or more classes."
        )
        raise ValueError(msg)
    for partition in ("train", "val", "test"):
        numbers = np.flatnonzero(codes == CODE[partition])
        missing = sorted(set(every) - set(groups.classes_in(numbers)))
        if len(numbers) and missing:
            msg = (
                f"{partition} has no group with {label_key} {some(missing)}. Its groups are "
                f"{some(groups.names[numbers], 5)}. Every class must be in every partition that is used. Choose "
                f"other groups or values for {partition}."
            )
            raise ValueError(msg)


def name_list(values: Any) -> list[str]:
    """Return one value or several values as a list of text, in which names of groups are compared."""
    several = isinstance(values, Iterable) and not isinstance(values, str)
    return as_names(list(values) if several else [values]).tolist()
