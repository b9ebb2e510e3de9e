"""The network itself: what it learns, what its options change, and which days its loss leaves out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import heldout as ho
from heldout.tasks.genotype.config import MLPConfig
from heldout.tasks.genotype.interface import Data
from heldout.tasks.genotype.networks._method import MLP, unpack_members
from heldout.tasks.genotype.networks._module import GenotypeModule

SMALL = MLPConfig(n_hidden=16, max_epochs=3, batch_size=64)


def test_the_network_learns_and_restores_its_best_epoch():
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=600)
    X = rng.normal(size=(600, 20)).astype(np.float32)
    X[:, 0] += 2 * labels
    data = Data(X, labels, 2, np.arange(400), np.arange(400, 600))
    config = MLPConfig(n_hidden=32, max_epochs=60, patience=3, batch_size=64, monitor="cell_auc")
    fitted = MLP().fit(data, config, seed=0)
    best = fitted.history["val_auc"].max()
    log_p = MLP().predict(fitted, X[400:])
    assert best > 0.9
    assert ho.metrics.roc_auc(labels[400:], log_p) == pytest.approx(best, abs=1e-6)
    assert len(fitted.history) < 60, "patience 3 should have stopped before the last epoch"
    assert len(fitted.history) == fitted.history["val_auc"].argmax() + 1 + 3


@pytest.mark.parametrize("field", ["activation", "optimizer", "n_layers"])
def test_options_change_the_network(field):
    value = {"activation": "tanh", "optimizer": "sgd", "n_layers": 1}[field]
    rng = np.random.default_rng(0)
    data = Data(rng.random((80, 5), dtype=np.float32), rng.integers(2, size=80), 2, np.arange(60), np.arange(60, 80))
    plain = MLP().fit(data, SMALL, seed=0)
    changed = MLP().fit(data, MLPConfig(n_hidden=16, max_epochs=3, batch_size=64, **{field: value}), seed=0)
    (module,) = unpack_members(changed, MLPConfig.from_stored(changed.info["config"]))
    assert (len(module.trunk) == 4) == (field == "n_layers")
    assert any(isinstance(layer, torch.nn.Tanh) for layer in module.trunk) == (field == "activation")
    assert not np.array_equal(MLP().predict(plain, data.X), MLP().predict(changed, data.X))


def test_days_that_train_lacks_are_masked_out_of_the_loss():
    config = MLPConfig(n_hidden=8, alpha=0.5)
    torch.manual_seed(0)
    module = GenotypeModule(4, 2, config, n_auxiliary=3).eval()
    X, labels = torch.randn(6, 4), torch.tensor([0, 1, 0, 1, 0, 1])
    days = torch.tensor([0, 1, 2, -1, -1, 1])
    _, outputs, loss = module({"X": X, "labels": labels, "auxiliary": days})
    known = days >= 0
    label_loss = torch.nn.functional.binary_cross_entropy_with_logits(outputs["logits"][:, 0], labels.float())
    day_loss = torch.nn.functional.cross_entropy(outputs["auxiliary"][known], days[known])
    assert loss.loss.item() == pytest.approx((label_loss + 0.5 * day_loss).item(), rel=1e-6)
    _, _, none_known = module({"X": X, "labels": labels, "auxiliary": torch.full((6,), -1)})
    assert none_known.loss.item() == pytest.approx(label_loss.item(), rel=1e-6)
