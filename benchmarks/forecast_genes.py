"""Skill of all forecasts of genes on Chu 2016: 100 transcription factors at 96 h, predicted from 0 to 72 h.

    python benchmarks/forecast_genes.py [--splits 10] [--seeds 5] [--jobs 2] [--methods ...] [--data FILE --time-key
    KEY]

Each method is fitted on each split of genes (70 % train, 15 % val, 15 % test, ``heldout.pp.split_genes(rng=i)``).
Networks are fitted with several seeds (for the bootstrap, the start and the batches), and their squared errors are
averaged. The table is over the test genes of all splits. It gives:

- skill = 1 - MSE / MSE of persistence, from sums over all splits, with a 95 % bootstrap interval over splits;
- the paired difference in skill to ridge on the same splits, with its interval;
- the sd of the skill over seeds, the RMSE, and the seconds per fit.

Test genes of different splits overlap, because there are only 100 genes. For this reason intervals over splits show how
stable the ranking is on these genes, and not on others. ``--splits 1`` is the study as published: one split, five
seeds.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

DATA = Path(os.environ.get("HELDOUT_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
NETWORKS = ("lstm", "feedforward", "lstm_published", "feedforward_published")
CLOSED = (
    *("persistence", "mean", "linear", "ridge"),
    *("low_rank", "gaussian_process", "multi_kernel", "coexpression", "stacked"),
)


def load(path: str, *, normalise: bool, ceiling: float | None):
    """Read the data, and convert them to a log scale in which higher is more expression."""
    import anndata as ad

    adata = ad.read_h5ad(path)
    if ceiling is not None:
        X = adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X
        adata.X = ceiling - X
    if normalise:
        import scanpy as sc

        sc.pp.normalize_total(adata)
        sc.pp.log1p(adata)
    return adata


def run_job(arguments: argparse.Namespace, split: int, seed: int) -> list[dict]:
    """Compute the errors of each method on the test genes of one split with one seed.

    Closed forms run with seed 0 only.
    """
    import torch

    import heldout as ho

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    adata = load(arguments.data, normalise=arguments.normalise, ceiling=arguments.ceiling)
    ho.pp.split_genes(adata, rng=split)
    hour = adata.obs[arguments.time_key].to_numpy(dtype=float)
    at, last = np.unique(hour)[[-1, -2]]
    test = (adata.var["gene_split"] == "test").to_numpy()
    truth, before = (
        np.asarray(adata.X[hour == t][:, test].astype(np.float64).mean(axis=0)).ravel() for t in (at, last)
    )
    rows = []
    for method in arguments.methods:
        if seed and method not in NETWORKS:
            continue
        start = time.perf_counter()
        ho.tl.forecast_genes(adata, arguments.time_key, method=method, rng=seed)
        seconds = time.perf_counter() - start
        predicted = adata.var["forecast_genes_prediction"].to_numpy()[test]
        row = {"split": split, "method": method, "seed": seed, "n": len(truth), "seconds": seconds}
        row["sse"] = float(((truth - predicted) ** 2).sum())
        row["persistence"] = float(((truth - before) ** 2).sum())
        row["spread"] = float(((truth - truth.mean()) ** 2).sum())
        rows.append(row)
    return rows


def ladder(rows: pd.DataFrame, *, n_bootstrap: int = 4000) -> pd.DataFrame:
    """Return one row per method, best first."""
    sums = rows.groupby(["method", "split"])[["sse", "persistence", "spread", "n"]].mean()
    splits = rows["split"].unique()
    draws = np.random.default_rng(0).multinomial(len(splits), np.full(len(splits), 1 / len(splits)), n_bootstrap)
    draws = np.vstack([np.ones(len(splits), dtype=int), draws])

    def limit(values: np.ndarray, percent: float) -> float:
        return float(np.percentile(values[1:], percent)) if len(splits) > 2 else np.nan  # two splits give no interval

    def skill(method: str) -> np.ndarray:
        of_method = sums.loc[method].loc[splits]
        return 1 - draws @ of_method["sse"].to_numpy() / (draws @ of_method["persistence"].to_numpy())

    table = []
    for method, part in rows.groupby("method"):
        reached, ridge = skill(method), skill("ridge")
        of_method = sums.loc[method]
        n_wins = int((of_method["sse"] < of_method["persistence"] * (1 - 1e-9)).sum())
        by_seed = part.groupby("seed")[["sse", "persistence"]].sum()
        table.append(
            {
                "method": method,
                "skill": reached[0],
                "low": limit(reached, 2.5),
                "high": limit(reached, 97.5),
                "vs ridge": reached[0] - ridge[0],
                "vs low": limit(reached - ridge, 2.5),
                "vs high": limit(reached - ridge, 97.5),
                "wins over persistence": f"{n_wins}/{len(splits)}",
                "seed sd": (1 - by_seed["sse"] / by_seed["persistence"]).std() if len(by_seed) > 1 else np.nan,
                "rmse": np.sqrt(part["sse"].sum() / part["n"].sum()),
                "r2": 1 - part["sse"].sum() / part["spread"].sum(),
                "s/fit": part["seconds"].mean(),
            }
        )
    return pd.DataFrame(table).sort_values("skill", ascending=False, ignore_index=True)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=10, help="number of random gene splits")
    parser.add_argument("--first-split", type=int, default=0, help="seed of the first split")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each network and split")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--methods", nargs="+", default=[*CLOSED, *NETWORKS])
    parser.add_argument("--data", default=str(DATA / "chu2016" / "chu2016_100tf.h5ad"))
    parser.add_argument("--time-key", default="time_h")
    parser.add_argument("--normalise", action="store_true", help="counts: normalise and log first")
    parser.add_argument("--ceiling", type=float, help="Ct values: subtract them from this first")
    arguments = parser.parse_args()
    arguments.methods = list(dict.fromkeys(["persistence", "ridge", *arguments.methods]))
    start = time.perf_counter()
    with ProcessPoolExecutor(arguments.jobs) as pool:
        first = arguments.first_split
        jobs = [(s, i) for s in range(first, first + arguments.splits) for i in range(arguments.seeds)]
        parts = pool.map(run_job, [arguments] * len(jobs), *zip(*jobs, strict=True))
        rows = [row for part in parts for row in part]
    pd.set_option("display.width", 200, "display.max_columns", 20)
    print(ladder(pd.DataFrame(rows)).to_string(index=False, float_format="{:.3f}".format))
    print(
        f"{arguments.splits} splits, {arguments.seeds} seeds, {arguments.jobs} processes: "
        f"{time.perf_counter() - start:.0f} s"
    )


if __name__ == "__main__":
    main()
