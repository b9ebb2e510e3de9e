"""Cross-validation folds of whole groups, as fold numbers or as masks over the groups.

The counts of groups are exact. Groups are dealt to the folds one after another, class by class. The number of groups of
each class, and of all groups, therefore differs by at most one between folds. The balance of cells comes second. Groups
are exchanged between folds, without changing those counts, while this lowers the sum of squares of the number of cells
of each class in each fold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from heldout._core.checks import check_choice, check_integer
from heldout._core.store import as_names, factorize, some

if TYPE_CHECKING:
    from collections.abc import Iterable

BALANCE_LIMIT = 2000
"""Largest number of groups for which cells are balanced. With more groups, random assignment balances them."""

SEARCH_SECONDS = 10
"""Time limit of the search that groups of several classes may need."""


@dataclass(frozen=True)
class FoldUnits:
    """Groups with their classes.

    ``names`` are the sorted names, (G,). ``of_row`` is the group number of each row, (n,). ``classes`` are the names of
    the classes, (C,). ``counts`` is the number of rows of each group and class, (G × C).
    """

    names: np.ndarray
    of_row: np.ndarray
    classes: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, groups: Iterable[object], labels: Iterable[object] | None = None) -> FoldUnits:
        """Build from the group and the label of each row. A group may have rows of several labels."""
        names, of_row = factorize(as_names(groups))
        if labels is None:
            return cls(names, of_row, np.array(["group"], dtype=object), np.bincount(of_row)[:, None])
        classes, label = factorize(as_names(labels))
        if len(classes) < 2:
            msg = f"All labels are of one class ({some(classes)}), so there is nothing to predict. Check the labels."
            raise ValueError(msg)
        counts = np.bincount(of_row * len(classes) + label, minlength=len(names) * len(classes))
        return cls(names, of_row, classes, counts.reshape(len(names), len(classes)))

    @cached_property
    def has(self) -> np.ndarray:
        """Whether each group has each class, (G × C) bool."""
        return self.counts > 0

    @cached_property
    def pure(self) -> bool:
        """Whether each group has only one class."""
        return bool((self.has.sum(axis=1) == 1).all())

    @cached_property
    def strata(self) -> np.ndarray:
        """Number of the stratum of each group, (G,): its class if all groups are pure, else its set of classes."""
        if self.pure:
            return self.has.argmax(axis=1)
        return np.unique(self.has, axis=0, return_inverse=True)[1].reshape(-1)

    def select(self, keep: np.ndarray) -> FoldUnits:
        """Return the groups in the mask (G,), without their rows."""
        return FoldUnits(self.names[keep], np.empty(0, dtype=int), self.classes, self.counts[keep])

    def require(self, least: int, *, purpose: str, advice: str = "Ask for fewer folds") -> None:
        """Refuse the data if a class is in fewer than ``least`` groups.

        ``advice`` is the next step in the message, besides getting more groups.
        """
        sizes = self.has.sum(axis=0)
        if (sizes < least).any():
            found = ", ".join(f"{n} of {c!r}" for c, n in zip(self.classes, sizes, strict=True) if n < least)
            each, found = (" of each class", found) if len(sizes) > 1 else ("", str(sizes[0]))
            msg = (
                f"{purpose} needs at least {least} groups{each}, but there is only {found}. {advice}, or get more "
                "groups."
            )
            raise ValueError(msg)


def kfold(units: FoldUnits, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """Return the fold number of each group, (G,), with every class in every fold.

    The number of groups of each class, and of all groups, differs by at most one between folds. If groups have rows of
    several classes, this holds for all groups and for each set of classes. If these counts would leave a class out of a
    fold, they are relaxed so that every class is in every fold.

    Raises
    ------
    ValueError
        If ``n_folds`` is not an integer >= 2, or if no assignment has every class in every fold.
    """
    check_n_folds(n_folds)
    units.require(n_folds, purpose=f"n_folds={n_folds} with every class in every fold")
    order = np.concatenate([rng.permutation(np.flatnonzero(units.strata == s)) for s in np.unique(units.strata)])
    folds = np.empty(len(units.names), dtype=int)
    folds[order] = rng.permutation(n_folds)[np.arange(len(order)) % n_folds]
    if not _covers(units, folds, n_folds):
        folds[order] = _search(units.has[order], n_folds)
    return _balance(units, folds, n_folds)


def check_n_folds(n_folds: int, *, argument: str = "n_folds") -> None:
    """Refuse a number of folds that is not an integer >= 2, because one fold leaves no data to train on."""
    check_integer(n_folds, argument, least=2)


def _covers(units: FoldUnits, folds: np.ndarray, n_folds: int) -> bool:
    return all(units.has[folds == fold].any(axis=0).all() for fold in range(n_folds))


def _search(has: np.ndarray, n_folds: int) -> np.ndarray:
    """Return the fold of each group, (G,), with every class in every fold and the smallest possible largest fold.

    This is an integer program.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    n_groups, n_classes = has.shape
    size = n_groups * n_folds + 1  # one variable for each group and fold, then the size of the largest fold
    each_group, each_fold = sparse.eye_array(n_groups), sparse.eye_array(n_folds)
    once = sparse.kron(each_group, np.ones((1, n_folds)))
    cover = sparse.kron(has.T.astype(float), each_fold)
    below = sparse.kron(np.ones((1, n_groups)), each_fold)
    result = milp(
        np.eye(size)[-1],
        integrality=np.ones(size),
        bounds=Bounds(0, np.append(np.ones(size - 1), n_groups)),
        constraints=[
            LinearConstraint(_with_column(once, 0), 1, 1),
            LinearConstraint(_with_column(cover, 0), 1, np.inf),
            LinearConstraint(_with_column(below, -1), -np.inf, 0),
        ],
        options={"time_limit": SEARCH_SECONDS},
    )
    if not result.success:  # an answer after the time limit would depend on the machine, so it is refused too
        reason = (
            "No assignment exists"
            if result.status == 2
            else f"The search did not end within {SEARCH_SECONDS} s for an assignment"
        )
        msg = (
            f"{reason} of the {n_groups} groups to n_folds={n_folds} with every class in every fold. Ask for fewer "
            "folds."
        )
        raise ValueError(msg)
    return result.x[:-1].reshape(n_groups, n_folds).argmax(axis=1)


def _with_column(matrix: sparse.sparray, value: float) -> sparse.csc_array:
    return sparse.hstack([matrix, np.full((matrix.shape[0], 1), float(value))], format="csc")


def _balance(units: FoldUnits, folds: np.ndarray, n_folds: int) -> np.ndarray:
    """Exchange pairs of groups between folds while this balances the cells.

    All sums are integers, so the comparison is exact.
    """
    strata, counts = units.strata, units.counts.astype(np.int64)
    if len(folds) > BALANCE_LIMIT:
        return folds
    table = np.zeros((n_folds, strata.max() + 1), dtype=np.int64)
    np.add.at(table, (folds, strata), 1)
    cells = np.zeros((n_folds, counts.shape[1]), dtype=np.int64)
    np.add.at(cells, folds, counts)
    moved = True
    while moved:  # ends because each exchange lowers a sum of squares of integers
        moved = False
        for i, stratum in enumerate(strata):
            here = folds[i]
            allowed = strata == stratum
            if units.pure:  # exchange the surplus groups of two classes
                allowed |= (table[here, stratum] - table[folds, stratum] == 1) & (
                    table[folds, strata] - table[here, strata] == 1
                )
            change = counts - counts[i]
            gain = (change * (cells[here] - cells[folds] + change)).sum(axis=1)
            gain[~allowed | (folds == here)] = 0
            j = int(gain.argmin())
            if gain[j] < 0:
                there = folds[j]
                for fold, sign in ((here, 1), (there, -1)):
                    cells[fold] += sign * change[j]
                    table[fold, strata[j]] += sign
                    table[fold, stratum] -= sign
                folds[i], folds[j] = there, here
                moved = True
    return folds


def leave_one_group_out(units: FoldUnits) -> np.ndarray:
    """Return the mask of the test groups of each fold, (G × G). Each group is test once, in the order of the names."""
    units.require(2, purpose="Leave-one-group-out with every class in train", advice="Merge classes")
    return np.eye(len(units.names), dtype=bool)


def leave_one_pair_out(units: FoldUnits, rng: np.random.Generator, *, pairs: str = "each") -> np.ndarray:
    """Return the mask of the test groups of each fold, (n_folds × G). A test set is one group of each class.

    With ``pairs="each"`` the number of folds is the number of groups of the largest class. Each of its groups is test
    once. The groups of a smaller class take turns. With ``pairs="all"`` every combination is a fold.
    """
    check_pairs(pairs)
    check_pure(units)
    units.require(2, purpose="Leave-one-pair-out with every class in train", advice="Merge classes")
    members = [np.flatnonzero(units.has[:, number]) for number in range(len(units.classes))]
    if pairs == "all":
        held = np.array(list(product(*members)))
    else:
        longest = max(map(len, members))
        held = np.stack([np.resize(rng.permutation(groups), longest) for groups in members], axis=1)
    tests = np.zeros((len(held), len(units.names)), dtype=bool)
    np.put_along_axis(tests, held, values=True, axis=1)
    return tests


def check_pairs(pairs: str) -> None:
    """Refuse an unknown way of making pairs."""
    check_choice(pairs, "pairs", ("each", "all"))


def check_pure(units: FoldUnits) -> None:
    """Refuse groups that have rows of several classes, or data without classes."""
    if len(units.classes) < 2:
        msg = "Leave-one-pair-out holds out one group of each class, so it needs labels. Give the label of each cell."
        raise ValueError(msg)
    if not units.pure:
        mixed = units.names[units.has.sum(axis=1) > 1]
        msg = (
            f"{len(mixed)} of {len(units.names)} groups have several classes (e.g. {some(mixed)}), but a pair is one "
            "group of each class. Hold out whole groups with leave-one-group-out, or use k-fold."
        )
        raise ValueError(msg)


def leave_one_match_out(units: FoldUnits, match: np.ndarray) -> tuple[np.ndarray, list[str], list[str]]:
    """Return the mask of the test groups, (n_folds × G), the value of each fold, and the values that are not a fold.

    A value of ``match`` (G,) is a fold only if its groups have every class. Groups with another value are never test.
    """
    values = sorted(set(match), key=_natural)
    complete = [value for value in values if units.has[match == value].any(axis=0).all()]
    if not complete:
        msg = (
            f"No value of the match column ({some(values, 8)}) has every class ({some(units.classes, 8)}), so no "
            "value can be held out. Use k-fold or leave-one-pair-out."
        )
        raise ValueError(msg)
    tests = np.stack([match == value for value in complete])
    for value, test in zip(complete, tests, strict=True):
        missing = units.classes[~units.has[~test].any(axis=0)]
        if len(missing):
            msg = (
                f"Holding out {value!r} leaves train without {some(missing)}. Match on another column, or use k-fold "
                "or leave-one-pair-out."
            )
            raise ValueError(msg)
    return tests, complete, [value for value in values if value not in complete]


def _natural(value: str) -> tuple[int, float, str]:
    """Return a sort key that puts numbers first, by size, and then text."""
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value


def next_groups(units: FoldUnits, tests: np.ndarray) -> np.ndarray:
    """Return the mask of the val groups of each fold, (n_folds × G).

    For each class, val is the group after the test group in the order of the names. The first group follows the last.
    If a class has no test group, fold i takes group i of the class, and starts again after the last group.
    """
    vals = np.zeros_like(tests)
    for number in range(len(units.classes)):
        members = np.flatnonzero(units.has[:, number])
        for fold, test in enumerate(tests):
            held = np.flatnonzero(test[members])
            start = held[-1] + 1 if len(held) else fold
            vals[fold, members[start % len(members)]] = True
    if ((~tests & ~vals).astype(int) @ units.has == 0).any() or (tests & vals).any():
        units.require(3, purpose="val='next' in addition to a test group and train", advice="Ask for no val (val=0)")
    return vals


def inner_folds(units: FoldUnits, test: np.ndarray, n_inner: int, rng: np.random.Generator) -> np.ndarray:
    """Return the inner fold of each group, (G,), -1 for the groups in ``test`` (G,).

    The groups that are not test are divided by :func:`kfold`.
    """
    check_n_folds(n_inner, argument="n_inner")
    folds = np.full(len(units.names), -1)
    folds[~test] = kfold(units.select(~test), n_inner, rng)
    return folds
