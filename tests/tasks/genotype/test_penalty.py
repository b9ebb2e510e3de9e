"""Penalties and temperatures of logistic methods: inner folds, the average, weights of groups, and a reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import heldout as ho
from heldout.metrics.classification import group_log_probability
from heldout.model import LogisticConfig
from heldout.tasks.genotype.baselines import CellLogistic, PseudobulkLogistic
from heldout.tasks.genotype.group_rows import group_means
from heldout.tasks.genotype.interface import Data
from heldout.tasks.genotype.newton import fit_newton
from heldout.tasks.genotype.penalty import USUAL_C, Rows, inner_folds, weigh_penalties

CHOSEN = LogisticConfig(C="auto", balanced=True, equal_groups=True, calibrated=True)


def rows_of(labels: np.ndarray, units: np.ndarray | None = None) -> Rows:
    groups = np.arange(len(labels))
    return Rows(labels, groups, groups if units is None else units)


def donors(seed: int, *, n: np.ndarray, size: float = 1.0, n_genes: int = 30) -> Data:
    """Cells of donors with the given numbers of cells. The classes take turns and differ in five genes."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(n)), n)
    level = rng.normal(scale=0.5, size=(len(n), n_genes))
    level[1::2, :5] += size
    X = (level[groups] + rng.normal(size=(len(groups), n_genes))).astype(np.float32)
    return Data(X, groups % 2, 2, np.arange(len(groups)), np.arange(0), groups=groups)


def test_folds_keep_units_whole_and_every_class_in_train():
    labels = (np.arange(11) >= 7).astype(int)
    folds = inner_folds(rows_of(labels))
    assert sorted(np.concatenate(folds)) == list(range(11))
    assert len(folds) == 4
    for held_out in folds:
        assert set(np.delete(labels, held_out)) == {0, 1}
    patients = np.array([4, 2, 1, 3, 0, 0, 1, 2, 3, 4])  # two libraries of each patient, in no order
    paired = rows_of(np.repeat([0, 1], 5), patients)
    for held_out in inner_folds(paired):
        assert not set(patients[held_out]) & set(np.delete(patients, held_out))
    assert inner_folds(rows_of(np.array([0, 0, 0, 1]))) == []


def weighed(losses: dict[float, np.ndarray]):
    """Penalties from made-up losses of each held-out group."""
    n = len(next(iter(losses.values())))

    def predict(train, test):
        true = (np.arange(n) % 2)[test][:, None] == np.arange(2)
        return lambda C: np.where(true, -losses[C][test][:, None], np.log1p(-np.exp(-losses[C][test][:, None])))

    return weigh_penalties(predict, rows_of(np.arange(n) % 2), list(losses), calibrated=False)


@pytest.mark.parametrize("n", [8, 80])
def test_weights_are_the_root_of_the_likelihood_of_left_out_groups(n):
    base = np.random.default_rng(0).random(n) + 0.1
    losses = {100.0: base + 0.1, 1.0: base, 10.0: base - 0.05}
    found = weighed(losses)
    np.testing.assert_array_equal(found.Cs, [1.0, 10.0, 100.0])
    np.testing.assert_allclose(found.losses, [losses[C].mean() for C in found.Cs])
    expected = np.exp(-np.array([losses[C].sum() for C in found.Cs]) / 2)
    expected /= expected.sum()
    expected[expected < 0.01] = 0
    np.testing.assert_allclose(found.weights, expected / expected.sum())
    assert (found.weights.max() > 0.8) == (n == 80)
    assert found.info["C"] == 10.0


def test_the_fit_is_the_average_of_fits_of_scikit_learn_with_each_penalty():
    data = donors(3, n=np.full(20, 8))
    found = PseudobulkLogistic().fit(data, replace(CHOSEN, Cs=(0.1, 10.0, 1000.0)), seed=0)
    X, labels = group_means(data, "x")
    X = X.astype(float)
    unit = ((X - X.mean(axis=0)) ** 2).sum() / len(X)
    total = 0.0
    for C, weight, T in zip(*(found.info[name] for name in ("Cs", "weights", "temperatures")), strict=True):
        model = LogisticRegression(C=C / unit, tol=1e-9, max_iter=10000).fit(X - X.mean(axis=0), labels)
        total = total + weight / T * np.r_[model.coef_[0], model.intercept_]
    np.testing.assert_allclose(found.arrays["coef"][0], total[:-1], atol=1e-4)
    centred = found.arrays["intercept"][0] + found.arrays["coef"][0] @ X.mean(axis=0)
    assert centred == pytest.approx(total[-1], abs=1e-4)
    assert len(set(np.round(found.info["temperatures"], 3))) == 3


@pytest.mark.slow
def test_the_average_predicts_new_donors_better_than_any_one_penalty():
    Cs = (0.01, 1.0, 100.0)
    losses: dict[tuple[float, ...], list[float]] = {each: [] for each in ((0.01,), (1.0,), (100.0,), Cs)}
    for seed in range(6):
        for size in (0.0, 0.4, 2.0):
            data = donors(seed, n=np.full(42, 10), size=size)
            train, test = np.flatnonzero(data.groups < 12), np.flatnonzero(data.groups >= 12)
            known = Data(data.X, data.labels, 2, train, np.arange(0), groups=data.groups)
            for each in losses:
                fitted = PseudobulkLogistic().fit(known, replace(CHOSEN, Cs=each), seed=0)
                log_p = group_log_probability(
                    PseudobulkLogistic().predict(fitted, data.X[test]), data.groups[test] - 12
                )
                losses[each].append(ho.metrics.log_loss(np.arange(30) % 2, log_p))
    mean = {each: np.mean(found) for each, found in losses.items()}
    assert min(mean, key=mean.__getitem__) == Cs
    assert mean[Cs] < mean[(1.0,)] - 0.005


def test_cells_are_weighted_so_that_each_donor_counts_once():
    n = np.array([5, 60, 10, 30, 8, 12])
    data = donors(0, n=n)
    config = LogisticConfig(C=0.3, balanced=True, equal_groups=True)
    found = CellLogistic().fit(data, config, seed=0)
    weights = (1 / n)[data.groups]
    reference = LogisticRegression(C=0.3, tol=1e-8).fit(data.X, data.labels, sample_weight=weights)
    np.testing.assert_allclose(found.arrays["coef"], reference.coef_, rtol=1e-2, atol=1e-4)
    more = np.concatenate([np.arange(len(data.groups)), np.repeat(np.flatnonzero(data.groups == 1), 9)])
    again = Data(data.X[more], data.labels[more], 2, np.arange(len(more)), np.arange(0), groups=data.groups[more])
    same = CellLogistic().fit(again, config, seed=0)
    np.testing.assert_allclose(same.arrays["coef"], found.arrays["coef"], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("method", [CellLogistic(), PseudobulkLogistic()], ids=["cells", "means"])
def test_the_default_is_plain_and_balance_alone_is_that_of_scikit_learn(method):
    data = donors(2, n=np.array([5, 60, 10, 30, 8]))
    X, labels = data.X, data.labels
    if isinstance(method, PseudobulkLogistic):
        X, labels = group_means(data, "x")
    assert method.default_config == LogisticConfig(C=1.0, balanced=False, equal_groups=False, calibrated=False)
    for balanced in (False, True):
        found = method.fit(data, LogisticConfig(balanced=balanced), seed=0)
        reference = LogisticRegression(class_weight="balanced" if balanced else None, max_iter=1000).fit(X, labels)
        np.testing.assert_allclose(found.arrays["coef"], reference.coef_, rtol=1e-5, atol=1e-6)
        assert found.info["penalty"] == "fixed"


@pytest.mark.parametrize("method", [CellLogistic(), PseudobulkLogistic()], ids=["cells", "means"])
def test_the_temperature_corrects_a_fit_that_is_too_sure_of_new_donors(method):
    gains = []
    for seed in range(3):
        data = donors(seed, n=np.full(56, 10), size=0.3)
        train, test = np.flatnonzero(data.groups < 16), np.flatnonzero(data.groups >= 16)
        known = Data(data.X, data.labels, 2, train, np.arange(0), groups=data.groups)
        found = []
        for calibrated in (False, True):
            fitted = method.fit(known, replace(CHOSEN, C=100.0, calibrated=calibrated), seed=0)
            log_p = group_log_probability(method.predict(fitted, data.X[test]), data.groups[test] - 16)
            found.append((ho.metrics.log_loss(np.arange(40) % 2, log_p), ho.metrics.roc_auc(np.arange(40) % 2, log_p)))
        assert found[0][1] == pytest.approx(found[1][1], abs=0.02)
        gains.append(found[0][0] - found[1][0])
    assert np.mean(gains) > 0.04


def test_what_was_chosen_is_in_the_fit():
    data = donors(1, n=np.full(12, 10))
    info = CellLogistic().fit(data, CHOSEN, seed=0).info
    assert info["penalty"] == "averaged by the log-loss of 12 left-out groups in 5 folds"
    assert len(info["losses"]) == len(info["weights"]) == len(info["temperatures"]) == len(CHOSEN.Cs)
    assert sum(info["weights"]) == pytest.approx(1)
    without = Data(data.X, data.labels, 2, data.train, data.val)
    assert CellLogistic().fit(without, CHOSEN, seed=0).info["penalty"] == ("fixed, because groups are not known")


def test_one_group_of_a_class_cannot_be_left_out():
    data = donors(1, n=np.full(3, 10))
    info = PseudobulkLogistic().fit(data, CHOSEN, seed=0).info
    assert info["C"] == USUAL_C
    assert info["penalty"] == "fixed, because a class has fewer than two groups to leave out"
    assert set(info["temperatures"]) == {1.0}
    assert sorted(info["weights"]) == [0.0] * 5 + [1.0]


def test_C_is_a_number_or_auto():
    with pytest.raises(ValueError, match="C='best' must be a number > 0 or 'auto'"):
        LogisticConfig(C="best")
    assert LogisticConfig(C=2).C == 2


@pytest.mark.parametrize("C", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("shape", [(6, 6), (40, 20)])
def test_newton_equals_scikit_learn(C, shape):
    rng = np.random.default_rng(0)
    X, labels, weights = rng.normal(size=shape), (np.arange(shape[0]) % 3 == 0).astype(int), rng.random(shape[0]) + 0.2
    X[:, 0] += 3 * labels
    arrays, info = fit_newton(X, labels, C, weights, max_iter=100, tol=1e-9)
    model = LogisticRegression(C=C, tol=1e-12, max_iter=100_000).fit(X, labels, sample_weight=weights)
    np.testing.assert_allclose(arrays["coef"], model.coef_, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(arrays["intercept"], model.intercept_, rtol=1e-3, atol=1e-4)
    assert info["converged"]
    assert info["n_iter"] < 50
    assert not fit_newton(X, labels, C, weights, max_iter=1, tol=1e-15)[1]["converged"]
