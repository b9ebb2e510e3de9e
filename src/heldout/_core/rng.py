"""Randomness: a seed or a Generator, never global state."""

from __future__ import annotations

import numpy as np

Rng = int | np.random.Generator | None


def generator(rng: Rng) -> np.random.Generator:
    """Return a Generator; an int gives the same one each time, None a fresh one."""
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)


def seed_of(rng: Rng) -> int:
    """Return a seed below 2**31 for libraries that take no Generator; an int stays itself."""
    if isinstance(rng, int | np.integer) and 0 <= int(rng) < 2**31:
        return int(rng)
    return int(generator(rng).integers(2**31))
