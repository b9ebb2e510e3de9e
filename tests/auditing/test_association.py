"""Cramér's V and the exact test of a contingency table."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, fisher_exact

from heldout.auditing import _association
from heldout.auditing._association import cramers_v, crosstab, exact_p


def rng():
    return np.random.default_rng(0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=4, max_size=4))
def test_two_by_two_is_fishers_test(cells):
    table = np.array(cells).reshape(2, 2)
    if (table.sum(axis=0) == 0).any() or (table.sum(axis=1) == 0).any():
        return
    assert exact_p(table, rng()) == pytest.approx(fisher_exact(table).pvalue)


def brute_force(labels, values):
    """Share of all relabellings whose table is no likelier; the p-value by its definition."""

    def log_likelihood(assigned):
        return -sum(np.log(np.arange(1, n + 1)).sum() for n in crosstab(np.array(assigned), values).ravel())

    observed = log_likelihood(labels)
    likelihoods = np.array([log_likelihood(p) for p in itertools.permutations(labels)])
    return (likelihoods <= observed + 1e-9).mean()


@pytest.mark.parametrize(
    ("labels", "values"),
    [("aabbc", "xyxyz"), ("aaabbb", "xxyyzz"), ("abcabc", "xyzxyz"), ("aabbab", "xxxxyz")],
)
def test_larger_tables_agree_with_all_permutations(labels, values):
    labels, values = np.array(list(labels)), np.array(list(values))
    assert exact_p(crosstab(labels, values), rng()) == pytest.approx(brute_force(labels, values))


def test_a_textbook_table():
    """Job satisfaction by income (Agresti 2002, p. 57), whose exact p is 0.7827."""
    table = np.array([[1, 2, 1, 0], [3, 3, 6, 1], [10, 10, 14, 9], [6, 7, 12, 11]])
    assert exact_p(table, rng()) == pytest.approx(0.7827, abs=0.02)


def test_random_tables_agree_with_enumeration(monkeypatch):
    table = np.array([[4, 1, 2, 0], [1, 3, 2, 5]])
    exact = exact_p(table, rng())
    monkeypatch.setattr(_association, "_MAX_STEPS", 1)
    assert exact_p(table, rng()) == pytest.approx(exact, abs=0.01)


def test_v_without_correction_is_chi_square():
    """With many units the correction vanishes, and V is that of the textbook."""
    table = np.array([[300, 100], [100, 300]]) * 1000
    chi2 = chi2_contingency(table, correction=False).statistic
    assert cramers_v(table) == pytest.approx(np.sqrt(chi2 / table.sum()), rel=1e-4)


def test_v_is_unbiased_where_nothing_is_there():
    generator = rng()
    labels = np.array(list("ab") * 10)
    drawn = [cramers_v(crosstab(generator.permutation(labels), np.array(list("wxyz") * 5))) for _ in range(400)]
    assert np.median(drawn) == 0
    assert np.isnan(cramers_v(np.array([[3, 4]])))


def test_false_alarms_of_the_exact_test_stay_at_its_level():
    generator = rng()
    labels, values = np.array(list("ab") * 8), np.array(list("wwxxyyzz") * 2)
    p = [exact_p(crosstab(generator.permutation(labels), values), generator) for _ in range(400)]
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)
