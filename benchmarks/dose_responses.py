"""Predicted changes at doses that were held out, against the truth of simulated dose series.

    python benchmarks/dose_responses.py [--seeds 5] [--cells 30 100]

16 perturbations at 7 doses × 200 genes, ten times as many controls as cells of a dose. The error is the L2 distance of
the predicted from the true change, as a mean over held-out perturbations and doses, then over seeds. The table shows
its mean and standard error over seeds, and the number of seeds in which a method is nearer than the nearest dose.
"""

from __future__ import annotations

import argparse
import logging

import numpy as np
import pandas as pd
import scanpy as sc

import heldout as ho

DOSES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
METHODS = ("no_change", "mean", "transfer", "latent_additive", "dose_linear", "dose_isotonic")
SHARES = {"inner": 0.3, "highest": 0.6, "lowest": 0.6}


def errors(which: str, n_cells: int, seed: int) -> dict[str, float]:
    """Mean error of each method on one simulated screen."""
    adata = ho.datasets.doses_simulated(
        doses=DOSES, n_perturbations=16, n_cells=n_cells, n_control=10 * n_cells, effect_strength=2.0, rng=seed
    )
    truth = adata.uns["truth"]
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    options = {"hold_out": "dose", "held_out_doses": which, "val": 0, "test": SHARES[which], "rng": seed}
    ho.pp.split_perturbations(adata, "perturbation", dose_key="dose", **options)
    row = {name: i for i, name in enumerate(truth["perturbations"])}
    found = {}
    for method in METHODS:
        ho.tl.perturbation(adata, method=method, key_added=method)
        predicted = ho.tl.predict_profiles(adata, method)
        at = [row[name] for name in predicted.obs["perturbation"]]
        dose = np.searchsorted(truth["doses"], predicted.obs["dose"])
        true = truth["profiles"][0][at, dose] - truth["control"][0]
        found[method] = float(np.linalg.norm(predicted.layers["change"] - true, axis=1).mean())
    return found


def main() -> None:
    """Print one table for each kind of held-out doses and number of cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cells", type=int, nargs="+", default=[30, 100])
    options = parser.parse_args()
    logging.getLogger("heldout").setLevel(logging.ERROR)
    for n_cells in options.cells:
        for which in SHARES:
            table = pd.DataFrame([errors(which, n_cells, seed) for seed in range(options.seeds)])
            shown = pd.DataFrame({"error": table.mean(), "se": table.sem()})
            shown["nearer than transfer"] = table.lt(table["transfer"], axis=0).sum()
            print(f"\n{which} doses, {n_cells} cells of each, {options.seeds} seeds\n{shown.round(2).to_string()}")


if __name__ == "__main__":
    main()
