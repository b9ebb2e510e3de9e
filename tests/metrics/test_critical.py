"""Comparison of methods over data sets: against scipy, in studies without a difference, and what cliques mean."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import heldout as ho
from heldout.metrics.critical import _cliques


def test_pairs_are_those_of_scipy_adjusted_by_holm():
    scores = np.random.default_rng(0).normal(size=(9, 4)) + [0, 0.3, 0.6, 1.5]
    found = ho.metrics.critical_differences(scores)
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    raw = np.array([stats.wilcoxon(scores[:, i], scores[:, j], method="exact").pvalue for i, j in pairs])
    order = np.argsort(raw)
    adjusted = np.empty(6)
    adjusted[order] = np.minimum(np.maximum.accumulate(raw[order] * np.arange(6, 0, -1)), 1)
    assert np.allclose([found.p_adjusted[pair] for pair in pairs], adjusted)
    assert np.allclose(found.p_adjusted, found.p_adjusted.T, equal_nan=True)
    assert np.isnan(np.diag(found.p_adjusted)).all()


def test_ranks_have_the_best_first_and_share_equal_scores():
    scores = [[0.9, 0.5, 0.5], [0.8, 0.7, 0.6]]
    assert ho.metrics.critical_differences(scores).ranks.tolist() == [1.0, 2.25, 2.75]
    assert ho.metrics.critical_differences(scores, lower_is_better=True).ranks.tolist() == [3.0, 1.75, 1.25]


def test_equal_methods_do_not_differ():
    scores = np.repeat(np.random.default_rng(0).normal(size=(10, 1)), 3, axis=1)
    found = ho.metrics.critical_differences(scores)
    assert found.cliques == [(0, 1, 2)]
    assert np.nanmin(found.p_adjusted) == 1


def test_few_data_sets_cannot_show_a_difference():
    clear = np.arange(12.0)[:, None] / 10 + [2.0, 1.0, 0.0]
    assert ho.metrics.critical_differences(clear[:6]).cliques == [(0, 1, 2)]
    assert ho.metrics.critical_differences(clear[:6]).smallest == pytest.approx(6 / 64)
    seven = ho.metrics.critical_differences(clear[:7])
    assert seven.smallest == pytest.approx(6 / 128)
    assert seven.cliques == [(0,), (1,), (2,)]


def test_in_studies_without_a_difference_any_is_called_in_5_percent():
    rng = np.random.default_rng(1)
    called = [
        np.nanmin(ho.metrics.critical_differences(rng.normal(size=(9, 3)) + rng.normal(size=(9, 1))).p_adjusted) <= 0.05
        for _ in range(300)
    ]
    assert np.mean(called) <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 300)


def test_cliques_are_the_longest_runs_without_a_difference():
    p = np.ones((4, 4))
    p[0, 2] = p[2, 0] = p[0, 3] = p[3, 0] = p[1, 3] = p[3, 1] = 0.01
    assert _cliques(np.arange(4.0), p, 0.05) == [(0, 1), (1, 2), (2, 3)]
    assert _cliques(np.array([3.0, 2.0, 1.0, 0.0]), p, 0.05) == [(3, 2), (2, 1), (1, 0)]


@pytest.mark.parametrize(
    ("scores", "options", "says"),
    [
        ([[1.0, 2.0]], {}, "1 data sets and 2 methods"),
        ([[1.0], [2.0]], {}, "2 data sets and 1 methods"),
        ([[1.0, np.nan], [2.0, 3.0]], {}, "NaN"),
        ([1.0, 2.0], {}, "one row for each data set"),
        ([[1.0, 2.0], [2.0, 3.0]], {"level": 1.0}, "level=1.0"),
    ],
)
def test_refuses(scores, options, says):
    with pytest.raises(ValueError, match=says):
        ho.metrics.critical_differences(scores, **options)
