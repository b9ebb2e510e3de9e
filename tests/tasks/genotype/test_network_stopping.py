"""Networks stop on the log-loss of left-out groups, each of which counts once, and see nothing but train."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit, logit

from heldout.metrics.classification import group_log_probability, log_loss, roc_auc
from heldout.model import AttentionConfig, MLPConfig
from heldout.tasks.genotype.interface import Data
from heldout.tasks.genotype.networks._attention import Attention
from heldout.tasks.genotype.networks._method import MLP
from heldout.tasks.genotype.networks._module import GenotypeModule
from heldout.tasks.genotype.networks._stopping import LeftOut, parts_of, shared_temperature
from heldout.tasks.genotype.rows import predict_groups
from tests.tasks.genotype.donors import data_of, donors, held_out

SMALL = MLPConfig(n_hidden=16, n_layers=1, max_epochs=30, batch_size=64)
EARLIER = {"balanced": False, "weight_decay": 0.0, "n_inner_folds": 0, "calibrated": False}


def shifted(sizes, n_genes=10, seed=0):
    """Groups of these sizes, whose classes take turns. The cells of the sick ones are shifted in two genes."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = groups % 2
    X = rng.normal(size=(len(groups), n_genes)).astype(np.float32)
    X[labels == 1, :2] += 1.0
    return X, labels, groups


def test_training_stops_on_the_log_loss_of_val_groups():
    """One val group has most val cells, and looks like the other class. It counts once."""
    X, labels, groups = shifted([40] * 12 + [15] * 9 + [2000])
    X[groups == 21, :2] -= 2.0
    data = Data(X, labels, 2, np.flatnonzero(groups < 12), np.flatnonzero(groups >= 12), groups=groups)
    fitted = MLP().fit(data, SMALL.changed(calibrated=False), seed=0)
    history = fitted.history
    best = int(history["val_group_loss"].argmin())
    assert history["val_loss"].argmin() == 0 < best
    assert len(history) == min(best + 1 + SMALL.patience, SMALL.max_epochs)
    log_p = MLP().predict(fitted, X[data.val])
    of_groups = group_log_probability(log_p, groups[data.val] - 12)
    expected = log_loss(np.arange(12, 22) % 2, of_groups)
    assert history["val_group_loss"].min() == pytest.approx(expected, rel=1e-4)
    assert fitted.info["monitor"] == "val_group_loss"


def test_classes_and_groups_have_the_weights_of_training():
    X, labels, groups = shifted([5, 50, 5, 5])
    labels = np.where(groups == 1, 1, 0)
    data = Data(X, labels, 2, np.arange(65), np.arange(65), groups=groups)
    log_p = np.log([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.5, 0.5]])
    each = -np.log([0.9, 0.4, 0.8, 0.5])
    for balanced, weights in ((True, [1 / 3, 1, 1 / 3, 1 / 3]), (False, [1, 1, 1, 1])):
        left_out = LeftOut.of(data, data.val, SMALL.changed(balanced=balanced))
        assert left_out.loss(log_p) == pytest.approx(np.average(each, weights=weights))


def test_inner_folds_leave_units_out_whole_and_see_train_only():
    X, labels, groups = shifted([6] * 20)
    units = groups // 4  # two libraries of each class from a patient
    rows = np.arange(len(groups))
    data = Data(X, labels, 2, rows[groups < 12], rows[groups == 12], groups=groups, units=units)
    parts = parts_of(data, SMALL)
    assert [set(units[part.val]) & set(units[part.train]) for part in parts] == [set()] * 3
    for part in parts:
        assert sorted([*part.train, *part.val]) == data.train.tolist()
        assert set(labels[part.val]) == {0, 1}
    assert sorted(np.concatenate([part.val for part in parts])) == data.train.tolist()
    with_val = replace(data, val=rows[groups >= 12])
    for one in (with_val, replace(data, train=rows[units == 0]), replace(data, groups=None)):
        assert parts_of(one, SMALL) == [one]
    assert parts_of(data, SMALL.changed(n_inner_folds=0)) == [data]


@pytest.mark.parametrize(("network", "config"), [(MLP, SMALL), (Attention, AttentionConfig(n_hidden=8, batch_size=16))])
def test_without_val_networks_of_all_folds_are_averaged_and_test_is_not_read(network, config):
    X, labels, groups = shifted([20] * 16)
    config = config.changed(max_epochs=6)
    train = np.flatnonzero(groups < 12)
    data = Data(X, labels, 2, train, np.arange(0), groups=groups)
    other = X.copy()
    other[groups >= 12] = 1e3
    fitted, again = (network().fit(replace(data, X=values), config, seed=1) for values in (X, other))
    for name, values in fitted.arrays.items():
        np.testing.assert_array_equal(values, again.arrays[name])
    parts = parts_of(data, config)
    assert fitted.info["n_networks"] == fitted.info["n_inner_folds"] == len(parts) == 3
    alone = [network().fit(part, config.changed(calibrated=False), seed=1) for part in parts]
    (scale,) = fitted.info["temperatures"]
    rows = np.flatnonzero(groups == 13)
    odds = [np.diff(network().predict(each, X[rows]), axis=1)[:, 0] / scale for each in alone]
    found = np.exp(network().predict(fitted, X[rows])[:, 1])
    np.testing.assert_allclose(found, expit(odds).mean(axis=0), rtol=1e-3, atol=1e-4)
    left_out = [LeftOut.of(part, part.val, config) for part in parts]
    predicted = []
    for part, each in zip(parts, alone, strict=True):
        number = np.unique(groups[part.val], return_inverse=True)[1]
        predicted.append(predict_groups(network(), each, X[part.val], number))
    assert shared_temperature(left_out, predicted) == pytest.approx(scale, rel=1e-2)


def test_members_have_their_own_temperatures():
    X, labels, groups = shifted([20] * 18)
    rows = np.arange(len(groups))
    data = Data(X, labels, 2, rows[groups < 12], np.arange(0), groups=groups)
    config = SMALL.changed(n_members=2, max_epochs=3)
    fitted = MLP().fit(data, config, seed=0)
    assert fitted.history["member"].unique().tolist() == [0, 1, 2, 3, 4, 5]
    assert len(set(fitted.info["temperatures"])) == 2
    on_val = MLP().fit(replace(data, val=rows[groups >= 12]), config, seed=0)
    assert on_val.info["n_networks"] == len(set(on_val.info["temperatures"])) == 2


def test_cells_without_groups_run_all_epochs_and_classes_are_balanced():
    X, labels, groups = shifted([300, 20])
    data = Data(X, labels, 2, np.arange(320), np.arange(0))
    fitted = MLP().fit(data, SMALL, seed=0)
    assert len(fitted.history) == SMALL.max_epochs
    odds = np.diff(MLP().predict(fitted, X), axis=1)[:, 0]
    assert abs((odds > 0)[labels == 1].mean() - (odds < 0)[labels == 0].mean()) < 0.15, "both classes are found alike"


def test_weights_of_cells_enter_the_loss():
    torch.manual_seed(0)
    module = GenotypeModule(4, 2, SMALL).eval()
    batch = {"X": torch.randn(6, 4), "labels": torch.tensor([0, 1] * 3), "weight": torch.tensor([1.0, 2, 0, 1, 0, 2])}
    with torch.no_grad():
        _, outputs, losses = module(batch)
    p, y, w = expit(outputs["logits"][:, 0].numpy()), batch["labels"].numpy(), batch["weight"].numpy()
    assert losses.loss.item() == pytest.approx((-w * np.log(np.where(y == 1, p, 1 - p))).mean(), rel=1e-5)
    module.divide_logits(2.0)
    with torch.no_grad():
        halved = module(batch)[1]["logits"][:, 0].numpy()
    np.testing.assert_allclose(halved, logit(p) / 2, rtol=1e-4, atol=1e-6)


def test_weight_decay_shrinks_what_the_data_do_not_hold():
    X, labels, groups = shifted([30] * 8)
    data = Data(X, labels, 2, np.arange(len(labels)), np.arange(0), groups=groups)
    config = SMALL.changed(n_inner_folds=0, max_epochs=20)
    sizes = [
        np.linalg.norm(MLP().fit(data, config.changed(weight_decay=decay), seed=0).arrays["trunk.0.weight"])
        for decay in (0.0, 10.0)
    ]
    assert sizes[1] < 0.8 * sizes[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "config"), [("mlp", MLPConfig(n_hidden=32, n_layers=1)), ("attention", AttentionConfig(n_hidden=32))]
)
def test_new_donors_are_predicted_no_worse_than_after_all_epochs(name, config):
    """AUC and log-loss of 30 new donors, over three simulations with 20 train donors."""
    new, old = [], []
    for seed in range(3):
        data = data_of(donors("mean", seed, n_donors=50, n_genes=200), train=0.4)
        for options, found in ((config, new), (config.changed(**EARLIER), old)):
            labels, log_p = held_out(name, data, options, seed=seed)
            found.append((roc_auc(labels, log_p), log_loss(labels, log_p)))
    auc, loss = np.mean(new, axis=0) - np.mean(old, axis=0)
    assert loss < 0
    assert auc > -0.05
