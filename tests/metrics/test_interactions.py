"""Additivity, classes, the empirical null against R's locfdr, and simulations with known truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.interpolate import CubicSpline
from scipy.stats import norm

import heldout as ho
from heldout.metrics.empirical_null import _smooth
from tests.helpers.screens import HYPOTHESIS

CHANGES = st.floats(-3, 3).map(lambda x: round(x, 2))


def quantiles(n):
    """The same "normal sample" everywhere."""
    return norm.ppf((np.arange(n) + 0.5) / n)


# --- additivity and classes -------------------------------------------------------------------------------------------


def test_additive_expectation():
    a, b, c, control = np.random.default_rng(0).normal(2, 1, (4, 3, 5))
    np.testing.assert_allclose(ho.metrics.additive_expectation(a, b, control), a + b - control)
    three = ho.metrics.additive_expectation(a, b, control, further=[c])
    np.testing.assert_allclose(three - control, (a - control) + (b - control) + (c - control))
    np.testing.assert_allclose(ho.metrics.additive_expectation(a, b, control[0]), a + b - control[0])
    np.testing.assert_allclose(ho.metrics.additive_expectation(a, control, control), a)
    with pytest.raises(ValueError, match="single_b has 1 NaN"):
        ho.metrics.additive_expectation([1.0], [np.nan], [1.0])


@pytest.mark.parametrize(
    ("a", "b", "both", "wanted"),
    [
        (1, 0.5, 1.2, "buffering"),
        (-1, -0.5, -1.2, "buffering"),
        (1, 0.5, 0, "buffering"),
        (1, 0.5, 1.5, "buffering"),  # at the sum itself, which only a shifted null can call
        (1, 0.5, 2, "synergistic"),
        (-1, -0.5, -2, "synergistic"),
        (1, 0.5, -0.1, "opposite"),
        (-1, -0.5, 0.1, "opposite"),
        (1, -0.5, 2, "other"),
        (1, 0, 2, "other"),
        (0, 0, 2, "other"),
    ],
)
def test_interaction_classes(a, b, both, wanted):
    def name(*, called):
        return ho.metrics.interaction_classes([a], [b], [both], called=np.array([called])).tolist()

    assert name(called=True) == [wanted]
    assert name(called=False) == ["additive"]


def test_interaction_classes_of_three():
    one = ho.metrics.interaction_classes([1, 1], [1, 1], [2, 2], called=np.array([True, True]), further=[[1, -1]])
    assert one.tolist() == ["buffering", "other"]
    with pytest.raises(ValueError, match="called is bool of shape"):
        ho.metrics.interaction_classes([1], [1, 2], [2], called=np.array([True]))


@HYPOTHESIS
@given(arrays(float, (3, 6), elements=CHANGES))
def test_class_does_not_depend_on_order_nor_on_direction(changes):
    a, b, both = changes
    called = np.ones(6, dtype=bool)
    found = ho.metrics.interaction_classes(a, b, both, called=called)
    np.testing.assert_array_equal(found, ho.metrics.interaction_classes(b, a, both, called=called))
    np.testing.assert_array_equal(found, ho.metrics.interaction_classes(-a, -b, -both, called=called))


# --- the empirical null -----------------------------------------------------------------------------------------------

# Results of locfdr 1.1-8 in R 4.2.2 with its defaults: delta, sigma, p0, number with fdr < 0.05, and for the bins 10,
# 30, ..., 110 the density and the fdr.
LOCFDR = {
    "usual": (
        np.concatenate([0.05 * quantiles(9500), 0.4 + 0.1 * quantiles(500)]),
        (-0.00000299, 0.05000797, 0.95009735, 488),
        (30.33157, 486.38753, 4.3001311, 12.761245, 9.9965857, 0.96344273),
        (0.97559948, 1, 0.18198637, 9.9980073e-09, 2.0843948e-19, 3.5381009e-33),
    ),
    "peak narrower than the knots are apart": (
        np.concatenate([0.005 + 0.058 * quantiles(117_000), 0.5 * quantiles(6000), -1 + 0.1 * quantiles(1000)]),
        (0.00499905, 0.05822452, 0.95272371, 5265),
        (2.220446e-16, 38.976333, 193.82561, 30.84989, 0.0256782, 2.220446e-16),
        (5.8594243e-142, 3.2178094e-56, 3.2032576e-05, 0.00051164268, 8.0250694e-52, 6.2221684e-140),
    ),
}


@pytest.mark.parametrize("case", LOCFDR)
def test_empirical_null_is_that_of_locfdr(case):
    values, (delta, sigma, p0, n_called), density, fdr = LOCFDR[case]
    null = ho.metrics.empirical_null(values)
    np.testing.assert_allclose([null.delta, null.sigma, null.p0], [delta, sigma, p0], atol=2e-6)
    bins = np.arange(9, 110, 20)
    np.testing.assert_allclose(null.density[bins], density, rtol=1e-4)
    np.testing.assert_allclose(null.fdr[bins], fdr, rtol=2e-3, atol=1e-12)
    low, high = null.cutoffs(0.05)
    assert ((values <= low) | (values >= high)).sum() == n_called


def test_density_is_the_poisson_regression():
    sm = pytest.importorskip("statsmodels.api")
    counts, edges = np.histogram(LOCFDR["usual"][0], bins=119)
    centres = (edges[1:] + edges[:-1]) / 2
    knots = np.linspace(centres[0], centres[-1], 8)
    columns = [CubicSpline(knots, unit, bc_type="natural")(centres) for unit in np.eye(8)]
    glm = sm.GLM(counts, np.stack(columns, axis=1), family=sm.families.Poisson()).fit(tol=1e-12)
    np.testing.assert_allclose(_smooth(centres, counts, 7), glm.mu, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("p0", [1.0, 0.95, 0.85])
def test_the_null_is_recovered_and_the_fdr_holds(p0):
    shares, nulls = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        other = rng.random(20_000) >= p0
        values = rng.normal(0.01, 0.06, 20_000) + other * rng.choice([-1, 1], 20_000) * rng.gamma(8, 0.06, 20_000)
        null = ho.metrics.empirical_null(values)
        low, high = null.cutoffs(0.05)
        called = (values <= low) | (values >= high)
        shares.append((called & ~other).sum() / max(called.sum(), 1))
        nulls.append((null.delta, null.sigma, null.p0))
        if p0 < 1:
            assert called[other].mean() > 0.7
        else:
            assert called.sum() <= 5
    delta, sigma, share = np.mean(nulls, axis=0)
    assert abs(delta - 0.01) < 0.002
    assert abs(sigma / 0.06 - 1) < 0.05
    assert abs(share - p0) < 0.03
    if p0 < 1:
        assert np.mean(shares) <= 0.05


@HYPOTHESIS
@given(st.floats(0.01, 100), st.floats(-5, 5))
def test_the_null_has_the_unit_of_the_values(scale, shift):
    values = np.concatenate([quantiles(1900), 5 + quantiles(100)])
    plain, moved = ho.metrics.empirical_null(values), ho.metrics.empirical_null(scale * values + shift)
    assert moved.delta == pytest.approx(scale * plain.delta + shift, abs=1e-4 * scale)
    assert moved.sigma == pytest.approx(scale * plain.sigma, rel=1e-4)
    assert moved.p0 == pytest.approx(plain.p0, rel=1e-4)
    at = np.array([-3.0, 0.0, 3.0, 5.0])
    np.testing.assert_allclose(moved.local_fdr(scale * at + shift), plain.local_fdr(at), atol=2e-2)


def test_cutoffs():
    values = LOCFDR["usual"][0]
    null = ho.metrics.empirical_null(values)
    low, high = null.cutoffs(0.05)
    assert low == -np.inf  # nothing stands out below
    assert null.local_fdr(high) == pytest.approx(0.05)
    assert null.cutoffs(0.01)[1] > high > null.cutoffs(0.2)[1] > null.delta + null.sigma
    assert null.local_fdr(null.delta) == 1
    with pytest.raises(ValueError, match=r"fdr=5 must be a number in \(0, 1\)"):
        null.cutoffs(5)


def test_values_far_out():
    """The peak is in one bin, so no iteration converges. The density must be finite, and outliers must be called."""
    values = np.append(0.06 * quantiles(50_000), [15.0, -20.0])
    null = ho.metrics.empirical_null(values)
    assert np.isfinite(null.density).all()
    low, high = null.cutoffs(0.05)
    assert values[(values <= low) | (values >= high)].tolist() == [15.0, -20.0]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros(100), "has 100 entries"),
        (np.append(np.zeros(300), np.nan), "NaN"),
        (np.append(np.zeros(300), quantiles(200)), "no width"),
        (np.concatenate([0.05 * quantiles(150_000) - 1, 0.05 * quantiles(150_000) + 1]), "not peaked"),
    ],
)
def test_no_null(values, words):
    with pytest.raises(ValueError, match=words):
        ho.metrics.empirical_null(values)


@pytest.mark.parametrize("width", [0.02, 0.1, 0.2])
@pytest.mark.parametrize("shift", [0, 1e-9, 0.1])
def test_two_peaks_are_refused_without_a_warning(width, shift):
    """The likelihood has no maximum here, and whether a search overflows on its way would depend on last digits."""
    half = width * quantiles(150_000)
    with pytest.raises(ValueError, match="not peaked"):
        ho.metrics.empirical_null(np.concatenate([half - 1, half + 1 + shift]))


def test_null_does_not_depend_on_last_digits():
    values = np.concatenate([0.05 * quantiles(9500), 0.4 + 0.1 * quantiles(500)])
    null = ho.metrics.empirical_null(values)
    for again in (ho.metrics.empirical_null(values[::-1]), ho.metrics.empirical_null(values * (1 + 1e-15))):
        np.testing.assert_allclose([again.delta, again.sigma, again.p0], [null.delta, null.sigma, null.p0], rtol=1e-11)
    scaled = ho.metrics.empirical_null(values * 1e-6 + 3)  # about 10 digits are left
    np.testing.assert_allclose([scaled.sigma, scaled.p0], [null.sigma * 1e-6, null.p0], rtol=1e-7)
