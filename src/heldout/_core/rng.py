"""Random numbers from a seed or a Generator, never from global state."""

from __future__ import annotations

import numpy as np

Rng = int | np.random.Generator | None


def generator(rng: Rng) -> np.random.Generator:
    """Return a Generator. An int gives the same Generator each time, None an unpredictable one."""
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)


def seed_of(rng: Rng) -> int:
    """Return a seed below 2**31 for libraries that do not take a Generator; a small int is returned as it is."""
    if isinstance(rng, int | np.integer) and 0 <= int(rng) < 2**31:
        return int(rng)
    return int(generator(rng).integers(2**31))
