"""How many groups of each class go where: the optimum, against brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.splitting._allocate import EXACT_LIMIT, allocate
from tests.helpers.properties import properties

HYPOTHESIS = properties(80)


def objective(table, sizes, fractions):
    """What is minimised, as the module says."""
    ideal = sizes[:, None] * fractions
    return ((table - ideal) ** 2).sum() + ((table.sum(axis=0) - sizes.sum() * fractions) ** 2).sum()


def brute_force(sizes, fractions):
    """The least objective over all assignments of single groups to partitions, with no empty class anywhere."""
    classes = np.repeat(np.arange(len(sizes)), sizes)
    best = np.inf
    for codes in itertools.product(range(len(fractions)), repeat=len(classes)):
        table = np.zeros((len(sizes), len(fractions)), dtype=int)
        np.add.at(table, (classes, codes), 1)
        if table.all():
            best = min(best, objective(table, sizes, fractions))
    return best


@pytest.mark.parametrize("fractions", [(0.6, 0.2, 0.2), (0.8, 0.1, 0.1), (1 / 3, 1 / 3, 1 / 3), (0.05, 0.05, 0.9)])
@pytest.mark.parametrize("sizes", [(3,), (7,), (3, 4), (3, 5), (4, 4)])
def test_counts_are_the_optimum_of_all_assignments_to_three(sizes, fractions):
    sizes, fractions = np.array(sizes), np.array(fractions)
    table = allocate(sizes, fractions)
    assert table.sum(axis=1).tolist() == sizes.tolist()
    assert table.min() >= 1
    assert objective(table, sizes, fractions) == pytest.approx(brute_force(sizes, fractions), abs=1e-9)


@pytest.mark.parametrize("fractions", [(0.8, 0.2), (0.5, 0.5), (0.3, 0.7)])
@pytest.mark.parametrize("sizes", [(2, 2, 2), (5, 2), (2, 3, 4), (9,), (6, 5), (2, 2, 2, 2)])
def test_counts_are_the_optimum_of_all_assignments_to_two(sizes, fractions):
    sizes, fractions = np.array(sizes), np.array(fractions)
    table = allocate(sizes, fractions)
    assert table.min() >= 1
    assert objective(table, sizes, fractions) == pytest.approx(brute_force(sizes, fractions), abs=1e-9)


@HYPOTHESIS
@given(
    sizes=st.lists(st.integers(3, 12), min_size=1, max_size=2), val=st.floats(0.05, 0.45), test=st.floats(0.05, 0.45)
)
def test_counts_are_the_optimum_of_all_tables(sizes, val, test):
    sizes, fractions = np.array(sizes), np.array([1 - val - test, val, test])
    rows = [[(a, b, size - a - b) for a in range(1, size - 1) for b in range(1, size - a)] for size in sizes.tolist()]
    tables = np.array(list(itertools.product(*rows)))
    table = allocate(sizes, fractions)
    assert table.min() >= 1
    assert table.sum(axis=1).tolist() == sizes.tolist()
    costs = ((tables - sizes[:, None] * fractions) ** 2).sum(axis=(1, 2))
    costs += ((tables.sum(axis=1) - sizes.sum() * fractions) ** 2).sum(axis=1)
    assert objective(table, sizes, fractions) == pytest.approx(costs.min(), abs=1e-6)


@pytest.mark.parametrize("sizes", [(EXACT_LIMIT - 1, 2), (20, 20, 20), (30, 31), (2000, 1000), (2, 500), (2,) * 40])
def test_many_groups_get_the_shares_and_every_class_in_both(sizes):
    sizes, fractions = np.array(sizes), np.array([0.75, 0.25])
    table = allocate(sizes, fractions)
    assert table.sum(axis=1).tolist() == sizes.tolist()
    assert table.min() >= 1
    assert (np.abs(table - sizes[:, None] * fractions) <= 1).all()
