"""Time of ``tl.compare``: 5 folds × 3 seeds × 8 methods on 8,000 cells × 1,000 genes of 40 simulated donors.

    python benchmarks/bench_compare.py [--each] [--methods NAME ...] [--workers N] [--save FILE] [--against FILE]

The methods are the four baselines that ``tl.evaluate`` fits without further columns, the shrunken pseudobulk, boosted
trees, and both networks with their default options. ``--each`` times each method alone as well. ``--workers`` fits in
so many worker processes of dask, which have started and imported before the time is taken. ``--save`` writes the
predictions for the held-out groups, and ``--against`` compares them with those of another version. Wall time depends on
other work on the machine, so the processor time of the process and its threads is printed next to it. It does not
include that of the workers. The machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import heldout as ho

METHODS = [
    *("majority", "qc_logistic", "logistic", "pseudobulk_logistic"),
    *("pseudobulk_shrunken", "pseudobulk_boosting", "mlp", "attention"),
]
N_DONORS, N_CELLS, N_GENES, N_FOLDS, N_SEEDS = 40, 200, 1_000, 5, 3


def donors() -> ad.AnnData:
    """Log-normalised cells of donors of two classes, with folds. Thirty genes differ between the classes."""
    rng = np.random.default_rng(0)
    donor = np.repeat(np.arange(N_DONORS), N_CELLS)
    patient = donor % 2
    level = rng.gamma(0.4, 1.0, N_GENES)
    effects = rng.lognormal(0, 0.3, (N_DONORS, N_GENES))
    effects[1::2, :30] *= 1.5
    depth = rng.lognormal(0, 0.3, len(donor))[:, None]
    counts = rng.poisson(level * effects[donor] * depth).astype(np.float32)
    adata = ad.AnnData(sparse.csr_matrix(np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)))
    adata.obs["total_counts"] = counts.sum(axis=1)
    adata.obs["n_genes_by_counts"] = (counts > 0).sum(axis=1)
    adata.obs["donor"] = [f"D{d:02d}" for d in donor]
    adata.obs["condition"] = np.where(patient == 1, "patient", "control")
    ho.pp.folds(adata, "donor", "condition", n_folds=N_FOLDS)
    return adata


def timed(adata: ad.AnnData, methods: list[str], client: Any = None) -> tuple[float, float, pd.DataFrame]:
    """Wall time and processor time of one comparison, and its predictions for groups."""
    adata = adata.copy()
    start, used = time.perf_counter(), sum(os.times()[:4])
    ho.tl.compare(adata, "condition", methods=methods, seeds=range(N_SEEDS), client=client)
    wall, used = time.perf_counter() - start, sum(os.times()[:4]) - used
    return wall, used, ho.get.comparison(adata, by="group")


def main() -> None:
    """Print the times, and the largest difference from saved predictions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", action="store_true")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--save")
    parser.add_argument("--against")
    options = parser.parse_args()
    logging.getLogger("heldout").setLevel("ERROR")
    adata = donors()
    client = None
    if options.workers:
        from dask.distributed import Client

        client = Client(n_workers=options.workers, threads_per_worker=1, dashboard_address=None)
    timed(adata[:, :50].copy(), options.methods, client)  # imports and compiled loops
    if options.each:
        for method in options.methods:
            wall, used, _ = timed(adata, [method], client)
            print(f"{method:24s} {wall:7.1f} s, processor {used:7.1f} s", flush=True)
    wall, used, found = timed(adata, options.methods, client)
    print(f"{'all together':24s} {wall:7.1f} s, processor {used:7.1f} s")
    if options.save:
        found.to_csv(options.save, index=False)
    if options.against:
        at = ["method", "fold", "seed", "group"]
        before, after = pd.read_csv(options.against).set_index(at), found.set_index(at)
        columns = [name for name in after if name.startswith("log_probability_")]
        gap = (after[columns] - before.loc[after.index, columns]).abs().max(axis=1).groupby("method").max()
        print("largest difference of a log-probability:", gap.to_dict())
    if client is not None:
        client.close()


if __name__ == "__main__":
    main()
