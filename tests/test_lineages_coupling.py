"""Couplings and chains on arrays, against POT and against what is known."""

from __future__ import annotations

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import logsumexp

from heldout.tasks.forecast import couplings
from heldout.tasks.forecast.couplings import Coupling, coupling, sample_chains


def clouds(n0=60, n1=80, d=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n0, d)), rng.normal(size=(n1, d)) + 0.5


def plan_of(found: Coupling) -> np.ndarray:
    return found.transition.toarray() * (found.mass / len(found.mass))[:, None]


def given_transition(rows, mass=None) -> Coupling:
    rows = np.asarray(rows, dtype=float)
    mass = np.ones(len(rows)) if mass is None else np.asarray(mass, dtype=float)
    return Coupling(sparse.csr_array(rows), mass / mass.mean(), 0.0, 0.0, 1, 1)


@pytest.mark.parametrize("epsilon", [0.5, 0.05, 0.01])
@pytest.mark.parametrize("grow", [False, True])
def test_balanced_is_that_of_pot(epsilon, grow):
    X0, X1 = clouds()
    growth = np.random.default_rng(1).uniform(0.3, 3, len(X0)) if grow else np.ones(len(X0))
    found = coupling(X0, X1, epsilon=epsilon, growth=growth if grow else None)
    M = ot.dist(X0, X1)
    a, b = growth / growth.sum(), np.full(len(X1), 1 / len(X1))
    reference = ot.sinkhorn(
        a, b, M / np.median(M), epsilon, method="sinkhorn_log", stopThr=1e-10, numItermax=100_000, warn=False
    )
    assert np.abs(plan_of(found) - reference).sum() < 2e-3
    assert found.converged
    np.testing.assert_allclose(found.transition.sum(axis=1), 1)


@pytest.mark.parametrize("unbalanced", [0.05, 1.0])
def test_unbalanced_is_that_of_pot(unbalanced):
    X0, X1 = clouds()
    growth = np.random.default_rng(1).uniform(0.3, 3, len(X0))
    found = coupling(X0, X1, epsilon=0.05, growth=growth, unbalanced=unbalanced)
    M = ot.dist(X0, X1)
    reference = ot.unbalanced.sinkhorn_unbalanced(
        growth / growth.sum(),
        np.full(len(X1), 1 / len(X1)),
        M / np.median(M),
        0.05,
        (unbalanced, np.inf),
        reg_type="kl",
        c=np.ones(M.shape),  # POT's "entropy", without its warning
        numItermax=50_000,
        stopThr=1e-12,
    )
    assert np.abs(plan_of(found) - reference).sum() < 2e-3


def test_a_small_epsilon_does_not_underflow():
    X0, X1 = clouds(30, 30)
    X1[0] += 100  # an outlier whose kernel would be 0 in every row
    found = coupling(X0, X1, epsilon=0.02)
    np.testing.assert_allclose(plan_of(found).sum(axis=0), 1 / 30, atol=1e-4)
    exact = ot.emd(np.full(30, 1 / 30), np.full(30, 1 / 30), ot.dist(X0, X1))
    cost = ot.dist(X0, X1)
    assert (plan_of(found) * cost).sum() < 1.05 * (exact * cost).sum()


def test_unbalanced_lets_cells_die():
    """Two groups of cells of which one has no descendants: balanced forces some on it."""
    rng = np.random.default_rng(0)
    X0 = np.vstack([rng.normal(size=(40, 2)), rng.normal(size=(40, 2)) + 20])
    X1 = rng.normal(size=(60, 2))
    free, held = (coupling(X0, X1, epsilon=0.05, unbalanced=u) for u in (0.1, None))
    np.testing.assert_allclose(held.mass, 1, atol=1e-3)
    assert free.mass[40:].mean() < 0.05 * free.mass[:40].mean()


def test_it_warns_of_what_has_not_converged(monkeypatch):
    monkeypatch.setattr(couplings, "_MAX_ITERATIONS", 3)
    with pytest.warns(UserWarning, match=r"has not converged after 3 iterations.*Raise epsilon"):
        found = coupling(*clouds(), epsilon=0.01)
    assert not found.converged


def test_errors_are_those_of_the_marginals():
    """A plan that was stopped early is as wrong as it says."""
    X0, X1 = clouds()
    cost = ot.dist(X0, X1)
    plan, source_error, target_error, n_iterations = couplings._sinkhorn(cost, np.full(60, 1 / 60), 0.05, np.inf)
    assert source_error == pytest.approx(np.abs(plan.sum(axis=1) - 1 / 60).sum(), rel=1e-6)
    assert target_error < 1e-12
    assert source_error <= 1e-4
    assert n_iterations > 10


@settings(max_examples=25, deadline=None)
@given(n0=st.integers(2, 40), n1=st.integers(2, 40), batch=st.integers(2, 12), seed=st.integers(0, 99))
def test_batches_meet_every_cell_equally_often(n0, n1, batch, seed):
    draws = list(couplings._batches(n0, n1, batch, np.random.default_rng(seed)))
    assert len(draws) == couplings._DRAWS
    for pairs in draws:
        rows = np.bincount(np.concatenate([first for first, _ in pairs]), minlength=n0)
        columns = np.bincount(np.concatenate([second for _, second in pairs]), minlength=n1)
        assert rows.min() == rows.max() >= 1
        assert columns.min() == columns.max() >= 1
        assert all(1 <= len(first) <= batch and 1 <= len(second) <= batch for first, second in pairs)


@pytest.mark.parametrize(("n0", "n1"), [(300, 300), (90, 400), (400, 90)])
def test_minibatches_approach_the_whole(n0, n1):
    """The mean descendant of each cell is nearly that of the whole problem, far nearer than at random."""
    rng = np.random.default_rng(0)
    X0 = rng.normal(size=(n0, 3)) + 8 * rng.integers(2, size=(n0, 1))
    X1 = rng.normal(size=(n1, 3)) + 8 * rng.integers(2, size=(n1, 1)) + 1
    whole = coupling(X0, X1, epsilon=0.05)
    parts = coupling(X0, X1, epsilon=0.05, batch_size=100)
    assert parts.n_problems > whole.n_problems == 1
    assert parts.transition.shape == (n0, n1)
    np.testing.assert_allclose(parts.transition.sum(axis=1), 1)
    np.testing.assert_allclose(parts.mass.mean(), 1)
    gap = np.sqrt((((parts.transition - whole.transition) @ X1) ** 2).sum(axis=1).mean())
    spread = np.sqrt(((whole.transition @ X1 - X1.mean(axis=0)) ** 2).sum(axis=1).mean())
    assert gap < 0.25 * spread
    reached = parts.mass @ parts.transition.toarray() / n0
    assert np.abs(reached - 1 / n1).sum() < 0.15


def test_thinned_rows_are_true_on_average():
    rng = np.random.default_rng(0)
    plan = rng.random((3, 50)) ** 4
    counts = np.zeros(plan.shape)
    for _ in range(2000):
        columns = couplings._thinned(plan, plan.sum(axis=1), rng).reshape(3, -1)
        for row in range(3):
            counts[row] += np.bincount(columns[row], minlength=50)
    np.testing.assert_allclose(
        counts / counts.sum(axis=1, keepdims=True), plan / plan.sum(axis=1, keepdims=True), atol=2e-3
    )


def test_chains_follow_the_transition():
    first = given_transition([[0.5, 0.5, 0], [0, 0.25, 0.75]])
    second = given_transition([[1, 0], [0.5, 0.5], [0, 1]])
    chains = sample_chains([first, second], 20_000, rng=0)
    assert chains.dtype == np.int32
    assert chains.shape == (20_000, 3)
    share = np.zeros((2, 3, 2))
    np.add.at(share, tuple(chains.T), 1 / len(chains))
    expected = 0.5 * first.transition.toarray()[:, :, None] * second.transition.toarray()[None]
    np.testing.assert_allclose(share, expected, atol=0.01)


def test_chains_follow_growth_by_brute_force():
    rng = np.random.default_rng(3)
    steps = [
        given_transition(rng.dirichlet(np.ones(4), 3), rng.uniform(0.2, 3, 3)),
        given_transition(rng.dirichlet(np.ones(2), 4), rng.uniform(0.2, 3, 4)),
    ]
    chains = sample_chains(steps, 40_000, rng=0)
    share = np.zeros((3, 4, 2))
    np.add.at(share, tuple(chains.T), 1 / len(chains))
    one, two = (s.transition.toarray() * s.mass[:, None] for s in steps)
    expected = one[:, :, None] * two[None]
    np.testing.assert_allclose(share, expected / expected.sum(), atol=0.01)


def test_chains_end_evenly_whatever_the_growth():
    (X0, X1), (X2, _) = clouds(50, 60), clouds(70, 2, seed=4)
    growth = np.random.default_rng(0).uniform(0.2, 4, 50)
    steps = [coupling(X0, X1, growth=growth), coupling(X1, X2, unbalanced=1.0)]
    counts = np.bincount(sample_chains(steps, 70_000, rng=0)[:, -1], minlength=70)
    # every cell of the last snapshot has its share of ancestors; only the mass of the middle one may tilt it
    assert np.abs(counts / 1000 - 1).max() < 0.2


def test_seeds_decide():
    X0, X1 = clouds()
    found = coupling(X0, X1)
    np.testing.assert_array_equal(sample_chains([found], 50, rng=1), sample_chains([found], 50, rng=1))
    assert (sample_chains([found], 50, rng=1) != sample_chains([found], 50, rng=2)).any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"epsilon": 0}, "epsilon=0"),
        ({"epsilon": np.nan}, "epsilon=nan"),
        ({"unbalanced": -1.0}, r"unbalanced=-1\.0"),
        ({"growth": np.ones(3)}, "growth must be 60"),
        ({"growth": np.zeros(60)}, "growth must be 60"),
        ({"batch_size": 1}, "batch_size=1"),
    ],
)
def test_refuses_options(arguments, words):
    with pytest.raises(ValueError, match=words):
        coupling(*clouds(), **arguments)


def test_refuses_arrays():
    X0, X1 = clouds()
    with pytest.raises(ValueError, match="must be"):
        coupling(X0, X1[:, :3])
    with pytest.raises(ValueError, match="NaN"):
        coupling(X0, np.where(X1 > 2, np.nan, X1))
    with pytest.raises(ValueError, match="one point"):
        coupling(np.zeros((5, 2)), np.zeros((6, 2)))
    found = coupling(X0, X1)
    with pytest.raises(ValueError, match="do not join"):
        sample_chains([found, found], 10)
    with pytest.raises(ValueError, match="do not join"):
        sample_chains([], 10)
    with pytest.raises(ValueError, match="n_chains=0"):
        sample_chains([found], 0)


def test_log_domain_reference_agrees():
    """An independent textbook iteration in logarithms, on a problem of a few cells."""
    X0, X1 = clouds(7, 5)
    M = ot.dist(X0, X1)
    eps = 0.1 * np.median(M)
    f, g = np.zeros(7), np.zeros(5)
    for _ in range(20_000):
        f = -eps * logsumexp((g - M) / eps - np.log(5), axis=1)
        g = -eps * logsumexp((f[:, None] - M) / eps - np.log(7), axis=0)
    reference = np.exp((f[:, None] + g - M) / eps) / 35
    assert np.abs(plan_of(coupling(X0, X1, epsilon=0.1)) - reference).sum() < 5e-4
