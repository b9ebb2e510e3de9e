"""Errors and directions of predicted profiles: published numbers, plain loops, and what must not change them."""

from __future__ import annotations

from math import log2, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import pearsonr

from heldout import metrics
from tests.helpers.profiles import needs_source, panel_b, screen
from tests.helpers.properties import properties

seeds = st.integers(0, 10_000)
ROW_SCORES = {
    "l2": metrics.profile_l2,
    "rmse": metrics.profile_rmse,
    "mae": metrics.profile_mae,
    "pearson": lambda truth, prediction: metrics.pearson_delta(truth, prediction, 0.3),
    "cosine": lambda truth, prediction: metrics.cosine_logfc(truth, prediction, 0.3),
    "weighted": lambda truth, prediction: metrics.weighted_mse(truth, prediction, np.arange(np.shape(truth)[-1])),
}
BEST = {"pearson": 1.0, "cosine": 1.0}
each_score = pytest.mark.parametrize("name", ROW_SCORES)


@needs_source
def test_published_scores_of_nine_methods():
    """Ahlmann-Eltze, Huber and Anders 2025, source data of figure 1b: their l2, r2 (an r of profiles) and r2_delta."""
    methods = dict(list(panel_b().groupby("method")))
    assert len(methods) == 9
    for table in methods.values():
        truth, prediction, control = (table[name].to_numpy() for name in ("observed", "prediction", "baseline"))
        published = table[["l2", "r2", "r2_delta"]].iloc[0]
        ours = (
            metrics.profile_l2(truth, prediction),
            metrics.pearson_delta(truth, prediction, 0),
            metrics.pearson_delta(truth, prediction, control),
        )
        np.testing.assert_allclose(ours, published.to_numpy(), atol=1e-6, rtol=0)
        np.testing.assert_array_equal(table["expr_rank"].to_numpy()[metrics.top_genes(control)], np.arange(1, 1001))
    assert methods["additive_model"]["l2"].iloc[0] == pytest.approx(4.660791, abs=1e-6)
    assert methods["no_change"]["r2_delta"].isna().all()


def test_top_genes_are_the_highest_and_ties_keep_their_order():
    control = np.array([0.5, 2.0, 0.5, 3.0, 0.5])
    assert metrics.top_genes(control, 4).tolist() == [3, 1, 0, 2]
    assert metrics.top_genes(control).tolist() == [3, 1, 0, 2, 4]
    with pytest.raises(ValueError, match="n=0"):
        metrics.top_genes(control, 0)
    with pytest.raises(ValueError, match="control has 1 NaN"):
        metrics.top_genes([1.0, np.nan])


@properties(25)
@given(seed=seeds)
def test_each_score_equals_a_plain_loop(seed):
    truth, prediction, control = screen(seed)
    other = control + 0.1
    weights = np.random.default_rng(seed).uniform(size=truth.shape)
    genes = range(truth.shape[1])
    for p, (t, y) in enumerate(zip(truth, prediction, strict=True)):
        squared = sum((t[g] - y[g]) ** 2 for g in genes)
        assert metrics.profile_l2(truth, prediction)[p] == pytest.approx(sqrt(squared), abs=1e-10)
        assert metrics.profile_rmse(truth, prediction)[p] == pytest.approx(sqrt(squared / len(t)), abs=1e-10)
        mean = sum(abs(t[g] - y[g]) for g in genes) / len(t)
        assert metrics.profile_mae(truth, prediction)[p] == pytest.approx(mean, abs=1e-10)
        w = weights[p]
        weighted = sum(w[g] * (t[g] - y[g]) ** 2 for g in genes) / sum(w)
        assert metrics.weighted_mse(truth, prediction, weights)[p] == pytest.approx(weighted, abs=1e-10)
        delta = metrics.pearson_delta(truth, prediction, control, prediction_start=other)[p]
        assert delta == pytest.approx(pearsonr(t - control, y - other).statistic, abs=1e-10)
        # PerturBench: log2 of the means of log values, with 0.1 added.
        a = [log2(t[g] + 0.1) - log2(control[g] + 0.1) for g in genes]
        b = [log2(y[g] + 0.1) - log2(other[g] + 0.1) for g in genes]
        cosine = sum(x * z for x, z in zip(a, b, strict=True)) / sqrt(sum(x * x for x in a) * sum(z * z for z in b))
        ours = metrics.cosine_logfc(truth, prediction, control, prediction_control=other)[p]
        assert ours == pytest.approx(cosine, abs=1e-10)


def test_a_control_for_each_row():
    truth, prediction, control = screen(1)
    controls = control + np.arange(len(truth))[:, None] / 10
    for score in (metrics.pearson_delta, metrics.cosine_logfc):
        together = score(truth, prediction, controls)
        alone = [score(*three) for three in zip(truth, prediction, controls, strict=True)]
        np.testing.assert_allclose(together, alone, rtol=1e-12)


@each_score
def test_perfect_predictions_get_the_best_value_and_nothing_beats_it(name):
    truth, prediction, _ = screen(2)
    perfect = ROW_SCORES[name](truth, truth)
    np.testing.assert_allclose(perfect, BEST.get(name, 0.0), atol=1e-12)
    sign = 1 if name in BEST else -1
    assert (sign * ROW_SCORES[name](truth, prediction) < sign * perfect).all()


@each_score
@properties(15)
@given(seed=seeds)
def test_rows_permute_and_genes_do_not_matter(name, seed):
    truth, prediction, _ = screen(seed)
    rng = np.random.default_rng(seed)
    rows, genes = rng.permutation(len(truth)), rng.permutation(truth.shape[1])
    score = ROW_SCORES[name]
    whole = score(truth, prediction)
    np.testing.assert_array_equal(score(truth[rows], prediction[rows]), whole[rows])
    if name != "weighted":
        np.testing.assert_allclose(score(truth[:, genes], prediction[:, genes]), whole, rtol=1e-9, atol=1e-12)
    one = score(truth[0], prediction[0])
    assert isinstance(one, float)
    assert one == pytest.approx(whole[0], rel=1e-12)


@each_score
def test_what_was_not_predicted_is_nan_and_leaves_the_rest_alone(name):
    truth, prediction, _ = screen(3)
    whole = ROW_SCORES[name](truth, prediction)
    prediction[2] = np.nan
    scored = ROW_SCORES[name](truth, prediction)
    assert np.isnan(scored).tolist() == [p == 2 for p in range(len(truth))]
    np.testing.assert_array_equal(np.delete(scored, 2), np.delete(whole, 2))
    prediction[4, 1] = np.nan
    with pytest.raises(ValueError, match=r"1 NaN .* among the 9 genes of row 4 \(1 such rows\)"):
        ROW_SCORES[name](truth, prediction)
    truth[2] = np.nan
    with pytest.raises(ValueError, match="truth has 9 NaN"):
        ROW_SCORES[name](truth, prediction)


@properties(15)
@given(seed=seeds, factor=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_errors_scale_and_correlations_do_not(seed, factor, shift):
    truth, prediction, control = screen(seed)
    moved, also = factor * truth + shift, factor * prediction + shift
    for score in (metrics.profile_l2, metrics.profile_rmse, metrics.profile_mae):
        np.testing.assert_allclose(score(moved, also), factor * score(truth, prediction), rtol=1e-9)
    r = metrics.pearson_delta(truth, prediction, control)
    np.testing.assert_allclose(metrics.pearson_delta(moved, also, factor * control + shift), r, rtol=1e-7)
    larger = control + factor * (prediction - control)
    np.testing.assert_allclose(metrics.pearson_delta(truth, larger, control), r, rtol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_change_has_no_direction_whatever_the_rounding(dtype):
    truth, _, control = screen(4, n=3, n_genes=500)
    same = np.tile(control, (3, 1)).astype(dtype)
    again = np.stack([control, (control * 3 - control) / 2, (control + 0.1) - 0.1]).astype(dtype)
    for prediction in (same, again, same + dtype(0.7)):
        assert np.isnan(metrics.pearson_delta(truth, prediction, control)).all()
    for prediction in (same, again):
        assert np.isnan(metrics.cosine_logfc(truth, prediction, control)).all()


def test_fold_changes_below_zero():
    with pytest.raises(ValueError, match="not above -pseudocount"):
        metrics.log_fold_change([0.5, 0.5], [0.5, -0.2])
    assert np.isnan(metrics.log_fold_change([-0.2, 0.5], [0.5, 0.5])).tolist() == [True, False]
    raised = metrics.log_fold_change([-0.2, 0.5], [0.5, 0.5], floor=0)
    np.testing.assert_allclose(raised, [log2(0.1) - log2(0.6), 0], atol=1e-12)
    truth, control = np.array([[0.2, 1.0], [0.2, 1.0]]), np.array([0.5, 0.5])
    below = np.array([[-0.2, 1.0], [0.1, 1.0]])
    assert np.isnan(metrics.cosine_logfc(truth, below, control)).tolist() == [True, False]
    assert (metrics.cosine_logfc(truth, below, control, floor=0) > 0.9).all()
    with pytest.raises(ValueError, match="truth has values of -5"):
        metrics.cosine_logfc(-truth * 5, truth, control)
    with pytest.raises(ValueError, match="pseudocount=0"):
        metrics.log_fold_change(truth, control, pseudocount=0)


def test_the_shared_noise_of_the_control_and_its_cure():
    """Nothing happens, yet "no change" from other controls correlates. The right controls remove the correlation."""
    rng = np.random.default_rng(0)
    level = rng.gamma(1.0, size=3000)
    truth, control, train, test = level + rng.normal(scale=0.3, size=(4, 3000))
    assert metrics.pearson_delta(truth, train, control) > 0.4
    assert abs(metrics.pearson_delta(truth, train, test, prediction_start=control)) < 0.06


def test_the_shared_shift_scores_against_the_control_only():
    rng = np.random.default_rng(1)
    control, shift = rng.gamma(1.0, size=400), rng.normal(size=400)
    own = rng.normal(scale=0.4, size=(20, 400))
    truth, train = (control + shift + own[half] for half in (slice(0, 10), slice(10, 20)))
    mean = np.tile(train.mean(axis=0), (10, 1))
    assert (metrics.pearson_delta(truth, mean, control) > 0.8).all()
    assert np.isnan(metrics.pearson_delta(truth, mean, train.mean(axis=0))).all()
    weak, no_change = control + own[:10] / 4, np.tile(control, (10, 1))
    assert (metrics.pearson_delta(weak, no_change, train.mean(axis=0)) > 0.8).all()  # the other way round


def test_weights_of_scores():
    scores = np.array([[-3.0, 1.0, 2.0], [1.0, -1.0, 1.0]])
    weights = metrics.score_weights(scores)
    np.testing.assert_allclose(weights[0], [1, 0, 0.25], atol=1e-12)
    assert np.isnan(weights[1]).all()
    truth, prediction = np.zeros((2, 3)), np.array([[1.0, 7.0, 2.0], [1.0, 1.0, 1.0]])
    scored = metrics.weighted_mse(truth, prediction, weights)
    assert scored[0] == pytest.approx((1 + 0.25 * 4) / 1.25, abs=1e-12)
    assert np.isnan(scored[1])
    with pytest.raises(ValueError, match="weights has 1 negative"):
        metrics.weighted_mse(truth, prediction, [-1.0, 1.0, 1.0])


@properties(20)
@given(seed=seeds)
def test_variance_ratio_equals_the_variances_of_what_is_drawn(seed):
    truth, prediction, _ = screen(seed)
    plain = prediction.var(axis=0).sum() / truth.var(axis=0).sum()
    assert metrics.variance_ratio(truth, prediction) == pytest.approx(plain, rel=1e-10)
    draws = np.random.default_rng(seed).multinomial(6, np.full(6, 1 / 6), size=4)
    ratios = metrics.variance_ratio(truth, prediction, weights=draws)
    for draw, ratio in zip(draws, ratios, strict=True):
        rows = np.repeat(np.arange(6), draw)
        expected = prediction[rows].var(axis=0).sum() / truth[rows].var(axis=0).sum()
        assert ratio == pytest.approx(expected, rel=1e-9)
    assert metrics.variance_ratio(truth, 3 * prediction + 1) == pytest.approx(9 * plain, rel=1e-9)


def test_variance_ratio_of_a_collapsed_prediction_is_exactly_zero():
    truth, prediction, control = screen(5)
    assert metrics.variance_ratio(truth, np.tile(control, (6, 1))) == 0
    assert metrics.variance_ratio(truth, truth) == 1
    prediction[0] = np.nan
    expected = metrics.variance_ratio(truth[1:], prediction[1:])
    assert metrics.variance_ratio(truth, prediction) == pytest.approx(expected, rel=1e-12)
    assert np.isnan(metrics.variance_ratio(np.tile(control, (6, 1)), prediction))
    assert np.isnan(metrics.variance_ratio(truth, prediction, weights=[5, 1, 0, 0, 0, 0]))
    assert np.isnan(metrics.variance_ratio(truth, np.full_like(truth, np.nan)))
    with pytest.raises(ValueError, match=r"weights has shape \(2,\)"):
        metrics.variance_ratio(truth, prediction, weights=[1, 1])


def test_shapes_are_checked():
    truth, prediction, control = screen(6)
    for score in ROW_SCORES.values():
        with pytest.raises(ValueError, match=r"\(6, 9\) and prediction \(5, 9\)"):
            score(truth, prediction[:5])
        with pytest.raises(TypeError, match="prediction is sparse"):
            score(truth, sparse.csr_matrix(prediction))
        with pytest.raises(ValueError, match=r"prediction has shape \(0, 9\)"):
            score(truth, prediction[:0])
    with pytest.raises(ValueError, match=r"start has shape \(8,\)"):
        metrics.pearson_delta(truth, prediction, control[:8])
    with pytest.raises(ValueError, match=r"prediction_control has shape \(6,\)"):
        metrics.cosine_logfc(truth, prediction, control, prediction_control=np.ones(6))
