"""Random draws that assign groups to partitions: by share, balanced over covariates, or stable under new groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.partition import PARTITIONS, digests
from heldout._core.store import factorize
from heldout.splitting._allocate import allocate, draw
from heldout.splitting._balance import balance, balance_rows
from heldout.splitting._groups import CODE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from heldout.splitting._balance import Balanced
    from heldout.splitting._groups import Groups


def by_fraction(groups: Groups, fractions: Mapping[str, float], rng: np.random.Generator) -> np.ndarray:
    """Codes of the groups, (G,): shares of groups, every class in every partition, drawn at random among the best."""
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
    """Codes of the groups, (G,), and how good they are: shares of cells, or of groups that also balance covariates."""
    codes, shares, of_group = _wanted(groups, fractions)
    weights, importance = balance_rows(groups, covariates, by_cells=by_cells)
    found = balance(weights, importance, of_group, shares, rng)
    return codes[found.parts], found


def by_hash(names: np.ndarray, fractions: Mapping[str, float], seed: int) -> np.ndarray:
    """Codes of the groups, (G,): each drawn with the wanted shares by its own name, whatever other groups there are.

    Test is cut off first, then val: another share of val moves no group in or out of test.
    """
    draws = digests(f"{seed}:{name}" for name in names) / 2.0**64
    edges = np.cumsum([fractions["test"], fractions["val"]])
    order = np.array([CODE["test"], CODE["val"], CODE["train"]], dtype=np.int8)
    return order[np.searchsorted(edges, draws, side="right")]


def _wanted(groups: Groups, fractions: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of the partitions that are asked for, (P,), their shares, (P,), and the class number of each group, (G,)."""
    wanted = [name for name in PARTITIONS if fractions.get(name, 0) > 0]
    shares = np.array([fractions[name] for name in wanted])
    labels = np.full(len(groups.names), "group", dtype=object) if groups.labels is None else groups.labels
    classes, of_group = factorize(labels)
    sizes = np.bincount(of_group)
    if (sizes < len(wanted)).any():
        short = {str(c): int(n) for c, n in zip(classes, sizes, strict=True) if n < len(wanted)}
        what = " and ".join(f"{n} of {c!r}" for c, n in short.items())
        msg = (
            f"No split can have every class in {', '.join(wanted)}: that takes at least {len(wanted)} groups of each "
            f"class, but there is only {what}. Ask for fewer partitions (e.g. val=0), or get more groups."
        )
        raise ValueError(msg)
    return np.array([CODE[name] for name in wanted], dtype=np.int8), shares, of_group
