"""Composed cells: exact means, possible values, and a distribution that follows the share of responding cells."""

import numpy as np
import pandas as pd
import pytest

import heldout as ho
from heldout._core.fits import read_fit
from heldout.tasks.perturbation.composition.compose import Part, composed
from heldout.tasks.perturbation.composition.marginals import Marginals, ranks_of, with_mean
from heldout.tasks.perturbation.composition.responses import FULL, GRID, drawn_responses, response_weights
from heldout.tasks.perturbation.task import predict
from tests.helpers.perturbations import combinations, contexts, task_of


@pytest.fixture(scope="module")
def partial():
    """A screen in which half of the cells respond to each perturbed gene, with half of the pairs in test."""
    return combinations(n_singles=15, n_doubles=20, n_genes=120, n_cells=60, responders=0.5, effect_strength=10, rng=1)


@pytest.fixture(scope="module")
def fitted(partial):
    adata = partial.copy()
    ho.tl.perturbation(adata, method="composed_cells")
    return adata


def test_where_some_cells_respond_composed_cells_are_better_than_moved_cells(fitted):
    ho.tl.evaluate(fitted, "perturbation", baselines=["latent_additive", "moved_cells"], n_bootstrap=100)
    table = ho.get.evaluation(fitted, "perturbation")
    model = table[table["role"] == "model"].set_index("metric")
    for metric in ("energy_distance", "gene_wasserstein", "zero_share_error"):
        assert model.loc[metric, "verdict"] == "better", metric
    energy = table[table["metric"] == "energy_distance"].set_index("method")["estimate"]
    assert energy["composed_cells"] < 0.7 * energy["moved_cells"]
    assert "not better" not in model.loc[["l2", "pearson_delta"], "verdict"].where(model["difference"] != 0).tolist()


@pytest.mark.parametrize("screen", [combinations, contexts])
def test_the_mean_over_all_cells_is_that_of_the_closed_form(screen):
    adata = screen()
    ho.tl.perturbation(adata, method="composed_cells")
    task, fit = task_of(adata), read_fit(adata, "perturbation")
    pairs = task.observed("test").pairs
    prediction = predict(fit, pairs, task.controls(fit.arrays["control"]))
    closed = task.fit("informed_additive" if screen is combinations else "pooled_transfer")
    start = closed.arrays["control"][pairs.context]
    expected = np.maximum(start + predict(closed, pairs, task.controls(closed.arrays["control"])).change, 0)
    if screen is contexts or fit.info["fitted"]["mean"]["weights"]["combination"] == {"informed_additive": 1.0}:
        np.testing.assert_allclose(start + prediction.change, expected, atol=1e-9)
    for i in range(3):
        cells = prediction.cells(i, prediction.n_distinct(pairs[i]), np.random.default_rng(i))
        np.testing.assert_allclose(cells.mean(axis=0), start[i] + prediction.change[i], atol=1e-9)
        assert cells.min() >= 0


def test_the_share_of_responding_cells_is_found():
    rng = np.random.default_rng(0)
    controls = rng.normal(size=(200, 40))
    effect = np.where(np.arange(40) < 10, 2.0, 0.0)
    responds = rng.random(150) < 0.4
    cells = rng.normal(size=(150, 40)) + responds[:, None] * effect
    weights = response_weights(cells, controls, np.random.default_rng(1))
    assert weights @ GRID == pytest.approx(1)
    assert weights[GRID < 0.8].sum() == pytest.approx(1 - responds.mean(), abs=0.08)
    drawn = drawn_responses(weights, 100, rng)
    assert drawn.mean() == pytest.approx(1)
    assert (drawn < 0.8).mean() == pytest.approx(1 - responds.mean(), abs=0.1)


@pytest.mark.parametrize("effect", [0.0, 0.1, 1.0])
def test_noise_is_not_taken_for_a_spread_of_responses(effect):
    """Nothing to find: all cells respond alike, or the effect is too small to see."""
    rng = np.random.default_rng(3)
    controls, cells = rng.normal(size=(150, 40)), rng.normal(size=(100, 40)) + effect
    np.testing.assert_array_equal(response_weights(cells, controls, np.random.default_rng(0)), FULL)


def test_tilting_moves_the_mean_and_keeps_ranks():
    rng = np.random.default_rng(0)
    cells = rng.exponential(size=(80, 5)) * (rng.random((80, 5)) < 0.5)
    ranks = ranks_of(cells, rng)
    for factor in (0.3, 1.0, 1.6):
        mean = factor * cells.mean(axis=0)
        moved = Marginals(cells, np.empty((0, 5))).moved(ranks, np.arange(80), mean)
        np.testing.assert_allclose(moved.mean(axis=0), mean, rtol=0.15)
        assert np.all(np.diff(np.take_along_axis(moved, ranks.argsort(axis=0), axis=0), axis=0) >= 0)
        assert np.sign((moved == 0).mean() - (cells == 0).mean()) == np.sign(1 - factor)
        np.testing.assert_allclose(with_mean(moved, mean).mean(axis=0), mean)


def test_a_silent_gene_gets_its_mean_from_one_cell():
    cells = with_mean(np.zeros((10, 2)), np.array([0.3, 0.0]))
    np.testing.assert_allclose(cells.mean(axis=0), [0.3, 0.0])
    assert (cells > 0).sum() == 1


def test_values_below_zero_are_shifted_by_the_responses():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(50, 3))
    half = (np.eye(len(GRID))[GRID.tolist().index(0)] + np.eye(len(GRID))[GRID.tolist().index(2)]) / 2
    change, mean = np.array([4.0, 0, 0]), base.mean(axis=0) + np.array([4.0, 0, 0])
    cells = composed(base, [Part(change, half)], mean, base, rng, non_negative=False)
    np.testing.assert_allclose(cells.mean(axis=0), mean)
    moved = np.round((cells - base)[:, 0], 6)
    assert pd.Series(moved).value_counts().to_dict() == {0.0: 25, 8.0: 25}
