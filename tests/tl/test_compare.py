"""tl.compare and tl.sweep: the table, resuming, workers, and one look at test."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import heldout as ho
from heldout.model import MLPConfig
from heldout.tl import _compare
from tests.helpers.lazy import lazy

SMALL = MLPConfig(n_hidden=8, n_layers=1, max_epochs=2, batch_size=64)
METHODS = {"majority": {}, "centroid": {"method": "nearest_centroid"}, "net": {"method": "mlp", "config": SMALL}}


@pytest.fixture(scope="module")
def _logged():
    adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.folds(adata, "library", "genotype", n_folds=4)
    return adata


@pytest.fixture
def logged(_logged):
    """The simulation on a log scale, in four folds."""
    return _logged.copy()


def test_a_fold_equals_the_fit_by_hand(logged):
    ho.tl.compare(logged, methods=METHODS, seeds=[0, 1], n_top_genes=60)
    by_fold = ho.get.comparison(logged, by="fold")
    assert len(by_fold) == 4 * (1 + 1 + 2), "methods without randomness are fitted once"
    for name, config, seed in (("nearest_centroid", None, 0), ("mlp", SMALL, 1)):
        one = logged.copy()
        del one.uns["heldout"]["comparisons"]
        ho.pp.highly_variable_genes(one, 60, split_key="fold_2")
        ho.pp.scale(one, split_key="fold_2")
        ho.tl.genotype(one, method=name, config=config, split_key="fold_2", rng=seed)
        table = ho.tl.evaluate(one, baselines=[]).query("level == 'library'").set_index("metric")["estimate"]
        label = {"nearest_centroid": "centroid", "mlp": "net"}[name]
        own = by_fold.query(f"fold == 'fold_2' and method == '{label}' and seed == {seed}").iloc[0]
        for metric in ("auc", "loss", "accuracy", "brier"):
            assert own[metric] == pytest.approx(table[metric], rel=1e-4), metric


def test_what_methods_share_changes_no_number(logged):
    """Methods, seeds and auxiliary columns of a fold share its cells; alone, each has the same bits."""
    methods = {
        "logistic": {},
        "qc_logistic": {},
        "pseudobulk_boosting": {"config": ho.model.BoostingConfig(n_trees=5)},
        "net": {"method": "mlp", "config": SMALL},
        "net B": {"method": "mlp", "config": SMALL, "auxiliary_key": "day"},
    }
    ho.tl.compare(logged, methods=methods, seeds=[0, 1], key_added="all", n_top_genes=60)
    shared = ho.get.comparison(logged, "all", by="group")
    for name, how in methods.items():
        ho.tl.compare(logged, methods={name: how}, seeds=[0, 1], key_added="alone", n_top_genes=60)
        alone = ho.get.comparison(logged, "alone", by="group")
        same = shared[shared["method"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, same, check_exact=True)


def test_the_table_is_that_of_the_folds(logged):
    table = ho.tl.compare(logged, methods=METHODS, seeds=[0, 1])
    by_fold = ho.get.comparison(logged, by="fold").groupby(["fold", "method"])["loss"].mean().unstack()
    rows = table[table["metric"] == "loss"].set_index("method")
    pd.testing.assert_series_equal(rows["estimate"], by_fold.mean()[rows.index], check_names=False)
    gap = by_fold["net"] - by_fold[rows.loc["net", "baseline"]]
    expected = ho.metrics.fold_interval(gap, n_train=6, n_test=3)
    found = rows.loc["net", ["difference", "difference_low", "difference_high"]].astype(float)
    np.testing.assert_allclose(found, [expected.estimate, expected.low, expected.high])
    assert rows.loc["net", "baseline"] == rows.loc[["majority", "centroid"], "estimate"].idxmin()
    assert set(table.loc[table["role"] == "model", "verdict"]) <= {"better", "not better", "undecided"}
    assert (table.loc[table["role"] == "baseline", "verdict"] == "").all()
    assert rows["rank"].between(1, 3).all()
    assert rows.loc["net", "n_seeds"] == 2


def test_what_is_finished_is_kept_when_interrupted(logged, monkeypatch, caplog):
    whole = ho.tl.compare(logged.copy(), methods=METHODS, seeds=[0])
    calls, run = [], _compare.run

    def interrupted(*args, **kwargs):
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append(args[1])
        return run(*args, **kwargs)

    monkeypatch.setattr(_compare, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ho.tl.compare(logged, methods=METHODS, seeds=[0])
    assert "5 of 12 fits are kept" in caplog.text
    with pytest.raises(ValueError, match="was interrupted. Call heldout.tl.compare again"):
        ho.get.comparison(logged)
    again = []
    monkeypatch.setattr(_compare, "run", lambda *args, **kwargs: again.append(args[1]) or run(*args, **kwargs))
    resumed = ho.tl.compare(logged, methods=METHODS, seeds=[0])
    assert len(again) == 7
    pd.testing.assert_frame_equal(resumed, whole)
    ho.tl.compare(logged, methods=METHODS | {"ridge": {"method": "pseudobulk_ridge"}}, seeds=[0])
    assert len(again) == 11, "one more method is four more fits"
    logged.X = logged.X * 1.5
    ho.tl.compare(logged, methods={"majority": {}}, seeds=[0])
    assert len(again) == 15, "other data are fitted anew"


def test_the_ledger_has_a_look_for_each_fold_that_was_scored(logged):
    ho.tl.compare(logged, methods=["majority"])
    assert len(ho.get.ledger(logged)) == 4
    ho.tl.compare(logged, methods=["majority"])
    assert len(ho.get.ledger(logged)) == 4, "nothing new was scored"
    ho.tl.compare(logged, methods=["majority", "nearest_centroid"])
    assert ho.get.ledger(logged)["look"].tolist() == [1] * 4 + [2] * 4


def test_a_dask_array_gives_the_same(logged):
    dask = lazy(logged)
    expected = ho.tl.compare(logged, methods=METHODS, seeds=[0], n_top_genes=60)
    found = ho.tl.compare(dask, methods=METHODS, seeds=[0], n_top_genes=60)
    assert isinstance(dask.X, da.Array)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("where", ["memory", "dask"])
def test_workers_find_the_same(logged, where):
    """Of a dask array each worker computes the blocks itself, and does not wait for others."""
    distributed = pytest.importorskip("distributed")
    expected = ho.tl.compare(logged.copy(), methods=METHODS, seeds=[0, 1])
    logged = lazy(logged) if where == "dask" else logged
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        found = ho.tl.compare(logged, methods=METHODS, seeds=[0, 1], client=client)
    close = {"rtol": 1e-3, "atol": 1e-4} if where == "memory" else {"rtol": 1e-2, "atol": 1e-2}
    pd.testing.assert_frame_equal(found, expected, **close)


def test_it_survives_a_file(logged, through_file):
    table = ho.tl.compare(logged, methods=["majority", "nearest_centroid"])
    again = through_file(logged)
    pd.testing.assert_frame_equal(ho.get.comparison(again), table, check_dtype=False)
    groups = ho.get.comparison(again, by="group")
    assert set(groups["label"]) == {"control", "patient"}
    pd.testing.assert_frame_equal(
        ho.tl.compare(again, methods=["majority", "nearest_centroid"]), table, check_dtype=False
    )


def test_folds_of_one_class_have_no_auc_but_a_loss(logged):
    ho.pp.folds(logged, "library", "genotype", scheme="leave_one_group_out", key_added="out")
    table = ho.tl.compare(logged, methods=["majority", "nearest_centroid"], fold_key="out")
    assert set(table["metric"]) == {"accuracy", "accuracy_calibrated", "loss", "brier"}
    assert table["n_folds"].eq(12).all()


def test_paired_draws_a_line_a_fold(logged):
    ho.tl.compare(logged, methods=METHODS, seeds=[0, 1])
    ax = ho.pl.paired(logged, metric="loss")
    assert len(ax.lines) == 4 + 1
    rows = ho.get.comparison(logged).query("metric == 'loss'").set_index("method")["estimate"]
    best = rows[["majority", "centroid"]].idxmin()
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), [rows[best], rows["net"]])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == [best, "net"]
    with pytest.raises(ValueError, match="metric='f1' must be a metric of the comparison 'comparison': auc"):
        ho.pl.paired(logged, metric="f1")
    with pytest.raises(ValueError, match="baseline='x' was not compared"):
        ho.pl.paired(logged, baseline="x")


def test_bad_input(logged, refuses):
    raw = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    ho.pp.folds(raw, "library", "genotype", n_folds=4)
    refuses(lambda a: ho.tl.compare(a, methods=["majority"]), raw, "adata holds raw counts", "log1p")
    scaled = logged.copy()
    ho.pp.scale(scaled, split_key="fold_0")
    refuses(lambda a: ho.tl.compare(a, methods=["majority"]), scaled, "was prepared on one split already")
    for options, words in (
        ({"methods": ["mpl"]}, ("method='mpl' is not a genotype method", "Did you mean 'mlp'")),
        ({"methods": []}, ("methods is empty",)),
        ({"methods": {"a": {"method": "mlp", "seed": 1}}}, ("methods['a'] has ['seed']",)),
        ({"methods": ["majority"], "fold_key": "folds"}, ("key='folds' names no folds",)),
        ({"methods": ["majority"], "group_key": "day"}, ("groups have cells of two classes",)),
        (
            {"methods": {"a": {"method": "majority", "auxiliary_key": "day"}}},
            ("auxiliary_key='day' works only with networks", "Leave it out"),
        ),
    ):
        refuses(lambda a, o=options: ho.tl.compare(a, **o), logged, *words)


@pytest.fixture
def prepared(split):
    """One matched split, log-normalised and scaled."""
    sc.pp.normalize_total(split, target_sum=1e4)
    sc.pp.log1p(split)
    ho.pp.scale(split)
    return split


def test_a_sweep_looks_at_test_once_and_chooses_on_val(prepared):
    base = MLPConfig(n_hidden=8, patience=1)
    table = ho.tl.sweep(prepared, config=base, baselines=["majority"])
    assert table["name"].tolist()[0] == "A_d1_e20_b128_relu_adam"
    assert len(table) == 6
    changed = table[["n_layers", "max_epochs", "batch_size", "activation", "optimizer"]]
    assert changed.nunique().eq(2).all()
    ledger = ho.get.ledger(prepared)
    assert ledger[["key", "method", "look"]].values.tolist() == [["sweep", "genotype.mlp", 1]]
    best = table.sort_values(["val_auc", "val_loss"], ascending=[False, True]).iloc[0]
    assert table.loc[table["chosen"], "name"].item() == best["name"]
    assert table["test_auc"].notna().tolist() == table["chosen"].tolist()
    pd.testing.assert_frame_equal(ho.get.sweep(prepared), table)
    val = (prepared.obs["split"] == "val").to_numpy()
    labels = (prepared.obs["genotype"] == "patient").to_numpy()[val].astype(int)
    assert ho.metrics.roc_auc(labels, prepared.obsm["sweep_log_probability"][val]) == pytest.approx(best["val_auc"])


def test_the_choice_does_not_depend_on_test_cells(prepared):
    other = prepared.copy()
    test = (other.obs["split"] == "test").to_numpy()
    X = other.X.toarray()
    X[test] = np.random.default_rng(0).random(X[test].shape)
    other.X = X
    tables = [
        ho.tl.sweep(a, grid={"lr": [1e-3, 1e-1]}, config=SMALL, baselines=["majority"]) for a in (prepared, other)
    ]
    np.testing.assert_allclose(tables[0]["val_loss"], tables[1]["val_loss"], rtol=1e-5)
    assert tables[0]["chosen"].tolist() == tables[1]["chosen"].tolist()


def test_an_optuna_space_is_searched_on_val(prepared):
    pytest.importorskip("optuna", reason="optuna is not installed")

    def space(trial):
        return {"C": trial.suggest_float("C", 1e-3, 1e3, log=True)}

    tables = []
    for _ in range(2):
        adata = prepared.copy()
        found = ho.tl.sweep(adata, grid=space, method="logistic", n_trials=4, metric="loss", baselines=["majority"])
        tables.append(found)
        assert found["name"].tolist() == [f"trial_{i}" for i in range(4)]
        assert found["C"].nunique() == 4
        assert found.loc[found["chosen"], "val_loss"].item() == found["val_loss"].min()
        assert len(ho.get.ledger(adata)) == 1
    pd.testing.assert_frame_equal(*tables)  # the same seed, the same trials
    with pytest.raises(ValueError, match="not an option of LogisticConfig"):
        ho.tl.sweep(prepared, grid=lambda trial: {"c": 1.0}, method="logistic", n_trials=1)


def test_the_leaderboard_shows_a_comparison(logged):
    methods = ["majority", "nearest_centroid", "logistic"]
    table = ho.tl.compare(logged, "genotype", methods=methods)
    board = ho.get.leaderboard(logged, "comparison")
    assert set(board.index) >= set(methods)
    axes = ho.pl.leaderboard(logged, "comparison", metrics=["auc", "loss"])
    assert {text.get_text().replace(" ", "_") for text in axes[0].get_yticklabels()} == set(methods)
    assert axes[0].get_title(loc="left") == "4 folds"
    points = sorted(line.get_xdata()[0] for line in axes[1].lines if line.get_marker() in ("o", "s", "D"))
    of_groups = (table["metric"] == "loss") & (table["level"] == table["level"].iloc[0])
    np.testing.assert_allclose(points, sorted(table.loc[of_groups, "estimate"]))


def test_an_optuna_space_needs_a_number_of_trials(prepared):
    with pytest.raises(ValueError, match="n_trials=None"):
        ho.tl.sweep(prepared, grid=lambda trial: {"C": 1.0}, method="logistic")


def test_any_grid(prepared):
    named = {"weak": ho.model.LogisticConfig(C=10.0), "strong": ho.model.LogisticConfig(C=0.01)}
    options = {"method": "pseudobulk_logistic", "metric": "loss", "baselines": []}
    table = ho.tl.sweep(prepared, grid=named, **options)
    assert table["name"].tolist() == ["weak", "strong"]
    assert table.loc[table["chosen"], "val_loss"].item() == table["val_loss"].min()
    drawn = ho.tl.sweep(prepared, grid={"C": [0.1, 1.0, 10.0]}, n_trials=2, **options)
    assert len(drawn) == 2


def test_bad_grids(prepared, refuses):
    for options, words in (
        ({"grid": "gridsearch"}, ("grid='gridsearch' must be a mapping, or 'lmna' with method='mlp'",)),
        ({"grid": {}}, ("grid={} must be 'lmna', a mapping of options to values",)),
        ({"grid": {"depth": [1]}}, ("grid has 'depth', which is not an option of MLPConfig", "n_layers")),
        ({"grid": {"n_layers": 2}}, ("grid['n_layers']=2 must be a list of one or more values",)),
        ({"grid": {"n_layers": [0]}}, ("n_layers=0 must be an integer >= 1",)),
        ({"metric": "accuracy"}, ("metric='accuracy' must be one of 'auc', 'loss'",)),
    ):
        refuses(lambda a, o=options: ho.tl.sweep(a, **o), prepared, *words)
    train = [f"GSM83250{n}" for n in (47, 48, 50, 53, 55, 57)]
    del prepared.uns["heldout"]["chain"]
    ho.pp.split_assigned(prepared, "library", train=train, val=["GSM8325046"], test=["GSM8325052", "GSM8325056"])
    refuses(lambda a: ho.tl.sweep(a), prepared, "val does not have every class")
