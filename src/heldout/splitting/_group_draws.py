"""Assign groups to partitions by random draws: by share, balanced over covariates, or stable under new groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.partition import PARTITIONS, digests
from heldout._core.store import factorize, some
from heldout.splitting._allocate import allocate, draw
from heldout.splitting._balance import balance, balance_rows
from heldout.splitting._groups import CODE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from heldout._core.rng import Rng
    from heldout.splitting._balance import Balanced
    from heldout.splitting._groups import Groups


def by_fraction(groups: Groups, fractions: Mapping[str, float], rng: np.random.Generator) -> np.ndarray:
    """Return the partition code of each group, (G,), for shares of groups with every class in every partition.

    The assignment is drawn at random among those with the best counts.
    """
    codes, shares, of_group = _wanted(groups, fractions)
    return codes[draw(of_group, allocate(np.bincount(of_group), shares), rng)]


def by_balance(
    groups: Groups,
    fractions: Mapping[str, float],
    rng: np.random.Generator,
    *,
    covariates: Sequence[np.ndarray] = (),
    by_cells: bool = False,
) -> tuple[np.ndarray, Balanced]:
    """Return the partition code of each group, (G,), and the quality of the assignment.

    The shares are shares of cells, or shares of groups that also balance the covariates.
    """
    codes, shares, of_group = _wanted(groups, fractions)
    weights, importance = balance_rows(groups, covariates, by_cells=by_cells)
    found = balance(weights, importance, of_group, shares, rng)
    return codes[found.parts], found


def by_hash(names: np.ndarray, fractions: Mapping[str, float], seed: int) -> np.ndarray:
    """Return the partition code of each group, (G,), drawn from the seed and the name of the group only.

    Other groups do not change the result. Test takes the first part of [0, 1), then val. A different share of val
    therefore moves no group into or out of test.
    """
    draws = digests(f"{seed}:{name}" for name in names) / 2.0**64
    edges = np.cumsum([fractions["test"], fractions["val"]])
    order = np.array([CODE["test"], CODE["val"], CODE["train"]], dtype=np.int8)
    return order[np.searchsorted(edges, draws, side="right")]


def _wanted(groups: Groups, fractions: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the codes of the partitions to fill, (P,), their shares, (P,), and the class of each group, (G,)."""
    wanted = [name for name in PARTITIONS if fractions.get(name, 0) > 0]
    shares = np.array([fractions[name] for name in wanted])
    labels = np.full(len(groups.names), "group", dtype=object) if groups.labels is None else groups.labels
    classes, of_group = factorize(labels)
    sizes = np.bincount(of_group)
    if (sizes < len(wanted)).any():
        short = {str(c): int(n) for c, n in zip(classes, sizes, strict=True) if n < len(wanted)}
        what = " and ".join(f"{n} of {c!r}" for c, n in short.items())
        advice = "Ask for fewer partitions (for example val=0), or get more groups."
        if len(wanted) == 2 and "val" not in wanted:
            advice = "So no split can hold out groups, and no score can say anything about new ones. Get more groups."
        msg = (
            f"A split with every class in {', '.join(wanted)} needs at least {len(wanted)} groups of each class, but "
            f"there is only {what}. {advice}"
        )
        raise ValueError(msg)
    return np.array([CODE[name] for name in wanted], dtype=np.int8), shares, of_group


def draw_cells(names: Iterable[str], fractions: Mapping[str, float], rng: np.random.Generator) -> np.ndarray:
    """Return the partition code of each cell, (n,), drawn one by one with these shares.

    Raises
    ------
    ValueError
        If a positive share rounds to no cell.
    """
    order = np.argsort(digests(names), kind="stable")
    edges = np.round(np.cumsum([fractions[name] for name in ("train", "val", "test")]) * len(order)).astype(int)
    for name, size in zip(fractions, np.diff(edges, prepend=0), strict=True):
        if fractions[name] and not size:
            msg = (
                f"{name}={fractions[name]:g} of {len(order)} cells rounds to 0 cells. Ask for a larger share, or use 0 "
                "to leave the partition out."
            )
            raise ValueError(msg)
    codes = np.empty(len(order), dtype=np.int8)
    codes[order[rng.permutation(len(order))]] = np.searchsorted(edges, np.arange(len(order)), side="right")
    return codes


def check_stable(
    groups: Groups, codes: np.ndarray, fractions: dict[str, float], *, label_key: str | None, seed: Rng
) -> None:
    """Refuse a draw that left a partition without groups or without a class. The draw is not repeated."""
    every = groups.classes_in(np.arange(len(groups.names)))
    for partition in (name for name in PARTITIONS if fractions.get(name)):
        numbers = np.flatnonzero(codes == CODE[partition])
        missing = sorted(set(every) - set(groups.classes_in(numbers)))
        if missing or not len(numbers):
            what = f"group with {label_key} {some(missing)}" if missing else "group"
            msg = (
                f"stable=True with rng={seed} draws no {what} for {partition} among {len(groups.names)} groups, but "
                "every class must be in every partition that is used. Choose another rng or larger shares before "
                "anything is fitted, or leave stable out."
            )
            raise ValueError(msg)


def lasting_names(columns: Mapping[str, np.ndarray], groups: Groups) -> np.ndarray:
    """Return names of the groups, (G,), that stay the same when groups are added.

    A group that joins several columns is named after all its values, so its name changes when the group grows. A column
    with one distinct value for each group gives a lasting name, if no other column could take its place.

    Parameters
    ----------
    columns
        The columns that make up the groups, (n,) text each.
    groups
        The groups, named by :func:`~heldout.splitting._components.components` of the columns.

    Raises
    ------
    ValueError
        If not exactly one of several columns has one distinct value for each group.
    """
    if len(columns) == 1:
        return groups.names
    lasting = {}
    for key, column in columns.items():
        values, of_cell = factorize(column)
        if len(values) == len(groups.names) == len(np.unique(np.stack([of_cell, groups.of_cell]), axis=1).T):
            names = np.empty(len(values), dtype=object)
            names[groups.of_cell] = values[of_cell]
            lasting[key] = names
    if len(lasting) != 1:
        found = f"{' and '.join(map(repr, lasting))} each have such values" if lasting else "no column has such values"
        msg = (
            f"stable=True needs exactly one column of group_key={list(columns)!r} with one distinct value for each "
            f"group, but {found}. Otherwise a group could change its name when it grows, or two joined groups could "
            "be in two partitions. Name one column that will never be joined as group_key (for example the donor), "
            "or leave stable out."
        )
        raise ValueError(msg)
    return next(iter(lasting.values()))
