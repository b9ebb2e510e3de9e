"""Small simulated screens: what residual_flow gains over composed_cells, with screens as units.

    python benchmarks/residual_flow.py [--screens 24]

Each screen has 14 singles and 18 pairs × 300 genes, 60 cells each, and half of the pairs are held out, so about nine
pairs are left to learn from. All cells respond, or half of them, or 20 to 90 %. Effects are of ordinary strength in one
half of the screens, and strong in the other. Screens are independent of each other, so intervals over screens are valid
for new screens of this kind.
"""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from _judging import judge
from _screens import KEY, log_normalised, split

import heldout as ho

if TYPE_CHECKING:
    import anndata as ad

RESPONDERS = (1.0, 0.5, (0.2, 0.9))
STRENGTHS = (3, 10)
FIRST_SEED = 500
METRICS = ("l2", "pearson_delta", "energy_distance", "mmd", "variance_error")


def screen(k: int) -> ad.AnnData:
    """Simulate a small screen, and split it."""
    adata = ho.datasets.perturbations_simulated(
        n_singles=14,
        n_doubles=18,
        n_genes=300,
        n_cells=60,
        responders=RESPONDERS[k % 3],
        effect_strength=STRENGTHS[k % 2],
        rng=FIRST_SEED + k,
    )
    adata = log_normalised(adata)
    split(adata, "combination", seed=k)
    return adata


def scores(k: int) -> pd.DataFrame:
    """Mean of each metric over the held-out pairs of one screen, (method × metric)."""
    methods = ["composed_cells", "residual_flow"]
    _, rows, _ = judge(screen(k), methods, ["moved_cells"], options={})
    of_methods = rows[rows["method"].isin([*methods, "moved_cells"])]
    return of_methods.groupby("method")[list(METRICS)].mean().assign(screen=k, pairs=rows[KEY].nunique())


def main() -> None:
    """Print the difference in each screen, and its mean with an interval over screens."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--screens", type=int, default=24, help="number of screens")
    arguments = parser.parse_args()
    logging.getLogger("heldout").setLevel(logging.ERROR)
    found = pd.concat([scores(k) for k in range(arguments.screens)]).reset_index()
    by_method = {name: of_name.set_index("screen")[list(METRICS)] for name, of_name in found.groupby("method")}
    difference = by_method["residual_flow"] - by_method["composed_cells"]
    print(difference.round(4).to_string(), end="\n\n")
    drawn = np.random.default_rng(0).integers(len(difference), size=(5000, len(difference)))
    means = difference.to_numpy()[drawn].mean(axis=1)
    table = pd.DataFrame({name: values.mean() for name, values in by_method.items()})
    table["difference"] = difference.mean()
    table["low"], table["high"] = np.quantile(means, [0.025, 0.975], axis=0)
    table["screens with a gain"] = (difference.assign(pearson_delta=-difference["pearson_delta"]) < 0).sum()
    table["screens without a change"] = (difference == 0).sum()
    print(table.round(4).to_string())
    print(f"\nunit: screen ({len(difference)}); 95 % bootstrap intervals")


if __name__ == "__main__":
    main()
