"""Points of the reliability curve against shares that are counted by hand, and scores against scikit-learn."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.metrics import brier_score_loss, log_loss
from statsmodels.stats.proportion import proportion_confint

import heldout as ho
from heldout.pl._calibration import Reliability

mpl.use("Agg")

import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def donors():
    """48 donors of two classes, of which 30 are test, with a method of whole groups and one of cells."""
    adata = ho.datasets.lmna_simulated(n_cells=24, n_genes=100)
    number = np.arange(adata.n_obs) // 6
    adata.obs["donor"] = [f"D{i:02d}" for i in number]
    adata.obs["status"] = pd.Categorical(np.array(["healthy", "ill"])[number % 2])
    ho.pp.split_groups(adata, "donor", "status", test=30 / 48, val=0)
    for method in ("pseudobulk_shrunken", "qc_logistic"):
        ho.tl.genotype(adata, "status", method=method, key_added=method)
        ho.tl.evaluate(adata, method, baselines=["majority"], n_bootstrap=20)
    return adata


def by_donor(adata, key, split="split"):
    """Whether each test donor is ill, and its probability."""
    test = adata.obs[(adata.obs[split] == "test").to_numpy()]
    odds = pd.Series(logit(test[f"{key}_probability"].to_numpy(dtype=float)), index=test.index)
    ill = (test["status"] == "ill").groupby(test["donor"], observed=True).first().to_numpy()
    return ill, expit(odds.groupby(test["donor"], observed=True).mean().to_numpy())


def key_of(ax):
    return [" ".join(text.get_text().split()) for text in ax.get_legend().get_texts()]


def test_points_are_shares_of_donors_with_intervals_of_statsmodels(donors):
    ax = ho.pl.calibration(donors, "pseudobulk_shrunken")
    ill, p = by_donor(donors, "pseudobulk_shrunken")
    order = np.argsort(p)
    expected = [(p[rows].mean(), ill[rows].mean(), len(rows), ill[rows].sum()) for rows in np.array_split(order, 5)]
    (groups,) = [line for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(groups.get_xydata(), [each[:2] for each in expected], atol=1e-5)
    bars = [line.get_ydata() for line in ax.lines if line.get_label() == "_interval"]
    wilson = [proportion_confint(hits, n, method="wilson") for _, _, n, hits in expected]
    np.testing.assert_allclose(bars, wilson, atol=1e-6)
    score = f"Brier {brier_score_loss(ill, p):.2f}, log-loss {log_loss(ill, p):.2f}"
    assert key_of(ax)[0] == f"donors (n = 30) 6 a point: {score}"
    mean = f"ill predicted {p.mean():.2f} on average, observed 0.50"
    assert ax.get_title(loc="left").replace("\n", " ") == f"pseudobulk shrunken on test: {mean}"


def test_the_grey_line_is_the_fit_without_its_temperature(donors):
    """One network that stopped on val has one temperature."""
    one = donors.copy()
    ho.pp.split_groups(one, "donor", "status", test=30 / 48, val=6 / 48, key_added="with_val")
    options = {"n_hidden": 8, "max_epochs": 3}
    for key, calibrated in (("scaled", True), ("plain", False)):
        config = ho.model.AttentionConfig(**options, calibrated=calibrated)
        ho.tl.genotype(one, "status", method="attention", config=config, split_key="with_val", key_added=key)
    ho.tl.evaluate(one, "scaled", baselines=["majority"], n_bootstrap=20)
    ax = ho.pl.calibration(one, "scaled")
    (before,) = [line for line in ax.lines if line.get_marker() == "s"]
    ill, p = by_donor(one, "plain", "with_val")
    order = np.argsort(p)
    expected = [(p[rows].mean(), ill[rows].mean()) for rows in np.array_split(order, 5)]
    np.testing.assert_allclose(before.get_xydata(), expected, atol=1e-4)
    assert key_of(ax)[1].startswith("before temperature ")
    assert key_of(ax)[1].endswith(f"Brier {brier_score_loss(ill, p):.2f}, log-loss {log_loss(ill, p):.2f}")
    assert len(key_of(ax)) == 2, "a method of whole groups has no line of cells"


def test_cells_have_a_line_and_no_intervals(donors):
    ax = ho.pl.calibration(donors, "qc_logistic", n_bins=3)
    assert len([line for line in ax.lines if line.get_label() == "_interval"]) == 3
    test = (donors.obs["split"] == "test").to_numpy()
    ill, p = (donors.obs["status"] == "ill").to_numpy()[test], donors.obs["qc_logistic_probability"].to_numpy()[test]
    expected = f"cells (n = 180): Brier {brier_score_loss(ill, p):.2f}, log-loss {log_loss(ill, p):.2f}"
    assert key_of(ax)[1] == expected
    with pytest.raises(ValueError, match="n_bins=0 must be an integer >= 1"):
        ho.pl.calibration(donors, "qc_logistic", n_bins=0)


def test_equal_probabilities_are_one_point():
    same = Reliability.of(np.full(7, 0.4), np.array([1, 0, 1, 0, 0, 0, 0]), 5)
    assert (same.n.tolist(), same.share.tolist()) == ([7], [2 / 7])
    two = Reliability.of(np.array([0.2] * 5 + [0.9] * 3), np.array([0] * 5 + [1] * 3), 4)
    assert (two.n.tolist(), two.share.tolist()) == ([5, 3], [0, 1])
