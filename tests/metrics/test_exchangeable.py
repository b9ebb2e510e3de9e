"""The range of one more value: its coverage on exchangeable draws, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import heldout as ho

N_DRAWS = 4000


def _exchangeable(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Values in an order that says nothing: skewed, with a shared part, or with ties."""
    draws = rng.exponential(size=(N_DRAWS, n))
    if kind == "shared":
        return draws * rng.lognormal(size=(N_DRAWS, 1)) + rng.normal(size=(N_DRAWS, 1))
    return np.round(draws) if kind == "ties" else draws


@pytest.mark.parametrize("kind", ["skewed", "shared", "ties"])
@pytest.mark.parametrize(("n", "coverage", "reached"), [(3, 0.8, 1 / 2), (4, 0.8, 3 / 5), (9, 0.8, 0.8), (9, 0.5, 0.6)])
def test_coverage_of_exchangeable_values(kind, n, coverage, reached):
    draws = _exchangeable(kind, n + 1, np.random.default_rng(n))
    found = [ho.metrics.next_value(row[:-1], coverage=coverage) for row in draws]
    assert all(each.coverage == pytest.approx(reached) for each in found)
    inside = np.mean([each.low <= row[-1] <= each.high for each, row in zip(found, draws, strict=True)])
    error = 4 * np.sqrt(reached * (1 - reached) / N_DRAWS)
    assert inside > reached - error
    assert kind == "ties" or inside < reached + error


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40), st.floats(0.01, 0.99))
def test_the_range_is_the_narrowest_that_has_the_coverage(values, coverage):
    found = ho.metrics.next_value(values, coverage=coverage)
    n, ordered = len(values), sorted(values)
    enough = [k for k in range(1, (n + 1) // 2 + 1) if (n + 1 - 2 * k) / (n + 1) >= coverage - 1e-9]
    k = max(enough, default=1)
    assert (found.low, found.high) == (ordered[k - 1], ordered[n - k])
    assert found.coverage == pytest.approx((n + 1 - 2 * k) / (n + 1))
    assert found.n_units == n


def test_one_value_says_nothing_of_the_next():
    found = ho.metrics.next_value([0.3])
    assert np.isnan([found.low, found.high]).all()
    assert (found.coverage, found.n_units) == (0.0, 1)
    for wrong in ([], [0.1, np.nan], [[0.1, 0.2]]):
        with pytest.raises(ValueError, match="known has"):
            ho.metrics.next_value(wrong)
    with pytest.raises(ValueError, match="coverage=1"):
        ho.metrics.next_value([0.1, 0.2], coverage=1)
    least = ho.metrics.next_value([0.1, 0.2, 0.3], coverage=1e-12)
    assert (least.low, least.high, least.coverage) == (0.1, 0.3, 0.5)
