"""Curves through the means of the train times: lines, parabolas, random walks and changing speed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from heldout.tasks.forecast.curves import LENGTHS, _fit, curve_at

TIMES = np.array([0, 1, 2, 4, 5, 7.0])


def course(kind, times, *, n_coordinates=6, seed=0):
    """Means at each time, (T × k), without sampling noise but for the random walk."""
    rng = np.random.default_rng(seed)
    velocity, bend = rng.normal(size=(2, n_coordinates))
    if kind == "line":
        return np.outer(times, velocity)
    if kind == "parabola":
        return np.outer(times, velocity) + np.outer((times - 3) ** 2, bend) / 3
    if kind == "slowing":
        return np.outer(np.sqrt(times), velocity) * 5
    steps = rng.normal(size=(len(times), n_coordinates)) * np.sqrt(np.diff(times, prepend=-1.0))[:, None]
    return steps.cumsum(axis=0)


@pytest.mark.parametrize("at", [0.5, 3.0, 6.5])
def test_a_line_is_a_line(at):
    curve = curve_at(TIMES, course("line", TIMES), at)
    assert curve.weights.sum() == pytest.approx(1)
    assert curve.power == pytest.approx(1, abs=0.1)
    assert curve.straight < 0.01
    np.testing.assert_allclose(curve.weights @ TIMES, at, atol=0.03)


@pytest.mark.parametrize("at", [0.5, 3.0, 6.0])
def test_a_parabola_is_followed(at):
    """Straight lines between neighbouring times miss most of the bend."""
    means, truth = course("parabola", TIMES), course("parabola", np.array([at]))[0]
    curve = curve_at(TIMES, means, at)
    line = (1 - curve.share) * means[curve.first] + curve.share * means[curve.first + 1]
    assert np.linalg.norm(curve.weights @ means - truth) < 0.4 * np.linalg.norm(line - truth)
    np.testing.assert_allclose(line + curve.bend(list(means)), curve.weights @ means)


def test_a_random_walk_is_a_line_between_its_neighbours():
    times = np.arange(9.0)
    curves = [curve_at(times, course("walk", times, n_coordinates=20, seed=seed), 4.5, power=1.0) for seed in range(5)]
    assert np.mean([curve.straight for curve in curves]) > 0.9
    expected = np.isin(np.arange(9), [4, 5]) / 2
    np.testing.assert_allclose(np.mean([curve.weights for curve in curves], axis=0), expected, atol=0.03)


def test_speed_is_learnt():
    slowing = curve_at(TIMES, course("slowing", TIMES), 3.0)
    assert slowing.power < 0.7
    assert slowing.share > 0.53
    given = curve_at(TIMES, course("slowing", TIMES), 3.0, power=1.0)
    assert (given.power, given.share) == (1.0, 0.5)


def test_two_times_are_a_line():
    curve = curve_at(np.array([2.0, 6.0]), np.array([[0.0, 0], [1, 3]]), 3.0)
    np.testing.assert_allclose(curve.weights, [0.75, 0.25], atol=0.01)
    assert (curve.share, curve.straight, curve.power) == (0.25, 1.0, 1.0)


def test_no_change_is_no_problem():
    curve = curve_at(TIMES, np.ones((6, 3)), 3.0)
    assert np.isfinite(curve.weights).all()
    np.testing.assert_allclose(curve.bend([np.ones((1, 3))] * 6), 0, atol=1e-9)


@pytest.mark.parametrize("length", LENGTHS[:3])
def test_one_process_is_that_of_the_library(length):
    """Against Gaussian process regression with a vague constant, and the density of the changes."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern

    since, means = TIMES / 7, course("walk", TIMES, n_coordinates=1)
    likely, weights = _fit(since, 0.4, length, means, counted=1.0)
    process = Matern(length, nu=2.5)
    regression = GaussianProcessRegressor(ConstantKernel(1e5) + process, alpha=1e-4, optimizer=None)
    expected = regression.fit(since[:, None], means).predict([[0.4]])
    assert weights @ means[:, 0] == pytest.approx(float(expected[0]), abs=1e-3)

    steps = np.diff(np.eye(6), axis=0)
    within, change = steps @ (process(since[:, None]) + 1e-4 * np.eye(6)) @ steps.T, steps @ means[:, 0]
    variance = change @ np.linalg.solve(within, change) / 5
    density = multivariate_normal.logpdf(change, cov=variance * within)
    assert likely == pytest.approx(density + 2.5 * (1 + np.log(2 * np.pi)), abs=1e-6)
