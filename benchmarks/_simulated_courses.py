"""Simulated time courses with cells of different speed: a bend, a tree, a growing branch and a switch between two states.

Three hidden coordinates are seen through 40 genes that saturate, with noise, in five whitened components.
"""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd

KINDS = ("arc", "tree", "growth", "switch")
_STEP = 0.05


def simulated(kind: str, *, seed: int, n: int = 250, n_times: int = 5) -> ad.AnnData:
    """Cells (n for each time) in five whitened components, with their time in ``obs["time"]``."""
    rng = np.random.default_rng(seed)
    hidden = np.concatenate([_hidden(kind, time, n, rng) for time in range(n_times)])
    hidden += 0.15 * rng.normal(size=hidden.shape)
    hidden = (hidden - hidden.mean(axis=0)) / hidden.std()
    loadings, offsets = rng.normal(size=(3, 40)) * 1.5 / np.sqrt(3), rng.normal(size=40)
    genes = 2 * np.tanh(hidden @ loadings + offsets) + 0.5 * rng.normal(size=(len(hidden), 40))
    left, _, _ = np.linalg.svd(genes - genes.mean(axis=0), full_matrices=False)
    components = left[:, :5] / left[:, :5].std(axis=0)
    return ad.AnnData(components, obs=pd.DataFrame({"time": np.repeat(np.arange(float(n_times)), n)}))


def _hidden(kind: str, time: float, n: int, rng: np.random.Generator) -> np.ndarray:
    progress = time * np.exp(0.35 * rng.normal(size=n)) + 0.3 * rng.normal(size=n)
    if kind == "arc":
        angle = 0.55 * progress
        return np.column_stack([3 * np.cos(angle), 3 * np.sin(angle), 0.3 * progress])
    if kind == "tree":
        branch, beyond = rng.integers(0, 3, n), np.clip(progress - 1.2, 0, None)
        direction = np.array([[1, 1, 0], [1, -1, 0.5], [0.2, 0, 1.5]])[branch]
        z = np.column_stack([np.minimum(progress, 1.2), np.zeros((n, 2))]) + beyond[:, None] * direction
        z[:, 1] += 0.25 * (branch == 0) * beyond**2
        z[:, 2] -= 0.3 * (branch == 1) * beyond**2
        return z
    if kind == "growth":
        second, along = rng.random(n) < 1 / (1 + np.exp(2 - 1.3 * time)), np.clip(progress, 0, None)
        across = np.where(second, 1.5 + 0.4 * along, -1 - 0.2 * along)
        return np.column_stack([0.5 * along, across, 0.15 * second * along**2])
    x, y, push = rng.normal(-1, 0.2, n), rng.normal(0, 0.2, n), 0.6 + 0.15 * rng.normal(size=n)
    for _ in range(round(time / _STEP)):
        noise = 0.25 * np.sqrt(_STEP) * rng.normal(size=(2, n))
        x, y = x + _STEP * (x - x**3 + push) + noise[0], y + _STEP * (2 * (1 - x**2) - y) + noise[1]
    return np.column_stack([x, y, 0.1 * rng.normal(size=n)])
