"""The curve of true positives against false discoveries: by brute force, and against the published source data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls
from sklearn.metrics import average_precision_score

import heldout as ho
from tests.helpers.paths import DATA
from tests.helpers.screens import HYPOTHESIS

PUBLISHED = DATA / "ahlmann_eltze2025" / "perturbation_prediction.xlsx"
CUTOFFS = (-0.4, 0.6)


def case(n, seed, *, decimals=None):
    rng = np.random.default_rng(seed)
    additive, deviation = rng.normal(2, 1, n), rng.normal(0, 0.5, n)
    predicted = 0.5 * deviation + rng.normal(0, 0.4, n)
    predicted = predicted if decimals is None else predicted.round(decimals)
    return additive + deviation, additive + predicted, additive


@HYPOTHESIS
@given(st.integers(2, 60), st.integers(0, 1000))
def test_curve_by_brute_force(n, seed):
    observed, predicted, additive = case(n, seed)
    truth = [d <= CUTOFFS[0] or d >= CUTOFFS[1] for d in observed - additive]
    order = sorted(range(n), key=lambda i: -abs(predicted[i] - additive[i]))
    hits = [sum(truth[i] for i in order[:size]) for size in range(1, n + 1)]
    curve = ho.metrics.interaction_curve(observed, predicted, additive, cutoffs=CUTOFFS)
    np.testing.assert_array_equal(curve.n_found, hits)
    np.testing.assert_allclose(curve.fdp, [1 - h / size for size, h in enumerate(hits, start=1)], atol=1e-12)
    assert curve.prevalence == pytest.approx(sum(truth) / n)
    for level in (0.0, 0.05, 0.3, 1.0):
        if hits[-1]:
            best = (
                max([h for size, h in enumerate(hits, start=1) if 1 - h / size <= level + 1e-12], default=0) / hits[-1]
            )
            assert curve.tpr_at(level) == pytest.approx(best)
        else:
            assert np.isnan(curve.tpr_at(level))


@HYPOTHESIS
@given(st.integers(20, 100), st.integers(0, 1000))
def test_ties(n, seed):
    """Average precision is scikit-learn's; the rate within ties is that of random orders, on average."""
    observed, predicted, additive = case(n, seed, decimals=1)
    truth = ((observed - additive) <= CUTOFFS[0]) | ((observed - additive) >= CUTOFFS[1])
    curve = ho.metrics.interaction_curve(observed, predicted, additive, cutoffs=CUTOFFS)
    score = np.abs(predicted - additive).round(6)
    assert len(curve.n_found) == len(np.unique(score))
    if truth.any():
        assert curve.average_precision == pytest.approx(average_precision_score(truth, score))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_no_deviation_is_chance(dtype):
    """Predicting additivity is no order, whatever the rounding of the sum."""
    rng = np.random.default_rng(0)
    a, b, control = rng.normal(2, 1, (3, 40, 50))
    additive = a + b - control
    observed = additive + rng.normal(0, 0.4, additive.shape)
    predicted = (b.astype(dtype) - control.astype(dtype)) + a.astype(dtype)
    curve = ho.metrics.interaction_curve(observed, predicted, additive, cutoffs=CUTOFFS)
    assert len(curve.n_found) == 1
    assert curve.average_precision == curve.prevalence
    chance = 1 - curve.prevalence
    assert curve.tpr_at([0.05, chance - 0.01, chance + 0.01]).tolist() == [0, 0, 1]


def test_asymmetric_cutoffs_and_arrays_of_them():
    observed, predicted, additive = case(500, 0)
    unit = np.full(500, 2.0)
    one = ho.metrics.interaction_curve(observed, predicted, additive, cutoffs=CUTOFFS)
    same = ho.metrics.interaction_curve(
        observed, predicted, additive, cutoffs=(CUTOFFS[0] / 2 * unit, CUTOFFS[1] / 2 * unit)
    )
    np.testing.assert_array_equal(one.n_found, same.n_found)
    above = ho.metrics.interaction_curve(observed, predicted, additive, cutoffs=(-np.inf, 0.6))
    assert above.n_interactions == ((observed - additive) >= 0.6).sum() < one.n_interactions


def test_scores_have_intervals_over_combinations():
    rng = np.random.default_rng(1)
    additive = rng.normal(2, 1, (30, 100))
    deviation = rng.normal(0, 0.4, (30, 100))
    methods = {
        "no_change": np.full((30, 100), 2.0),
        "good": additive + deviation + rng.normal(0, 0.3, (30, 100)),
        "none": additive,
    }
    asked = {"cutoffs": CUTOFFS, "n_bootstrap": 100}
    scores = ho.metrics.interaction_scores(additive + deviation, methods, additive, **asked)
    again = ho.metrics.interaction_scores(additive + deviation, methods, additive, **asked)
    assert scores == again
    assert list(scores["good"]) == ["average_precision", "tpr_at_5", "tpr_at_20", "tpr_at_50", "excess"]
    for name, of_method in scores.items():
        curve = ho.metrics.interaction_curve(additive + deviation, methods[name], additive, cutoffs=CUTOFFS)
        assert of_method["average_precision"].estimate == pytest.approx(curve.average_precision)
        assert of_method["tpr_at_50"].estimate == pytest.approx(curve.tpr_at(0.5))
        assert of_method["average_precision"].low < curve.average_precision < of_method["average_precision"].high
    assert scores["no_change"]["excess"] == (0, 0, 0, 30, 0)
    assert scores["good"]["excess"].low > 0
    two = ho.metrics.interaction_scores(
        additive[:2] + deviation[:2], {"a": additive[:2] + 1}, additive[:2], cutoffs=CUTOFFS
    )
    assert np.isnan(two["a"]["average_precision"].low)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"predicted": np.zeros((2, 3))}, "predicted has shape"),
        ({"observed": np.full((2, 2), np.nan)}, "NaN"),
        ({"cutoffs": (1, -1)}, "cutoffs"),
    ],
)
def test_refused(change, words):
    arguments = {
        "observed": np.ones((2, 2)),
        "predicted": np.ones((2, 2)),
        "additive": np.ones((2, 2)),
        "cutoffs": (-1, 1),
    }
    with pytest.raises(ValueError, match=words):
        ho.metrics.interaction_curve(**{**arguments, **change})
    with pytest.raises(ValueError, match="predictions is empty"):
        ho.metrics.interaction_scores(np.ones((2, 2)), {}, np.ones((2, 2)), cutoffs=(-1, 1))


# --- published source data --------------------------------------------------------------------------------------------

needs_published = pytest.mark.skipif(not PUBLISHED.is_file(), reason=f"{PUBLISHED} not found; set HELDOUT_DATA_DIR")


@pytest.fixture(scope="module")
def published():
    pytest.importorskip("openpyxl")
    return pd.read_excel(PUBLISHED, sheet_name=["Panel B", "Panel C", "Panel E", "Panel F"])


@needs_published
def test_published_calls_and_classes(published):
    """All 4,001 published labels follow from two cut-offs, and from where the observed change lies.

    The sheet has no single perturbations: two equal members stand for any two of one direction.
    """
    panel = published["Panel F"]
    deviation = (panel["ground_truth"] - panel["ref"]).to_numpy()
    called = (panel["interaction_label"] != "Additive").to_numpy()
    low, high = deviation[called & (deviation < 0)].max(), deviation[called & (deviation > 0)].min()
    assert deviation[~called].min() > low
    assert deviation[~called].max() < high
    np.testing.assert_allclose([low, high], [-0.21423, 0.20284], atol=1e-5)
    half = ((panel["ref"] - panel["baseline"]) / 2).to_numpy()
    change = (panel["ground_truth"] - panel["baseline"]).to_numpy()
    found = ho.metrics.interaction_classes(half, half, change, called=called)
    agree = (panel["interaction_label"] != "Other").to_numpy()
    words = {"Additive": "additive", "Buffering": "buffering", "Synergy": "synergistic"}
    assert found[agree].tolist() == [words[label] for label in panel["interaction_label"][agree]]
    assert published["Panel E"].set_index("label").loc[["Buffering", "Synergy", "Other"], "n"].sum() == 5035


@needs_published
def test_published_curve(published):
    """The first points of all eight curves of panel C, from the largest predicted deviations in panel F.

    Panel F holds the top 500 of each method. Its authors' curve of a seed is sorted by false discovery proportion, with
    the running maximum of the true positive rate, interpolated (ties averaged), and averaged over seeds. Only the
    number of interactions among the 62,000 values of each seed is not in the file, five numbers for 48 points; it must
    be about 5,035 / 2.
    """
    panel, curves = published["Panel F"], published["Panel C"].set_index(["method", "fdp"])["tpr"]
    levels = [0.0, 0.01, 0.02, 0.03, 0.04, 0.05]
    found, wanted = [], []
    for method, rows in panel.groupby("method"):
        found.append(np.stack([_published_form(seed, levels) for _, seed in rows.groupby("seed")], axis=1))
        wanted.append(curves.loc[method].loc[levels].to_numpy())
    found, wanted = np.concatenate(found) / 5, np.concatenate(wanted)
    assert found.shape == (48, 5)
    one_over_n, _ = nnls(found / wanted[:, None], np.ones(48))
    np.testing.assert_allclose(found @ one_over_n, wanted, rtol=0.03)
    assert ((1 / one_over_n > 1500) & (1 / one_over_n < 3500)).all()
    assert np.mean(1 / one_over_n) == pytest.approx(5035 / 2, rel=0.1)


def _published_form(rows, levels):
    """Number of interactions found by a seed's predictions at each level, as the authors interpolate them."""
    curve = ho.metrics.interaction_curve(rows["ground_truth"], rows["value"], rows["ref"], cutoffs=(-0.2137, 0.2016))
    order = np.argsort(curve.fdp, kind="stable")
    frame = pd.DataFrame({"fdp": curve.fdp[order], "found": np.maximum.accumulate(curve.n_found[order])})
    mean = frame.groupby("fdp")["found"].mean()
    return np.interp(levels, mean.index, mean, left=0)


@needs_published
def test_published_combination(published):
    """The combination of panel B: additivity is chance, and no network is clearly better than no change."""
    panel = published["Panel B"].pivot(index="gene_name", columns="method", values="prediction")
    truth = published["Panel B"].drop_duplicates("gene_name").set_index("gene_name").loc[panel.index]
    labels = (
        published["Panel F"].query("perturbation == 'CEBPE+CEBPB'").drop_duplicates("gene_name").set_index("gene_name")
    )
    deviation = truth["observed"] - panel["additive_model"]
    called = (deviation < -0.2137) | (deviation > 0.2016)
    assert (called[labels.index] == (labels["interaction_label"] != "Additive")).all()
    scores = {
        name: ho.metrics.interaction_curve(
            truth["observed"], panel[name], panel["additive_model"], cutoffs=(-0.2137, 0.2016)
        ).average_precision
        for name in panel.columns
    }
    assert scores["additive_model"] == pytest.approx(called.mean())
    assert scores["no_change"] == pytest.approx(0.61, abs=0.01)
    assert max(scores.values()) < scores["no_change"] + 0.02
