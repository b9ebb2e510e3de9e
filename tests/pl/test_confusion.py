"""The counts of a confusion matrix are those of the predictions, and it has room for them."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import heldout as ho


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def numbers_in(ax):
    return [text.get_text().split("\n") for text in ax.texts]


def test_confusion_counts_are_those_of_the_predictions(fitted):
    ax = ho.pl.confusion(fitted, "genotype")
    test = ho.get.predictions(fitted, "genotype").query("partition == 'test'")
    classes = ["control", "patient"]
    wanted = pd.crosstab(test["label"], test["prediction"]).reindex(index=classes, columns=classes, fill_value=0)
    drawn = numbers_in(ax)
    assert [int(n) for n, _ in drawn] == wanted.to_numpy().ravel().tolist()
    assert sum(int(n) for n, _ in drawn) == len(test)
    assert [share for _, share in drawn[:2]] == [f"{n / 30:.0%}" for n in wanted.loc["control"]]
    assert [text.get_text() for text in ax.get_xticklabels()] == classes
    assert ax.get_title(loc="left") == "test: 60 cells of 2 libraries"
    np.testing.assert_allclose(np.asarray(ax.images[0].get_array()).sum(axis=1), 1)


def test_confusion_of_groups_uses_their_mean_logit(donors):
    ax = ho.pl.confusion(donors, "severity", level="group")
    scores = ho.get.scores(donors, "severity").query("role == 'model'")
    classes = ["mild", "none", "severe"]
    wanted = pd.crosstab(scores["label"], scores["predicted"]).reindex(index=classes, columns=classes, fill_value=0)
    assert [int(n) for n, _ in numbers_in(ax)] == wanted.to_numpy().ravel().tolist()
    assert ax.get_title(loc="left") == f"test: {len(scores)} donors"


def test_confusion_refuses_unknown_levels_and_groups():
    adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    ho.pp.split_cells(adata, val=0)
    ho.tl.genotype(adata, "genotype", method="majority")
    ho.tl.evaluate_genotype(adata, group_key="library", baselines=[], n_bootstrap=20)
    with pytest.raises(ValueError, match="level='cells'"):
        ho.pl.confusion(adata, level="cells")
    with pytest.raises(ValueError, match="Pass group_key"):
        ho.pl.confusion(adata, level="group")


def test_confusion_has_room_for_its_cells_beside_long_names(donors):
    adata = donors.copy()
    adata.obs["long"] = adata.obs["status"].astype(str) + " with a name of the class that is far too long for an axis"
    ho.pp.split_groups(adata, "donor", "long", test=0.4, val=0, key_added="long_split")
    ho.tl.genotype(adata, "long", method="majority", split_key="long_split", key_added="long")
    ho.tl.evaluate(adata, "long", baselines=[], n_bootstrap=20)
    ax = ho.pl.confusion(adata, "long", figsize=(3.5, 2.6))
    ax.figure.canvas.draw()
    box = ax.get_window_extent()
    assert min(box.width / ax.figure.bbox.width, box.height / ax.figure.bbox.height) > 0.3
    assert all(text.get_text().endswith("…") for text in ax.get_xticklabels())
