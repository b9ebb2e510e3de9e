"""Skill of the closed forms for genes at many targets: four time courses, several target times, and blocks of genes.

    python benchmarks/forecast_genes_targets.py [--splits 10] [--first-split 300] [--only chu bargaje klein packer]
        [--modules]

Each target time is predicted from all times before it, for 15 % of the genes, with 70 % in train
(``heldout.pp.split_genes``). Blocks are the 250 genes with the highest mean, and the next 250. The skill is
1 - MSE / MSE of persistence, from sums over all splits. ``stacked, former`` has the members and the prior of the version before
``multi_kernel``. The parts of ``multi_kernel`` and the prior of ``stacked`` were chosen on the targets marked with a
star, with the splits 0 to 7, and then tried once on the others with the splits 200 to 259 (Chu, 96 h) and 200 to 209.

With ``--modules`` the first split of each target is evaluated, and the scores of ``stacked`` by module are printed.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc

import heldout as ho
from heldout._core.partition import read_partition
from heldout._core.stacking import nonnegative_weights
from heldout.tasks.forecast_genes import METHODS
from heldout.tasks.forecast_genes.task import Task

DATA = Path(os.environ.get("HELDOUT_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
TARGETS = (
    *(("chu", 0, 36.0, True), ("chu", 0, 72.0, True), ("chu", 0, 96.0, False)),
    *(("bargaje", 0, 48.0, False), ("bargaje", 0, 60.0, False), ("bargaje", 0, 72.0, True)),
    *(("bargaje", 0, 96.0, True), ("bargaje", 0, 120.0, True)),
    *(("klein", 0, 7.0, True), ("klein", 1, 7.0, False)),
    *(("packer", 0, 3.0, False), ("packer", 0, 4.0, True), ("packer", 0, 5.0, True)),
    *(("packer", 1, 4.0, False), ("packer", 1, 5.0, False)),
)
"""Time course, block of genes, target time, and whether it was used to choose."""

NAMES = ("ridge", "low_rank", "gaussian_process", "coexpression", "multi_kernel", "stacked")
FORMER = {"low_rank": 0.5, "gaussian_process": 0.5, "coexpression": 0.0}
_BLOCK = 250
_PACKER_BINS = (250, 330, 400, 470, 540)
"""Minutes that divide the estimated times of the embryos into six times, 0 to 5."""


def course(name: str, block: int) -> tuple[ad.AnnData, str]:
    """A time course on a log scale, and the column of its times."""
    if name == "chu":
        return ad.read_h5ad(DATA / "chu2016" / "chu2016_100tf.h5ad"), "time_h"
    if name == "bargaje":
        adata = ad.read_h5ad(DATA / "bargaje2017" / "bargaje2017_qpcr.h5ad")
        adata.X = 25.0 - np.asarray(adata.X)  # cycles below detection, so that higher is more expression
        return adata, "time_h"
    file = {"klein": "klein2015/klein2015_mesc.h5ad", "packer": "packer2019/packer2019_neurons.h5ad"}[name]
    adata = ad.read_h5ad(DATA / file)
    if name == "packer":
        adata.obs["day"] = np.digitize(adata.obs["embryo.time"].astype(float), _PACKER_BINS)
    adata.obs["day"] = adata.obs["day"].astype(float)
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    order = np.argsort(-np.asarray(adata.X.mean(axis=0)).ravel())
    return adata[:, order[block * _BLOCK : (block + 1) * _BLOCK]].copy(), "day"


def errors(adata: ad.AnnData, time_key: str, at: float, split: int) -> dict[str, float]:
    """Sum of squared errors of each method over the test genes of one split."""
    ho.pp.split_genes(adata, rng=split)
    partition = read_partition(adata, "gene_split", axis="var")
    task = Task.of(adata, partition, time_key=time_key, at=at, n_replicates=2)
    data, test = task.data(seed=0), task.numbers("test")
    truth = task.target(test, np.random.default_rng(0))[0] - data.history.last[test]
    predicted, held_out = {}, {}
    for name in NAMES:
        method = METHODS[name].load()()
        fitted = method.fit(data, method.default_config, seed=0)
        predicted[name], held_out[name] = method.predict(fitted, data.history), fitted.arrays["held_out"]
    columns = np.stack([held_out[name] for name in FORMER], axis=1)
    prior = np.array(list(FORMER.values()))
    weights = nonnegative_weights(columns, data.change[data.train], prior, strength=0.03, sum_to_one=True)
    predicted["stacked, former"] = sum(w * predicted[name] for w, name in zip(weights, FORMER, strict=True))
    found = {name: float(((change[test] - truth) ** 2).sum()) for name, change in predicted.items()}
    return found | {"persistence": float((truth**2).sum())}


def modules(adata: ad.AnnData, time_key: str, at: float, split: int) -> pd.DataFrame:
    """Scores of ``stacked`` by module of genes, on one split."""
    ho.pp.split_genes(adata, rng=split)
    ho.tl.forecast_genes(adata, time_key, at=at)
    ho.tl.evaluate(adata)
    return ho.get.modules(adata)


def main() -> None:
    """Print the skill of each method at each target, and the mean over targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=10, help="number of random gene splits")
    parser.add_argument("--first-split", type=int, default=300, help="seed of the first split")
    parser.add_argument("--only", nargs="*", default=["chu", "bargaje", "klein", "packer"], help="time courses")
    parser.add_argument("--modules", action="store_true", help="scores by module of genes, on the first split")
    arguments = parser.parse_args()
    logging.getLogger("heldout").setLevel(logging.ERROR)
    start, rows = time.perf_counter(), {}
    for name, block, at, used in TARGETS:
        if name not in arguments.only:
            continue
        adata, time_key = course(name, block)
        if arguments.modules:
            table = modules(adata, time_key, at, arguments.first_split)
            shown = [
                "module",
                "n",
                "genes",
                "skill_corrected",
                "ci_low",
                "ci_high",
                "verdict",
                "baseline",
                "of_baseline",
            ]
            print(f"\n{name.capitalize()}, block {block + 1}, {at:g}\n{table[shown].round(2).to_string()}")
            continue
        splits = range(arguments.first_split, arguments.first_split + arguments.splits)
        sums = pd.DataFrame([errors(adata, time_key, at, split) for split in splits]).sum()
        words = f"{name.capitalize()}, block {block + 1}, {at:g}{' *' if used else ''}"
        rows[words] = 1 - sums.drop("persistence") / sums["persistence"]
    if arguments.modules:
        return
    table = pd.DataFrame(rows).T
    chosen = table.index.str.endswith("*")
    for words, part in (("mean, *", table[chosen]), ("mean, others", table[~chosen])):
        if len(part):
            table.loc[words] = part.mean()
    print(f"| target | {' | '.join(table)} |\n|---|{'---|' * table.shape[1]}")
    for words, row in table.iterrows():
        print(f"| {words} | {' | '.join(f'{value:.2f}' for value in row)} |")
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
