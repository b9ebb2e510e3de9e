"""How often a verdict is wrong when nothing is to be found, and how often an interval holds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout._core.metric import METRICS
from heldout._core.verdict import against, interval
from heldout.tasks.perturbation.judging.cells import Scored
from heldout.tasks.perturbation.judging.table import Draws, Rows, _judge
from heldout.tasks.perturbation.judging.units import Units


@pytest.mark.parametrize("n_units", [3, 5, 10, 30])
def test_equal_methods_are_rarely_called_better_or_worse(n_units):
    rng = np.random.default_rng(n_units)
    n, verdicts = 600, []
    for _ in range(n):
        draws = Draws.of(n_units, np.empty((0, 1, 1)), n_bootstrap=300, rng=rng)
        difference = draws.means(rng.normal(size=n_units), None, np.ones(n_units, dtype=bool))
        verdicts.append(against("rival", difference, sign=1.0, n_units=n_units)["verdict"])
    allowed = 0.05 + 3 * np.sqrt(0.05 * 0.95 / n)
    assert np.mean([v != "undecided" for v in verdicts]) <= allowed + 0.02  # both sides together: 5 % are nominal
    assert np.mean([v == "better" for v in verdicts]) <= 0.05


def test_many_units_have_the_percentile_interval():
    draws = np.random.default_rng(0).normal(size=5001)
    draws[0] = 0
    np.testing.assert_allclose(interval(draws, 10**7), np.percentile(draws[1:], [2.5, 97.5]), rtol=1e-5)
    assert np.isnan(interval(draws, 2)).all()


def test_a_baseline_that_answers_only_what_is_easy_is_no_yardstick():
    """It is judged on the perturbations at hand: 16 hard ones, and 4 easy ones that ``partial`` answers alone."""
    rng = np.random.default_rng(0)
    easy = np.arange(20) < 4
    noise = rng.normal(0, 0.01, (3, 20))
    own, full, partial = np.where(easy, 0.05, 1.2), np.where(easy, 0.2, 1.0), np.where(easy, 0.1, np.nan)
    values = [Rows({}, {"l2": v + e}, {}) for v, e in zip((own, full, partial), noise, strict=True)]
    nothing = np.zeros((20, 1)), np.zeros(20, dtype=bool)
    names = (("judged", "model"), ("full", "baseline"), ("partial", "baseline"))
    scored = [Scored(name, role, *nothing) for name, role in names]
    draws = Draws.of(20, np.empty((0, 1, 1)), n_bootstrap=300, rng=rng)
    row = _judge("l2", 0, scored, values, draws, Units("perturbation", np.arange(20)))
    assert row["baseline"] == "full"
    assert row["verdict"] == "not better"


def test_the_best_baseline_is_the_one_furthest_ahead_where_both_predict():
    """``half`` lacks the hard perturbations and has the lower error for that; ``full`` is the stronger one."""
    rng = np.random.default_rng(1)
    hard = np.arange(20) < 8
    own, full, half = np.where(hard, 2.0, 0.5), np.where(hard, 1.0, 0.45), np.where(hard, np.nan, 0.48)
    values = [Rows({}, {"l2": v + rng.normal(0, 0.01, 20)}, {}) for v in (own, full, half)]
    nothing = np.zeros((20, 1)), np.zeros(20, dtype=bool)
    names = (("judged", "model"), ("full", "baseline"), ("half", "baseline"))
    scored = [Scored(name, role, *nothing) for name, role in names]
    draws = Draws.of(20, np.empty((0, 1, 1)), n_bootstrap=300, rng=rng)
    assert _judge("l2", 0, scored, values, draws, Units("perturbation", np.arange(20)))["baseline"] == "full"


RANGES = st.sampled_from(sorted({metric.bounds for metric in METRICS.values()}))


@st.composite
def scores_in_range(draw):
    """Scores of 3 to 12 units in a range, many of them at its ends, the range, and noise of controls that passes it."""
    low, high = draw(RANGES)
    inside = st.floats(max(low, -50), min(high, 50), width=32)
    ends = [end for end in (low, high) if np.isfinite(end)]
    values = draw(st.lists(st.one_of(inside, st.sampled_from(ends)) if ends else inside, min_size=3, max_size=12))
    return np.array(values), (low, high), draw(st.floats(0, 2))


@given(scores_in_range(), st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_intervals_lie_in_the_range_of_the_metric_and_contain_the_estimate(case, seed):
    values, bounds, noise = case
    rng = np.random.default_rng(seed)
    n = len(values)
    draws = Draws.of(n, np.empty((0, 1, 1)), n_bootstrap=200, rng=rng)
    moved = values + noise * rng.normal(size=(20, n))  # other controls can pass the range
    drawn = draws.means(values, moved, np.ones(n, dtype=bool))
    low, high = interval(drawn, n, bounds=bounds)
    rounding = 1e-6 * max(1, abs(values).max())
    assert bounds[0] <= low <= high <= bounds[1]
    if noise == 0:
        assert low - rounding <= drawn[0] <= high + rounding


@pytest.mark.parametrize("n_units", [3, 5, 10])
def test_an_interval_in_a_range_covers_at_least_as_often_as_a_clipped_one(n_units):
    rng = np.random.default_rng(n_units)
    hits = []
    for _ in range(400):
        draws = Draws.of(n_units, np.empty((0, 1, 1)), n_bootstrap=300, rng=rng)
        drawn = draws.means(rng.beta(8, 0.5, n_units), None, np.ones(n_units, dtype=bool))
        both = interval(drawn, n_units, bounds=(0, 1)), np.clip(interval(drawn, n_units), 0, 1)
        hits.append([low <= 8 / 8.5 <= high for low, high in both])
    covered = np.mean(hits, axis=0)
    assert covered[0] >= covered[1]


def test_a_difference_is_at_most_the_range():
    difference = np.array([0.8, *np.linspace(0.2, 1.0, 200)])
    row = against("rival", difference, sign=1.0, n_units=3, bounds=(0.0, 1.0))
    assert row["difference_high"] == 1.0
    assert row["difference_low"] == against("rival", difference, sign=1.0, n_units=3)["difference_low"]
