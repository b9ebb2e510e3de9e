"""How many independent cells the groups are worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.auditing.effective_size import intraclass_correlation, worth
from tests.helpers.libraries import by_cell, by_library, libraries, said


def sums(values: np.ndarray, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = np.bincount(unit)
    return n, *(np.stack([np.bincount(unit, column) for column in (values**k).T], axis=1) for k in (1, 2))


@pytest.mark.parametrize("icc", [0.0, 0.1, 0.5])
def test_recovers_a_known_correlation(icc):
    rng = np.random.default_rng(0)
    n = rng.integers(5, 60, 400)
    unit = np.repeat(np.arange(400), n)
    classes = np.arange(400) % 2
    p = 30
    values = np.sqrt(icc) * rng.normal(size=(400, p))[unit] + np.sqrt(1 - icc) * rng.normal(size=(len(unit), p))
    values += 5 * classes[unit][:, None]  # the difference of classes is none of it
    found = intraclass_correlation(*sums(values, unit), classes)
    assert np.mean(found) == pytest.approx(icc, abs=0.01)


def test_is_the_textbook_formula():
    values = np.array([[1.0], [2.0], [3.0], [6.0], [8.0]])
    unit = np.array([0, 0, 0, 1, 1])
    n0 = 5 - (9 + 4) / 5
    msb = 3 * (2 - 4) ** 2 + 2 * (7 - 4) ** 2
    msw = (1 + 1 + 1 + 1) / 3
    assert intraclass_correlation(*sums(values, unit), np.zeros(2, dtype=int))[0] == pytest.approx(
        (msb - msw) / (msb + (n0 - 1) * msw)
    )


def test_a_constant_gene_has_none():
    assert np.isnan(
        intraclass_correlation(*sums(np.full((4, 1), 0.1), np.array([0, 0, 1, 1])), np.zeros(2, dtype=int))[0]
    )


@given(st.lists(st.integers(1, 500), min_size=1, max_size=20), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_worth_lies_between_the_largest_share_and_the_cells(sizes, icc):
    found = worth(np.array(sizes), icc)
    assert 1 - 1e-9 <= found <= sum(sizes) + 1e-9
    assert worth(np.array(sizes), 0.0) == sum(sizes)


def test_worth_is_the_variance_of_the_mean():
    rng = np.random.default_rng(1)
    sizes, icc = np.array([5, 20, 60]), 0.2
    unit = np.repeat(np.arange(3), sizes)
    draws = np.sqrt(icc) * rng.normal(size=(20_000, 3))[:, unit] + np.sqrt(1 - icc) * rng.normal(size=(20_000, 85))
    assert 1 / draws.mean(axis=1).var() == pytest.approx(worth(sizes, icc), rel=0.05)


def test_a_stronger_fingerprint_leaves_fewer_cells():
    values = [
        said(by_library(libraries(0, fingerprint=f, n_days=1)), "effective_size").set_index("subject")["value"]["test"]
        for f in (0.0, 0.3, 1.0)
    ]
    assert 320 >= values[0] > 2 * values[1] > 4 * values[2]


def test_says_it_in_numbers():
    table = said(by_library(libraries(0)), "effective_size")
    assert table["status"].tolist() == ["pass", "pass"]
    assert table["subject"].tolist() == ["test", "train"]
    assert "The 320 test cells of 8 libraries are worth about" in table["finding"][0]


def test_without_a_second_library_of_a_class_it_does_not_run():
    (row,) = said(by_cell(libraries(0, n_libraries=2)), "effective_size").itertuples()
    assert row.status == "not run"
    assert "Train needs at least two libraries of one class of label" in row.finding
    assert (
        said(by_cell(libraries(0, n_libraries=2)), "effective_size", label_key=None)["status"].tolist() == ["pass"] * 2
    )
