"""The branching simulation: its layout, its truth, and that the truth is true."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from heldout.datasets import branching_cells, branching_simulated
from heldout.datasets._branching import CELL_SD, CLONE_MEMORY, CLONE_SD, mean_path


@pytest.fixture(scope="module")
def adata():
    return branching_simulated(rng=1)


def mean_of(adata, **where):
    keep = np.logical_and.reduce([(adata.obs[k] == v).to_numpy() for k, v in where.items()])
    return adata.obsm["state"][keep].mean(axis=0)


def test_layout(adata):
    assert adata.shape == (1800, 500)
    assert adata.obs["time"].value_counts().to_dict() == dict.fromkeys([0, 12, 24, 36, 72, 96], 300)
    assert sparse.issparse(adata.X)
    assert adata.X.format == "csr"
    assert adata.X.dtype == np.float32
    assert (adata.X.data == np.round(adata.X.data)).all()
    assert adata.obs_names.is_unique
    assert adata.var_names.is_unique
    assert set(adata.obs["branch"][adata.obs["time"] < 18]) == {"trunk"}
    after = adata.obs[adata.obs["time"] > 18]
    assert (after["branch"].astype(str) == after["fate"].astype(str)).all()


def test_a_clone_has_one_fate_and_one_past(adata):
    """Two cells of a clone at one time have the same ancestor, which lies where the cells of that time before do."""
    assert adata.obs.groupby("clone")["fate"].nunique().max() == 1
    assert np.isnan(adata.obsm["ancestor_state"][:300]).all()
    later = adata.obs.iloc[300:]
    spread = later.assign(first=adata.obsm["ancestor_state"][300:, 0]).groupby(["time", "clone"])["first"].agg(np.ptp)
    assert spread.max() == 0
    ancestors = adata.obsm["ancestor_state"][(adata.obs["time"] == 36).to_numpy()]
    np.testing.assert_allclose(ancestors.mean(axis=0), mean_of(adata, time=24), atol=0.25)
    seen = adata.obs["time"].isin([24, 36]).to_numpy()
    states = {
        (t, c): s
        for t, c, s in zip(adata.obs["time"][seen], adata.obs["clone"][seen], adata.obsm["state"][seen], strict=True)
    }
    gaps = [
        states[24, c] - a
        for c, a in zip(adata.obs["clone"][adata.obs["time"] == 36], ancestors, strict=True)
        if (24, c) in states
    ]
    assert len(gaps) > 100
    assert np.std(gaps) == pytest.approx(CELL_SD, rel=0.15)  # all that separates a cell from its clone


def test_mean_paths_part_smoothly_and_their_change_is_their_derivative():
    course = {"start": 0.0, "end": 96.0, "branch_time": 18.0}
    t = np.linspace(0, 120, 2401)
    mean, change = mean_path(t, course)
    np.testing.assert_array_equal(mean[t <= 18, 0], mean[t <= 18, 1])
    np.testing.assert_allclose(np.gradient(mean, t, axis=0)[1:-1], change[1:-1], atol=2e-3)
    assert np.linalg.norm(mean[-1, 0] - mean[-1, 1]) > 4


def test_the_velocity_is_the_drift():
    """Of many cells over a short time: the mean step of their clones is the velocity, for each branch."""
    adata = branching_simulated(n_cells=20_000, n_genes=20, times=(0, 30, 31, 96), n_clones=20_000)
    there = (adata.obs["time"] == 31).to_numpy()
    for fate in ("A", "B"):
        ours = there & (adata.obs["fate"] == fate).to_numpy()
        before = (adata.obs["time"] == 30).to_numpy() & (adata.obs["fate"] == fate).to_numpy()
        step = adata.obsm["state"][ours].mean(axis=0) - adata.obsm["ancestor_state"][ours].mean(axis=0)
        velocity = adata.obsm["velocity"][before].mean(axis=0)
        noise = CLONE_SD * np.sqrt(2 / (CLONE_MEMORY * 96) / ours.sum()) + CELL_SD / np.sqrt(ours.sum())
        np.testing.assert_allclose(step, velocity, atol=6 * noise)
        assert np.abs(velocity).max() > 10 * noise


def test_states_and_counts_agree(adata):
    """Pooled counts of a time have the log-profile of baseline + loadings @ state."""
    for time in (0.0, 96.0):
        cells = (adata.obs["time"] == time).to_numpy()
        pooled = np.log(np.asarray(adata.X[cells].sum(axis=0)).ravel() + 0.5)
        logits = adata.var["baseline"].to_numpy() + adata.obsm["state"][cells] @ adata.varm["loadings"].T
        expected = np.exp(logits)
        expected = np.log((expected / expected.sum(axis=1, keepdims=True)).mean(axis=0))
        assert np.corrcoef(pooled, expected)[0, 1] > 0.995


def test_fate_is_seen_in_advance_but_not_certain():
    adata = branching_simulated(n_cells=4000, n_genes=20, n_clones=4000, times=(0, 18, 36), branch_time=19)
    at = (adata.obs["time"] == 18).to_numpy()
    lean = adata.obsm["state"][at, 4] > adata.obsm["state"][at, 3]
    right = (lean == (adata.obs["fate"] == "B")[at]).mean()
    assert 0.7 < right < 0.95


def test_growth_shifts_the_branches():
    adata = branching_simulated(n_cells=2000, n_genes=20, n_clones=1000, growth=0.02)
    share = adata.obs.groupby("time")["fate"].apply(lambda f: (f == "B").mean())
    odds = share / (1 - share)
    assert odds[96] / odds[12] == pytest.approx(np.exp(0.02 * 78), rel=0.25)
    assert odds[12] == pytest.approx(odds[0], rel=0.2)
    assert set(adata.obs["growth"]) == {0.0, 0.02}


def test_fresh_cells_are_of_the_same_process(adata):
    """At a time that was simulated they agree with it; in between they lie in between; they are new clones."""
    fresh = branching_cells(adata, 96, n_cells=2000)
    for fate in ("A", "B"):
        np.testing.assert_allclose(mean_of(fresh, fate=fate), mean_of(adata, time=96, fate=fate), atol=0.2)
    assert fresh.var_names.equals(adata.var_names)
    np.testing.assert_array_equal(fresh.varm["loadings"], adata.varm["loadings"])
    between = branching_cells(adata, [50, 60], n_cells=1000)
    assert between.obs["time"].unique().tolist() == [50, 60]
    assert mean_of(adata, time=36)[0] < mean_of(between, time=50)[0] < mean_of(adata, time=72)[0]
    profile = [np.log(np.asarray(a.X.sum(axis=0)).ravel() + 1) for a in (fresh, adata[adata.obs["time"] == 96])]
    assert np.corrcoef(*profile)[0, 1] > 0.99


def test_fresh_cells_of_what_was_filtered_and_stored(adata, through_file):
    again = through_file(adata[::3, 50:150].copy())
    fresh = branching_cells(again, 48, n_cells=20)
    assert fresh.shape == (20, 100)
    assert fresh.var_names.equals(adata.var_names[50:150])


def test_seeds():
    one, same, other = (branching_simulated(n_cells=20, n_genes=30, rng=r) for r in (3, 3, 4))
    assert (one.X != same.X).nnz == 0
    assert (one.X != other.X).nnz > 0
    kept = branching_simulated(n_cells=20, n_genes=30, rng=np.random.default_rng(0))
    assert kept.shape == (120, 30)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_cells": 0}, "n_cells=0"),
        ({"n_genes": 5}, "n_genes=5"),
        ({"n_clones": 1.5}, r"n_clones=1\.5"),
        ({"times": (0, 12, 12)}, "ascending order"),
        ({"times": (0,)}, "at least 2"),
        ({"times": (0, np.inf)}, "finite"),
        ({"branch_time": 96}, "branch_time=96"),
        ({"growth": 1.0}, "growth=1.0"),
        ({"rng": -1}, "rng=-1"),
    ],
)
def test_refuses(arguments, words):
    with pytest.raises(ValueError, match=words):
        branching_simulated(**arguments)


def test_fresh_cells_refuse(adata):
    with pytest.raises(ValueError, match="starts at 0"):
        branching_cells(adata, -1)
    bare = adata.copy()
    del bare.uns["branching_simulated"]
    with pytest.raises(ValueError, match="truth of a simulation"):
        branching_cells(bare, 12)
