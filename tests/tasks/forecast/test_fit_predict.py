"""tl.forecast on an AnnData: what it sees, stores, predicts, refuses, and how it is scored."""

from __future__ import annotations

import logging
import re

import anndata as ad
import numpy as np
import pytest

import heldout as ho
from heldout._core.fits import read_fit
from heldout.tasks.forecast.evaluate import METRICS
from tests.helpers.forecasts import adata_of, split
from tests.helpers.paths import DATA, needs_data

QUICK = {
    "flow": ho.model.FlowConfig(max_epochs=2, n_pairs=128, n_refinements=0),
    "lstm": ho.model.SequenceConfig(max_epochs=2),
    "feedforward": ho.model.SequenceConfig(max_epochs=2),
    "lstm_published": ho.model.PublishedConfig(max_epochs=1),
    "feedforward_published": ho.model.PublishedConfig(max_epochs=1),
}
FORWARD = [
    "persistence",
    "pooled_past",
    "damped_shift",
    "ot_linear",
    "var_ridge",
    "reversion",
    "ridge_reversion",
    "states",
    "auto",
]
FORWARD += QUICK


def fitted(adata, method, **options):
    ho.tl.forecast(adata, "h", method=method, config=QUICK.get(method), **options)
    return read_fit(adata, options.get("key_added", "forecast"))


@pytest.mark.parametrize("method", FORWARD)
def test_test_cells_change_no_bit_of_the_fit(method):
    """Also not the order of the rows; the fit survives a file and predicts the same bits."""
    adata = split(adata_of())
    first = fitted(adata, method)
    other = adata.copy()
    test = (other.obs["split"] == "test").to_numpy()
    other.X[test] = 1e3 * np.random.default_rng(0).normal(size=(test.sum(), other.n_vars))
    assert fitted(other, method).hash == first.hash


@pytest.mark.parametrize("method", ["ot_linear", "flow", "lstm"])
def test_files_and_new_genes_order(method, tmp_path):
    adata = split(adata_of())
    fitted(adata, method)
    before = ho.tl.predict_cells(adata, "forecast", at=8)
    for suffix, read in (("h5ad", ad.read_h5ad), ("zarr", ad.read_zarr)):
        getattr(adata, f"write_{suffix}")(tmp_path / f"a.{suffix}")
        again = ho.tl.predict_cells(read(tmp_path / f"a.{suffix}"), "forecast", at=8)
        np.testing.assert_array_equal(before.X, again.X)
        assert before.obs_names.equals(again.obs_names)
    turned = ho.tl.predict_cells(adata[:, ::-1].copy(), "forecast", at=8)
    np.testing.assert_allclose(before.X, turned.X, atol=1e-4)
    before.write_h5ad(tmp_path / "predicted.h5ad")
    assert ad.read_h5ad(tmp_path / "predicted.h5ad").shape == before.shape


def test_raw_counts_are_told(caplog):
    adata = ho.datasets.lmna_simulated(n_cells=12, n_genes=100)
    ho.pp.split_time(adata, "day", test=30)
    with caplog.at_level("WARNING", logger="heldout"):
        ho.tl.forecast(adata, "day", method="persistence")
    assert "adata.X holds raw counts, so the forecast" in caplog.text
    caplog.clear()
    adata.X = np.log1p(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X)
    with caplog.at_level("WARNING", logger="heldout"):
        ho.tl.forecast(adata, "day", method="persistence")
    assert "raw counts" not in caplog.text


def test_predicted_cells():
    adata = split(adata_of())
    fit = fitted(adata, "damped_shift")
    predicted = ho.tl.predict_cells(adata, "forecast", at=[7, 8])
    assert predicted.shape == (80, 12)
    assert predicted.X.dtype == np.float32
    assert predicted.obs.groupby("h").size().to_dict() == {7.0: 40, 8.0: 40}
    assert (predicted.obs["start_time"] == 6).all()
    assert set(adata.obs.loc[predicted.obs["start_cell"], "h"]) == {6.0}
    assert predicted.uns["heldout"]["predicted"]["fit"] == fit.hash
    assert predicted.obsm["X_pca"].shape == (80, 12)
    at_7, at_8 = (predicted[predicted.obs["h"] == time].X.mean(axis=0) for time in (7, 8))
    start = adata[adata.obs["h"] == 6].X.mean(axis=0)
    np.testing.assert_allclose(at_8 - start, 2 * (at_7 - start), atol=0.02)


def test_predict_from_new_cells():
    adata = split(adata_of())
    fitted(adata, "damped_shift")
    new = adata_of(seed=3)
    new = new[new.obs["h"] == 6].copy()
    predicted = ho.tl.predict_cells(new, "forecast", at=8, reference=adata)
    assert set(predicted.obs["start_cell"]) == set(new.obs_names)
    with pytest.raises(ValueError, match="no cells at h=6"):
        ho.tl.predict_cells(adata[adata.obs["h"] == 2].copy(), "forecast", at=8, reference=adata)


def test_a_pca_of_the_same_split_is_used():
    adata = split(adata_of())
    ho.pp.pca(adata, n_comps=3)
    fit = fitted(adata, "damped_shift", use_rep="X_pca")
    assert fit.arrays["space.components"].shape == (3, 12)
    predicted = ho.tl.predict_cells(adata, "forecast", at=8)
    assert predicted.obsm["X_pca"].shape == (40, 3)
    assert len(ho.tl.evaluate(adata, "forecast", baselines=["persistence"], n_bootstrap=100))
    adata.obsm["X_mine"] = adata.obsm["X_pca"]
    with pytest.raises(ValueError, match="There is no fit 'X_mine'"):
        fitted(adata, "damped_shift", use_rep="X_mine")


def test_middle_times():
    adata = split(adata_of(), test=3.5, direction="interpolate")
    fitted(adata, "ot_interpolation")
    table = ho.tl.evaluate(adata, "forecast")
    best = table.query("level == 'h' and metric == 'energy_distance'").set_index("method")["estimate"]
    assert best["ot_interpolation"] < best["neighbour_mixture"] < best["persistence"]
    assert "damped_shift" not in best
    with pytest.raises(ValueError, match=r"cannot predict the test time\(s\) 3.5, which lie between train times"):
        fitted(adata, "damped_shift", key_added="other")
    with pytest.raises(ValueError, match="cannot do forecast: at=9"):
        ho.tl.predict_cells(adata, "forecast", at=9)


@pytest.mark.parametrize(
    ("change", "options", "match"),
    [
        (lambda time: time.astype(str) + "h", {}, "not numeric"),
        (lambda time: time.replace(6, np.inf), {}, "infinite"),
        (None, {"time_key": "hours"}, "Did you mean|It has"),
        (None, {"method": "ot_interpolation"}, "after the last train time"),
        (None, {"method": "prophet"}, "is not a forecast method"),
        (None, {"n_comps": 0}, "n_comps=0 must be an integer >= 1"),
        (None, {"use_rep": "X_pca"}, "is not in adata.obsm"),
    ],
)
def test_refused(change, options, match):
    adata = split(adata_of())
    if change:
        adata.obs["h"] = change(adata.obs["h"])
    before = sorted(adata.uns["heldout"])
    with pytest.raises(ValueError, match=match):
        ho.tl.forecast(adata, **{"time_key": "h", "method": "damped_shift", **options})
    assert sorted(adata.uns["heldout"]) == before


def test_refused_splits():
    adata = adata_of()
    few = adata[~((adata.obs["h"] == 2) & (np.cumsum(adata.obs["h"] == 2) > 9))].copy()
    with pytest.raises(ValueError, match="h=2 has 9 cells in train; a time needs at least 10"):
        fitted(split(few), "persistence")
    with pytest.raises(ValueError, match="needs 3 train times, h has 2 in train: 0, 1"):
        fitted(split(adata.copy(), train=1), "damped_shift")
    fitted(split(adata.copy(), train=1), "persistence")
    mixed = adata.copy()
    mixed.obs["mine"] = np.where(np.arange(mixed.n_obs) % 3 == 0, "b", "a")
    ho.pp.split_assigned(mixed, "mine", train=["a"], test=["b"])
    with pytest.raises(ValueError, match="has cells in train and in test"):
        fitted(mixed, "persistence")
    early = adata.copy()
    early.obs["mine"] = np.where(early.obs["h"] == 0, "b", "a")
    ho.pp.split_assigned(early, "mine", train=["a"], test=["b"])
    with pytest.raises(ValueError, match="The test time 0 lies before the first train time 1"):
        fitted(early, "persistence")


def test_refused_predictions(caplog):
    adata = split(adata_of())
    fitted(adata, "damped_shift")
    for at, match in (
        (None, "Pass at=, for example"),
        (5, "a train time"),
        (-1, "not after the first"),
        ("8", "finite number"),
    ):
        with pytest.raises(ValueError, match=match):
            ho.tl.predict_cells(adata, "forecast", at=at)
    with caplog.at_level(logging.WARNING, logger="heldout"):
        ho.tl.predict_cells(adata, "forecast", at=7)
        assert not caplog.records
        ho.tl.predict_cells(adata, "forecast", at=12)
    assert "4.0 times the longest step" in caplog.text


def test_cycle_numbers_are_noticed(caplog):
    adata = adata_of()
    adata.X = 25 - np.clip(adata.X - 5, 0, None)
    with caplog.at_level(logging.WARNING, logger="heldout"):
        fitted(split(adata), "persistence")
    assert "exactly the maximum, 25" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="heldout"):
        fitted(split(adata_of()), "persistence")
    assert not caplog.records


def test_one_target_time_is_no_evidence():
    adata = split(adata_of())
    fitted(adata, "damped_shift")
    table = ho.tl.evaluate(adata, "forecast")
    judged = table[table["role"] == "model"]
    assert (judged["verdict"] == "unidentifiable").all()
    assert judged["note"].str.contains("one target time: the result holds for this experiment only").all()
    assert judged["difference_low"].isna().all(), "one fit without randomness has no range"
    assert set(table["metric"]) == set(METRICS)
    wide = table.pivot(index="method", columns="metric", values="estimate")
    for metric in ("energy_distance", "mmd", "variance_error"):
        assert wide.loc["damped_shift", metric] < wide.loc["collapsed", metric], "the sentinel must lose"
    assert wide.loc["persistence", "skill_corrected"] == 0
    assert wide.loc["damped_shift", "skill_corrected"] > 0.6
    assert np.isnan(wide.loc["persistence", "change_correlation"])
    again = ho.tl.evaluate(adata, "forecast", baselines=["persistence"])
    assert set(again["look"]) == {1}, "other baselines of the same fit are no new look"


def test_words_when_persistence_stands():
    adata = split(adata_of("still"))
    fitted(adata, "damped_shift")
    table = ho.tl.evaluate(adata, "forecast", baselines=["pooled_past"])
    note = table.query("role == 'model' and metric == 'energy_distance'")["note"].item()
    assert "on past times no movement was closer than persistence, so it predicts persistence" in note
    said = note.split("the result holds for this experiment only; ")[1]
    assert "persistence" in said or "no change to predict" in said  # which one depends on rounding


def test_a_range_over_seeds_is_named_so():
    adata = split(adata_of())
    fitted(adata, "feedforward_published")
    table = ho.tl.evaluate(adata, "forecast", baselines=["persistence"])
    row = table.query("role == 'model' and metric == 'energy_distance'").iloc[0]
    assert row["ci_low"] < row["ci_high"]
    assert row["ci_low"] <= row["estimate"] <= row["ci_high"]
    assert "range over 5 seeds of training and of the chains, not a confidence interval" in row["note"]
    assert re.search("(worse than|as good as) persistence", row["note"])


def test_three_target_times_are_the_unit():
    adata = split(adata_of(), test=[5, 6, 8])
    fitted(adata, "damped_shift")
    table = ho.tl.evaluate(adata, "forecast", baselines=["persistence"], n_bootstrap=200)
    assert set(table["level"]) == {"h", "h=5", "h=6", "h=8"}
    row = table.query("level == 'h' and role == 'model' and metric == 'energy_distance'").iloc[0]
    assert row["n"] == 3
    assert row["difference_low"] <= row["difference"] <= row["difference_high"] < 0
    assert row["verdict"] == "better"
    assert "only 3 target times: the interval is too narrow" in row["note"]
    assert len(ho.get.scores(adata, "forecast")) == 3 * 3


def test_libraries_as_the_unit():
    adata = split(adata_of(n=60))
    adata.obs["library"] = [f"{hour} h, {i % 4}" for i, hour in enumerate(adata.obs["h"])]
    fitted(adata, "damped_shift")
    table = ho.tl.evaluate_forecast(adata, "forecast", group_key="library", baselines=["persistence"], n_bootstrap=200)
    row = table.query("role == 'model' and metric == 'energy_distance'").iloc[0]
    assert row["n_groups"] == 4
    assert row["difference_high"] < 0
    assert "interval over 4 groups of this experiment, not over target times" in row["note"]


def test_donors_that_are_followed_over_time_are_no_leak_and_a_note_says_what_holds():
    adata = split(adata_of(n=60))
    adata.obs["donor"] = np.arange(adata.n_obs) % 4
    fitted(adata, "damped_shift")
    options = {"baselines": ["persistence"], "n_bootstrap": 100}
    table = ho.tl.evaluate_forecast(adata, "forecast", group_key="donor", **options).table
    row = table.query("role == 'model' and metric == 'energy_distance'").iloc[0]
    assert "interval over 4 groups of this experiment" in row["note"]
    assert row["difference_low"] <= row["difference"] <= row["difference_high"]
    assert "the result holds for them, not for new groups" in row["note"]
    alone = ho.tl.evaluate_forecast(adata, "forecast", **options).table
    assert not alone["note"].str.contains("new groups").any()


def test_the_model_class_equals_tl_forecast():
    adata = split(adata_of())
    other = adata.copy()
    fitted(other, "flow")
    ho.model.CellForecaster.setup_anndata(adata, "h")
    model = ho.model.CellForecaster(adata, "flow", QUICK["flow"])
    with pytest.raises(ValueError, match="not trained"):
        model.predict(8)
    model.train()
    predicted = ho.tl.predict_cells(other, "forecast", at=8)
    np.testing.assert_array_equal(model.predict(8).to_numpy(), predicted.X)
    model.to_adata(adata, "mine")
    again = ho.model.CellForecaster.from_adata(adata, "mine")
    np.testing.assert_array_equal(again.predict(8), model.predict(8))
    with pytest.raises(TypeError, match="to_adata"):
        model.save("x")
    with pytest.raises(TypeError, match="from_adata"):
        ho.model.CellForecaster.load("x")
    with pytest.raises(ValueError, match="network='gru' must be one of"):
        ho.model.CellForecaster(adata, "gru")
    fitted(adata, "persistence", key_added="simple")
    with pytest.raises(ValueError, match="not a network of CellForecaster"):
        ho.model.CellForecaster.from_adata(adata, "simple")


@needs_data
def test_chu_from_72_to_96_hours():
    """History is informative: genes return to where they were; the last step going on is not."""
    adata = ad.read_h5ad(DATA / "chu2016" / "chu2016_100tf.h5ad")
    ho.pp.split_time(adata, "time_h", test=96)
    ho.tl.forecast(adata, "time_h", method="reversion")
    table = ho.tl.evaluate(adata, "forecast", baselines=["damped_shift"])
    wide = table.pivot(index="method", columns="metric", values="estimate")
    assert wide.loc["reversion", "skill_corrected"] > 0.05
    assert wide.loc["reversion", "change_correlation"] > 0.2
    assert wide.loc["damped_shift", "skill_corrected"] == 0, "learnt on past times that persistence is best"
    assert wide.loc["persistence", "r2"] == pytest.approx(0.903, abs=0.001)
    assert wide.loc["collapsed", "wasserstein2"] < wide.loc["reversion", "wasserstein2"], "why W2 is only secondary"


def test_copies_of_the_last_cells_are_said(caplog):
    adata = split(adata_of())
    for method, damping, said in (("reversion", 0.0, True), ("reversion", 0.5, False), ("persistence", None, False)):
        config = None if damping is None else ho.model.DampingConfig(damping=damping)
        ho.tl.forecast(adata, "h", method=method, config=config)
        caplog.clear()
        predicted = ho.tl.predict_cells(adata, at=8)
        assert ("copies of those of h=6" in caplog.text) == said
        assert ("heldout.get.past_skill shows" in caplog.text) == said, "get.backtests refuses this method"
        same = np.allclose(predicted.obsm["X_pca"], ho.tl.predict_cells(adata, at=8, rng=1).obsm["X_pca"])
        assert same, "no draw in either method"
