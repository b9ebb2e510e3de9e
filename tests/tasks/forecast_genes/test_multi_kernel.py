"""The Gaussian process with several parts: its algebra, its likelihood, and what it recovers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import heldout.tasks.forecast_genes.multi_kernel as mk
from heldout._core.method import Fitted
from heldout._core.partition import read_partition
from heldout.tasks.forecast_genes import METHODS, regression
from heldout.tasks.forecast_genes.multi_kernel import PARTS, MultiKernel
from heldout.tasks.forecast_genes.stacked import Stacked
from heldout.tasks.forecast_genes.task import Task
from tests.helpers.courses import course


@pytest.fixture(scope="module")
def data():
    adata = course(n_genes=40)
    task = Task.of(adata, read_partition(adata, "gene_split", axis="var"), time_key="hour", n_replicates=2)
    return task.data(seed=0)


def views_of(data, fitted):
    return mk._views(data.history, fitted.arrays)


def test_the_forecast_is_that_of_scikit_learn_with_the_same_covariance(data):
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import PairwiseKernel

    fitted = MultiKernel().fit(data, None, seed=0)
    arrays, train = fitted.arrays, data.train
    every = np.arange(len(data.change))
    kernels = mk._kernels(views_of(data, fitted), arrays["units"], every, every)
    K = mk._summed(kernels, arrays["variances"])
    level, spread = data.change[train].mean(), data.change[train].std()
    numbers = every[:, None].astype(float)
    looked_up = PairwiseKernel(metric=lambda a, b, gamma=None: K[int(a[0]), int(b[0])], pairwise_kernels_kwargs={})
    process = GaussianProcessRegressor(looked_up, alpha=arrays["variances"][-1], optimizer=None)
    process.fit(numbers[train], (data.change[train] - level) / spread)
    expected = level + spread * process.predict(numbers)
    np.testing.assert_allclose(MultiKernel().predict(fitted, data.history), expected, atol=1e-8)


def test_the_held_out_change_of_a_gene_is_that_of_a_fit_without_it(data):
    fitted = MultiKernel().fit(data, None, seed=0)
    arrays, train = fitted.arrays, data.train
    K = mk._summed(mk._kernels(views_of(data, fitted), arrays["units"], train, train), arrays["variances"])
    level, spread = data.change[train].mean(), data.change[train].std()
    y = (data.change[train] - level) / spread
    noise = arrays["variances"][-1] * np.eye(len(train) - 1)
    alone = level + spread * K[0, 1:] @ np.linalg.solve(K[1:, 1:] + noise, y[1:])
    assert arrays["held_out"][0] == pytest.approx(alone, rel=1e-6)


def test_the_variances_are_at_a_mode(data):
    fitted = MultiKernel().fit(data, None, seed=0)
    kernels = mk._kernels(views_of(data, fitted), fitted.arrays["units"], data.train, data.train)
    y = np.random.default_rng(0).normal(size=len(data.train))
    found = np.log(mk._mode(kernels, y))
    start = np.log([*[mk._SHARE] * len(PARTS), mk._NOISE])

    def loss(x):
        K = mk._summed(kernels, np.exp(x)) + np.exp(x[-1]) * np.eye(len(y))
        likelihood = 0.5 * y @ np.linalg.solve(K, y) + 0.5 * np.linalg.slogdet(K)[1]
        return likelihood + 0.5 * (((x - start) / mk._WIDTH) ** 2).sum()

    for step in np.eye(len(start)) * 0.05:
        assert loss(found) <= min(loss(found + step), loss(found - step)) + 1e-6


def test_genes_that_vary_together_in_cells_share_their_change(data):
    """The changes follow a direction in which cells of the history differ, which no course of means shows."""
    draw = np.random.default_rng(1)
    history, G = data.history, len(data.change)
    activity, loading = draw.normal(size=len(history.cells)), draw.normal(size=G)
    cells = draw.normal(size=history.cells.shape) + 3 + np.outer(activity, loading)
    for at in range(len(history.times)):
        cells[history.time_of == at] -= cells[history.time_of == at].mean(axis=0) - 3
    change = loading + 0.1 * draw.normal(size=G)
    made = replace(data, history=replace(history, cells=cells), change=change, target=change + 3)
    test = np.setdiff1d(np.arange(G), made.train)
    skill = {}
    for name in ("multi_kernel", "ridge"):
        method = METHODS[name].load()()
        found = method.predict(method.fit(made, None, seed=0), made.history)
        skill[name] = 1 - ((found - change)[test] ** 2).sum() / (change[test] ** 2).sum()
    assert skill["multi_kernel"] > 0.9
    assert skill["ridge"] < 0.2
    shares = MultiKernel().fit(made, None, seed=0).info["shares"]
    assert shares["last_time"] + shares["all_times"] > 5 * shares["course"]


def test_variances_are_learnt_from_a_sample_of_many_genes(data, monkeypatch):
    monkeypatch.setattr(mk, "_MOST_LEARNT", 20)
    fitted = MultiKernel().fit(data, None, seed=0)
    assert len(fitted.arrays["dual"]) == len(data.train) > 20
    again = MultiKernel().fit(data, None, seed=0)
    np.testing.assert_array_equal(fitted.arrays["variances"], again.arrays["variances"])


@pytest.mark.parametrize("method", ["multi_kernel", "gaussian_process"])
def test_more_genes_than_it_can_invert_are_refused(data, monkeypatch, method):
    monkeypatch.setattr(regression, "MOST_GENES", 5)
    with pytest.raises(ValueError, match=rf"{method} inverts .* \(limit 5\). Use method='low_rank'"):
        METHODS[method].load()().fit(data, None, seed=0)


def test_a_stack_of_an_earlier_version_still_predicts(data):
    parts = {name: METHODS[name].load()().fit(data, None, seed=0) for name in ("low_rank", "gaussian_process")}
    weights = {"low_rank": 0.7, "gaussian_process": 0.3, "coexpression": 0.0}
    arrays = {f"{name}.{key}": array for name, part in parts.items() for key, array in part.arrays.items()}
    arrays["weights"] = np.array(list(weights.values()))
    stored = Fitted(arrays, {"weights": weights, "members": {name: part.info for name, part in parts.items()}})
    expected = sum(weights[name] * METHODS[name].load()().predict(part, data.history) for name, part in parts.items())
    np.testing.assert_allclose(Stacked().predict(stored, data.history), expected)
