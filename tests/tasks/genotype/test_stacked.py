"""Stacks of simple methods: the weights against a reference, and what they choose where the truth is known."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from scipy.special import log_softmax

import heldout as ho
from heldout.model import StackedGroupsConfig
from heldout.tasks.genotype import METHODS
from heldout.tasks.genotype.stacked import stacking_weights
from tests.tasks.genotype.donors import auc, data_of, donors

MEMBERS = ("pseudobulk_logistic", "celltype_pseudobulk", "mean_embedding")


def logits_of(scales: list[float], n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of methods that know the truth with these weights, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n)
    signs = np.array([-1.0, 1.0]) * (2 * labels[:, None] - 1)
    noise = rng.normal(size=(len(scales), n, 1)) * np.array([-1.0, 1.0])
    return np.array(scales)[:, None, None] * signs + noise, labels


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_weights_equal_the_best_of_a_grid(strength):
    logits, labels = logits_of([0.2, 0.8, 0.5], 40)
    balance = np.random.default_rng(1).random(40) + 0.5
    steps = np.linspace(0, 1, 41)
    grid = [(a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1 + 1e-12]

    def loss(w):
        log_p = log_softmax(np.tensordot(w, logits, axes=1), axis=1)[np.arange(40), labels]
        return (-(balance * log_p).sum() + strength * 3 * ((np.array(w) - 1 / 3) ** 2).sum()) / 40

    found = stacking_weights(logits, labels, balance, strength=strength)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)
    np.testing.assert_allclose(found, min(grid, key=loss), atol=0.026)


def test_few_groups_have_nearly_equal_weights_and_many_do_not():
    away = {}
    for n in (8, 800):
        found = [stacking_weights(*logits_of([0.0, 0.6], n, s), np.ones(n), strength=1.0) for s in range(20)]
        away[n] = np.mean(found, axis=0)
    assert 0.5 < away[8][1] < 0.75
    assert away[800][1] > away[8][1] + 0.1


@pytest.mark.slow
def test_it_chooses_the_member_that_sees_the_signal():
    data = data_of(donors("variance", 0, n_donors=60, n_cells=30))
    method = METHODS.implementation("stacked")
    fitted = method.fit(data, StackedGroupsConfig(members=MEMBERS), seed=0)
    weights = dict(zip(fitted.info["names"], fitted.arrays["weights"], strict=True))
    assert weights["mean_embedding"] > 0.6
    assert min(fitted.info["losses"]) == fitted.info["losses"][2] < 0.5
    assert auc("stacked", data, StackedGroupsConfig(members=MEMBERS)) > auc("pseudobulk_logistic", data) + 0.2


def test_one_group_of_a_class_gives_equal_weights(caplog):
    data = data_of(donors("mean", 0, n_donors=8, n_cells=15, n_genes=20), train=0.0)
    few = [int(g) for c in (0, 1) for g in np.unique(data.groups[data.labels == c])[: 1 + c]]
    data = type(data)(**{**vars(data), "train": np.flatnonzero(np.isin(data.groups, few))})
    members = ("nearest_centroid", "pseudobulk_logistic")
    with caplog.at_level(logging.INFO, logger="heldout"):
        method = METHODS.implementation("stacked")
        fitted = method.fit(data, StackedGroupsConfig(members=members), seed=0)
    np.testing.assert_array_equal(fitted.arrays["weights"], 0.5)
    assert fitted.info["n_left_out"] == 0
    assert "all weights are equal" in caplog.text
    X = data.X[data.groups == 5]
    parts = []
    for name in members:
        member = METHODS.implementation(name)
        alone = member.predict(member.fit(data, member.default_config, seed=0), X).astype(float).mean(axis=0)
        parts.append(log_softmax(alone))
    expected = log_softmax(np.mean(parts, axis=0))
    np.testing.assert_allclose(method.predict(fitted, X), np.tile(expected, (len(X), 1)), rtol=1e-4)


@pytest.mark.parametrize("wrong", ["stacked", "qc_logistic", "composition_logistic"])
def test_members_must_read_genes(split, wrong):
    config = StackedGroupsConfig(members=("nearest_centroid", wrong))
    with pytest.raises(ValueError, match=f"members has '{wrong}', which cannot be a member"):
        ho.tl.genotype(split, method="stacked", mask_var=None, config=config)
    with pytest.raises(ValueError, match="method='nearest' is not a genotype method. Did you mean 'nearest_centroid'"):
        ho.tl.genotype(split, method="stacked", mask_var=None, config=StackedGroupsConfig(members=("nearest",)))
