"""The table of the published study of LSTM and feed-forward networks on Chu 2016, with what it left out.

    python benchmarks/published_forecast.py [--seeds 3]

Two tasks, as in the study. Gene-level prediction: 15 % of the genes are held out, and their mean at 96 h is predicted
from 0 to 72 h. Cell-state forecasting: trained on 0 to 36 h, and cells of 96 h are predicted. RMSE, MAE and R² are
those of the study: over all values, and cells are paired without a reason, here over all pairs
(``heldout.get.published_errors``). Beside the networks of the study stand the methods of heldout, the last time
repeated, and the mean of the answer, which knows the answer. The study has all genes and probably values from 0 to 1;
the data here have 100 transcription factors in log units, so its numbers are not repeated, only its comparison.
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

import anndata as ad
import pandas as pd

import heldout as ho

DATA = Path(os.environ.get("HELDOUT_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
CELLS = ["lstm_published", "feedforward_published", "lstm", "feedforward", "auto"]
GENES = ["lstm_published", "feedforward_published", "lstm", "feedforward", "stacked"]
VALUES = ["rmse", "mae", "r2", "r2_per_gene", "skill_corrected"]


def study(seed: int) -> pd.DataFrame:
    """Both tasks with one seed."""
    adata = ad.read_h5ad(DATA / "chu2016" / "chu2016_100tf.h5ad")
    adata.obs["hours"] = adata.obs["time_h"].astype(float)
    ho.pp.split_genes(adata, rng=seed, key_added="genes")
    for method in GENES:
        key = f"genes_{method}"
        ho.tl.forecast_genes(adata, "hours", at=96, method=method, split_key="genes", key_added=key, rng=seed)
        ho.tl.evaluate(adata, key, baselines=["persistence"])
    ho.pp.split_time(adata, "hours", train=36, test=96)
    for method in CELLS:
        ho.tl.forecast(adata, "hours", method=method, key_added=method, rng=seed)
        ho.tl.evaluate(adata, method, baselines=["persistence"])
    return ho.get.published_errors(adata).assign(seed=seed)


def main() -> None:
    """Print the mean over seeds, and the range of the corrected skill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    logging.getLogger("heldout").setLevel(logging.ERROR)
    found = pd.concat([study(seed) for seed in range(arguments.seeds)])
    by = found.groupby(["task", "method"], sort=False)
    table = by[VALUES].mean()
    skill = by["skill_corrected"]
    print(table.assign(lowest=skill.min(), highest=skill.max()).round(3).to_string())


if __name__ == "__main__":
    main()
