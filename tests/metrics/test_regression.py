"""Scores of values and changes, skill, floor and interval, against scikit-learn, scipy and plain loops."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn import metrics as sklearn

from heldout import metrics

ERRORS = [(metrics.rmse, sklearn.root_mean_squared_error), (metrics.mae, sklearn.mean_absolute_error)]
SCORES = [metrics.rmse, metrics.mae, metrics.r2]


def tables(seed: int, n: int = 12, n_genes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    level = rng.normal(scale=5, size=n_genes)
    return level + rng.normal(size=(n, n_genes)), level + rng.normal(size=(n, n_genes))


@pytest.mark.parametrize("seed", range(5))
def test_values_equal_scikit_learn(seed):
    truth, prediction = tables(seed)
    means = truth.mean(axis=0), prediction.mean(axis=0)
    for ours, theirs in [*ERRORS, (metrics.r2, sklearn.r2_score)]:
        assert ours(truth, prediction) == pytest.approx(theirs(truth.ravel(), prediction.ravel()), rel=1e-12)
        assert ours(truth[:, 0], prediction[:, 0]) == pytest.approx(theirs(truth[:, 0], prediction[:, 0]), rel=1e-12)
        by_gene = ours(truth, prediction, average="per_gene")
        np.testing.assert_allclose(by_gene, theirs(truth, prediction, multioutput="raw_values"), rtol=1e-12)
        assert ours(truth, prediction, average="of_means") == pytest.approx(theirs(*means), rel=1e-12)


def test_a_constant_gene_has_no_r2():
    truth, prediction = tables(0)
    truth[:, 2] = 0.1  # its mean over 12 rows is not exactly 0.1
    score = metrics.r2(truth, prediction, average="per_gene")
    assert np.isnan(score).tolist() == [False, False, True, False, False]
    others = np.delete(truth, 2, axis=1), np.delete(prediction, 2, axis=1)
    assert np.nanmean(score) == pytest.approx(sklearn.r2_score(*others), rel=1e-12)
    assert np.isnan(metrics.r2(np.full(4, 0.1), np.arange(4.0)))
    assert np.isnan(metrics.r2(truth[:, :1], prediction[:, :1], average="of_means"))


def test_the_score_of_means_takes_unpaired_cells_and_the_others_do_not():
    truth, prediction = tables(1)
    more = np.concatenate([prediction, prediction])
    for score in SCORES:
        whole = score(truth, prediction, average="of_means")
        assert score(truth, more, average="of_means") == pytest.approx(whole, rel=1e-12)
        for average in ("pooled", "per_gene"):
            with pytest.raises(ValueError, match="of_means"):
                score(truth, more, average=average)


def test_repeating_the_last_time_point_has_a_high_r2_and_no_correlation_of_the_change():
    rng = np.random.default_rng(0)
    last = rng.gamma(1, size=500)
    truth = last + rng.normal(scale=0.2, size=500)
    assert metrics.r2(truth, last) > 0.9
    assert np.isnan(metrics.change_correlation(truth, last, last))
    assert metrics.change_sign_accuracy(truth, last, last) == 0.5


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_refused(bad):
    fine = np.ones((3, 2))
    broken = fine.copy()
    broken[1, 1] = bad
    for score, average in product(SCORES, ("pooled", "per_gene", "of_means")):
        with pytest.raises(ValueError, match="prediction has 1 NaN or infinite"):
            score(fine, broken, average=average)


def test_shapes_are_checked():
    for score in SCORES:
        with pytest.raises(ValueError, match=r"\(3, 2\).*\(3, 4\)"):
            score(np.ones((3, 2)), np.ones((3, 4)))
        with pytest.raises(ValueError, match="not empty"):
            score(np.ones((0, 2)), np.ones((0, 2)))
        with pytest.raises(ValueError, match="per_gene"):
            score(np.ones(3), np.ones(3), average="per_gene")
        with pytest.raises(ValueError, match="'mean'.*'of_means'"):
            score(np.ones(3), np.ones(3), average="mean")
    with pytest.raises(ValueError, match="one value per gene"):
        metrics.change_correlation(np.ones(3), np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="1 negative"):
        metrics.change_sign_accuracy(np.ones(3), np.ones(3), np.ones(3), error=[0.1, 0.1, -0.1])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), scalar=st.booleans())
def test_changes_equal_a_plain_loop(seed, scalar):
    rng = np.random.default_rng(seed)
    truth, prediction, last = rng.normal(size=(3, 12)).round(1)
    error = 0.3 if scalar else rng.uniform(0, 0.8, size=12)
    bound = np.broadcast_to(2 * np.asarray(error), 12)
    genes = [g for g in range(12) if abs(truth[g] - last[g]) > bound[g]]
    r = metrics.change_correlation(truth, prediction, last, error=error)
    share = metrics.change_sign_accuracy(truth, prediction, last, error=error)
    if len(genes) < 3:
        assert np.isnan([r, share]).all()
        return
    true, predicted = (truth - last)[genes], (prediction - last)[genes]
    assert r == pytest.approx(pearsonr(true, predicted).statistic, abs=1e-12)
    hits = [1.0 if p * t > 0 else 0.5 if p == 0 else 0.0 for t, p in zip(true, predicted, strict=True)]
    assert share == pytest.approx(np.mean(hits), abs=1e-12)


def test_the_change_shares_the_noise_of_its_reference():
    """The trap of the docstring: the true mean of all time points correlates, though nothing changes."""
    rng = np.random.default_rng(0)
    level = rng.normal(size=2000)
    truth, last, again = level + rng.normal(scale=0.3, size=(3, 2000))
    assert metrics.change_correlation(truth, level, last) > 0.5
    independent = np.corrcoef(truth - last, level - again)[0, 1]
    assert abs(independent) < 0.1


def test_skill():
    assert metrics.skill(1.0, 4.0, 1.0) == 1
    assert metrics.skill(4.0, 4.0, 1.0) == 0
    assert metrics.skill(7.0, 4.0, 1.0) == -1
    assert metrics.skill(1.0, 4.0) == 0.75
    assert np.isnan(metrics.skill(1.0, 1.0, 1.0))
    assert np.isnan(metrics.skill(0.0, 1.0, 2.0))
    table = metrics.skill(np.ones((2, 3)), baseline=[2.0, 1.0, np.nan], floor=np.array([[0.0], [1.0]]))
    np.testing.assert_array_equal(table, [[0.5, 0, np.nan], [1, np.nan, np.nan]])


def test_halves_are_disjoint_and_do_not_hang_on_the_order_of_rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(11, 3))
    seen = []

    def look(a, b):
        seen.append((len(a), len(b), len(np.unique(np.concatenate([a, b]), axis=0))))
        return metrics.rmse(a, b, average="of_means")

    scores = metrics.split_half(X, look, n=4)
    assert seen == [(5, 5, 10)] * 4
    assert len(set(scores)) == 4
    shuffled = metrics.split_half(X[rng.permutation(11)], look, n=4)
    np.testing.assert_allclose(shuffled, scores, rtol=1e-12)
    assert not np.allclose(metrics.split_half(X, look, n=4, rng=1), scores)


def test_replicates_are_not_torn_apart_and_have_a_higher_floor():
    rng = np.random.default_rng(1)
    library = np.repeat(["a", "b", "c", "d", "e"], 40)
    X = (rng.normal(size=(5, 6))[:, None] + 0.1 * rng.normal(size=(5, 40, 6))).reshape(200, 6)
    names = {tuple(row): name for row, name in zip(X, library, strict=True)}

    def look(a, b):
        own = [{names[tuple(row)] for row in half} for half in (a, b)]
        assert not own[0] & own[1]
        assert len(a) == 80
        assert len(b) == 120
        return metrics.energy_distance(a, b)

    of_libraries = metrics.split_half(X, look, n=6, groups=library).mean()
    assert of_libraries > 10 * abs(metrics.split_half(X, metrics.energy_distance, n=6).mean())


def test_half_sizes_cost_what_the_docstring_says():
    rng = np.random.default_rng(2)
    X, other = rng.normal(size=(2, 2000, 400))
    floor = metrics.split_half(X, lambda a, b: metrics.rmse(a, b, average="of_means")).mean()
    assert floor / metrics.rmse(X, other, average="of_means") == pytest.approx(2**0.5, rel=0.1)
    exact = np.zeros((1, 400))
    assert floor / metrics.rmse(X, exact, average="of_means") == pytest.approx(2, rel=0.1)


def test_halves_refused():
    with pytest.raises(ValueError, match="at least 4"):
        metrics.split_half(np.eye(3), metrics.energy_distance)
    with pytest.raises(ValueError, match="1 group"):
        metrics.split_half(np.eye(4), metrics.energy_distance, groups=["a"] * 4)
    with pytest.raises(ValueError, match="each of the 4 rows"):
        metrics.split_half(np.eye(4), metrics.energy_distance, groups=["a"] * 3)
    with pytest.raises(ValueError, match="n=0"):
        metrics.split_half(np.eye(4), metrics.energy_distance, n=0)


def test_interval_of_three_units_equals_all_draws():
    """3 units have 27 draws; with many bootstrap draws the quantiles are theirs."""
    means = np.array([0.0, 1.0, 5.0])
    draws = [np.mean(means[list(drawn)]) for drawn in product(range(3), repeat=3)]
    interval = metrics.paired_interval([-1.0, 1.0, 1.0, 5.0], units=[1, 1, 2, 3], n=50_000, coverage=0.8)
    assert interval.estimate == pytest.approx(2)
    assert interval.n_units == 3
    low, high = np.quantile(draws, [0.1, 0.9], method="inverted_cdf")
    assert (interval.low, interval.high) == pytest.approx((low, high))


def test_rows_of_a_unit_are_no_evidence():
    rng = np.random.default_rng(3)
    effect = rng.normal(size=8)
    units = np.arange(8)
    once = metrics.paired_interval(effect, units=units)
    order = rng.permutation(8 * 50)
    often = metrics.paired_interval(np.repeat(effect, 50)[order], units=np.repeat(units, 50)[order])
    np.testing.assert_allclose(often, once, rtol=1e-9)
    naive = metrics.paired_interval(np.repeat(effect, 50), units=np.arange(400))
    assert naive.high - naive.low < (once.high - once.low) / 4


def test_crossed_factors_are_drawn_each():
    """An effect of the target shared by all seeds: seeds as units miss it, crossed factors do not."""
    rng = np.random.default_rng(4)
    target, seed = (a.ravel() for a in np.meshgrid(np.arange(6), np.arange(10), indexing="ij"))
    values = rng.normal(size=6)[target] + 0.01 * rng.normal(size=60)
    width = {}
    for name, units in {"target": target, "seed": seed, "both": [target, seed]}.items():
        interval = metrics.paired_interval(values, units=units)
        width[name] = interval.high - interval.low
        assert interval.estimate == pytest.approx(values.mean())
    assert width["both"] == pytest.approx(width["target"], rel=0.1)
    assert width["seed"] < width["both"] / 20
    assert metrics.paired_interval(values, units=[target, seed]).n_units == 6


def test_two_units_have_no_interval():
    assert np.isnan(metrics.paired_interval([1.0, 2.0], units=["a", "b"])[1:3]).all()
    crossed = metrics.paired_interval(np.arange(6.0), units=[[1, 2, 3] * 2, [1, 1, 1, 2, 2, 2]])
    assert np.isnan([crossed.low, crossed.high]).all()
    assert crossed.n_units == 2


def test_rows_without_a_value_are_left_out_and_counted():
    rng = np.random.default_rng(6)
    units, values = np.repeat(np.arange(10), 2), rng.normal(size=20)
    values[[3, 8, 9]] = np.nan  # one row of unit 1, all of unit 4
    kept = ~np.isnan(values)
    found = metrics.paired_interval(values, units=units, missing="leave_out")
    assert found == (*metrics.paired_interval(values[kept], units=units[kept])[:4], 3)
    assert found.n_units == 9
    crossed = metrics.paired_interval(values, units=[units, np.arange(20) % 2], missing="leave_out")
    assert crossed.n_units == 2
    empty = metrics.paired_interval(np.full(4, np.nan), units=range(4), missing="leave_out")
    assert np.isnan(empty[:3]).all()
    assert empty[3:] == (0, 4)
    with pytest.raises(ValueError, match="1 NaN or infinite"):
        metrics.paired_interval([1.0, np.inf, 2.0], units=[1, 2, 3], missing="leave_out")


@pytest.mark.parametrize(("n_units", "covered"), [(3, 0.75), (12, 0.91)])
def test_coverage_is_what_the_docstring_says(n_units, covered):
    rng = np.random.default_rng(5)
    intervals = [metrics.paired_interval(rng.normal(size=n_units), units=range(n_units), n=400) for _ in range(800)]
    assert np.mean([i.low <= 0 <= i.high for i in intervals]) == pytest.approx(covered, abs=0.05)


def test_intervals_refused():
    with pytest.raises(ValueError, match="differences has 1 NaN"):
        metrics.paired_interval([1.0, np.nan, 2.0], units=[1, 2, 3])
    with pytest.raises(ValueError, match="each of the 3 rows"):
        metrics.paired_interval([1.0, 2.0, 3.0], units=[1, 2])
    with pytest.raises(ValueError, match="missing in 1 of 3"):
        metrics.paired_interval([1.0, 2.0, 3.0], units=["a", None, "b"])
    with pytest.raises(ValueError, match="coverage=95"):
        metrics.paired_interval([1.0, 2.0, 3.0], units=[1, 2, 3], coverage=95)
    with pytest.raises(ValueError, match="n=10 "):
        metrics.paired_interval([1.0, 2.0, 3.0], units=[1, 2, 3], n=10)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), n_genes=st.integers(1, 3))
def test_all_pairs_is_the_mean_over_all_orders_of_the_cells(seed, n_genes):
    rng = np.random.default_rng(seed)
    truth, prediction = rng.normal(size=(2, 4, n_genes)).round(1)  # rounded, so that values are tied
    orders = [prediction[list(order)] for order in permutations(range(4))]

    def over_orders(score, **options):
        return np.mean([score(truth, ordered, **options) for ordered in orders], axis=0)

    def of_pairs(score, average="all_pairs"):
        return score(truth, prediction, average=average)

    assert of_pairs(metrics.rmse) ** 2 == pytest.approx(over_orders(sklearn.mean_squared_error))
    assert of_pairs(metrics.mae) == pytest.approx(over_orders(sklearn.mean_absolute_error))
    assert of_pairs(metrics.r2) == pytest.approx(over_orders(metrics.r2))
    by_gene = over_orders(sklearn.mean_absolute_error, multioutput="raw_values")
    assert of_pairs(metrics.mae, "all_pairs_per_gene") == pytest.approx(by_gene)
    by_gene = over_orders(metrics.r2, average="per_gene")
    assert of_pairs(metrics.r2, "all_pairs_per_gene") == pytest.approx(by_gene, nan_ok=True)


def test_all_pairs_takes_other_numbers_of_cells_and_prefers_the_mean_to_the_truth():
    rng = np.random.default_rng(0)
    truth, others = rng.normal(size=(40, 3)), rng.normal(size=(70, 3))
    assert metrics.mae(truth, others, average="all_pairs") == pytest.approx(
        np.mean([np.abs(truth - row).mean() for row in others])
    )
    assert metrics.r2(truth, truth, average="all_pairs_per_gene") == pytest.approx([-1, -1, -1])
    mean = np.tile(truth.mean(axis=0), (5, 1))
    assert metrics.r2(truth, mean, average="all_pairs_per_gene") == pytest.approx([0, 0, 0])
    assert metrics.rmse(truth, mean, average="all_pairs") < metrics.rmse(truth, truth, average="all_pairs")


def test_all_pairs_needs_the_same_genes():
    with pytest.raises(ValueError, match="same shape"):
        metrics.rmse(np.ones((3, 2)), np.ones((4, 3)), average="all_pairs")
