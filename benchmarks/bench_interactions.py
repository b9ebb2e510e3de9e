"""Time of the interactions of a screen with 100 singles and 124 doubles, and the share of false calls.

    python benchmarks/bench_interactions.py [--genes 1000] [--cells 40] [--seeds 3]

The first screen has cells with normal noise around log profiles. 5 % of the values of doubles deviate from additivity.
Further screens have noise that the cells of a perturbation share and that has heavier tails (Student's t), and genes
with different noise, for which the null of the deviations is wrong. The last screens are counts of
``datasets.perturbations_simulated``, on the 500 genes with the highest expression. The share of false calls should be
at most 5 %.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import scanpy as sc

import heldout as ho

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.helpers.interactions import Known, simulated


def false_and_found(known: Known, scale: str) -> tuple[float, float]:
    """Return the share of calls that are false, and the share of interactions that are called."""
    ho.tl.interactions(known.adata, "guide", n_top_genes=None, scale=scale)
    table = ho.get.interactions(known.adata).pivot(index="perturbation", columns="gene", values="called")
    called, truth = table.loc[known.names].to_numpy(), known.deviation != 0
    return float((called & ~truth).sum() / max(called.sum(), 1)), float(called[truth].mean())


def counts(n_cells: int, seed: int) -> Known:
    """Simulate log-normalised counts, with the truth of the simulator."""
    adata = ho.datasets.perturbations_simulated(n_singles=100, n_doubles=124, n_genes=1000, n_cells=n_cells, rng=seed)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    control = adata[(adata.obs["perturbation"] == "control").to_numpy()].X.mean(axis=0)
    chosen = np.sort(ho.metrics.top_genes(np.asarray(control).ravel(), 500))
    kinds = adata.uns["truth"]["kinds"][0][:, chosen]
    adata = adata[:, chosen].copy()
    adata.obs["guide"] = adata.obs["perturbation"]
    names = ["+".join(sorted(name.split("+"))) for name in adata.uns["truth"]["pairs"]]
    return Known(adata, names, kinds)


def uneven(known: Known, seed: int) -> Known:
    """Give each gene a different noise."""
    rng = np.random.default_rng(seed)
    noise = rng.lognormal(0, 0.7, known.adata.n_vars) * rng.normal(0, 0.4, known.adata.shape)
    known.adata.X = (known.adata.X + noise + 30).astype(np.float32)
    return known


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genes", type=int, default=1000)
    parser.add_argument("--cells", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()

    known = simulated(100, 124, arguments.genes, arguments.cells)
    start = time.perf_counter()
    ho.tl.interactions(known.adata, "guide", n_top_genes=None)
    print(f"{known.adata.n_obs:,} cells, 124 combinations × {arguments.genes:,} genes")
    print(f"tl.interactions         {time.perf_counter() - start:.2f} s")
    start = time.perf_counter()
    table = ho.get.interactions(known.adata)
    print(f"get.interactions        {time.perf_counter() - start:.2f} s, {len(table):,} rows")
    noise = np.random.default_rng(0).normal(0, 0.2, len(table))
    observed, additive = (table[name].to_numpy().reshape(124, -1) for name in ("observed", "additive"))
    start = time.perf_counter()
    ho.metrics.interaction_scores(
        observed, {"noisy": observed + noise.reshape(124, -1)}, additive, cutoffs=(-0.3, 0.3), n_bootstrap=200
    )
    print(f"interaction_scores      {time.perf_counter() - start:.2f} s per method, 200 resamples")

    print("\nfalse calls and power at local fdr 0.05, mean of", arguments.seeds, "screens")
    for name, noise_of in (
        ("normal", "normal"),
        ("t, 10 df", 10),
        ("t, 5 df", 5),
        ("t, 3 df", 3),
        ("uneven genes", "normal"),
    ):
        for scale in ("none", "se"):
            results = []
            for seed in range(arguments.seeds):
                known = simulated(100, 124, arguments.genes, arguments.cells, noise=noise_of, seed=seed)
                results.append(false_and_found(uneven(known, seed) if name == "uneven genes" else known, scale))
            false, found = np.mean(results, axis=0)
            print(f"{name:14s} scale={scale:5s} false {100 * false:5.1f} %   power {100 * found:5.1f} %")
    for n_cells in (10, 25, 100):
        screens = [counts(n_cells, seed) for seed in range(arguments.seeds)]
        for scale in ("none", "se"):
            false, found = np.mean([false_and_found(known, scale) for known in screens], axis=0)
            name = f"{n_cells} cells, counts"
            print(f"{name:14s} scale={scale:5s} false {100 * false:5.1f} %   power {100 * found:5.1f} %")
