"""Simulations whose dynamics are known: the flow is recovered within the noise of the cells."""

from __future__ import annotations

import numpy as np
import pytest

import heldout as ho
from heldout.tasks.forecast import METHODS
from heldout.tasks.forecast.interface import Snapshots
from heldout.tasks.forecast.linear_flow import PENALTIES, fit_linear_flow
from heldout.tasks.forecast.space import fit_space
from tests.helpers.forecasts import TIMES, clouds

LONG = np.arange(9.0)
SEEDS = range(200, 206)


def case(kind, times, seed):
    """Train snapshots and the cells of the last time, in the space of train."""
    cells = clouds(kind, times, seed=seed)
    space = fit_space(np.concatenate(cells[:-1]), 50)
    data = Snapshots(times[:-1], [space.encode(c) for c in cells[:-1]], space, targets=(float(times[-1]),))
    return data, space.encode(cells[-1])


def distances(truth, cells):
    """Energy distance of a forecast, and the largest of two halves of the truth, out of 20 ways to halve it."""
    energy = ho.metrics.energy_distance
    return energy(truth, cells), ho.metrics.split_half(truth, energy, n=20).max()


def linear_forecast(data, *, n_refinements):
    centre = np.concatenate(data.cells).mean(axis=0)
    flow, _ = fit_linear_flow(
        [c - centre for c in data.cells], data.times, n_pairs=256, n_refinements=n_refinements, seed=0
    )
    return flow, centre + flow.move(data.cells[-1] - centre, data.targets[0] - data.times[-1])


@pytest.mark.parametrize(("kind", "penalty"), [("line", PENALTIES[0]), ("circle", PENALTIES[-1])])
def test_the_linear_flow_is_within_the_noise_floor(kind, penalty):
    """On average over seeds, the chosen penalty is the true one: no slope on a line, all of it in a bend."""
    found, chosen = [], []
    for seed in SEEDS:
        data, truth = case(kind, TIMES, seed)
        flow, cells = linear_forecast(data, n_refinements=2)
        found.append(distances(truth, cells))
        chosen.append(flow.penalty)
    reached, floor = np.mean(found, axis=0)
    assert reached < 1.4 * floor  # on a bend about equal: 0.034 of 0.027 with newer libraries, 0.08 if paired once
    assert np.mean(np.array(chosen) == penalty) >= 0.75


def test_pairing_along_the_flow_is_what_recovers_a_bend():
    """Optimal transport alone lets each snapshot slide, not turn."""
    found = []
    for seed in SEEDS:
        data, truth = case("circle", TIMES, seed)
        once, twice = (linear_forecast(data, n_refinements=n)[1] for n in (0, 1))
        found.append((distances(truth, once)[0], distances(truth, twice)[0]))
    once, twice = np.mean(found, axis=0)
    assert twice < 0.6 * once


@pytest.mark.parametrize(("kind", "times"), [("line", TIMES), ("circle", LONG)])
def test_the_flow_as_it_is_used_is_within_the_noise_floor(kind, times):
    """With all it learns on past times; a bend takes eight train times, as the first of them show a line."""
    implementation = METHODS["flow"].load()()
    config = type(implementation.default_config)(max_epochs=3, n_pairs=256)
    found = []
    for seed in (300, 302):
        data, truth = case(kind, times, seed)
        fitted = implementation.fit(data, config, seed=0)
        assert fitted.info["damping"]["share"] == [1.0, 0.0, 0.0, 0.0], "the law is its linear part"
        cells = implementation.predict(
            fitted, data.cells[-1], data.times[-1], data.targets[0], np.random.default_rng(0)
        )
        found.append(distances(truth, cells))
    reached, floor = np.mean(found, axis=0)
    assert reached < floor


def test_a_given_damping_is_that_of_the_linear_part():
    data, _ = case("line", TIMES, 200)
    implementation = METHODS["flow"].load()()
    config = type(implementation.default_config)(max_epochs=1, n_pairs=64, damping=0.5)
    fitted = implementation.fit(data, config, seed=0)
    start = data.cells[-1]
    moves = implementation.directions(fitted, start, 6.0, 7.0)
    assert len(moves) == 4
    cells = implementation.predict(fitted, start, 6.0, 7.0, np.random.default_rng(0))
    np.testing.assert_allclose(cells, start + 0.5 * moves[0])
    plain = type(implementation.default_config)(max_epochs=1, n_pairs=64, damping=0.5, var_ridge=False, reversion=False)
    assert len(implementation.directions(implementation.fit(data, plain, seed=0), start, 6.0, 7.0)) == 2
