"""Probabilities made elsewhere: every form, the same scores as tl.compare, p-values by hand, and what is refused."""

from __future__ import annotations

import warnings
from functools import partial
from itertools import combinations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import heldout as ho
from heldout.tasks.genotype.fold_tests import folds_test
from heldout.tasks.genotype.pooled import Pooled


def _cells(n_donors: int = 12, n_cells: int = 5, seed: int = 0, effect: float = 1.5) -> ad.AnnData:
    """Donors of two classes with the probability that a model gives their cells."""
    rng = np.random.default_rng(seed)
    donor = np.repeat(np.arange(n_donors), n_cells)
    sick = donor % 2
    X = 5 + rng.normal(size=(n_donors, 6))[donor] + rng.normal(size=(len(donor), 6))
    X[:, :2] += effect * sick[:, None]
    adata = ad.AnnData(X.astype(np.float32).clip(0.1))
    adata.obs_names = [f"cell{i}" for i in range(adata.n_obs)]
    adata.obs["donor"] = [f"D{d:02d}" for d in donor]
    adata.obs["condition"] = np.where(sick == 1, "sick", "healthy")
    adata.obs["p"] = expit(effect * (sick - 0.5) + rng.normal(size=n_donors)[donor] + rng.normal(size=len(donor)))
    ho.pp.folds(adata, "donor", "condition", n_folds=2, val=0)
    fold = [(adata.obs[name] == "test").to_numpy() for name in ho.get.fold_keys(adata)]
    adata.obs["cv"] = np.where(fold[0], "a", "b")
    return adata


@pytest.fixture
def cells():
    return _cells()


def test_the_same_predictions_have_the_scores_of_compare(cells):
    ho.tl.compare(cells, "condition", methods=["majority", "nearest_centroid", "pseudobulk_ridge"], max_value=None)
    by_group = ho.get.comparison(cells, by="group").query("method == 'pseudobulk_ridge'").set_index("group")
    p = np.exp(by_group[["log_probability_sick", "log_probability_healthy"]]).set_axis(["sick", "healthy"], axis=1)
    table = ho.tl.score_probabilities(cells, {"ours": p}, "condition", fold_key="fold", comparison="comparison")
    rows = table.set_index("method")
    same = ["estimate", "ci_low", "ci_high", "n_groups", "n_folds", "pairs", "p_value"]
    assert rows.loc["ours", same].tolist() == pytest.approx(rows.loc["pseudobulk_ridge", same].tolist())
    compared = ho.get.comparison(cells, by="pooled").set_index("method").loc["pseudobulk_ridge"]
    assert rows.loc["ours", same[:3]].tolist() == pytest.approx(compared[same[:3]].tolist())
    of_folds = ho.get.comparison(cells, "probabilities").set_index(["method", "metric"])
    for metric in ("auc", "loss", "brier"):
        found = of_folds.loc[("ours", metric), "estimate"]
        assert found == pytest.approx(of_folds.loc[("pseudobulk_ridge", metric), "estimate"], abs=1e-6)
        assert of_folds.loc[("ours", metric), "baseline"] in {"majority", "nearest_centroid", "pseudobulk_ridge"}
    board = ho.get.leaderboard(cells, "probabilities")
    assert {"ours", "majority", "nearest_centroid"} <= set(board.index)


def test_every_form_of_the_same_probabilities(cells):
    p = cells.obs["p"].to_numpy()
    cells.obs["q"] = 1 - p
    both = pd.DataFrame({"sick": p, "healthy": 1 - p}, index=cells.obs_names)
    cells.obsm["both"] = both
    forms = {
        "column": "p",
        "columns": ["q", "p"],
        "obsm": "both",
        "series": both["sick"],
        "shuffled": both.sample(frac=1, random_state=0),
        "more cells": pd.concat([both, both.iloc[:3].set_axis(["x", "y", "z"])]),
        "array": p,
        "table": np.stack([1 - p, p], axis=1),
        "list": p.tolist(),
    }
    table = ho.tl.score_probabilities(cells, forms, "condition", fold_key="cv", group_key="donor")
    assert len(table) == len(forms)
    assert table[["estimate", "ci_low", "p_value", "p_conditional"]].round(9).drop_duplicates().shape[0] == 1
    odds = pd.Series(np.log(p / (1 - p)), index=cells.obs_names).groupby(cells.obs["donor"].to_numpy()).mean()
    of_donors = ho.tl.score_probabilities(cells, expit(odds), "condition", fold_key="cv", group_key="donor")
    assert of_donors.loc[0, "estimate"] == pytest.approx(table.loc[0, "estimate"])
    assert "cell_auc" not in set(ho.get.comparison(cells, "probabilities")["metric"])


def test_p_values_by_hand(cells):
    """Every labelling of the six donors of a fold, by loops; twice the mean of the two p-values."""
    row = ho.tl.score_probabilities(cells, "p", "condition", fold_key="cv", group_key="donor").iloc[0]
    odds = np.log(cells.obs["p"] / (1 - cells.obs["p"])).groupby(cells.obs["donor"]).mean()
    of_donor = cells.obs.groupby("donor").first()
    p_values, aucs = [], []
    for fold in "ab":
        score = odds[of_donor["cv"] == fold].to_numpy()
        sick = (of_donor.loc[of_donor["cv"] == fold, "condition"] == "sick").to_numpy()

        def studentised(inside, score=score):
            x, y = score[~inside], score[inside]
            wins = (y[:, None] > x[None, :]).astype(float)
            spread = wins.mean(axis=1).var(ddof=1) / len(y) + wins.mean(axis=0).var(ddof=1) / len(x)
            return (wins.mean() - 0.5) / np.sqrt(spread) if spread > 0 else np.sign(wins.mean() - 0.5) * np.inf

        null = []
        for chosen in combinations(range(len(score)), int(sick.sum())):
            inside = np.isin(np.arange(len(score)), chosen)
            null.append(studentised(inside))
        p_values.append(np.mean(np.array(null) >= studentised(sick) - 1e-9))
        aucs.append((score[sick][:, None] > score[~sick][None, :]).mean())
    assert row["estimate"] == pytest.approx(np.mean(aucs))
    assert row["p_value"] == pytest.approx(min(1, 2 * np.mean(p_values)))
    assert row["p_smallest"] == pytest.approx(2 / 20)
    assert row["p_conditional"] < row["p_value"]
    assert row["sentence"].endswith("from 2 folds that share train groups.")


def test_folds_of_pp_and_of_a_column_are_the_same(cells, through_file):
    by_folds = ho.tl.score_probabilities(cells, "p", "condition", fold_key="fold", key_added="first")
    by_column = ho.tl.score_probabilities(cells, "p", "condition", fold_key="cv", group_key="donor", key_added="second")
    pd.testing.assert_frame_equal(by_folds, by_column)
    again = through_file(cells)
    pd.testing.assert_frame_equal(ho.get.comparison(again, "second", by="pooled"), by_column, check_dtype=False)
    assert ho.get.summary(again, "second") == "\n".join(by_column["sentence"])
    assert len(ho.get.ledger(cells)) == 4


def test_looks_are_counted(cells, caplog):
    ho.tl.score_probabilities(cells, "p", "condition", fold_key="cv", group_key="donor")
    ho.tl.score_probabilities(cells, "p", "condition", fold_key="cv", group_key="donor")
    assert set(ho.get.ledger(cells)["look"]) == {1}, "the same predictions are no new look"
    cells.obs["p"] = cells.obs["p"] ** 2
    with caplog.at_level("WARNING", logger="heldout"):
        ho.tl.score_probabilities(cells, "p", "condition", fold_key="cv", group_key="donor")
    assert "look 2" in caplog.text


def test_one_split_has_the_exact_test(cells):
    ho.pp.split_groups(cells, "donor", "condition", val=0, test=0.5)
    row = ho.tl.score_predictions(cells, {"model": "p"}, label_key="condition").iloc[0]
    assert row["p_kind"] == "exact, conditional on the fit"
    odds = np.log(cells.obs["p"] / (1 - cells.obs["p"]))[cells.obs["split"] == "test"]
    donors = cells.obs.loc[odds.index]
    labels = (donors.groupby("donor", observed=True)["condition"].first() == "sick").astype(int)
    mean = odds.groupby(donors["donor"], observed=True).mean()
    expected = ho.metrics.auc_permutation(labels.to_numpy(), mean.to_numpy(), statistic="studentised")
    assert row["p_value"] == pytest.approx(expected.p_value)
    assert row["p_conditional"] == row["p_value"]


def test_cells_without_a_fold_are_not_scored(cells):
    part = cells.obs["donor"].isin(["D00", "D01"]).to_numpy()
    cells.obs["cv"] = cells.obs["cv"].astype(object).where(~part)
    cells.obs["p"] = cells.obs["p"].where(~part)
    row = ho.tl.score_probabilities(cells, "p", "condition", fold_key="cv", group_key="donor").iloc[0]
    assert row["n_groups"] == 10


def test_pairs_in_a_fold_can_show_nothing_one_by_one():
    adata = _cells(8)
    adata.obs["pair"] = [f"pair{int(name[1:]) // 2}" for name in adata.obs["donor"]]
    row = ho.tl.score_probabilities(adata, "p", "condition", fold_key="pair", group_key="donor").iloc[0]
    assert row["p_value"] == row["p_smallest"] == 1
    adata.obs["alone"] = adata.obs["donor"].astype(str)
    row = ho.tl.score_probabilities(adata, "p", "condition", fold_key="alone", group_key="donor").iloc[0]
    assert np.isnan(row["p_value"])
    assert "no p-value: no fold holds out groups" in row["sentence"]
    assert row["pairs"] == "all"


def test_three_classes(cells):
    rng = np.random.default_rng(1)
    number = cells.obs["donor"].str[1:].astype(int) // 2 % 3
    cells.obs["stage"] = [("early", "mid", "late")[i] for i in number]
    logits = rng.normal(size=(cells.n_obs, 3)) + 3 * (number.to_numpy()[:, None] == [0, 2, 1])
    p = pd.DataFrame(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), index=cells.obs_names)
    p.columns = ["early", "late", "mid"]
    row = ho.tl.score_probabilities(cells, p, "stage", fold_key="cv", group_key="donor").iloc[0]
    assert row["estimate"] > 0.9
    assert row["p_value"] <= 0.1


def _shifted(p, by):
    p = p.copy()
    p.index = [f"{by}{name}" for name in p.index]
    return p


@pytest.mark.parametrize(
    ("predicted", "kind", "words"),
    [
        (lambda a: {}, ValueError, ["is empty"]),
        (lambda a: "nope", ValueError, ["'nope' is neither a column"]),
        (lambda a: _shifted(a.obs["p"], "x"), ValueError, ["no row for 60 scored cells", "adata.obs_names"]),
        (lambda a: a.obs["p"].iloc[5:], ValueError, ["no row for 5 scored cells", "'cell0'"]),
        (lambda a: a.obs["p"].groupby(a.obs["donor"]).mean().iloc[1:], ValueError, ["1 scored group", "'D00'"]),
        (lambda a: pd.concat([a.obs["p"], a.obs["p"]]), ValueError, ["60 rows with the name of another"]),
        (lambda a: a.obs["p"].to_numpy()[:10], ValueError, ["10 rows, but adata has 60 cells"]),
        (lambda a: a.obs["p"].where(a.obs["p"] > 0.2), ValueError, ["has no number for"]),
        (lambda a: np.log(a.obs["p"]), ValueError, ["not probabilities", "1 / (1 + exp(-x))"]),
        (lambda a: np.ones((60, 2)) * 0.6, ValueError, ["60 of 60 rows", "[0.6, 0.6]"]),
        (lambda a: np.ones((60, 3)) / 3, ValueError, ["columns '0', '1', '2'", "'healthy', 'sick'"]),
        (lambda a: a.obs[["condition"]], TypeError, ["not numbers"]),
        (lambda a: object(), TypeError, ["is a object"]),
    ],
)
def test_refused_probabilities(cells, unchanged, predicted, kind, words):
    with unchanged(cells), pytest.raises(kind) as caught:
        ho.tl.score_probabilities(cells, predicted(cells), "condition", fold_key="cv", group_key="donor")
    for word in words:
        assert word in str(caught.value)


def test_refused_folds_and_names(cells, refuses):
    def score(a, predicted="p", **options):
        return ho.tl.score_probabilities(
            a, predicted, "condition", **{"fold_key": "cv", "group_key": "donor"} | options
        )

    refuses(lambda a: score(a, fold_key="folds"), cells, "fold_key='folds'", "'fold'")
    refuses(lambda a: score(a, fold_key="fold_0"), cells, "two or more folds")
    cells.obs["rows"] = np.arange(cells.n_obs) % 2
    refuses(lambda a: score(a, fold_key="rows"), cells, "folds leak")
    refuses(lambda a: score(a, group_key="condition", fold_key="cv"), cells, "folds leak")
    refuses(lambda a: score(a, comparison="comparison"), cells, "comparison='comparison' is not a finished comparison")
    ho.tl.compare(cells, "condition", methods=["majority"])
    refuses(lambda a: score(a, key_added="comparison"), cells, "key_added='comparison'")
    refuses(lambda a: score(a, comparison="comparison"), cells, "other held-out groups, folds or classes")
    named = {"majority": "p"}
    refuses(lambda a: score(a, named, fold_key="fold", comparison="comparison"), cells, "Rename it")
    refuses(lambda a: ho.tl.score_predictions(a, "p", "x", label_key="condition"), cells, "perturbation_key='x'")
    refuses(lambda a: ho.tl.score_predictions(a, "p", fold_key="cv"), cells, "need a label_key")


@pytest.mark.slow
def test_p_holds_its_level_where_the_pooled_test_does_not():
    """Nearest centroids on noise: fits share train groups. The p of the pooled groups is too small."""
    rng = np.random.default_rng(0)
    labels, folds = np.tile([0, 1], 10), np.repeat(np.arange(5), 4)
    p_value, conditional = [], []
    for _ in range(300):
        X, odds = rng.normal(size=(20, 5)), np.zeros(20)
        for fold in range(5):
            train, test = folds != fold, folds == fold
            means = [X[train & (labels == c)].mean(axis=0) for c in (0, 1)]
            odds[test] = X[test] @ (means[1] - means[0]) - (means[1] @ means[1] - means[0] @ means[0]) / 2
        pooled = Pooled(np.arange(20).astype(object), labels, folds, np.zeros(20, dtype=int), 2)
        found = folds_test(pooled, np.stack([-np.logaddexp(0, odds), -np.logaddexp(0, -odds)], axis=1))
        p_value.append(found.p_value)
        conditional.append(found.p_conditional)
    assert np.mean(np.array(p_value) <= 0.05) <= 0.05
    assert min(p_value) >= 2 / 6


def test_a_column_of_the_first_class(cells, refuses):
    """The column is refused if its name says that it is of the other class, and read right if the user says so."""
    cells.obs["p_healthy"] = cells.obs["healthy score"] = 1 - cells.obs["p"]
    cells.obs["sick_or_healthy"] = cells.obs["p"]

    def score(a, predicted, **options):
        return ho.tl.score_probabilities(a, predicted, "condition", fold_key="cv", group_key="donor", **options)

    auc = score(cells, "p").loc[0, "estimate"]
    assert auc > 0.5
    for column in ("p_healthy", "healthy score"):
        refuses(partial(score, predicted=column), cells, "the probability of 'sick', the second of the classes")
        assert score(cells, column, positive_class="healthy").loc[0, "estimate"] == pytest.approx(auc)
        with pytest.warns(UserWarning, match="the wrong way round"):
            inverted = score(cells, column, positive_class="sick")
        assert inverted.loc[0, "estimate"] == pytest.approx(1 - auc)
    assert score(cells, "sick_or_healthy").loc[0, "estimate"] == pytest.approx(auc)
    both = pd.DataFrame({"sick": cells.obs["p"], "healthy": 1 - cells.obs["p"]})
    assert score(cells, both, positive_class="healthy").loc[0, "estimate"] == pytest.approx(auc)
    refuses(lambda a: score(a, "p", positive_class="ill"), cells, "positive_class='ill' must be one of the classes")


def test_an_inverted_ranking_is_said():
    strong = _cells(effect=6.0)
    strong.obs["p"] = 1 - strong.obs["p"]
    options = {"fold_key": "cv", "group_key": "donor"}
    with pytest.warns(UserWarning, match=r"'model' ranks groups the wrong way round.*positive_class, 'sick'") as caught:
        table = ho.tl.score_probabilities(strong, {"model": "p"}, "condition", **options)
    assert table.loc[0, "estimate"] == 0
    assert caught[0].filename == __file__, "the warning points at the call of the user"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ho.tl.score_probabilities(strong, {"model": "p"}, "condition", positive_class="healthy", **options)


def test_classes_that_are_numbers(cells, refuses):
    """An array and a Series without a name have the column 0 in pandas, which is not the class 0."""
    options = {"label_key": "number", "fold_key": "cv", "group_key": "donor"}
    cells.obs["number"] = (cells.obs["condition"] == "sick").astype(int)
    p = cells.obs["p"]
    auc = ho.tl.score_probabilities(cells, "p", **options).loc[0, "estimate"]
    for unnamed in (p.to_numpy(), p.to_numpy()[:, None], p.rename(None)):
        assert ho.tl.score_probabilities(cells, unnamed, **options).loc[0, "estimate"] == pytest.approx(auc)
    refuses(lambda a: ho.tl.score_probabilities(a, (1 - p).rename(0), **options), cells, "is the column '0'")
    for zero in (0, 0.0, "0", np.int64(0)):
        found = ho.tl.score_probabilities(cells, 1 - p, positive_class=zero, **options)
        assert found.loc[0, "estimate"] == pytest.approx(auc)
    of_three = {**options, "label_key": "three"}
    cells.obs["three"] = cells.obs.groupby("cv")["donor"].transform(lambda names: pd.factorize(names)[0] % 3)
    refuses(lambda a: ho.tl.score_probabilities(a, p.rename(None), **of_three), cells, "has a single column, but must")
    single = {**of_three, "positive_class": 1}
    refuses(lambda a: ho.tl.score_probabilities(a, "p", **single), cells, "is for two classes, but there are 3")
