"""Time of the rank-sum tests of a screen, compared with scanpy.

    python benchmarks/bench_differential.py [--perturbations 50] [--cells 40] [--controls 1500] [--genes 2000]

The data are sparse log counts, of which a fifth is nonzero. ``heldout`` tests all perturbations in one call. scanpy
ranks each group and the controls again, so its time grows with the number of groups. It runs with the same tie
correction.
"""

from __future__ import annotations

import argparse
import time

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from scipy import sparse

import heldout as ho


def log_counts(n_cells: int, n_genes: int, seed: int) -> sparse.csr_matrix:
    rng = np.random.default_rng(seed)
    X = sparse.random(n_cells, n_genes, density=0.2, random_state=seed, format="csr")
    X.data = np.log1p(rng.poisson(2, X.nnz) + 1.0)
    return X


def main(n_perturbations: int, n_cells: int, n_controls: int, n_genes: int) -> None:
    cells, control = log_counts(n_perturbations * n_cells, n_genes, 0), log_counts(n_controls, n_genes, 1)
    groups = np.repeat(np.arange(n_perturbations), n_cells)
    ho.metrics.differential(cells[:10], control[:10])  # imports modules before the timing starts
    start = time.perf_counter()
    ours = ho.metrics.differential(cells, control, groups=groups, continuity=False)
    print(f"heldout {time.perf_counter() - start:.2f} s")
    names = [f"P{g}" for g in groups] + ["control"] * n_controls
    obs = pd.DataFrame({"group": pd.Categorical(names)}, index=[str(i) for i in range(len(names))])
    adata = ad.AnnData(sparse.vstack([cells, control]).tocsr(), obs=obs)
    perturbations = [f"P{g}" for g in range(n_perturbations)]
    start = time.perf_counter()
    sc.tl.rank_genes_groups(
        adata, "group", groups=perturbations, reference="control", method="wilcoxon", tie_correct=True, n_genes=n_genes
    )
    print(f"scanpy  {time.perf_counter() - start:.2f} s")
    theirs = sc.get.rank_genes_groups_df(adata, "P0").set_index("names").loc[adata.var_names, "pvals"]
    print(f"largest difference of p, first perturbation: {np.abs(theirs - ours.p_value[0]).max():.1e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--perturbations", type=int, default=50)
    parser.add_argument("--cells", type=int, default=40)
    parser.add_argument("--controls", type=int, default=1500)
    parser.add_argument("--genes", type=int, default=2000)
    arguments = parser.parse_args()
    main(arguments.perturbations, arguments.cells, arguments.controls, arguments.genes)
