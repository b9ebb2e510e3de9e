"""Identities of the Virtual Cell Challenge's scores, and its profiles and noise against a plain jackknife."""

from __future__ import annotations

from math import log1p

import numpy as np
import pytest
from scipy import sparse

from heldout import metrics

PARTS = {
    2025: ["mae", "pds", "des"],
    2026: ["pds", "expression_mse", "direction_fidelity", "direction_reach", "de_jaccard", "lfc_nmae"],
}


def counts(seed: int, n: int = 30, n_genes: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.poisson(rng.gamma(2.0, size=n_genes) * rng.gamma(3.0, size=(n, 1)))


def test_profile_and_noise_equal_leaving_out_one_cell_at_a_time(array_type):
    X = counts(0, n=600)
    profile, noise = metrics.bulk_profile(array_type(X))
    np.testing.assert_allclose(profile, [log1p(5e4 * g / X.sum()) for g in X.sum(axis=0)], rtol=1e-12)
    without = np.array([np.log1p(5e4 * np.delete(X, i, 0).sum(0) / np.delete(X, i, 0).sum()) for i in range(600)])
    assert noise == pytest.approx(599 / 600 * ((without - without.mean(0)) ** 2).sum(), rel=1e-9)


def test_the_noise_is_that_of_the_profile():
    """Over 400 fresh groups of cells the profiles vary by what the jackknife says of one."""
    found = [metrics.bulk_profile(counts_of_one_kind(seed)) for seed in range(400)]
    variance = np.var([profile for profile, _ in found], axis=0, ddof=1).sum()
    assert np.mean([noise for _, noise in found]) == pytest.approx(variance, rel=0.1)


def counts_of_one_kind(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.poisson(np.linspace(1, 8, 12) * rng.gamma(3.0, size=(40, 1)))


def screen(seed: int, n: int = 5):
    profiles = [metrics.bulk_profile(counts(10 * seed + p)) for p in range(n + 1)]
    control, control_noise = profiles[0]
    truth, noise = np.array([p for p, _ in profiles[1:]]), np.array([c for _, c in profiles[1:]])
    return truth, control, {"truth_noise": noise, "control_noise": control_noise}


def test_error_identities():
    truth, control, noise = screen(0)
    controls = np.tile(control, (5, 1))
    few = {
        "truth_noise": noise["truth_noise"],
        "control_noise": noise["truth_noise"].min() / 2,
    }  # of many control cells
    no_change = metrics.expression_mse(truth, controls, control, prediction_noise=few["control_noise"], **few)
    assert no_change == pytest.approx(1, abs=1e-12)
    plain = {"truth_noise": np.zeros(5), "control_noise": 0.0}
    assert metrics.expression_mse(truth, controls, control, **plain) == pytest.approx(1, abs=1e-12)
    assert metrics.expression_mse(truth, truth, control, **plain) == 0
    half = (truth + control) / 2
    assert metrics.expression_mse(truth, half, control, **plain) == pytest.approx(0.25, abs=1e-12)


def test_error_equals_a_loop_and_leaves_out_what_it_should():
    truth, control, noise = screen(1)
    rng = np.random.default_rng(1)
    prediction = truth + rng.normal(scale=0.3, size=truth.shape)
    sampled, targets = rng.uniform(0, 2, size=5) * noise["truth_noise"], np.array([3, -1, 0, 5, 5])
    above = below = 0.0
    for p in (0, 1, 3, 4):
        genes = [g for g in range(12) if g != targets[p]]
        own = noise["truth_noise"][p]
        above += sum((prediction[p, g] - truth[p, g]) ** 2 for g in genes) - min(sampled[p], own) - own
        below += sum((truth[p, g] - control[g]) ** 2 for g in genes) - own - noise["control_noise"]
    prediction[2] = np.nan
    options = {"prediction_noise": sampled, "exclude": targets, **noise}
    ours = metrics.expression_mse(truth, prediction, control, **options)
    assert ours == pytest.approx(above / below, rel=1e-10)
    draws = rng.multinomial(5, np.full(5, 0.2), size=6)
    for draw, value in zip(
        draws, metrics.expression_mse(truth, prediction, control, weights=draws, **options), strict=True
    ):
        rows = np.repeat(np.arange(5), draw)
        again = {name: v if np.ndim(v) == 0 else v[rows] for name, v in options.items()}
        assert value == pytest.approx(metrics.expression_mse(truth[rows], prediction[rows], control, **again), rel=1e-9)


def test_error_of_a_replicate_is_zero_on_average():
    """Truth and prediction are two groups of cells of the same kind: their noise is taken off."""
    control = metrics.bulk_profile(counts(99))
    pairs = [
        (metrics.bulk_profile(counts_of_one_kind(s)), metrics.bulk_profile(counts_of_one_kind(s + 1000)))
        for s in range(200)
    ]
    truth, noise = np.array([a[0] for a, _ in pairs]), np.array([a[1] for a, _ in pairs])
    other, other_noise = np.array([b[0] for _, b in pairs]), np.array([b[1] for _, b in pairs])
    options = {"truth_noise": noise, "control_noise": control[1], "prediction_noise": np.minimum(other_noise, noise)}
    corrected = metrics.expression_mse(truth, other, control[0], **options)
    zero = {"truth_noise": np.zeros(200), "control_noise": 0.0}
    assert abs(corrected) < 0.25 * metrics.expression_mse(truth, other, control[0], **zero)


def test_no_signal_has_no_error():
    truth, control, _ = screen(2)
    assert np.isnan(metrics.expression_mse(truth, truth, control, truth_noise=np.full(5, 1e6), control_noise=0.0))


@pytest.mark.parametrize("edition", PARTS)
def test_the_baseline_has_zero_and_the_best_has_one(edition):
    rng = np.random.default_rng(edition)
    baseline = dict(zip(PARTS[edition], rng.uniform(0.3, 0.5, size=6), strict=False))
    baseline |= {"expression_mse": 0.99, "lfc_nmae": 1.0} if edition == 2026 else {}
    best = {n: 0.04 if n in ("expression_mse", "lfc_nmae") else 0.9 for n in PARTS[2026]} if edition == 2026 else None
    perfect = best or {"mae": 0.0, "pds": 1.0, "des": 1.0}
    assert set(metrics.challenge_score(baseline, baseline, best, edition=edition).values()) == {0.0}
    assert list(metrics.challenge_score(baseline, baseline, best, edition=edition)) == [*PARTS[edition], "score"]
    top = metrics.challenge_score(perfect, baseline, best, edition=edition)
    assert list(top.values()) == pytest.approx([1.0] * len(top), abs=1e-12)


def test_scaled_parts_equal_their_formulas_and_are_not_clipped():
    scores = {"mae": 0.5, "pds": 0.2, "des": 0.6}
    baseline = {"mae": 0.1, "pds": 0.5, "des": 0.2}
    found = metrics.challenge_score(scores, baseline, edition=2025)
    expected = [1 - 0.5 / 0.1, (0.2 - 0.5) / (1 - 0.5), (0.6 - 0.2) / (1 - 0.2)]
    assert list(found.values()) == pytest.approx([*expected, np.mean(expected)], abs=1e-10)
    rng = np.random.default_rng(0)
    u, b, r = ({n: float(v) for n, v in zip(PARTS[2026], rng.uniform(size=6), strict=True)} for _ in range(3))
    for name in PARTS[2026]:
        b[name], r[name] = sorted([b[name], r[name]], reverse=name in ("expression_mse", "lfc_nmae"))
    found = metrics.challenge_score(u, b, r)
    expected = [(u[n] - b[n]) / (r[n] - b[n]) for n in PARTS[2026]]
    assert list(found.values()) == pytest.approx([*expected, np.mean(expected)], abs=1e-10)
    r["pds"] = b["pds"]
    assert np.isnan(metrics.challenge_score(u, b, r)["score"])


def test_what_does_not_fit_is_refused():
    truth, control, noise = screen(3)
    for bad in (
        np.zeros((0, 3)),
        np.array([[1, -1]]),
        np.zeros((3, 4)),
        sparse.csr_matrix((4, 3)),
        np.array([[np.nan, 1]]),
    ):
        with pytest.raises(ValueError, match="raw counts"):
            metrics.bulk_profile(bad)
    assert np.isnan(metrics.bulk_profile(counts(0)[:1])[1])
    with pytest.raises(ValueError, match="1 negative"):
        metrics.expression_mse(truth, truth, control, truth_noise=noise["truth_noise"], control_noise=-1.0)
    with pytest.raises(ValueError, match=r"truth_noise has shape \(4,\)"):
        metrics.expression_mse(truth, truth, control, truth_noise=noise["truth_noise"][1:], control_noise=0.0)
    with pytest.raises(ValueError, match=r"weights has shape \(4,\)"):
        metrics.expression_mse(truth, truth, control, weights=np.ones(4), **noise)
    with pytest.raises(ValueError, match="needs replicate"):
        metrics.challenge_score({}, {})
    with pytest.raises(ValueError, match="has no replicate"):
        metrics.challenge_score({}, {}, {}, edition=2025)
    with pytest.raises(ValueError, match="scores has no des; edition=2025"):
        metrics.challenge_score({"mae": 1, "pds": 1}, {}, edition=2025)
