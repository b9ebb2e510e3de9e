"""Labellings of groups under exchange within blocks: all of them if there are few, a random sample otherwise."""

from __future__ import annotations

from itertools import combinations, product
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from heldout.metrics.inference import n_orders

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 10_000
"""All labellings are used if there are at most this many. Otherwise this many are drawn."""


def labellings(
    codes: np.ndarray, blocks: np.ndarray, rng: np.random.Generator, *, limit: int = LIMIT
) -> tuple[np.ndarray, bool]:
    """Labellings of the units under the null hypothesis, (B × U), and whether these are all labellings.

    Labels are permuted only within blocks. If the labellings are drawn, the observed labelling is the first of them, so
    that p-values from them are valid.

    Parameters
    ----------
    codes, blocks
        Class number and block number of each unit, (U,).
    rng
        Random generator of the draws.
    limit
        Number of labellings to draw if there are more than this.
    """
    members = [np.flatnonzero(blocks == block) for block in np.unique(blocks)]
    if count_labellings(codes, blocks) <= limit:
        orders = [list(_arrangements(codes[rows])) for rows in members]
        found = np.empty((prod(map(len, orders)), len(codes)), dtype=codes.dtype)
        for i, chosen in enumerate(product(*orders)):
            for rows, values in zip(members, chosen, strict=True):
                found[i, rows] = values
        return found, True
    found = np.tile(codes, (limit, 1))
    for rows in members:
        found[1:, rows] = rng.permuted(found[1:, rows], axis=1)
    return found, False


def observed_row(tried: np.ndarray, codes: np.ndarray) -> int:
    """Row number of the observed labelling (U,) among labellings (B × U)."""
    return int(np.flatnonzero((tried == codes).all(axis=1))[0])


def count_labellings(codes: np.ndarray, blocks: np.ndarray) -> int:
    """Number of distinct labellings within blocks."""
    return prod((n_orders(codes[blocks == block]) for block in np.unique(blocks)), start=1)


def share_at_least(observed: float, null: np.ndarray) -> tuple[float, float]:
    """Share of the null values that are at least the observed one, and the share in which equal values count half.

    The observed value is among the null values. Values that differ by rounding are equal.
    """
    near = 1e-9 * max(1.0, abs(observed))
    above, equal = float((null > observed + near).mean()), float((abs(null - observed) <= near).mean())
    return above + equal, above + equal / 2


def _arrangements(codes: np.ndarray) -> Iterator[np.ndarray]:
    """Yield all distinct orders of a few codes."""
    first = codes.min()
    n = int((codes == first).sum())
    for places in combinations(range(len(codes)), n):
        arranged = np.full(len(codes), first)
        if n == len(codes):
            yield arranged
            continue
        rest = np.setdiff1d(np.arange(len(codes)), places)
        for remaining in _arrangements(codes[codes != first]):
            arranged = arranged.copy()
            arranged[rest] = remaining
            yield arranged
