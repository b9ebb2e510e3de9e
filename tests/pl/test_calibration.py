"""The reliability curve of groups, against bins made by hand."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

import heldout as ho
from heldout.pl._calibration import reliability_bins
from heldout.pl._predicted import PredictedUnits


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_bins_have_equal_numbers_of_groups_and_intervals_of_shares():
    rng = np.random.default_rng(0)
    p = rng.random(23)
    labels = (rng.random(23) < p).astype(int)
    bins = reliability_bins(PredictedUnits("donor", labels, np.log(np.stack([1 - p, p], axis=1))), 4)
    assert [each.n for each in bins] == [6, 6, 6, 5]
    order = np.argsort(p)
    for each, rows in zip(bins, np.array_split(order, 4), strict=True):
        assert each.probability == pytest.approx(p[rows].mean())
        expected = ho.metrics.proportion_interval(labels[rows].sum(), len(rows))
        assert (each.share, each.low, each.high) == pytest.approx(tuple(expected)[:3])
    assert len(reliability_bins(PredictedUnits("donor", labels[:3], np.log(np.full((3, 2), 0.5))), 9)) == 3


def test_of_three_classes_the_predicted_one_is_shown():
    log_p = np.log(np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]]))
    (found,) = reliability_bins(PredictedUnits("donor", np.array([0, 1, 0]), log_p), 1)
    assert (found.probability, found.share) == pytest.approx((0.7, 2 / 3))


def test_the_plot_shows_the_points_and_the_scores_of_groups(fitted):
    ax = ho.pl.calibration(fitted, "genotype", n_bins=2)
    table = ho.get.evaluation(fitted, "genotype").table
    row = table[(table["role"] == "model") & (table["level"] == "library") & (table["metric"] == "loss")].iloc[0]
    assert f"log-loss {row['estimate']:.2f}" in ax.get_title(loc="left")
    assert row["n"] == 2
    assert "1 library per point" in ax.get_title(loc="left")
    assert ax.get_xlabel() == "probability of patient"


def test_without_groups_it_is_refused():
    adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    ho.pp.split_cells(adata)
    ho.tl.genotype(adata, method="qc_logistic")
    with pytest.raises(ValueError, match="Pass group_key"):
        ho.pl.calibration(adata, partition="train")
