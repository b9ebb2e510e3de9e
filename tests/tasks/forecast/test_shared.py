"""Couplings that are shared in an evaluation are those that each method would compute alone."""

from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc

import heldout as ho
from heldout.tasks.forecast import couplings
from heldout.tasks.forecast.couplings import coupling
from heldout.tasks.forecast.shared import shared_couplings
from tests.helpers.same import assert_same


@pytest.fixture
def snapshots():
    rng = np.random.default_rng(0)
    return rng.normal(size=(30, 3)), rng.normal(loc=1, size=(40, 3))


def same(first, second) -> bool:
    return bool((first.transition != second.transition).nnz == 0 and np.array_equal(first.mass, second.mass))


def test_the_same_cells_and_options_give_the_same_object(snapshots):
    with shared_couplings():
        first = coupling(*snapshots)
        assert coupling(*(X.copy() for X in snapshots), rng=7) is first  # no batch is drawn
        with shared_couplings():
            assert coupling(*snapshots) is first
    again = coupling(*snapshots)
    assert again is not first
    assert same(again, first)


@pytest.mark.parametrize("options", [{"epsilon": 0.1}, {"unbalanced": 1.0}, {"growth": np.arange(1.0, 31)}])
def test_other_options_are_another_coupling(snapshots, options):
    with shared_couplings():
        first, other = coupling(*snapshots), coupling(*snapshots, **options)
    assert not same(first, other)
    assert same(other, coupling(*snapshots, **options))


def test_other_cells_are_another_coupling(snapshots):
    before, after = snapshots
    changed = after.copy()
    changed[0, 0] += 1
    with shared_couplings():
        first = coupling(before, after)
        assert same(coupling(before, changed), coupling(before.copy(), changed))
        assert not same(coupling(before, changed), first)


def test_the_seed_counts_where_batches_are_drawn(snapshots):
    with shared_couplings():
        first = coupling(*snapshots, batch_size=16, rng=0)
        assert coupling(*snapshots, batch_size=16, rng=0) is first
        assert not same(coupling(*snapshots, batch_size=16, rng=1), first)


def test_a_generator_is_used_each_time(snapshots):
    with shared_couplings():
        assert coupling(*snapshots, rng=np.random.default_rng(0)) is not coupling(
            *snapshots, rng=np.random.default_rng(0)
        )


def test_an_evaluation_is_the_same_without_shared_couplings(monkeypatch):
    """The evaluation computes fewer couplings, and finds the same scores bit by bit."""
    solved, sinkhorn = [], couplings.sinkhorn

    def counted(*args):
        solved.append(1)
        return sinkhorn(*args)

    monkeypatch.setattr(couplings, "sinkhorn", counted)

    def evaluated():
        adata = ho.datasets.branching_simulated(n_cells=40, n_genes=100)
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
        ho.pp.split_time(adata, "time", test=96)
        config = ho.model.FlowConfig(max_epochs=1, n_hidden=8, n_pairs=64)
        ho.tl.forecast(adata, "time", method="flow", config=config)
        solved.clear()
        report = ho.tl.evaluate(adata, baselines=["var_ridge", "ot_linear"], n_bootstrap=5)
        return report.table, len(solved)

    shared, few = evaluated()
    monkeypatch.setattr("heldout.tasks.forecast.shared.MOST_BYTES", 0)
    alone, many = evaluated()
    assert few < 0.75 * many
    assert_same(alone, shared, "table")
