"""How a forecast of genes is scored, on simulated courses and on real ones."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

import heldout as ho
from heldout.tasks.forecast_genes.evaluate import METRICS, Truth, ceilings, scores, split_halves
from tests.helpers.courses import course
from tests.helpers.paths import DATA


def real(name: str) -> ad.AnnData:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not there; see HELDOUT_DATA_DIR")
    return ad.read_h5ad(path)


@pytest.fixture
def fitted():
    adata = course()
    ho.tl.forecast_genes(adata, "hour", method="low_rank")
    return adata


def truth_of(n: int = 12, rng: int = 0) -> tuple[Truth, np.ndarray]:
    draw = np.random.default_rng(rng)
    change, level = draw.normal(size=n), draw.normal(3, 1, size=n)
    halves = level + draw.normal(0, 0.1, size=(2, 5, n))
    floor = ((halves[0] - halves[1]) ** 2).mean(axis=0)
    truth = Truth(change, level, np.full(n, 0.2), floor, halves, np.arange(n))
    return truth, change + draw.normal(0, 0.4, size=n)


def test_scores_agree_with_scikit_learn_and_numpy():
    truth, said = truth_of()
    found = {name: value[0] for name, value in scores(truth, said, np.ones((1, 12))).items()}
    last = truth.level - truth.change
    mse, nothing = (mean_squared_error(truth.level, p) for p in (last + said, last))
    assert found["rmse"] == pytest.approx(np.sqrt(mse))
    assert found["mae"] == pytest.approx(mean_absolute_error(truth.level, last + said))
    assert found["r2"] == pytest.approx(r2_score(truth.level, last + said))
    assert found["skill"] == pytest.approx(1 - mse / nothing)
    assert found["skill_corrected"] == pytest.approx((nothing - mse) / (nothing - truth.floor.mean()))
    moves = np.abs(truth.change) > 0.4
    assert 0 < moves.sum() < 12
    assert found["change_correlation"] == pytest.approx(np.corrcoef(truth.change[moves], said[moves])[0, 1])
    assert found["change_sign_accuracy"] == pytest.approx((np.sign(truth.change) == np.sign(said))[moves].mean())


def test_weights_are_repeated_genes():
    truth, said = truth_of()
    times = np.random.default_rng(1).integers(0, 4, size=12)
    again = np.repeat(np.arange(12), times)
    repeated = Truth(
        *(v[again] for v in (truth.change, truth.level, truth.error, truth.floor)), truth.halves[..., again], again
    )
    one = scores(truth, said, times[None].astype(float))
    other = scores(repeated, said[again], np.ones((1, len(again))))
    for name in METRICS:
        assert one[name][0] == pytest.approx(other[name][0]), name


def test_persistence_and_a_perfect_forecast():
    truth, _ = truth_of()
    one = np.ones((1, 12))
    nothing, perfect = scores(truth, np.zeros(12), one), scores(truth, truth.change, one)
    assert nothing["skill"][0] == 0
    assert nothing["change_sign_accuracy"][0] == 0.5
    assert np.isnan(nothing["change_correlation"][0])
    assert perfect["skill"][0] == perfect["change_sign_accuracy"][0] == 1
    assert perfect["skill_corrected"][0] > 1  # better than one half of the cells says of the other


def test_halves_are_disjoint_and_libraries_count_alike():
    cells = np.eye(10)
    first, second = split_halves(cells, None, n=3, rng=np.random.default_rng(0))
    np.testing.assert_allclose(first + second, 0.2)
    assert ((first == 0) | (second == 0)).all()
    libraries = np.r_[np.zeros(8, dtype=int), 1, 1]
    first, second = split_halves(cells, libraries, n=3, rng=np.random.default_rng(0))
    np.testing.assert_allclose((first + second)[:, 8:], 0.5)
    np.testing.assert_allclose((first + second)[:, :8], 0.125)


def test_genes_that_do_not_change_have_no_ceiling_of_correlation():
    flat, noise = np.zeros(4), np.full((1, 4), 1e-3)
    halves = (1 + flat[None], 1 + flat[None])
    found = ceilings(Truth(flat, 1 + flat, noise[0], noise[0], halves, np.arange(4)))
    assert np.isnan(found["change_correlation"])
    assert found["rmse"] == 0


def test_evaluation_is_written_and_counted(fitted, caplog):
    table = ho.tl.evaluate(fitted, "forecast_genes")
    assert table["metric"].unique().tolist() == list(METRICS)
    assert table["method"].unique().tolist() == ["low_rank", "persistence", "mean", "linear", "ridge"]
    assert set(table["level"]) == {"gene"}
    assert set(table["n"]) == {10}
    own = table[table["method"] == "low_rank"].set_index("metric")
    assert own.loc["skill", "estimate"] > 0.5
    assert own.loc["skill", "ci_low"] <= own.loc["skill", "estimate"] <= own.loc["skill", "ci_high"]
    assert set(own["verdict"]) <= {"better", "not better", "undecided", "unidentifiable"}
    nothing = table[(table["method"] == "persistence") & (table["metric"] == "skill")]
    assert nothing["estimate"].item() == 0
    assert table["look"].unique().tolist() == [1]
    pd.testing.assert_frame_equal(ho.get.evaluation(fitted, "forecast_genes").table, table.table)
    assert len(ho.get.scores(fitted, "forecast_genes")) == 5 * 10
    with caplog.at_level(logging.WARNING, "heldout"):
        assert ho.tl.evaluate(fitted, "forecast_genes", baselines=["mean"])["look"].unique().tolist() == [1]
        assert not caplog.records, "other baselines of the same fit are no new look"
        ho.tl.forecast_genes(fitted, "hour", method="ridge", key_added="other")
        assert ho.tl.evaluate(fitted, "other")["look"].unique().tolist() == [2]
    assert "look 2" in caplog.text
    assert ho.tl.evaluate(fitted, "forecast_genes", partition="val")["look"].unique().tolist() == [0]
    assert ho.get.ledger(fitted)["look"].tolist() == [1, 1, 2]


def test_evaluation_survives_a_file(fitted, through_file):
    before = ho.tl.evaluate(fitted, "forecast_genes", baselines=["persistence"])
    pd.testing.assert_frame_equal(
        ho.get.evaluation(through_file(fitted), "forecast_genes").table, before.table, check_dtype=False
    )


def test_the_verdict_follows_the_interval(fitted):
    table = ho.tl.evaluate(fitted, "forecast_genes", baselines=["persistence"])
    skill = table[(table["method"] == "low_rank") & (table["metric"] == "skill")].iloc[0]
    assert (skill["verdict"], skill["baseline"]) == ("better", "persistence")
    assert skill["difference_low"] > 0
    ho.tl.forecast_genes(fitted, "hour", method="linear", key_added="linear")
    wrong = ho.tl.evaluate(fitted, "linear", baselines=["ridge"])
    assert wrong[(wrong["method"] == "linear") & (wrong["metric"] == "rmse")]["verdict"].item() == "not better"
    alone = ho.tl.evaluate(fitted, "linear", baselines=[])
    assert alone["verdict"].unique().tolist() == ["unidentifiable"]


def test_modules_are_the_units_of_a_split_by_module(fitted):
    ho.pp.split_cells(fitted, val=0, test=0.2)
    ho.pp.split_genes(fitted, by="module", n_modules=12, test=0.3)
    ho.tl.forecast_genes(fitted, "hour", method="ridge")
    table = ho.tl.evaluate(fitted, "forecast_genes", baselines=["persistence"])
    test = fitted.var[fitted.var["gene_split"] == "test"]
    assert set(table["level"]) == {"module"}
    assert set(table["n"]) == {test["gene_split_module"].nunique()}
    assert table["note"].str.contains("modules").all()


def test_a_module_on_both_sides_leaks(fitted):
    ho.pp.split_cells(fitted, val=0, test=0.2)
    ho.pp.split_genes(fitted, by="module", n_modules=12, test=0.3)
    ho.tl.forecast_genes(fitted, "hour", method="ridge")
    modules = fitted.var["gene_split_module"].to_numpy().copy()
    test = (fitted.var["gene_split"] == "test").to_numpy()
    modules[test] = np.where(modules[test] == modules[test][0], modules[~test][0], modules[test])
    fitted.var["gene_split_module"] = modules
    report = ho.tl.evaluate(fitted, "forecast_genes", baselines=["persistence"])
    assert "values of module in test" in report.answer
    assert set(report["verdict"]) == {"leaks"}
    assert str(report).startswith("LEAKS")


def test_what_cannot_be_scored_is_refused(fitted, refuses):
    with pytest.raises(TypeError, match="no option 'group_key'"):
        ho.tl.evaluate(fitted, "forecast_genes", group_key="library")
    refuses(lambda a: ho.tl.evaluate(a, "forecast_genes", baselines=["rigde"]), fitted, "ridge")
    ho.pp.split_genes(fitted, val=0)
    ho.tl.forecast_genes(fitted, "hour", method="ridge")
    refuses(lambda a: ho.tl.evaluate(a, "forecast_genes", partition="val"), fitted, "val")


def skill_on(adata: ad.AnnData, time_key: str, methods: tuple[str, ...], n_splits: int) -> dict[str, float]:
    """Skill over persistence from sums over splits."""
    time = adata.obs[time_key].to_numpy(dtype=float)
    at, last = np.unique(time)[[-1, -2]]
    X = adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X
    change = X[time == at].mean(axis=0) - X[time == last].mean(axis=0)
    wrong, nothing = dict.fromkeys(methods, 0.0), 0.0
    for seed in range(n_splits):
        ho.pp.split_genes(adata, rng=seed)
        test = (adata.var["gene_split"] == "test").to_numpy()
        nothing += (change[test] ** 2).sum()
        for method in methods:
            ho.tl.forecast_genes(adata, time_key, method=method, n_replicates=2)
            wrong[method] += ((change - adata.var["forecast_genes_change"].to_numpy())[test] ** 2).sum()
    return {method: 1 - error / nothing for method, error in wrong.items()}


def test_the_ladder_on_chu():
    found = skill_on(real("chu2016/chu2016_100tf.h5ad"), "time_h", ("linear", "ridge", "low_rank", "stacked"), 10)
    assert found["linear"] < 0 < 0.35 < found["ridge"]
    assert found["low_rank"] > found["ridge"]
    assert found["stacked"] > found["ridge"]


def test_the_ladder_on_klein():
    import scanpy as sc

    adata = real("klein2015/klein2015_mesc.h5ad")
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    found = skill_on(adata, "day", ("ridge", "low_rank", "coexpression", "stacked"), 2)
    assert found["stacked"] > found["low_rank"] > found["ridge"] > 0.5
    assert found["coexpression"] > 0.8


def test_ct_values_of_bargaje_are_told(caplog):
    adata = real("bargaje2017/bargaje2017_qpcr.h5ad")
    ho.pp.split_genes(adata)
    with caplog.at_level(logging.WARNING, "heldout"):
        ho.tl.forecast_genes(adata, "time_h", method="ridge", n_replicates=2)
    assert "Ct values" in caplog.text
    assert "adata.X = 25 - adata.X" in caplog.text


def test_the_published_networks_run_on_chu():
    adata = real("chu2016/chu2016_100tf.h5ad")
    ho.pp.split_genes(adata)
    config = ho.model.GeneNetworkConfig(
        n_hidden=(128, 64, 32), n_members=1, residual=False, batch_size=32, max_epochs=20
    )
    ho.tl.forecast_genes(adata, "time_h", method="feedforward_published", config=config)
    history = ho.get.history(adata, "forecast_genes")
    assert history["val_loss"].iloc[-1] < history["val_loss"].iloc[0]
