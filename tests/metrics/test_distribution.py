"""Distances between sets of cells, against POT, scipy, plain loops, and the collapsed predictor."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import rbf_kernel

from heldout import metrics

DISTANCES = {
    "energy": metrics.energy_distance,
    "mmd": metrics.mmd,
    "W1": metrics.wasserstein,
    "W2": lambda X, Y: metrics.wasserstein(X, Y, p=2),
    "sinkhorn": lambda X, Y: metrics.wasserstein(X, Y, method="sinkhorn"),
    "variance": metrics.variance_error,
    "correlation": metrics.correlation_error,
}
seeds = st.integers(0, 10_000)


def clouds(seed: int, n: int = 25, m: int = 18, d: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(m, d)) * rng.uniform(0.5, 2, size=d) + rng.normal(size=d)


def u_statistic(k: np.ndarray) -> float:
    return (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))


def brute_energy(X: np.ndarray, Y: np.ndarray) -> float:
    return 2 * cdist(X, Y).mean() - u_statistic(cdist(X, X)) - u_statistic(cdist(Y, Y))


@settings(max_examples=40, deadline=None)
@given(seed=seeds, block=st.integers(1, 40), offset=st.sampled_from([0.0, 1e6]), twins=st.booleans())
def test_energy_distance_equals_all_pairs(seed, block, offset, twins):
    """Far from the origin, and with (nearly) equal cells, the shortcut for distances would lose digits."""
    X, Y = clouds(seed)
    if twins:
        X[:9], Y[:5], Y[5:9] = X[0], X[0], X[0] + 1e-7
    expected = brute_energy(X, Y)
    assert metrics.energy_distance(X, Y, block=block) == pytest.approx(expected, abs=1e-10)
    if offset:
        moved = metrics.energy_distance(X + offset, Y + offset, block=block)
        assert moved == pytest.approx(brute_energy(X + offset, Y + offset), abs=1e-10)


@pytest.mark.parametrize("d", [50, 300])
def test_energy_distance_of_wide_data(d):
    X, Y = clouds(0, n=300, m=200, d=d)
    Y[:150] = Y[0]  # so many close pairs that a block is computed the long way
    X[:3] = X[0]
    assert metrics.energy_distance(X, Y, block=64) == pytest.approx(brute_energy(X, Y), abs=1e-10)
    assert metrics.energy_distance(X.astype(np.float32), Y) == pytest.approx(
        brute_energy(X.astype(np.float32).astype(float), Y), abs=1e-10
    )


@pytest.mark.parametrize("seed", range(5))
def test_energy_distance_equals_scipy_less_the_cells_paired_with_themselves(seed):
    """scipy: the square root of the V-statistic, whose means include the zero distance of a cell to itself."""
    X, Y = clouds(seed, d=1)
    biased = scipy.stats.energy_distance(X.ravel(), Y.ravel()) ** 2
    bias = cdist(X, X).mean() / (len(X) - 1) + cdist(Y, Y).mean() / (len(Y) - 1)
    assert metrics.energy_distance(X, Y) == pytest.approx(biased - bias, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=seeds, block=st.integers(1, 40))
def test_mmd_equals_scikit_learn_kernels(seed, block):
    X, Y = clouds(seed)
    widths = [0.5, 1.7, 4.0]

    def kernel(a, b):
        return np.mean([rbf_kernel(a, b, gamma=1 / (2 * w**2)) for w in widths], axis=0)

    expected = u_statistic(kernel(X, X)) + u_statistic(kernel(Y, Y)) - 2 * kernel(X, Y).mean()
    assert metrics.mmd(X, Y, bandwidths=widths, block=block) == pytest.approx(expected, abs=1e-12)


def test_bandwidths_are_medians():
    X, Y = clouds(1)
    both = np.concatenate([X, Y])
    median = np.median(cdist(both, both)[np.triu_indices(len(both), 1)])
    np.testing.assert_allclose(metrics.median_bandwidths(both, factors=(1, 3)), [median, 3 * median])
    given_ = metrics.mmd(X, Y, bandwidths=median * np.array([0.5, 1, 2]))
    assert metrics.mmd(X, Y) == pytest.approx(given_, abs=1e-12)
    rng = np.random.default_rng(0)
    many = rng.normal(size=(2500, 3))
    np.testing.assert_array_equal(
        metrics.median_bandwidths(many), metrics.median_bandwidths(many[rng.permutation(2500)])
    )
    with pytest.raises(ValueError, match="coincide"):
        metrics.median_bandwidths(np.ones((5, 2)))


@pytest.mark.parametrize("name", ["energy", "mmd"])
def test_two_samples_of_one_distribution_are_at_zero_on_average(name):
    """Seven cells each, where counting a cell with itself would add more than a third of the mean distance."""
    rng = np.random.default_rng(0)
    options = {"bandwidths": [3.0]} if name == "mmd" else {}
    scores = np.array([DISTANCES[name](*rng.normal(size=(2, 7, 5)), **options) for _ in range(3000)])
    assert abs(scores.mean()) < 4 * scores.std() / np.sqrt(3000)
    assert (scores < 0).mean() > 0.3


@pytest.mark.parametrize("p", [1, 2])
def test_wasserstein_equals_pot(p):
    X, Y = clouds(2)
    cost = cdist(X, Y) ** p
    assert metrics.wasserstein(X, Y, p=p) == pytest.approx(ot.emd2([], [], cost) ** (1 / p), abs=1e-12)
    own = metrics.wasserstein(X, Y, p=p, method="sinkhorn", regularisation=0.1)
    share = [np.full(len(Z), 1 / len(Z)) for Z in (X, Y)]
    theirs = ot.sinkhorn2(*share, cost, 0.1 * cost.mean(), stopThr=1e-12, numItermax=100_000) ** (1 / p)
    assert own == pytest.approx(theirs, rel=1e-6)
    exact = metrics.wasserstein(X, Y, p=p)
    close = metrics.wasserstein(X, Y, p=p, method="sinkhorn", regularisation=0.005)
    assert exact - 1e-6 < close < own
    assert close == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_wasserstein_in_one_dimension_equals_scipy(seed):
    X, Y = clouds(seed, d=1)
    assert metrics.wasserstein(X, Y) == pytest.approx(scipy.stats.wasserstein_distance(X.ravel(), Y.ravel()), abs=1e-12)
    same = X + 3
    assert metrics.wasserstein(X, same, p=2) == pytest.approx(3, abs=1e-9)


def test_wasserstein_draws_rows_whatever_their_order():
    X, Y = clouds(3, n=60, m=50)
    drawn = metrics.wasserstein(X, Y, n_max=20)
    shuffled = [Z[np.random.default_rng(0).permutation(len(Z))] for Z in (X, Y)]
    assert metrics.wasserstein(*shuffled, n_max=20) == pytest.approx(drawn, rel=1e-12)
    assert drawn != metrics.wasserstein(X, Y, n_max=20, rng=1)
    assert drawn != metrics.wasserstein(X, Y)


def test_sinkhorn_says_when_it_did_not_converge():
    X, Y = clouds(4)
    with pytest.warns(UserWarning, match="did not converge at regularisation=1e-06"):
        metrics.wasserstein(X, Y, method="sinkhorn", regularisation=1e-6)
    assert metrics.wasserstein(np.ones((3, 2)), np.ones((4, 2)), method="sinkhorn") == 0


def test_spread_and_correlation_equal_numpy():
    X, Y = clouds(5)
    spread = np.sqrt(sum((X[:, g].std(ddof=1) - Y[:, g].std(ddof=1)) ** 2 for g in range(4)))
    assert metrics.variance_error(X, Y) == pytest.approx(spread, rel=1e-12)
    pairs = np.triu_indices(4, 1)
    difference = (np.corrcoef(X.T) - np.corrcoef(Y.T))[pairs]
    assert metrics.correlation_error(X, Y) == pytest.approx(np.sqrt(np.mean(difference**2)), rel=1e-12)


def test_genes_that_do_not_vary():
    X, Y = clouds(6)
    without = metrics.correlation_error(X[:, 1:], Y[:, 1:])
    flat = X.copy()
    flat[:, 0] = 0.1
    assert metrics.correlation_error(flat, Y) == pytest.approx(without, rel=1e-12)
    r = np.corrcoef(X.T)[np.triu_indices(4, 1)]
    assert metrics.correlation_error(X, metrics.collapse(X)) == pytest.approx(np.sqrt(np.mean(r**2)), rel=1e-12)
    assert np.isnan(metrics.correlation_error(metrics.collapse(X), Y))


@pytest.mark.parametrize("name", DISTANCES)
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_neither_place_nor_order_nor_side_matters(name, seed):
    distance = DISTANCES[name]
    rng = np.random.default_rng(seed)
    X, Y = clouds(seed)
    score, tolerance = distance(X, Y), {"abs": 1e-5 if name == "sinkhorn" else 1e-10}
    assert distance(Y, X) == pytest.approx(score, **tolerance)
    assert distance(X[rng.permutation(25)], Y[rng.permutation(18)]) == pytest.approx(score, **tolerance)
    shift = 10 * rng.normal(size=4)
    assert distance(X + shift, Y + shift) == pytest.approx(score, **tolerance)


@pytest.mark.parametrize("name", ["energy", "mmd", "W1", "W2", "sinkhorn"])
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_rotation_does_not_matter_and_scale_is_the_unit(name, seed):
    distance = DISTANCES[name]
    X, Y = clouds(seed)
    rotation = scipy.stats.ortho_group.rvs(4, random_state=seed)
    tolerance = {"abs": 1e-5 if name == "sinkhorn" else 1e-10}
    assert distance(X @ rotation, Y @ rotation) == pytest.approx(distance(X, Y), **tolerance)
    unit = 1 if name == "mmd" else 3
    assert distance(3 * X, 3 * Y) == pytest.approx(unit * distance(X, Y), **tolerance)


def mixture(rng: np.random.Generator, n: int, *, apart: float) -> np.ndarray:
    """Three cell states in 50 dimensions, with correlated genes."""
    centres, mixing = np.random.default_rng(7).normal(size=(3, 50)), np.random.default_rng(8).normal(size=(50, 50))
    return apart * centres[rng.integers(3, size=n)] + rng.normal(size=(n, 50)) @ (np.eye(50) + 0.05 * mixing)


@pytest.mark.parametrize("apart", [0.3, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_collapsed_predictor_loses(seed, apart):
    rng = np.random.default_rng(seed)
    truth, sample = mixture(rng, 500, apart=apart), mixture(rng, 500, apart=apart)
    collapsed = metrics.collapse(truth)
    good, bad = (metrics.distribution_scores(truth, Y) for Y in (sample, collapsed))
    assert list(good) == ["energy_distance", "mmd", "variance_error"]
    for name in good:
        assert bad[name] > 10 * abs(good[name]), name
    assert metrics.correlation_error(truth, collapsed) > metrics.correlation_error(truth, sample)
    floor = metrics.split_half(truth, metrics.energy_distance).mean()
    assert metrics.skill(good["energy_distance"], bad["energy_distance"], floor) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_the_collapsed_predictor_wins_by_wasserstein(seed):
    """Unless the states lie far apart, which is why the distance is not among the default scores."""
    rng = np.random.default_rng(seed)
    truth, sample = mixture(rng, 500, apart=0.3), mixture(rng, 500, apart=0.3)
    for p in (1, 2):
        assert metrics.wasserstein(truth, metrics.collapse(truth), p=p) < metrics.wasserstein(truth, sample, p=p)
    truth, sample = mixture(rng, 500, apart=1.0), mixture(rng, 500, apart=1.0)
    assert metrics.wasserstein(truth, metrics.collapse(truth)) > metrics.wasserstein(truth, sample)


@pytest.mark.parametrize(("p", "fresh", "mean"), [(1, 7.7, 7.0), (2, 7.8, 7.0)])
def test_the_distances_of_the_docstring(p, fresh, mean):
    truth, sample = np.random.default_rng(0).normal(size=(2, 500, 50))
    assert metrics.wasserstein(truth, sample, p=p) == pytest.approx(fresh, abs=0.1)
    assert metrics.wasserstein(truth, metrics.collapse(truth), p=p) == pytest.approx(mean, abs=0.1)


def test_the_debiased_sinkhorn_divergence_does_not_save_wasserstein():
    """The statement of the docstring, with the same small regularisation in all three terms."""
    rng = np.random.default_rng(0)
    truth, sample = rng.normal(size=(2, 200, 50))
    collapsed = metrics.collapse(truth)

    def divergence(Y):
        regularisation = 0.02 * cdist(truth, truth, "sqeuclidean").mean()
        terms = [
            metrics.wasserstein(A, B, p=2, method="sinkhorn", regularisation=share) ** 2
            for A, B in ((truth, Y), (truth, truth), (Y, Y))
            for share in [min(1.0, regularisation / max(cdist(A, B, "sqeuclidean").mean(), 1e-9))]
        ]
        return terms[0] - (terms[1] + terms[2]) / 2

    assert divergence(collapsed) < divergence(sample)


def test_default_scores_rank_with_the_kernel_of_the_truth():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(100, 5))
    near, far = truth + 3, truth + 300
    scores = [metrics.distribution_scores(truth, Y)["mmd"] for Y in (near, far)]
    assert scores[0] < scores[1]
    widths = metrics.median_bandwidths(truth)
    assert scores[0] == pytest.approx(metrics.mmd(truth, near, bandwidths=widths), abs=1e-12)


@pytest.mark.parametrize("name", [*DISTANCES, "all"])
def test_refused(name):
    distance = DISTANCES.get(name, metrics.distribution_scores)
    X, Y = clouds(0)
    for bad, words in [
        (Y[:, :3], "4 columns and .* 3"),
        (Y[:1], "at least 2"),
        (Y[0], "one row per cell"),
        (Y[:0], "not empty"),
        (np.where(np.eye(18, 4) > 0, np.nan, Y), "4 NaN"),
    ]:
        with pytest.raises(ValueError, match=words):
            distance(X, bad)
    with pytest.raises(TypeError, match="sparse"):
        distance(sparse.csr_array(X), Y)


def test_options_are_checked():
    X, Y = clouds(0)
    for options, words in [
        ({"p": 3}, "p=3"),
        ({"method": "approximate"}, "'exact', 'sinkhorn'"),
        ({"regularisation": 0.0}, "regularisation=0.0"),
        ({"n_max": 1}, "n_max=1"),
    ]:
        with pytest.raises(ValueError, match=words):
            metrics.wasserstein(X, Y, **options)
    with pytest.raises(ValueError, match="must all be > 0"):
        metrics.mmd(X, Y, bandwidths=[1.0, 0.0])
    with pytest.raises(ValueError, match="block=0"):
        metrics.energy_distance(X, Y, block=0)
