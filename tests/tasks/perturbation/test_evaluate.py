"""The evaluation of perturbation fits: scores, units, intervals, verdicts, ceilings, intervals of predictions."""

import numpy as np
import pandas as pd
import pytest

import heldout as ho
from heldout.tasks.perturbation.judging.calibration import COVERAGES, calibrate, half_widths
from heldout.tasks.perturbation.judging.scores import METRICS
from tests.helpers.perturbations import brute_means, combinations, contexts, exact, simulated, task_of


@pytest.fixture(scope="module")
def evaluated():
    adata = combinations(n_doubles=30, n_cells=25)
    ho.tl.perturbation(adata, method="additive")
    return adata, ho.tl.evaluate(adata, "perturbation", n_bootstrap=300)


def estimates(table, metric, column="estimate"):
    return table[table["metric"] == metric].set_index("method")[column]


def test_the_table_is_whole(evaluated):
    _, table = evaluated
    assert list(dict.fromkeys(table["metric"])) == list(METRICS)
    assert table["method"].unique().tolist() == ["additive", "no_change", "mean", "linear", "latent_additive"]
    assert (table["level"] == "perturbation").all()
    judged = table[table["role"] == "model"]
    assert set(judged["verdict"]) <= {"better", "not better", "undecided", "unidentifiable", ""}
    assert (table[table["role"] != "model"]["verdict"] == "").all()
    assert (table["look"] == 1).all()
    inside = table.dropna(subset=["ci_low"])
    assert (inside["ci_low"] <= inside["estimate"] + 1e-9).all()
    assert (inside["estimate"] <= inside["ci_high"] + 1e-9).all()


def test_scores_are_those_of_the_metrics(evaluated):
    """Each score of each perturbation, computed again from the cells by a loop."""
    adata, table = evaluated
    train, test = ((adata.obs["split"] == p).to_numpy() for p in ("train", "test"))
    seen, truth = brute_means(adata, train), brute_means(adata, test)
    rows = ho.get.scores(adata, "perturbation").query("method == 'additive'").set_index("perturbation")
    for name, row in rows.iterrows():
        a, b = name.split("+")
        said, true = seen[a] + seen[b] - seen["control"], truth[name]
        assert row["l2"] == pytest.approx(np.linalg.norm(true - said), rel=1e-6)
        assert row["rmse"] == pytest.approx(np.sqrt(np.mean((true - said) ** 2)), rel=1e-6)
        own, other = true - truth["control"], said - seen["control"]
        assert row["pearson_delta"] == pytest.approx(np.corrcoef(own, other)[0, 1], abs=1e-6)
        centroid = np.mean([v for n, v in seen.items() if n != "control"], axis=0)
        expected = np.corrcoef(true - centroid, said - centroid)[0, 1]
        assert row["pearson_delta_perturbed"] == pytest.approx(expected, abs=1e-6)
    assert estimates(table, "l2")["additive"] == pytest.approx(rows["l2"].mean(), rel=1e-9)


def test_no_change_has_no_correlation_and_is_not_scored_as_zero(evaluated):
    _, table = evaluated
    assert np.isnan(estimates(table, "pearson_delta")["no_change"])
    assert estimates(table, "pearson_delta", "n")["no_change"] == 0
    assert "not defined" in estimates(table, "pearson_delta", "note")["no_change"]
    assert estimates(table, "discrimination")["no_change"] == pytest.approx(0.5)
    assert estimates(table, "rank")["mean"] == pytest.approx(0.5)
    assert estimates(table, "variance_ratio")["mean"] == pytest.approx(0, abs=1e-12)


def test_what_is_better_is_called_so():
    """A simulation without interactions: shrunken sums are right, no change is not, and verdicts say so."""
    adata = combinations(n_doubles=40, n_cells=60, interaction_strength=0.0)
    ho.tl.perturbation(adata, method="latent_additive")
    table = ho.tl.evaluate(adata, "perturbation", baselines=["no_change", "mean", "additive"], n_bootstrap=300)
    for metric in ("l2", "pearson_delta", "pearson_delta_perturbed", "cosine_logfc", "energy_distance"):
        row = table[(table["role"] == "model") & (table["metric"] == metric)].iloc[0]
        assert row["verdict"] == "better", metric
        assert np.sign(row["difference_low"]) == np.sign(row["difference_high"])
    ho.tl.perturbation(adata, method="no_change", key_added="nothing")
    table = ho.tl.evaluate(adata, "nothing", baselines=["additive"], n_bootstrap=300)
    assert table[(table["role"] == "model") & (table["metric"] == "discrimination")]["verdict"].tolist() == [
        "not better"
    ]


def test_the_ceiling_is_between_chance_and_perfect(evaluated):
    _, table = evaluated
    ceiling = table.drop_duplicates("metric").set_index("metric")["ceiling"]
    assert 0.2 < ceiling["pearson_delta"] < 1
    assert 0.6 < ceiling["discrimination"] <= 1
    assert 0 <= ceiling["rank"] < 0.3
    assert ceiling["l2"] > 0
    assert abs(ceiling["energy_distance"]) < 0.2


def test_a_method_that_cannot_predict_all_is_counted_and_compared_on_what_it_can():
    adata = combinations(n_doubles=30)
    outside = adata.var_names[adata.var_names.isin(adata.obs["perturbation"].cat.categories)][:4]
    smaller = adata[:, ~adata.var_names.isin(outside)].copy()
    ho.tl.perturbation(smaller, method="linear")
    table = ho.tl.evaluate(smaller, "perturbation", baselines=["additive"], n_bootstrap=100)
    scores = ho.get.scores(smaller, "perturbation")
    hit = scores["perturbation"].map(lambda name: bool(set(name.split("+")) & set(outside)))
    own = scores["method"] == "linear"
    assert hit.any()
    assert scores.loc[own & hit, "l2"].isna().all()
    assert scores.loc[own & ~hit, "l2"].notna().all()
    row = table[(table["method"] == "linear") & (table["metric"] == "l2")].iloc[0]
    assert row["n"] == int((own & ~hit).sum())
    assert "predicts" in row["note"]
    both = scores[~hit].pivot(index="perturbation", columns="method", values="l2")
    assert row["difference"] == pytest.approx((both["linear"] - both["additive"]).mean())


def test_controls_are_drawn_too():
    """Few controls: the interval of a correlation with the controls is wider than of one without."""
    adata = combinations(n_doubles=30, n_cells=60, n_control=16)
    ho.tl.perturbation(adata, method="additive")
    table = ho.tl.evaluate(adata, "perturbation", baselines=["mean"], n_bootstrap=2000)
    many = combinations(n_doubles=30, n_cells=60, n_control=2000)
    ho.tl.perturbation(many, method="additive")
    other = ho.tl.evaluate(many, "perturbation", baselines=["mean"], n_bootstrap=2000)
    width = [
        (estimates(t, "pearson_delta", "ci_high") - estimates(t, "pearson_delta", "ci_low"))["additive"]
        for t in (table, other)
    ]
    assert width[0] > 1.2 * width[1]


def test_an_embedding_runs_beside_its_shuffled_and_random_twin():
    adata = simulated(n_singles=50, n_doubles=0, n_genes=300, n_cells=40, embedding_share=0.9)
    ho.pp.split_perturbations(adata, "perturbation", val=0, test=0.3)
    vectors = pd.DataFrame(adata.varm["true_embedding"], index=adata.var_names)
    ho.pp.embedding(adata, vectors, key_added="truth")
    config = ho.model.InformedAdditiveConfig(perturbation_embedding="truth")
    ho.tl.perturbation(adata, config=config)
    table = ho.tl.evaluate(adata, "perturbation", baselines=["mean"], n_bootstrap=300)
    controls = table[table["role"] == "control"]["method"].unique().tolist()
    assert controls == ["informed_additive (shuffled embedding)", "informed_additive (random embedding)"]
    row = table[(table["role"] == "model") & (table["metric"] == "pearson_delta")].iloc[0]
    assert row["verdict"] == "better"
    assert "better than shuffled embedding" in row["note"]
    shuffled = estimates(table, "pearson_delta")[controls[0]]
    assert row["estimate"] > shuffled + 0.1


def test_contexts_are_averaged_within_a_perturbation():
    adata = contexts(n_singles=20)
    ho.tl.perturbation(adata, method="transfer")
    table = ho.tl.evaluate(adata, "perturbation", n_bootstrap=100)
    assert {"context_mean", "transfer"} <= set(table["method"])
    scores = ho.get.scores(adata, "perturbation").query("method == 'transfer'")
    assert "cell_line" in scores
    by_perturbation = scores.groupby("perturbation")["l2"].mean()
    row = table[(table["method"] == "transfer") & (table["metric"] == "l2")].iloc[0]
    assert row["n"] == len(by_perturbation)
    assert row["estimate"] == pytest.approx(by_perturbation.mean())


def test_one_test_perturbation_is_unidentifiable():
    rng = np.random.default_rng(0)
    effects = {name: rng.normal(size=60) for name in "ABC"}
    adata, _ = exact(effects, {("A", "B"): 0.5}, genes=60)
    ho.pp.split_perturbations(adata, "guide", hold_out="combination", val=0, test=1)
    ho.tl.perturbation(adata)
    table = ho.tl.evaluate(adata, "perturbation", n_bootstrap=20)
    judged = table[(table["role"] == "model") & (table["metric"] == "l2")].iloc[0]
    assert judged["verdict"] == "unidentifiable"
    assert np.isnan(judged["ci_low"])


def test_each_look_is_counted(evaluated):
    adata = evaluated[0].copy()
    again = ho.tl.evaluate(adata, "perturbation", baselines=["mean"], n_bootstrap=20)
    assert (again["look"] == 1).all(), "other baselines of the same fit are no new look"
    ho.tl.perturbation(adata, method="latent_additive", key_added="other")
    assert (ho.tl.evaluate(adata, "other", baselines=["mean"], n_bootstrap=20)["look"] == 2).all()
    val = combinations()
    ho.tl.perturbation(val)
    with pytest.raises(ValueError, match="val"):
        ho.tl.evaluate(val, "perturbation", partition="val")
    with pytest.raises(TypeError, match="group_key"):
        ho.tl.evaluate(adata, "perturbation", group_key="library")


def test_the_leaderboard_is_sorted_and_shows_verdicts(evaluated):
    adata, table = evaluated
    board = ho.get.leaderboard(adata)
    assert board.index.tolist() == [*estimates(table, "l2").sort_values().index, "chance", "ceiling"]
    assert board.columns.tolist() == ["l2", "pearson_delta", "discrimination"]
    row = table[(table["role"] == "model") & (table["metric"] == "l2")].iloc[0]
    assert row["verdict"] in ("better", "not better", "undecided")
    link = "against" if row["verdict"] == "undecided" else "than"
    assert board.loc["additive", "l2"].endswith(f"{row['verdict']} {link} {row['baseline']}")
    by_delta = ho.get.leaderboard(adata, sort_by="pearson_delta")
    order = estimates(table, "pearson_delta").sort_values(ascending=False, na_position="last").index.tolist()
    assert by_delta.index.tolist() == [*order, "chance", "ceiling"]
    assert board.loc["no_change", "pearson_delta"] == "–"
    by_error = ho.get.leaderboard(adata, metrics="l2", sort_by="l2")
    assert by_error.index[0] == estimates(table, "l2").idxmin()
    ratio = estimates(table, "variance_ratio")
    by_ratio = ho.get.leaderboard(adata, metrics="variance_ratio", sort_by="variance_ratio")  # 1 is best
    assert by_ratio.index[:-1].tolist() == (ratio - 1).abs().sort_values(kind="stable").index.tolist()
    with pytest.raises(ValueError, match="no metric 'auc'"):
        ho.get.leaderboard(adata, metrics=["auc"])


def test_half_widths_are_conformal_quantiles():
    """Against the definition: the share of the weight of n + 1 perturbations that lies below."""
    rng = np.random.default_rng(0)
    error, scale = rng.normal(size=(30, 7)), rng.uniform(0.5, 2, 7)
    widths, info = calibrate(error, scale, np.zeros(30, int), np.arange(30))
    scores = np.sort((np.abs(error) / scale).ravel())
    for level, width in zip(COVERAGES, widths[0], strict=True):
        shares = np.array([np.mean(scores <= s) * 30 / 31 for s in scores])
        assert width == scores[np.argmax(shares >= level - 1e-12)]
    assert info == {"strata": [0], "n_perturbations": [30]}


def test_too_few_perturbations_support_no_interval():
    error = np.ones((4, 5))
    widths, _ = calibrate(error, np.ones(5), np.zeros(4, int), np.arange(4))
    assert np.isfinite(widths[0]).tolist() == [level <= 0.8 for level in COVERAGES]  # 4 / 5 of the weight at most
    twice, info = calibrate(np.ones((8, 5)), np.ones(5), np.zeros(8, int), np.repeat(np.arange(4), 2))
    np.testing.assert_array_equal(twice, widths)
    assert info["n_perturbations"] == [4]
    assert np.isnan(half_widths(widths, info, np.ones(5), np.array([1]), 0.5)).all()


def test_intervals_cover_what_they_promise():
    """Exchangeable perturbations: mean coverage over many draws is the nominal one, and below one weight above it."""
    rng = np.random.default_rng(0)
    covered = {level: [] for level in COVERAGES}
    for _ in range(400):
        size = rng.lognormal(size=(20, 1))  # genes of one perturbation err together
        error = rng.normal(size=(20, 25)) * size
        widths, info = calibrate(error[:19], np.ones(25), np.zeros(19, int), np.arange(19))
        for level in COVERAGES:
            width = half_widths(widths, info, np.ones(25), np.zeros(1, int), level)
            covered[level].append(np.mean(np.abs(error[19:]) <= width))
    for level in COVERAGES:
        error = np.std(covered[level]) / np.sqrt(400)
        assert level - 3 * error <= np.mean(covered[level]) <= level + 1 / 20 + 3 * error


def test_predicted_intervals_are_there_where_val_supports_them():
    adata = simulated(n_doubles=60)
    ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0.4, test=0.4)
    ho.tl.perturbation(adata, method="additive")
    predicted = ho.tl.predict_profiles(adata, "perturbation")
    assert (predicted.layers["lower"] <= predicted.X).all()
    assert (predicted.layers["upper"] >= predicted.X).all()
    wide = ho.tl.predict_profiles(adata, "perturbation", coverage=0.95)
    assert (wide.layers["upper"] >= predicted.layers["upper"]).all()
    single = ho.tl.predict_profiles(adata, "perturbation", perturbations=[adata.var_names[0]])
    assert np.isnan(single.layers["upper"]).all()  # no singles in val
    with pytest.raises(ValueError, match="0.95"):
        ho.tl.predict_profiles(adata, "perturbation", coverage=0.99)
    ho.tl.evaluate(adata, "perturbation", baselines=["mean"], n_bootstrap=20)
    scores = ho.get.scores(adata, "perturbation").query("role == 'model'")
    truth = brute_means(adata, (adata.obs["split"] == "test").to_numpy())
    inside = [
        np.mean((truth[n] >= low) & (truth[n] <= high))
        for n, low, high in zip(
            predicted.obs["perturbation"], predicted.layers["lower"], predicted.layers["upper"], strict=True
        )
    ]
    np.testing.assert_allclose(
        scores.set_index("perturbation").loc[predicted.obs["perturbation"], "coverage_0.9"], inside, atol=1e-9
    )
    assert 0.8 < np.mean(inside) <= 1


def test_genes_that_never_vary_are_not_recalled():
    adata = combinations()
    X = adata.X.toarray()
    X[:, 45:] = 0
    adata.X = X
    ho.tl.perturbation(adata, method="additive")
    table = ho.tl.evaluate(adata, baselines=["mean"], n_bootstrap=10)
    assert table[table["metric"] == "deg_recall"]["estimate"].isna().all()
    assert table[table["metric"] == "l2"]["estimate"].notna().all()


def test_a_perturbation_without_a_prediction_has_no_coverage():
    adata = simulated(n_singles=30, n_doubles=0, n_genes=60, n_cells=6)
    drugs = sorted(set(adata.obs["perturbation"].astype(str)) - {"control"})[::2]
    adata.obs["perturbation"] = adata.obs["perturbation"].astype(str).replace({name: f"drug {name}" for name in drugs})
    ho.pp.split_perturbations(adata, "perturbation", val=0.4, test=0.4)
    ho.tl.perturbation(adata, method="nearest")  # drugs have no vectors
    ho.tl.evaluate(adata, baselines=["mean"], n_bootstrap=10)
    scores = ho.get.scores(adata).query("role == 'model'")
    predicted = ~scores["perturbation"].str.startswith("drug")
    assert 0 < predicted.sum() < len(scores)
    assert scores["coverage_0.5"].notna().tolist() == scores["l2"].notna().tolist() == predicted.tolist()


def test_the_task_says_where_it_comes_from():
    adata = combinations()
    assert task_of(adata).screen.names.perturbation_key == "perturbation"
