"""The penalty and temperature of logistic methods: inner folds, the choice, weights of groups, and a reference."""

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
from heldout.tasks.genotype.penalty import USUAL_C, Rows, choose_C, inner_folds

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


def chosen(losses: dict[float, np.ndarray]):
    """The choice from made-up losses of each held-out group."""
    n = len(next(iter(losses.values())))

    def predict(train, test):
        return lambda C: np.tile(-losses[C][test][:, None], (1, 2))

    return choose_C(predict, rows_of(np.arange(n) % 2), list(losses), usual=1.0, calibrated=False)


def test_the_usual_penalty_is_left_only_for_a_gain_of_more_than_one_standard_error():
    rng = np.random.default_rng(0)
    base = rng.random(8)
    clear = {0.1: base + 0.2, 1.0: base, 10.0: base - 0.1, 100.0: base - 0.5}
    penalty = chosen(clear)
    assert penalty.C == 100.0
    np.testing.assert_allclose(penalty.losses, [clear[C].mean() for C in (0.1, 1.0, 10.0, 100.0)])
    np.testing.assert_allclose(penalty.errors[0], clear[0.1].std(ddof=1) / np.sqrt(8))
    unclear = base - np.where(np.arange(8) < 4, 0.5, -0.45)
    assert chosen({1.0: base, 10.0: base + 0.3, 100.0: unclear}).C == 1.0


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
    assert info["penalty"] == "chosen by leaving out 12 groups in 5 folds"
    assert len(info["losses"]) == len(CHOSEN.Cs)
    without = Data(data.X, data.labels, 2, data.train, data.val)
    assert CellLogistic().fit(without, CHOSEN, seed=0).info["penalty"] == ("fixed, because groups are not known")


def test_three_groups_of_a_class_are_too_few_to_choose_a_penalty():
    data = donors(1, n=np.full(7, 10))
    info = PseudobulkLogistic().fit(data, CHOSEN, seed=0).info
    assert info["C"] == USUAL_C
    assert info["penalty"] == "fixed, because a class has fewer than four groups in train"
    assert info["temperature"] != 1.0


def test_C_is_a_number_or_auto():
    with pytest.raises(ValueError, match="C='best' must be a number > 0 or 'auto'"):
        LogisticConfig(C="best")
    assert LogisticConfig(C=2).C == 2
