"""The average over methods, weighted by left-out groups of train."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

import heldout as ho
from heldout._core.fits import read_fit
from heldout.metrics import log_loss
from heldout.model import AttentionConfig, AutoGroupsConfig, LogisticConfig, MLPConfig
from heldout.tasks.genotype import METHODS
from heldout.tasks.genotype.left_out import fit_member
from tests.tasks.genotype.donors import auc, data_of, donors, held_out

CANDIDATES = ("pseudobulk_logistic", "pseudobulk_shrunken", "mean_embedding")


@pytest.mark.slow
def test_the_method_that_sees_the_signal_gets_the_weight():
    data = data_of(donors("variance", 0, n_donors=60, n_cells=30))
    config = AutoGroupsConfig(candidates=CANDIDATES)
    info = METHODS.implementation("auto").fit(data, config, seed=0).info
    weights = dict(zip(info["names"], info["weights"], strict=True))
    assert weights["mean_embedding"] > 0.9
    assert info["n_left_out"] == 30
    assert auc("auto", data, config) > auc("pseudobulk_logistic", data) + 0.2


@pytest.mark.slow
def test_weights_are_the_likelihood_of_left_out_groups_and_probabilities_are_averaged():
    data = data_of(donors("mean", 1, n_donors=24, n_cells=10, n_genes=20))
    method, config = METHODS.implementation("auto"), AutoGroupsConfig(candidates=CANDIDATES[:2])
    fitted = method.fit(data, config, seed=0)
    expected = np.exp(-12 * np.array(fitted.info["losses"]))
    np.testing.assert_allclose(fitted.arrays["weights"], expected / expected.sum())
    X = data.X[data.groups == 20]
    total = 0.0
    for name, weight in zip(CANDIDATES[:2], fitted.arrays["weights"], strict=True):
        member = METHODS.implementation(name)
        log_p = member.predict(member.fit(data, member.default_config, seed=0), X).astype(float).mean(axis=0)
        total = total + weight * softmax(log_p)
    np.testing.assert_allclose(np.exp(method.predict(fitted, X)), np.tile(total, (len(X), 1)), rtol=1e-4)
    same = method.fit(data, AutoGroupsConfig(candidates=CANDIDATES[:1]), seed=0)
    plain = METHODS.implementation(CANDIDATES[0])
    alone = plain.fit(data, plain.default_config, seed=0).arrays["coef"]
    np.testing.assert_array_equal(same.arrays[f"{CANDIDATES[0]}.coef"], alone)


@pytest.mark.slow
def test_with_few_donors_it_loses_little_to_the_best_method_and_wins_over_the_others():
    losses: dict[str, list[float]] = {name: [] for name in (*CANDIDATES, "auto")}
    for seed in range(3):
        for signal in ("none", "variance"):
            data = data_of(donors(signal, seed, n_donors=28, n_cells=10, n_genes=30), train=0.3)
            for name, found in losses.items():
                config = AutoGroupsConfig(candidates=CANDIDATES) if name == "auto" else None
                found.append(log_loss(*held_out(name, data, config)))
    best, middle, _ = sorted(float(np.mean(losses[name])) for name in CANDIDATES)
    assert best < middle - 0.05
    assert np.mean(losses["auto"]) < (best + middle) / 2


@pytest.mark.parametrize("seed", range(3))
def test_many_cells_are_thinned_and_the_penalty_keeps_its_strength(seed):
    data = data_of(donors("mean", seed, n_donors=20, n_cells=60, n_genes=10))
    method = METHODS.implementation("logistic")
    method.default_config = LogisticConfig(C=0.01)
    whole = fit_member(method, data, seed=0, most=len(data.train)).arrays["coef"]
    few = fit_member(method, data, seed=0, most=len(data.train) // 4).arrays["coef"]
    assert not np.array_equal(few, whole)
    assert np.corrcoef(whole, few)[0, 1] > 0.8
    assert 0.8 < np.linalg.norm(few) / np.linalg.norm(whole) < 1.4  # 0.5 if C stays the same


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "auto"),
        ({"config": MLPConfig(max_epochs=1, n_hidden=4, n_inner_folds=0)}, "mlp"),
        ({"config": AttentionConfig(max_epochs=1, n_hidden=4, n_inner_folds=0)}, "attention"),
        ({"config": MLPConfig(max_epochs=1, n_hidden=4, n_inner_folds=0), "auxiliary_key": "day"}, "mlp"),
        ({"config": AutoGroupsConfig(candidates=("nearest_centroid",))}, "auto"),
    ],
)
def test_the_default_is_auto_or_the_network_that_is_asked_for(split, arguments, expected):
    ho.tl.genotype(split, mask_var=None, **arguments)
    assert read_fit(split, "genotype").method == f"genotype.{expected}"


def test_options_of_another_method_are_refused_with_the_next_step(split, unchanged):
    with pytest.raises(TypeError, match="AutoGroupsConfig.*or pass the method"), unchanged(split):
        ho.tl.genotype(split, config=LogisticConfig())


def test_the_report_says_what_was_averaged(split):
    config = AutoGroupsConfig(candidates=("nearest_centroid", "pseudobulk_shrunken"))
    ho.tl.genotype(split, method="auto", mask_var=None, config=config)
    weights = read_fit(split, "genotype").info["fitted"]["weights"]
    report = ho.tl.evaluate_genotype(split, baselines=["majority"], n_bootstrap=20)
    assert "auto averages" in report.summary
    assert f"nearest_centroid {weights[0]:.2f}" in report.summary
    assert "left-out groups of train" in report.summary


@pytest.mark.parametrize("wrong", ["auto", "qc_logistic"])
def test_candidates_must_read_genes(split, wrong, unchanged):
    config = AutoGroupsConfig(candidates=("nearest_centroid", wrong))
    with pytest.raises(ValueError, match=f"candidates has '{wrong}', which cannot be a candidate"), unchanged(split):
        ho.tl.genotype(split, method="auto", mask_var=None, config=config)
