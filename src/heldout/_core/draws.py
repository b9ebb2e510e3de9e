"""Draw cells so that the result depends on the names of the cells and the seed, not on the order of the cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core import store
from heldout._core.partition import digests
from heldout._core.rng import generator

if TYPE_CHECKING:
    from heldout._core.rng import Rng


def draws(names: np.ndarray, rng: Rng) -> np.ndarray:
    """Return a pseudo-random number for each name, (n,) uint64, which depends only on the name and the seed."""
    salt = generator(rng).integers(2**64, dtype=np.uint64)
    mixed = digests(names) ^ salt
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # the last steps of splitmix64
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def lowest_per_group(groups: np.ndarray, numbers: np.ndarray, n: int) -> np.ndarray:
    """Return the row numbers of the ``n`` lowest numbers of each group, in ascending order."""
    _, codes = store.factorize(groups)
    order = np.lexsort((numbers, codes))
    first = np.flatnonzero(np.diff(codes[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(first, np.diff(np.append(first, len(order))))
    return np.sort(order[rank < n])
