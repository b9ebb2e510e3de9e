"""Simulated donors as methods see them, and how well a method ranks the held-out donors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout.metrics.classification import roc_auc
from heldout.tasks.genotype import METHODS
from heldout.tasks.genotype.interface import Data
from heldout.tasks.genotype.rows import predict_groups
from tests.helpers.scripts import load

if TYPE_CHECKING:
    from anndata import AnnData

donors = load("benchmarks/_genotype_simulations.py").donors
"""Donors with a known signal, as in the benchmark."""


def data_of(adata: AnnData, *, types: bool = True, train: float = 0.5) -> Data:
    """A share of the donors as train; the others are held out."""
    groups = np.unique(adata.obs["donor"], return_inverse=True)[1]
    labels = (adata.obs["label"] == "patient").to_numpy().astype(int)
    names, numbers = np.unique(adata.obs["cell_type"], return_inverse=True)
    rows = np.flatnonzero(groups < train * (groups.max() + 1))
    return Data(
        adata.X,
        labels,
        2,
        rows,
        np.arange(0),
        groups=groups,
        genes=adata.var_names.to_numpy(dtype=object),
        cell_types=numbers if types else None,
        n_cell_types=len(names) if types else 0,
    )


def held_out(name: str, data: Data, config: Any = None, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Class and log-probabilities of each held-out donor."""
    method = METHODS.implementation(name)
    fitted = method.fit(data, METHODS[name].check_config(config), seed=seed)
    rows = np.setdiff1d(np.arange(len(data.labels)), data.train)
    _, first, groups = np.unique(data.groups[rows], return_index=True, return_inverse=True)
    types = None if data.cell_types is None else data.cell_types[rows]
    return data.labels[rows][first], predict_groups(method, fitted, data.X[rows], groups, types)


def auc(name: str, data: Data, config: Any = None, *, seed: int = 0) -> float:
    """AUC of the held-out donors."""
    return roc_auc(*held_out(name, data, config, seed=seed))
