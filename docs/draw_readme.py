"""Draw the picture of the README: one meaningless label, with cells held out and with donors held out.

    python docs/draw_readme.py docs/readme.svg

Forty simulated donors differ from each other, and twenty random donors are called patients. There is nothing to predict.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import scanpy as sc

import heldout as ho

SIZE = (9, 5.4)
TITLES = {"cells": "A random part of the cells is held out", "donors": "Whole donors are held out"}


def donors(seed: int = 0) -> ad.AnnData:
    """Cells of forty donors that differ in expression. The label of a donor is random."""
    rng = np.random.default_rng(seed)
    donor = np.repeat(np.arange(40), 30)
    rate = np.exp(rng.normal(0, 0.25, size=(40, 150)) + rng.normal(0, 0.5, size=150))[donor]
    adata = ad.AnnData(rng.poisson(2 * rate).astype(np.float32))
    adata.obs["donor"] = [f"D{number + 1}" for number in donor]
    adata.obs["label"] = np.where(np.isin(donor, rng.permutation(40)[:20]), "patient", "control")
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def studies() -> dict[str, ad.AnnData]:
    """The same cells with two splits, each with a fit and its evaluation."""
    found = {name: donors() for name in TITLES}
    ho.pp.split_cells(found["cells"], val=0, test=0.5, rng=0)
    ho.pp.split_groups(found["donors"], "donor", "label", val=0, test=0.5, rng=0)
    for adata in found.values():
        ho.tl.genotype(adata, "label", method="logistic", group_key="donor", key_added="fit")
        ho.tl.evaluate(adata, "fit", baselines=["majority"])
    return found


def picture() -> plt.Figure:
    """A row for each split: the split, the prediction for each test donor, and the scores with their verdict."""
    figure = plt.figure(figsize=SIZE, layout="constrained")
    rows = figure.subfigures(2, 1, hspace=0.04)
    for row, (name, adata) in zip(rows, studies().items(), strict=True):
        row.suptitle(TITLES[name], x=0.01, ha="left", fontsize=10, fontweight="bold")
        axes = row.subplots(1, 3, width_ratios=[1.1, 1.1, 1])
        ho.pl.split(adata, group_key="donor", label_key="label", ax=axes[0])
        ho.pl.groups(adata, "fit", ax=axes[1])
        ho.pl.leaderboard(adata, "fit", metrics=["auc"], axes=[axes[2]])
    return figure


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    mpl.rcParams.update({"svg.hashsalt": "heldout", "savefig.facecolor": "white"})
    picture().savefig(
        Path(sys.argv[1]), metadata={"Date": None}, **({"dpi": 150} if sys.argv[1].endswith("png") else {})
    )
