"""Predicted cells where nothing changes: the energy distance of moved controls in noise.

    python benchmarks/perturbation_no_change.py [--genes 1500]

200 controls and 12 perturbations of 40 cells are Poisson counts that are all alike, and 30 % of the perturbations are
held out. An honest distance of the predicted to the measured cells is that of two halves of the measured cells, the
ceiling.
"""

from __future__ import annotations

import argparse
import logging

import anndata as ad
import numpy as np
import pandas as pd

import heldout as ho


def noise(n_genes: int) -> ad.AnnData:
    """Log counts of cells that do not respond."""
    rng = np.random.default_rng(0)
    names = ["control"] * 200 + [f"G{i}" for i in range(12) for _ in range(40)]
    counts = rng.poisson(rng.gamma(0.5, 2, n_genes), (len(names), n_genes))
    obs = pd.DataFrame({"perturbation": names}, index=[f"cell {i}" for i in range(len(names))])
    return ad.AnnData(
        np.log1p(counts).astype(np.float32), obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(n_genes)])
    )


def main() -> None:
    """Print the energy distance of each method, and the ceiling."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genes", type=int, default=1500)
    arguments = parser.parse_args()
    logging.getLogger("heldout").setLevel(logging.ERROR)
    adata = noise(arguments.genes)
    ho.pp.split_perturbations(adata, "perturbation", hold_out="single", test=0.3)
    ho.tl.perturbation(adata, method="no_change")
    table = ho.tl.evaluate(adata).table.query("metric == 'energy_distance'")
    print(table[["method", "estimate", "ceiling"]].round(3).to_string(index=False))


if __name__ == "__main__":
    main()
