"""Cross-validation folds of whole groups: group numbers in, fold numbers or masks over the groups out.

The counts of groups are exact: groups are dealt to the folds like cards, class after class, so each class and the
whole differ by at most one group between folds. Cells come second: groups are exchanged between folds, without
touching those counts, as long as that lowers the sum of squares of the cells of each class in each fold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from heldout._core.store import as_names, factorize, some

if TYPE_CHECKING:
    from collections.abc import Iterable

BALANCE_LIMIT = 2000
"""Number of groups up to which cells are balanced; beyond it chance does that."""

SEARCH_SECONDS = 10
"""Time for the search that groups of mixed classes may need."""


@dataclass(frozen=True)
class FoldUnits:
    """Groups with their classes: sorted names (G,), group of each row (n,), classes (C,), rows of each (G × C)."""

    names: np.ndarray
    of_row: np.ndarray
    classes: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, groups: Iterable[object], labels: Iterable[object] | None = None) -> FoldUnits:
        """Build from one group and one label a row; a group may have rows of several labels."""
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
        """Whether the group has the class, (G × C) bool."""
        return self.counts > 0

    @cached_property
    def pure(self) -> bool:
        """Whether each group is of one class."""
        return bool((self.has.sum(axis=1) == 1).all())

    @cached_property
    def strata(self) -> np.ndarray:
        """Number of the set of classes of each group, (G,); that of its class when all groups are pure."""
        if self.pure:
            return self.has.argmax(axis=1)
        return np.unique(self.has, axis=0, return_inverse=True)[1].reshape(-1)

    def select(self, keep: np.ndarray) -> FoldUnits:
        """Return the groups in the mask (G,), without their rows."""
        return FoldUnits(self.names[keep], np.empty(0, dtype=int), self.classes, self.counts[keep])

    def require(self, least: int, *, purpose: str, advice: str = "Ask for fewer folds") -> None:
        """Refuse when a class stands in fewer than ``least`` groups; ``advice`` is the next step beside more groups."""
        sizes = self.has.sum(axis=0)
        if (sizes < least).any():
            found = ", ".join(f"{n} of {c!r}" for c, n in zip(self.classes, sizes, strict=True) if n < least)
            each, found = (" of each class", found) if len(sizes) > 1 else ("", str(sizes[0]))
            msg = (
                f"{purpose} takes at least {least} groups{each}, but there is only {found}. {advice}, or get more "
                "groups."
            )
            raise ValueError(msg)


def kfold(units: FoldUnits, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """Fold number of each group, (G,): every class in every fold, counts of groups that differ by at most one.

    The counts hold for each class and for the whole. When groups have rows of several classes they hold for the whole
    and for each set of classes, unless that leaves a class out of a fold; then every class in every fold comes first.

    Raises
    ------
    ValueError
        If ``n_folds`` is no integer from 2, or there is no assignment with every class in every fold.
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
    """Refuse what is no number of folds."""
    if isinstance(n_folds, bool) or not isinstance(n_folds, int | np.integer) or n_folds < 2:
        msg = f"{argument}={n_folds!r} must be an integer of 2 or more: one fold would leave nothing to train on."
        raise ValueError(msg)


def _covers(units: FoldUnits, folds: np.ndarray, n_folds: int) -> bool:
    return all(units.has[folds == fold].any(axis=0).all() for fold in range(n_folds))


def _search(has: np.ndarray, n_folds: int) -> np.ndarray:
    """Fold of each group, (G,), every class in every fold and the largest fold as small as can be (integer program)."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    n_groups, n_classes = has.shape
    size = n_groups * n_folds + 1  # group × fold, then the size of the largest fold
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
    if not result.success:  # nor an answer that would depend on the speed of the machine
        why = (
            "There is no assignment"
            if result.status == 2
            else f"{SEARCH_SECONDS} s were too short to find the best assignment"
        )
        msg = (
            f"{why} of the {n_groups} groups to n_folds={n_folds} with every class in every fold. Ask for fewer folds."
        )
        raise ValueError(msg)
    return result.x[:-1].reshape(n_groups, n_folds).argmax(axis=1)


def _with_column(matrix: sparse.sparray, value: float) -> sparse.csc_array:
    return sparse.hstack([matrix, np.full((matrix.shape[0], 1), float(value))], format="csc")


def _balance(units: FoldUnits, folds: np.ndarray, n_folds: int) -> np.ndarray:
    """Exchange pairs of groups between folds while that evens out the cells; integers only, so no tie is lost."""
    strata, counts = units.strata, units.counts.astype(np.int64)
    if len(folds) > BALANCE_LIMIT:
        return folds
    table = np.zeros((n_folds, strata.max() + 1), dtype=np.int64)
    np.add.at(table, (folds, strata), 1)
    cells = np.zeros((n_folds, counts.shape[1]), dtype=np.int64)
    np.add.at(cells, folds, counts)
    moved = True
    while moved:  # each exchange lowers a sum of squares of integers, so this ends
        moved = False
        for i, stratum in enumerate(strata):
            here = folds[i]
            allowed = strata == stratum
            if units.pure:  # the surplus group of one class for that of another
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
    """Mask of the test groups of each fold, (G × G): each group is test once, in the order of the names."""
    units.require(2, purpose="Leave-one-group-out with every class in train", advice="Merge classes")
    return np.eye(len(units.names), dtype=bool)


def leave_one_pair_out(units: FoldUnits, rng: np.random.Generator, *, pairs: str = "each") -> np.ndarray:
    """Mask of the test groups of each fold, (n_folds × G): one group of each class.

    With ``pairs="each"`` there are as many folds as the largest class has groups; each of its groups is test once,
    and those of a smaller class take turns. With ``"all"`` every combination is a fold.
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
    if pairs not in ("each", "all"):
        msg = f"pairs={pairs!r} must be 'each' (each group at least once) or 'all' (every combination)."
        raise ValueError(msg)


def check_pure(units: FoldUnits) -> None:
    """Refuse groups that have rows of several classes, or no classes."""
    if len(units.classes) < 2:
        msg = "Leave-one-pair-out holds out one group of each class, so it needs labels. Give the label of each cell."
        raise ValueError(msg)
    if not units.pure:
        mixed = units.names[units.has.sum(axis=1) > 1]
        msg = (
            f"{len(mixed)} of {len(units.names)} groups have several classes (e.g. {some(mixed)}); a pair is one group "
            "of each class. Name a finer group, or use k-fold."
        )
        raise ValueError(msg)


def leave_one_match_out(units: FoldUnits, match: np.ndarray) -> tuple[np.ndarray, list[str], list[str]]:
    """Mask of the test groups of each fold, (n_folds × G), the value of each fold, and the values that are no fold.

    Only a value of ``match`` (G,) whose groups have every class is a fold; groups with another value never are test.
    """
    values = sorted(set(match), key=_natural)
    complete = [value for value in values if units.has[match == value].any(axis=0).all()]
    if not complete:
        msg = (
            f"None of the values {some(values, 8)} to match on has every class ({some(units.classes, 8)}), so none can "
            "be held out. Use k-fold or leave-one-pair-out."
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
    """Numbers by size, then text."""
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value


def next_groups(units: FoldUnits, tests: np.ndarray) -> np.ndarray:
    """Mask of the val groups of each fold, (n_folds × G): of each class the group after the one that is test.

    Groups stand in the order of their names, after the last comes the first. Where a class has no test group, fold i
    takes its group i, again from the start when there are no more.
    """
    vals = np.zeros_like(tests)
    for number in range(len(units.classes)):
        members = np.flatnonzero(units.has[:, number])
        for fold, test in enumerate(tests):
            held = np.flatnonzero(test[members])
            start = held[-1] + 1 if len(held) else fold
            vals[fold, members[start % len(members)]] = True
    if ((~tests & ~vals).astype(int) @ units.has == 0).any() or (tests & vals).any():
        units.require(3, purpose="val='next' beside a test group and train", advice="Ask for no val (val=0)")
    return vals


def inner_folds(units: FoldUnits, test: np.ndarray, n_inner: int, rng: np.random.Generator) -> np.ndarray:
    """Inner fold of each group, (G,), -1 for those in ``test`` (G,): k-fold of the groups that are not test."""
    check_n_folds(n_inner, argument="n_inner")
    folds = np.full(len(units.names), -1)
    folds[~test] = kfold(units.select(~test), n_inner, rng)
    return folds
