"""Small screens for the tests of perturbation methods, log-normalised, with their split."""

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from scipy import sparse

import heldout as ho
from heldout._core.partition import read_partition
from heldout.tasks.perturbation.task import Task

CLOSED = ("no_change", "mean", "mean_of_cells", "context_mean", "transfer", "additive", "linear", "latent_additive")
TINY = {"batch_size": 64, "n_updates": 10, "n_hidden": 16}
CONFIGS = {
    "flow": ho.model.PerturbationFlowConfig(width=8, n_condition=4, n_layers=1, n_steps=2, max_epochs=1),
    "latent_additive_network": ho.model.LatentAdditiveNetworkConfig(**TINY, n_latent=8),
    "compositional": ho.model.CompositionalConfig(**TINY, n_latent=8),
    "graph": ho.model.GraphConfig(**TINY, n_latent=8),
    "set_transport": ho.model.SetTransportConfig(**TINY),
}
NETWORKS = tuple(CONFIGS)
CONFIGS["residual_flow"] = ho.model.ResidualFlowConfig(
    n_updates=5, width=4, n_layers=1, n_steps=1, questions=("combination",)
)
"""Options with which the networks train in a moment: tiny layers, few steps."""

IN_MEMORY = (
    *CLOSED,
    "informed_additive",
    "nearest",
    "moved_cells",
    "pooled_transfer",
    "vector_knn",
    "vector_lasso",
    "stacked",
    "composed_cells",
)
"""Methods whose fits do not depend on the kind of matrix; networks draw other batches from a dask array."""

METHODS = (*IN_MEMORY, "residual_flow", *NETWORKS)
DOSED = ("dose_linear", "dose_isotonic")
"""Methods that need doses, which the other screens here do not have."""


def simulated(**options):
    """Log-normalised cells of a simulated screen, 12 singles and 12 pairs unless told otherwise."""
    adata = ho.datasets.perturbations_simulated(
        **{"n_singles": 12, "n_doubles": 12, "n_genes": 80, "n_cells": 15, **options}
    )
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def combinations(**options):
    """The simulated screen with half of its pairs in test."""
    adata = simulated(**options)
    ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.5)
    return adata


def contexts(**options):
    """Two cell lines, with a fifth of the perturbations held out in one of them."""
    adata = simulated(n_contexts=2, **options)
    ho.pp.split_perturbations(
        adata, "perturbation", hold_out="context", covariate_keys="cell_line", val=0, test=0.2, max_contexts=1
    )
    return adata


def dose_series(*, hold_out="dose", val=0, test=0.3, **options):
    """Log-normalised cells of a simulated screen of dose series, with its split."""
    split = {name: options.pop(name) for name in ("held_out_doses", "covariate_keys", "contexts") if name in options}
    adata = ho.datasets.doses_simulated(
        **{"n_perturbations": 6, "n_genes": 60, "n_cells": 12, "doses": (0.1, 1.0, 10.0, 100.0), **options}
    )
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.split_perturbations(adata, "perturbation", dose_key="dose", hold_out=hold_out, val=val, test=test, **split)
    return adata


def exact(effects, pairs, *, n_cells=4, genes=6, seed=0):
    """Noise-free cells at the mean of their perturbation; ``pairs`` has what is added to the sum of ``effects``."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(6, 9, genes)
    profiles = {"control": base} | {name: base + effect for name, effect in effects.items()}
    for (a, b), extra in pairs.items():
        profiles[f"{a}+{b}"] = base + effects[a] + effects[b] + extra
    names = [name for name in profiles for _ in range(4 * n_cells if name == "control" else n_cells)]
    X = np.stack([profiles[name] for name in names])
    obs = pd.DataFrame({"guide": names}, index=[f"cell{i}" for i in range(len(names))])
    var = pd.DataFrame(index=[f"G{i}" for i in range(genes)])
    return ad.AnnData(sparse.csr_matrix(X), obs=obs, var=var), profiles


def task_of(adata, **options):
    """The task of a screen with its split."""
    return Task.of(adata, read_partition(adata, "split"), **options)


def brute_means(adata, mask, key="perturbation"):
    """Mean of the masked cells of each perturbation, dense, by a loop."""
    X = (adata.X.toarray() if sparse.issparse(adata.X) else np.asarray(adata.X)).astype(np.float64)
    names = adata.obs[key].astype(str).to_numpy()
    return {name: X[mask & (names == name)].mean(axis=0) for name in np.unique(names[mask])}
