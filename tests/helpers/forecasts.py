"""Time courses with known dynamics for the forecast tests."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from scipy.linalg import expm

import heldout as ho
from heldout.tasks.forecast.interface import Snapshots
from heldout.tasks.forecast.noise import LEVEL, distances_of_halves
from heldout.tasks.forecast.space import fit_space

TIMES = np.array([0, 1, 2, 3.5, 5, 6, 8])


def clouds(kind: str, times: np.ndarray = TIMES, *, n: int = 150, n_genes: int = 15, seed: int = 0) -> list[np.ndarray]:
    """Independent cells (n × n_genes) at each time: along a line, around a circle, or without any change."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(n_genes, 3)))[0].T
    turn = 0.2 * np.array([[0, -1, 0], [1, 0, 0], [0, 0, 0]])
    found = []
    for time in times:
        z = rng.normal(size=(n, 3)) * [0.6, 0.5, 0.5]
        if kind == "line":
            z += time * np.array([0.8, -0.4, 0])
        elif kind == "circle":
            z = (z + [4, 0, 0]) @ expm(turn * time).T
        found.append(5 + z @ basis + 0.1 * rng.normal(size=(n, n_genes)))
    return found


def snapshots(kind: str, train: list[int], target: int, **options) -> tuple[Snapshots, np.ndarray]:
    """Train snapshots in their own space, and the cells of the target time in the same."""
    cells = clouds(kind, **options)
    space = fit_space(np.concatenate([cells[i] for i in train]), 50)
    data = Snapshots(TIMES[train], [space.encode(cells[i]) for i in train], space, targets=(float(TIMES[target]),))
    return data, space.encode(cells[target])


def adata_of(kind: str = "line", **options) -> ad.AnnData:
    """The same as an AnnData, cells in random order."""
    cells = clouds(kind, **{"n": 40, "n_genes": 12, **options})
    X = np.concatenate(cells).astype(np.float32)
    time = np.repeat(TIMES, [len(c) for c in cells])
    names = [f"c{i}" for i in range(len(X))]
    adata = ad.AnnData(X, obs=pd.DataFrame({"h": time}, index=names))
    adata.var_names = [f"g{i}" for i in range(X.shape[1])]
    return adata[np.random.default_rng(1).permutation(len(X))].copy()


def split(adata: ad.AnnData, **options) -> ad.AnnData:
    """Hold out the last time if nothing else is said."""
    ho.pp.split_time(adata, "h", **{"test": 8, **options})
    return adata


def noise_floor(cells, groups, rng):
    """Energy distance that 95 % of pairs of halves of the cells stay below."""
    return float(np.quantile(distances_of_halves(cells, groups, rng), LEVEL))
