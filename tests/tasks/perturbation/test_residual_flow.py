"""The flow of residuals: it finds what composed cells lack, does nothing where there is nothing, and keeps means."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest

import heldout as ho
from heldout._core.fits import read_fit
from heldout._core.method import Fitted, without_prefix
from heldout.tasks.perturbation.networks.residual._examples import Example, coupled_rows
from heldout.tasks.perturbation.networks.residual._frames import GeneFrame, ResponseFrame
from heldout.tasks.perturbation.networks.residual._gates import STRENGTHS, Gate, _folds, _strength, gate_of
from heldout.tasks.perturbation.networks.residual._network import ResidualNetwork
from heldout.tasks.perturbation.pairs import Pair
from heldout.tasks.perturbation.task import predict
from tests.helpers.perturbations import combinations, contexts, task_of

QUICK = ho.model.ResidualFlowConfig(n_updates=150, width=32, questions=("combination",))


@pytest.fixture(scope="module")
def joint():
    """The same cells respond to both genes of a pair, which composed cells do not know."""
    screen = {"n_singles": 15, "n_doubles": 24, "n_genes": 120, "n_cells": 60, "responders": 0.5, "rng": 3}
    adata = combinations(**screen, joint_response=True, effect_strength=10)
    ho.tl.perturbation(adata, method="residual_flow", config=QUICK)
    return adata


def gates(adata):
    return read_fit(adata, "perturbation").info["fitted"]["gates"]


def test_joint_responses_are_learnt_from_train_pairs(joint):
    assert gates(joint)["combination"]["shape"] > 0
    ho.tl.evaluate(joint, "perturbation", baselines=["composed_cells", "moved_cells"], n_bootstrap=100)
    table = ho.get.evaluation(joint, "perturbation")
    model = table[(table["role"] == "model") & (table["metric"] == "energy_distance")].iloc[0]
    assert model["verdict"] == "better"
    assert f"residuals used: combination (shape {gates(joint)['combination']['shape']:g}, mean 0" in model["note"]
    energy = table[table["metric"] == "energy_distance"].set_index("method")["estimate"]
    assert energy["residual_flow"] < 0.8 * energy["composed_cells"]


def test_the_mean_is_that_of_composed_cells_if_only_the_shape_is_used(joint):
    fit, task = read_fit(joint, "perturbation"), task_of(joint)
    assert gates(joint)["combination"]["mean"] == 0
    pairs = task.observed("test").pairs
    prediction = predict(fit, pairs, task.controls(fit.arrays["control"]))
    composed = task.fit("composed_cells")
    expected = predict(composed, pairs, task.controls(fit.arrays["control"]))
    np.testing.assert_array_equal(prediction.change, expected.change)
    for i in range(3):
        n = prediction.n_distinct(pairs[i])
        cells, before = (method.cells(i, n, np.random.default_rng(i)) for method in (prediction, expected))
        mean = fit.arrays["control"][pairs.context[i]] + prediction.change[i]
        np.testing.assert_allclose(cells.mean(axis=0), mean, atol=1e-9)
        assert cells.min() >= 0
        assert not np.allclose(cells, before)
        assert np.all((cells == 0).sum(axis=0) >= (before == 0).sum(axis=0))


def test_without_enough_held_out_perturbations_the_cells_are_composed_cells():
    adata = combinations(n_singles=8, n_doubles=2)
    task = task_of(adata)
    fit = task.fit("residual_flow", QUICK)
    assert fit.info["fitted"]["gates"]["combination"] == {"shape": 0.0, "mean": 0.0, "n_held_out": 0}
    pairs, controls = task.observed("test").pairs, task.controls(fit.arrays["control"])
    found, expected = (predict(f, pairs, controls) for f in (fit, task.fit("composed_cells")))
    np.testing.assert_array_equal(found.change, expected.change)
    for i in range(len(pairs)):
        cells = [method.cells(i, 9, np.random.default_rng(0)) for method in (found, expected)]
        np.testing.assert_array_equal(*cells)


def example(rng, name, *, spread, shift=0.0, n=60):
    """Composed cells that respond alike or not; measured cells respond with another spread and a shift."""
    directions = np.zeros((2, 6))
    directions[0, :3] = 2.0
    frame = ResponseFrame(np.zeros(3), np.full(6, 5.0), directions, np.ones(6))
    composed = 5 + rng.normal(size=(n, 6)) * 0.1 + rng.choice([0.5, 1.5], size=(n, 1)) * directions[0]
    responses = 1 + shift + spread * rng.choice([-1, 1], size=(n, 1))
    measured = 5 + rng.normal(size=(n, 6)) * 0.1 + responses * directions[0]
    encoded = frame.encode(measured).astype(np.float32)
    return Example(Pair((name,), 0), frame, composed.astype(np.float32), encoded, measured, measured.mean(axis=0))


@pytest.mark.parametrize(
    ("spread", "shift", "expected"),
    [(0.5, 0.0, (False, False)), (1.0, 0.0, (True, False)), (0.5, 0.4, (False, True)), (1.0, 0.4, (True, True))],
)
def test_gates_open_for_the_part_that_differs(spread, shift, expected):
    rng = np.random.default_rng(0)
    examples = [example(rng, f"g{i}", spread=spread, shift=shift) for i in range(12)]
    config = ho.model.ResidualFlowConfig(n_updates=60, width=16, batch_size=128)
    gate = gate_of(examples, config, np.eye(6), non_negative=False, seed=0)
    assert (gate.shape > 0, gate.mean > 0) == expected


def test_the_flow_reaches_the_measured_responses():
    rng = np.random.default_rng(1)
    examples = [example(rng, f"g{i}", spread=1.0) for i in range(8)]
    network, history = ResidualNetwork.trained(examples, QUICK, seed=0)
    new = example(np.random.default_rng(9), "new", spread=1.0)
    moved = new.composed + network.residuals(new.frame, new.composed)
    responses = new.frame.encode(moved)[:, 0]
    assert np.abs(responses - 1).mean() == pytest.approx(1, abs=0.1)
    assert "train_loss" in history
    again = ResidualNetwork.load(network.arrays(), QUICK, 2)
    np.testing.assert_array_equal(again.residuals(new.frame, new.composed), network.residuals(new.frame, new.composed))


def test_paths_are_paired_by_optimal_transport():
    rng = np.random.default_rng(0)
    begin, end, number = coupled_rows([example(rng, "a", spread=0.5), example(rng, "b", spread=0.5, n=40)], rng)
    assert len(begin) == len(end) == 240
    assert set(number) == {0, 1}
    assert np.abs(begin - end)[:, 0].mean() < 0.3 * np.abs(begin - rng.permutation(end))[:, 0].mean() + 0.1


def test_gates_with_no_strength_return_the_cells_and_others_their_mean():
    rng = np.random.default_rng(0)
    cells = np.maximum(rng.normal(size=(50, 4)), 0)
    residuals = rng.normal(size=(50, 4)) + np.array([0.5, 0, 0, -9])
    np.testing.assert_array_equal(Gate().applied(cells, residuals, non_negative=True), cells)
    for shape, mean in ((1, 0), (0, 1), (0.5, 0.5)):
        expected = cells.mean(axis=0) + mean * residuals.mean(axis=0)
        moved = Gate(shape, mean).applied(cells, residuals, non_negative=True)
        np.testing.assert_allclose(moved.mean(axis=0), np.maximum(expected, 0))
        assert moved.min() >= 0
        assert np.all((moved == 0).sum(axis=0) >= (cells == 0).sum(axis=0))
        moved = Gate(shape, mean).applied(cells, residuals, non_negative=False)
        np.testing.assert_allclose(moved.mean(axis=0), expected)


def test_a_strength_needs_a_clear_gain():
    clear = np.tile([1.0, 0.8, 0.7], (10, 1)) + np.random.default_rng(0).normal(scale=0.01, size=(10, 3))
    assert _strength(clear) == STRENGTHS[2]
    noisy = np.tile([1.0, 0.99, 0.99], (10, 1)) + np.random.default_rng(0).normal(scale=0.3, size=(10, 3))
    assert _strength(noisy) == 0


def test_folds_keep_the_contexts_of_a_perturbation_together():
    rng = np.random.default_rng(0)
    frame = GeneFrame(np.zeros(3), np.zeros(2), 1.0)
    made = [
        Example(Pair((f"g{i}",), c), frame, *(np.zeros((2, 2)) for _ in range(3)), np.zeros(2))
        for i in range(6)
        for c in range(2)
    ]
    fold = pd.Series(_folds(made, rng)).groupby([example.pair.targets[0] for example in made]).nunique()
    assert (fold == 1).all()
    one = [Example(Pair(("g",), c), frame, *(np.zeros((2, 2)) for _ in range(3)), np.zeros(2)) for c in range(6)]
    assert len(set(_folds(one, rng))) == 3


def test_genes_as_coordinates():
    adata = combinations(n_singles=10, n_doubles=14, n_cells=20)
    ho.tl.perturbation(
        adata,
        method="residual_flow",
        config=ho.model.ResidualFlowConfig(coordinates="genes", n_updates=5, width=8, questions=("single",)),
    )
    assert gates(adata)["single"]["n_held_out"] == 10
    assert gates(adata)["combination"]["n_held_out"] == 0


def test_an_unknown_question_is_refused():
    with pytest.raises(ValueError, match="questions=.*'pair'.* must be some of 'context', 'combination', 'single'"):
        ho.model.ResidualFlowConfig(questions=("pair",))


def test_contexts_have_a_flow_of_their_own_and_exact_means():
    adata = contexts(n_singles=8, n_doubles=0, n_cells=25)
    config = ho.model.ResidualFlowConfig(n_updates=40, width=16, questions=("context",))
    ho.tl.perturbation(adata, method="residual_flow", config=config)
    assert gates(adata)["context"]["n_held_out"] >= 4
    fit, task = read_fit(adata, "perturbation"), task_of(adata)
    pairs = task.observed("test").pairs
    prediction = predict(fit, pairs, task.controls(fit.arrays["control"]))
    for i in range(2):
        cells = prediction.cells(i, prediction.n_distinct(pairs[i]), np.random.default_rng(i))
        start = fit.arrays["control"][pairs.context[i]]
        np.testing.assert_allclose(cells.mean(axis=0), start + prediction.change[i], atol=1e-9)


def test_a_dask_array_gives_the_same_gates_means_and_almost_the_same_flow():
    """Sums over blocks differ in the last digits, and training makes this larger."""
    screen = {"n_singles": 12, "n_doubles": 16, "n_genes": 80, "n_cells": 30, "responders": 0.5}
    adata = combinations(**screen, joint_response=True, effect_strength=10)
    lazy = adata.copy()
    lazy.X = da.from_array(adata.X.toarray(), chunks=(97, 80))
    fits, predictions = [], []
    for data in (adata, lazy):
        task = task_of(data)
        fits.append(task.fit("residual_flow", QUICK))
        pairs = task.observed("test").pairs
        predictions.append(predict(fits[-1], pairs, task.controls(fits[-1].arrays["control"])))
    assert fits[0].info["fitted"]["gates"] == fits[1].info["fitted"]["gates"]
    np.testing.assert_allclose(predictions[0].change, predictions[1].change, atol=1e-6)
    new = example(np.random.default_rng(0), "new", spread=0.5)
    moves = [
        ResidualNetwork.load(without_prefix(Fitted.of(fit).arrays, "combination."), QUICK, 2).residuals(
            new.frame, new.composed
        )
        for fit in fits
    ]
    assert np.corrcoef(moves[0].ravel(), moves[1].ravel())[0, 1] > 0.9
    assert np.abs(moves[0] - moves[1]).mean() < 0.6 * np.abs(moves[0]).mean()
