"""Simulated time courses with a known truth.

``simulated``: cells of different speed on a bend, a tree, a growing branch and a switch between two states. Three
hidden coordinates are seen through 40 genes that saturate, with noise, in five whitened components.

``population``: three types of cells whose shares change with known rates, at irregular times. Either cells switch from
one type to another, or types grow with different rates, or both. The cells of each type also move a little.
"""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from scipy.linalg import expm

KINDS = ("arc", "tree", "growth", "switch")
_STEP = 0.05

POPULATIONS = ("switching", "births", "both")
TIMES = (0.0, 1.0, 2.0, 3.5, 5.0, 6.0, 8.0)
FIRST_SHARES = np.array([0.8, 0.15, 0.05])
RATES = np.array([[0, 0.15, 0.02], [0, 0, 0.1], [0, 0.02, 0]])
"""Switches of a cell of each type (rows) to each type, per unit of time."""
GROWTH = np.array([0.0, 0.15, 0.4])
"""Births less deaths of each type, per unit of time."""


def rates_and_growth(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The rates of switching (3 × 3) and of growth (3,) of a population."""
    return RATES * (kind != "births"), GROWTH * (kind != "switching")


def shares_at(kind: str, time: float) -> np.ndarray:
    """Share of each type at a time, (3,)."""
    rates, growth = rates_and_growth(kind)
    found = FIRST_SHARES @ expm((rates - np.diag(rates.sum(axis=1)) + np.diag(growth)) * time)
    return np.asarray(found / found.sum())


def population(kind: str, *, seed: int, n: int = 250, n_genes: int = 15) -> ad.AnnData:
    """Cells (n for each time) in genes, with ``time``, growth ``rate`` and ``type`` in ``obs``."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(n_genes, 3)))[0].T
    centres = np.array([[0, 0, 0], [3, 1, 0], [4, -2.5, 1.5]])
    drift = 0.08 * rng.normal(size=(3, 3))
    types = np.concatenate([rng.choice(3, n, p=shares_at(kind, time)) for time in TIMES])
    times = np.repeat(TIMES, n)
    hidden = centres[types] + drift[types] * times[:, None] + 0.6 * rng.normal(size=(len(times), 3))
    X = 5 + hidden @ basis + 0.2 * rng.normal(size=(len(times), n_genes))
    return ad.AnnData(X, obs=pd.DataFrame({"time": times, "rate": rates_and_growth(kind)[1][types], "type": types}))


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
