"""Scores against scikit-learn, and the group bootstrap against drawing groups one by one."""

from __future__ import annotations

from math import comb

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.special import log_softmax
from scipy.stats import permutation_test
from sklearn import metrics as reference

from heldout import metrics
from heldout.tasks.genotype.evaluate import Scored, evaluation_table, group_table, seen_groups_ceiling


def simulate(seed: int, n: int = 200, n_classes: int = 2, n_groups: int = 8, *, ties: bool = False):
    """Labels, log-probabilities and groups; each group has one class, each class at least one group."""
    rng = np.random.default_rng(seed)
    group_labels = np.concatenate([np.arange(n_classes), rng.integers(n_classes, size=n_groups - n_classes)])
    groups = np.concatenate([np.arange(n_groups), rng.integers(n_groups, size=n - n_groups)])
    labels = group_labels[groups]
    logits = rng.normal(size=(n, n_classes)) + 0.5 * np.eye(n_classes)[labels]
    if ties:
        logits = np.round(logits)
    return labels, log_softmax(logits, axis=1), groups


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), ties=st.booleans(), n_classes=st.integers(2, 4))
def test_scores_equal_scikit_learn(seed, ties, n_classes):
    labels, log_p, _ = simulate(seed, n_classes=n_classes, ties=ties)
    probability = np.exp(log_p)
    if n_classes == 2:
        odds = log_p[:, 1] - log_p[:, 0]
        auc = reference.roc_auc_score(labels, odds)
    else:
        odds = metrics.classification.one_vs_rest(log_p)
        auc = np.mean([reference.roc_auc_score(labels == c, odds[:, c]) for c in range(n_classes)])
    assert metrics.roc_auc(labels, log_p) == pytest.approx(auc, abs=1e-12)
    assert metrics.log_loss(labels, log_p) == pytest.approx(reference.log_loss(labels, probability), rel=1e-9)
    assert metrics.accuracy(labels, log_p) == reference.accuracy_score(labels, log_p.argmax(axis=1))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), ties=st.booleans(), n_classes=st.integers(2, 3))
def test_weighted_group_scores_equal_repeating_the_groups(seed, ties, n_classes):
    """A bootstrap weight of k is the same as having the group's cells k times."""
    labels, log_p, groups = simulate(seed, n=60, n_classes=n_classes, ties=ties)
    scores = metrics.group_scores(labels, log_p, groups)
    weights = metrics.bootstrap_weights(scores.labels, 3, np.random.default_rng(seed))
    for metric, plain in (("auc", metrics.roc_auc), ("accuracy", metrics.accuracy), ("loss", metrics.log_loss)):
        for row, value in zip(weights, scores.evaluate(metric, weights), strict=True):
            cells = np.repeat(np.arange(60), row.astype(int)[groups])
            assert value == pytest.approx(plain(labels[cells], log_p[cells]), rel=1e-9)


def test_auc_of_one_class_is_nan():
    log_p = np.log([[0.4, 0.6], [0.3, 0.7]])
    assert np.isnan(metrics.roc_auc(np.array([1, 1]), log_p))
    one = metrics.group_scores(np.array([1, 1]), log_p, np.array([0, 1]))
    assert np.isnan(one.evaluate("auc", np.ones((1, 2)))[0])


def test_a_group_is_scored_by_its_mean_logit():
    labels, log_p, groups = simulate(3)
    pooled = metrics.group_log_probability(log_p, groups)
    logit = log_p[:, 1] - log_p[:, 0]
    expected = [logit[groups == g].mean() for g in range(8)]
    np.testing.assert_allclose(pooled[:, 1] - pooled[:, 0], expected, rtol=1e-12)
    np.testing.assert_allclose(np.exp(pooled).sum(axis=1), 1, rtol=1e-12)


def test_bootstrap_keeps_the_number_of_groups_of_each_class():
    labels = np.array([0, 0, 0, 1, 1, 2])
    weights = metrics.bootstrap_weights(labels, 500, np.random.default_rng(0))
    for c in range(3):
        assert (weights[:, labels == c].sum(axis=1) == (labels == c).sum()).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.15)


@pytest.mark.parametrize(
    ("labels", "ways"), [([0, 1], 2), ([0, 0, 1, 1], 6), ([0] * 8 + [1] * 4, comb(12, 4)), ([0, 1, 2], 6)]
)
def test_smallest_p(labels, ways):
    assert metrics.smallest_p(np.array(labels)) == pytest.approx(1 / ways)


def table_of(seed: int, *, n_groups: int, strong: bool, n_classes: int = 2):
    labels, log_p, groups = simulate(seed, n=n_groups * 20, n_groups=n_groups, n_classes=n_classes)
    better = log_softmax(log_p + (3.0 if strong else 0.0) * np.eye(n_classes)[labels], axis=1)
    scored = [Scored("model", "model", better), Scored("baseline", "baseline", log_p)]
    table = evaluation_table(
        scored, labels, groups, unit="library", ceiling=None, n_bootstrap=400, rng=np.random.default_rng(0)
    )
    return table.set_index(["method", "level", "metric"]).sort_index(), (labels, better, groups)


def test_verdicts():
    better, _ = table_of(0, n_groups=30, strong=True)
    assert better.loc[("model", "cell", "auc"), "verdict"] == "better"
    assert better.loc[("model", "cell", "loss"), "verdict"] == "better"
    assert better.loc[("model", "cell", "auc"), "difference_low"] > 0
    same, _ = table_of(0, n_groups=30, strong=False)
    assert set(same.loc["model", "verdict"]) == {"not better"}
    few, _ = table_of(0, n_groups=4, strong=True)
    assert set(few.loc["model", "verdict"]) == {"unidentifiable"}
    assert (better.loc["baseline", "verdict"] == "").all()


def test_exact_p_equals_enumerating_all_labellings():
    table, (labels, log_p, groups) = table_of(5, n_groups=8, strong=False)
    pooled = metrics.group_log_probability(log_p, groups)
    own = np.array([labels[groups == g][0] for g in range(8)])
    odds = pooled[:, 1] - pooled[:, 0]
    everything = permutation_test(
        (odds[own == 1], odds[own == 0]),
        lambda a, b: (a[:, None] > b[None, :]).mean(),
        n_resamples=np.inf,
        alternative="greater",
        vectorized=False,
    )
    assert table.loc[("model", "library", "auc"), "p_value"] == pytest.approx(everything.pvalue, rel=1e-9)


def test_intervals_contain_the_estimate_and_notes_say_when_they_are_too_narrow():
    table, _ = table_of(1, n_groups=12, strong=False)
    with_interval = table.drop("calibration_error", level="metric")
    assert (with_interval["ci_low"] <= with_interval["estimate"] + 1e-12).all()
    assert (with_interval["estimate"] <= with_interval["ci_high"] + 1e-12).all()
    narrow = with_interval.query("level == 'cell' or metric in ['loss', 'brier']")  # not those of shares and ranks
    assert narrow["note"].str.contains("interval is too narrow").all()
    assert table.xs("calibration_error", level="metric")["note"].str.contains("no interval").all()
    two, _ = table_of(1, n_groups=2, strong=False)
    assert two["ci_low"].isna().all()
    assert two["note"].str.contains("no interval").all()


def test_three_classes_have_a_table():
    table, _ = table_of(2, n_groups=30, strong=True, n_classes=3)
    assert table.loc[("model", "cell", "auc"), "estimate"] > 0.9
    tested = table["p_value"].dropna()
    assert set(tested.index) == {("model", "library", "auc"), ("baseline", "library", "auc")}
    assert tested["model", "library", "auc"] < 0.001


def test_the_ceiling_recognises_groups_under_meaningless_labels():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(10), 60)
    labels = (groups % 2).astype(int)
    fingerprint = rng.normal(size=(10, 30))[groups]
    noise = rng.normal(size=(600, 30))
    seen = seen_groups_ceiling(fingerprint + noise, labels, groups, seed=0)
    assert metrics.roc_auc(labels, seen) > 0.9
    unseen = seen_groups_ceiling(noise, labels, groups, seed=0)
    assert metrics.roc_auc(labels, unseen) < 0.6
    assert seen_groups_ceiling(noise[:3], labels[:3], np.arange(3), seed=0) is None


def test_group_table_lists_each_group_once_a_method():
    labels, log_p, groups = simulate(4)
    names = np.array([f"L{i}" for i in range(8)])
    table = group_table(
        [Scored("a", "model", log_p), Scored("b", "baseline", log_p)], labels, groups, names, ["x", "y"]
    )
    assert len(table) == 16
    assert table.query("method == 'a'")["n_cells"].sum() == 200


def test_notes_name_what_is_weak_with_few_groups():
    """Intervals of the AUC hold with few groups. Below five groups, p-values near 0.05 are too small."""
    notes = {n: table_of(0, n_groups=n, strong=True)[0].loc["model", "note"] for n in (8, 12)}
    assert notes[8]["library", "auc"].endswith("p-values near 0.05 are too small")
    assert notes[12]["library", "auc"] == ""
    assert notes[12]["library", "accuracy"] == ""
    assert notes[12]["library", "loss"].endswith("too narrow if the values are skewed")
    assert notes[12]["cell", "auc"].endswith("too narrow to decide")
    three = table_of(0, n_groups=12, strong=True, n_classes=3)[0].loc["model", "note"]
    assert three["library", "auc"].endswith("the bootstrap interval is too narrow")
