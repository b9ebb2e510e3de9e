"""Power of the test of an AUC, and the number of groups that a study needs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

import heldout as ho


@pytest.mark.parametrize(
    ("m", "n", "auc", "spread"), [(5, 5, 0.85, 1), (10, 10, 0.75, 1), (6, 24, 0.75, 2), (20, 20, 0.7, 1)]
)
def test_power_is_that_of_simulated_studies(m, n, auc, spread):
    rng, labels, n_studies = np.random.default_rng(0), np.repeat([1, 0], [m, n]), 300
    shift = norm.ppf(auc) * np.sqrt(1 + spread**2)
    found = 0
    for _ in range(n_studies):
        scores = rng.normal(size=m + n) * np.where(labels == 1, spread, 1) + shift * labels
        found += ho.metrics.auc_permutation(labels, scores, statistic="studentised").p_value <= 0.05 + 1e-12
    assert ho.metrics.auc_power(auc, m, n, spread=spread) == pytest.approx(found / n_studies, abs=0.08)


def test_known_power():
    """The normal approximation by hand, for equal spread at an AUC of 0.5: variance (m + n + 1) / (12 m n)."""
    limit = norm.isf(0.05) * np.sqrt(21 / 1200)
    found = ho.metrics.auc_power(0.5 + 1e-9, 10, 10)
    assert found == pytest.approx(norm.sf(limit / np.sqrt(21 / 1200)), abs=1e-4)
    assert ho.metrics.auc_power(0.99, 1, 10) == 0


@settings(max_examples=30, deadline=None)
@given(st.floats(0.6, 0.95), st.floats(0.1, 0.5), st.floats(0.5, 0.95))
def test_fewest_groups(auc, share, power):
    found = ho.metrics.groups_needed(auc, share=share, power=power)
    assert found.power >= power
    assert abs(found.n_positive - share * (found.n_positive + found.n_negative)) <= 1
    more = ho.metrics.groups_needed(min(auc + 0.03, 0.99), share=share, power=power)
    assert sum(more[:2]) <= sum(found[:2])


def test_width():
    found = ho.metrics.groups_needed(0.8, power=None, width=0.2)
    labels = np.repeat([1, 0], found[:2])
    rng, widths = np.random.default_rng(1), []
    for _ in range(40):
        interval = ho.metrics.auc_interval_unequal(labels, rng.normal(size=len(labels)) + 1.19 * labels)
        widths.append(interval.high - interval.low)
    assert np.mean(widths) == pytest.approx(0.2, abs=0.02)


def test_wrong_plans_are_refused():
    with pytest.raises(ValueError, match="auc=0.4"):
        ho.metrics.auc_power(0.4, 5, 5)
    with pytest.raises(ValueError, match="spread=-1"):
        ho.metrics.groups_needed(0.7, spread=-1)
    with pytest.raises(ValueError, match="power=None and width=None"):
        ho.metrics.groups_needed(0.7, power=None)
    with pytest.raises(ValueError, match="too few"):
        ho.metrics.groups_needed(0.5001, power=0.99)


def test_the_plot_marks_the_number_of_groups():
    ax = ho.pl.power([0.7, 0.8], unit="donor", share=0.25, power=0.9)
    for auc, line in zip((0.7, 0.8), ax.lines[1:4:2], strict=True):
        needed = ho.metrics.groups_needed(auc, power=0.9, share=0.25)
        assert line.get_xdata()[0] == sum(needed[:2])
        assert line.get_ydata()[0] == pytest.approx(needed.power)
    assert ax.get_xlabel() == "test donors, 25% of class 1"
    assert len(ho.pl.power(0.8).texts) == 1
    with pytest.raises(ValueError, match="aucs has 0 different values"):
        ho.pl.power([])
    with pytest.raises(ValueError, match="power=2"):
        ho.pl.power([0.8], power=2)
    totals = [sum(ho.metrics.groups_needed(auc, power=0.9, share=0.25)[:2]) for auc in (0.7, 0.8)]
    assert [text.get_text() for text in ax.texts] == [f"AUC 0.7: {totals[0]}", f"AUC 0.8: {totals[1]}"]
