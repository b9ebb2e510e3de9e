"""Forecasts where nothing changes: cells of one time are dealt out to five false times.

    python benchmarks/forecast_no_change.py [--seeds 3]

An honest evaluation finds no skill here. The cells are simulated noise (Poisson counts without any structure), or cells
of one time of Klein 2015 and Packer 2019. The last false time is forecast from the four before it, or the third is
predicted from those around it. The table has the energy distance to the observed cells, as a mean over draws, and the
noise floor: 95 % of distances between two halves of the observed cells are smaller. To compare with another version of
the package, put its folder ``src`` into ``PYTHONPATH``.
"""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from forecast_auto import distances, floors
from forecast_cells import load

import heldout as ho

if TYPE_CHECKING:
    from collections.abc import Iterator

METHODS = {
    "later": ["persistence", "var_ridge", "reversion", "auto"],
    "middle": ["persistence", "blend", "ot_interpolation", "auto"],
}
QUESTIONS = {"later": {"train": 3.0, "test": 4.0}, "middle": {"test": 2.0, "direction": "interpolate"}}
MOST_GENES = 1000


def noise(n_genes: int, n_cells: int, seed: int) -> ad.AnnData:
    """Counts of cells that are all alike."""
    rng = np.random.default_rng(seed)
    return ad.AnnData(rng.poisson(rng.gamma(0.5, 2, n_genes), (n_cells, n_genes)).astype(np.float32))


def one_time(name: str) -> ad.AnnData:
    """Counts of the cells of the most frequent time of a time course, and of its most variable genes."""
    adata = load(name)
    adata = adata[adata.obs["time"] == adata.obs["time"].value_counts().idxmax()].copy()
    genes = np.argsort(-np.asarray(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X).var(axis=0))
    return adata[:, np.sort(genes[:MOST_GENES])].copy()


def courses(seed: int) -> Iterator[tuple[str, ad.AnnData]]:
    """Yield cells as log values with a false time, which means nothing."""
    import scanpy as sc

    for n_genes, n_cells in ((50, 750), (300, 750), (1000, 750), (1000, 200), (1000, 100)):
        adata = noise(n_genes, n_cells, seed)
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
        yield f"noise, {n_genes} genes, {n_cells} cells", adata
    for name in ("klein", "packer"):
        adata = one_time(name)
        yield f"{name}, {adata.n_vars} genes, {adata.n_obs} cells", adata


def main() -> None:
    """Print one row for each course and question."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    logging.getLogger("heldout").setLevel(logging.ERROR)
    rows = []
    for seed in range(arguments.seeds):
        for name, adata in courses(seed):
            order = np.random.default_rng(seed).permutation(adata.n_obs)
            adata.obs["time"] = (order % 5).astype(float)
            for question, options in QUESTIONS.items():
                ho.pp.split_time(adata, "time", **options)
                found, _, truth = distances(adata, METHODS[question], seed)
                rows.append({"cells": name, "question": question, **found, "floor": floors(truth)[0]})
    table = pd.DataFrame(rows).groupby(["cells", "question"], sort=False).mean()
    print(table.round(2).to_string(na_rep=""))


if __name__ == "__main__":
    main()
