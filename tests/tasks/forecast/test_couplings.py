"""Couplings and chains on arrays, against textbook iterations, linear programmes and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linear_sum_assignment, linprog, minimize
from scipy.spatial.distance import cdist
from scipy.special import logsumexp, softmax
from scipy.stats import norm

from heldout.tasks.forecast import couplings, sinkhorn
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


def squared(X0, X1):
    """Squared distances and their median."""
    M = cdist(X0, X1, "sqeuclidean")
    return M, float(np.median(M))


def textbook(M, a, eps, rho=np.inf):
    """Sinkhorn's plan, each iteration wholly in logarithms, until it stands."""
    b = np.full(M.shape[1], 1 / M.shape[1])
    power = 1 if np.isinf(rho) else rho / (rho + eps)
    g = np.zeros(len(b))
    moved = np.inf
    while moved > 1e-7:
        f = power * eps * (np.log(a) - logsumexp((g - M) / eps, axis=1))
        new = eps * (np.log(b) - logsumexp((f[:, None] - M) / eps, axis=0))
        moved, g = np.abs(new - g).max() / eps, new
    return np.exp((f[:, None] + g - M) / eps)


def growing(n, grow=True):
    growth = np.random.default_rng(1).uniform(0.3, 3, n) if grow else np.ones(n)
    return growth, growth / growth.sum()


@pytest.mark.parametrize("epsilon", [0.5, 0.05, 0.01])
@pytest.mark.parametrize("grow", [False, True])
def test_balanced_is_that_of_a_textbook(epsilon, grow):
    X0, X1 = clouds(40, 50)
    growth, a = growing(40, grow)
    found = coupling(X0, X1, epsilon=epsilon, growth=growth if grow else None)
    M, scale = squared(X0, X1)
    assert np.abs(plan_of(found) - textbook(M, a, epsilon * scale)).sum() < 2e-3
    assert found.converged
    np.testing.assert_allclose(found.transition.sum(axis=1), 1)
    np.testing.assert_allclose(found.mass / 40, a)


@pytest.mark.parametrize("unbalanced", [0.01, 0.05, 1.0])
@pytest.mark.parametrize("epsilon", [0.5, 0.05, 0.01])
def test_unbalanced_is_that_of_a_textbook(epsilon, unbalanced):
    X0, X1 = clouds(40, 50)
    X0[0] += 30  # one cell that has no descendant
    growth, a = growing(40)
    found = coupling(X0, X1, epsilon=epsilon, growth=growth, unbalanced=unbalanced)
    M, scale = squared(X0, X1)
    assert np.abs(plan_of(found) - textbook(M, a, epsilon * scale, unbalanced * scale)).sum() < 2e-3
    assert found.converged


def test_unbalanced_is_the_least_of_what_it_minimises():
    """A general minimiser, over all plans of which the second marginal is even, finds the same one."""
    X0, X1 = clouds(5, 4, d=2)
    growth, a = growing(5)
    M, scale = squared(X0, X1)
    M, eps, rho = M / scale, 0.2, 0.5

    def plan(logits):
        return softmax(logits.reshape(M.shape), axis=0) / 4

    def objective(logits):
        P = plan(logits)
        rows = P.sum(axis=1)
        return (P * M).sum() + eps * (P * np.log(P)).sum() + rho * (rows * np.log(rows / a)).sum()

    best = minimize(objective, np.zeros(M.size), method="BFGS", options={"gtol": 1e-7})
    found = coupling(X0, X1, epsilon=eps, unbalanced=rho, growth=growth)
    np.testing.assert_allclose(plan_of(found), plan(best.x), atol=1e-4)


def test_a_free_growth_leaves_each_descendant_its_own_choice():
    X0, X1 = clouds(30, 40)
    M, scale = squared(X0, X1)
    growth, _ = growing(30)
    found = coupling(X0, X1, epsilon=0.1, unbalanced=1e-6, growth=growth)
    np.testing.assert_allclose(plan_of(found), softmax(-M / (0.1 * scale), axis=0) / 40, atol=1e-5)


def test_a_tight_growth_is_balanced():
    X0, X1 = clouds(30, 40)
    growth, _ = growing(30)
    tight, balanced = (coupling(X0, X1, epsilon=0.2, unbalanced=u, growth=growth) for u in (1000, None))
    assert np.abs(plan_of(tight) - plan_of(balanced)).sum() < 1e-2


@pytest.mark.parametrize("unbalanced", [None, 1.0])
def test_at_much_entropy_descendants_are_independent(unbalanced):
    X0, X1 = clouds(30, 40)
    growth, a = growing(30)
    plan = plan_of(coupling(X0, X1, epsilon=1e4, growth=growth, unbalanced=unbalanced))
    expected = a if unbalanced is None else np.full(30, 1 / 30)  # entropy outweighs the growth, too
    np.testing.assert_allclose(plan, np.outer(expected, np.full(40, 1 / 40)), rtol=5e-3)


def test_cost_is_near_that_of_the_linear_programme():
    """Above the least cost by no more than eps times the largest entropy of a plan."""
    X0, X1 = clouds(8, 10)
    growth, a = growing(8)
    M, scale = squared(X0, X1)
    marginals = np.vstack([np.kron(np.eye(8), np.ones(10)), np.kron(np.ones(8), np.eye(10))])
    least = linprog(M.ravel(), A_eq=marginals, b_eq=np.r_[a, np.full(10, 0.1)]).fun
    found = coupling(X0, X1, epsilon=0.01, growth=growth)
    cost = (plan_of(found) * M).sum()
    assert least * (1 - 1e-3) < cost < least + 0.01 * scale * np.log(80)
    assert cost < 1.03 * least


@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_normal_distributions_have_a_closed_form(epsilon):
    """Covariance of cell and descendant, (sqrt(4 s² t² + v²) − v) / 2 with v half of eps (Janati et al. 2020)."""
    s, t = 1.0, 2.0
    at = norm.ppf((np.arange(500) + 0.5) / 500)
    X0, X1 = s * at[:, None], 3 + t * at[:, None]
    _, scale = squared(X0, X1)
    v = epsilon * scale / 2
    covariance = (plan_of(coupling(X0, X1, epsilon=epsilon)) * np.outer(X0, X1 - 3)).sum()
    assert covariance == pytest.approx((np.sqrt(4 * s**2 * t**2 + v**2) - v) / 2, rel=0.02)


def test_a_small_epsilon_does_not_underflow():
    X0, X1 = clouds(30, 30)
    X1[0] += 100  # an outlier whose kernel would be 0 in every row
    found = coupling(X0, X1, epsilon=0.02)
    np.testing.assert_allclose(plan_of(found).sum(axis=0), 1 / 30, atol=1e-4)
    cost, _ = squared(X0, X1)
    assert (plan_of(found) * cost).sum() < 1.05 * cost[linear_sum_assignment(cost)].mean()


def test_unbalanced_lets_cells_die():
    """Two groups of cells of which one has no descendants: balanced forces some on it."""
    rng = np.random.default_rng(0)
    X0 = np.vstack([rng.normal(size=(40, 2)), rng.normal(size=(40, 2)) + 20])
    X1 = rng.normal(size=(60, 2))
    free, held = (coupling(X0, X1, epsilon=0.05, unbalanced=u) for u in (0.1, None))
    np.testing.assert_allclose(held.mass, 1, atol=1e-3)
    assert free.mass[40:].mean() < 0.05 * free.mass[:40].mean()


@pytest.mark.parametrize("unbalanced", [None, 1.0])
def test_it_warns_of_what_has_not_converged(monkeypatch, unbalanced):
    """Once and in our words; POT's own warnings stay inside."""
    monkeypatch.setattr(sinkhorn, "MAX_ITERATIONS", 3)
    with pytest.warns(UserWarning, match=r"has not converged after 3 iterations.*Raise epsilon") as caught:
        found = coupling(*clouds(), epsilon=0.01, unbalanced=unbalanced)
    assert len(caught) == 1
    assert not found.converged
    assert found.n_iterations == 3


def test_only_our_warning_leaves_when_numbers_break_down(monkeypatch):
    """Growth over more orders of magnitude than numbers have digits makes POT warn of numerical errors."""
    monkeypatch.setattr(sinkhorn, "MAX_ITERATIONS", 100)
    rng = np.random.default_rng(0)
    X0, X1 = rng.normal(size=(40, 3)), rng.normal(size=(30, 3))
    with pytest.warns(UserWarning, match="has not converged") as caught:
        found = coupling(X0, X1, epsilon=0.001, unbalanced=10.0, growth=np.exp(30 * rng.normal(size=40)))
    assert len(caught) == 1
    assert np.isfinite(found.transition.data).all()
    assert np.isfinite(found.mass).all()


@pytest.mark.parametrize("error", [(np.nan, 0.0), (0.0, np.nan), (0.0, 1e-3)])
def test_an_error_that_is_no_number_is_no_convergence(error):
    assert not Coupling(sparse.csr_array(np.eye(2)), np.ones(2), *error, 1, 1).converged


@pytest.mark.parametrize("n_max", [3, 5000])
def test_errors_are_those_of_the_marginals(monkeypatch, n_max):
    """A plan that was stopped early is as wrong as it says."""
    monkeypatch.setattr(sinkhorn, "MAX_ITERATIONS", n_max)
    cost, _ = squared(*clouds())
    plan, source_error, target_error, n_iterations = sinkhorn.sinkhorn(cost, np.full(60, 1 / 60), 0.05, np.inf)
    assert source_error == pytest.approx(np.abs(plan.sum(axis=1) - 1 / 60).sum(), abs=1e-12)
    assert target_error == pytest.approx(np.abs(plan.sum(axis=0) - 1 / 80).sum(), abs=1e-12)
    assert source_error < 1e-12
    assert (target_error <= 1e-4) == (n_max > 3)
    assert (n_iterations == 3) == (n_max == 3)


def test_slow_flow_between_groups_takes_few_iterations():
    """Two groups of other sizes at each time, with a little mass between them: Sinkhorn alone takes thousands."""
    rng = np.random.default_rng(0)
    X0 = np.vstack([rng.normal(size=(30, 2)), rng.normal(size=(20, 2)) + 3.5])
    X1 = np.vstack([rng.normal(size=(20, 2)), rng.normal(size=(30, 2)) + 3.5])
    cost, scale = squared(X0, X1)
    a, eps = np.full(50, 1 / 50), 0.02 * scale
    plan, *errors, n_iterations = sinkhorn.sinkhorn(cost, a, eps, np.inf)
    assert max(errors) < 1e-8
    assert n_iterations < 300
    np.testing.assert_allclose(plan, textbook(cost, a, eps), atol=1e-5 * plan.max())


@pytest.mark.parametrize("away", [1e1, 1e3, 1e5])
@pytest.mark.parametrize("smallest", [1.0, 1e-40])
def test_costs_and_growth_beyond_single_precision(away, smallest):
    """A single precision that cannot hold the cost or the growth is not used."""
    X0, X1 = clouds(40, 50)
    X1[0] += away
    growth = np.r_[np.ones(39), smallest]
    found = coupling(X0, X1, epsilon=0.05, growth=growth)
    assert found.converged
    M, scale = squared(X0, X1)
    if away < 1e3 and smallest == 1:
        np.testing.assert_allclose(plan_of(found), textbook(M, growth / 40, 0.05 * scale), atol=1e-6)
    np.testing.assert_allclose(plan_of(found).sum(axis=0), 1 / 50, atol=1e-8)


def test_unbalanced_errors_bound_what_is_left_to_do():
    cost, scale = squared(*clouds(40, 50))
    _, a = growing(40)
    plan, source_error, target_error, _ = sinkhorn.sinkhorn(cost, a, 0.05 * scale, 0.2 * scale)
    assert target_error < 1e-12
    assert 0 < source_error <= 1e-4
    assert np.abs(plan - textbook(cost, a, 0.05 * scale, 0.2 * scale)).sum() < 1e-3


def test_refuses_a_plan_that_underflows():
    cost, scale = squared(*clouds(20, 20))
    growth = np.r_[np.full(19, 1.0), 0.0]  # smaller than any number once it is a share
    with pytest.raises(ValueError, match="underflows"):
        sinkhorn.sinkhorn(cost, growth / 19, 0.05 * scale, np.inf)


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
    with pytest.raises(ValueError, match="do not fit: each needs as many rows"):
        sample_chains([found, found], 10)
    with pytest.raises(ValueError, match="do not fit: each needs as many rows"):
        sample_chains([], 10)
    with pytest.raises(ValueError, match="n_chains=0"):
        sample_chains([found], 0)
