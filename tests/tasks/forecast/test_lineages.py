"""Networks that train on the chains of pp.lineages: which cells they see, and what is refused."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import heldout as ho
from heldout._core.fits import read_fit
from heldout._core.partition import read_partition
from heldout.tasks.forecast.interface import Snapshots
from heldout.tasks.forecast.networks import _sequence
from heldout.tasks.forecast.networks._method import capped
from heldout.tasks.forecast.task import Task
from tests.helpers.forecasts import adata_of, split

QUICK = ho.model.SequenceConfig(max_epochs=2)


@pytest.fixture(scope="module")
def _drawn():
    adata = split(adata_of())
    ho.pp.pca(adata, n_comps=5)
    ho.pp.lineages(adata, "h", n_chains=120)
    return adata


@pytest.fixture
def drawn(_drawn):
    return _drawn.copy()


def fitted(adata, method="feedforward", **options):
    ho.tl.forecast(adata, "h", method=method, config=QUICK, lineages_key="lineages", **options)
    return read_fit(adata, options.get("key_added", "forecast"))


@pytest.mark.parametrize("method", ["lstm", "feedforward"])
def test_they_train_on_the_stored_chains_and_draw_none(drawn, method, monkeypatch):
    ho.tl.forecast(drawn, "h", method=method, config=QUICK, key_added="own")

    def refuse(*_args, **_options):
        raise AssertionError

    monkeypatch.setattr(_sequence, "coupling", refuse)
    monkeypatch.setattr(_sequence, "sample_chains", refuse)
    fit = fitted(drawn, method)
    assert fit.info["lineages_key"] == "lineages"
    assert fit.info["lineages_fit"] == read_fit(drawn, "lineages").hash
    assert fit.hash != read_fit(drawn, "own").hash
    assert read_fit(drawn, "own").info["lineages_key"] is None
    again = drawn.copy()
    held_out = (again.obs["split"] == "test").to_numpy()
    again.X[held_out] = 1e3
    assert fitted(again, method).hash == fit.hash, "test cells change no bit"
    assert ho.tl.predict_cells(drawn, "forecast", at=8).shape == (40, 12)


def test_chains_are_looked_up_by_name(drawn):
    """Whatever the order of the rows, and whether test cells are still there."""
    names = ho.get.lineages(drawn).to_numpy()
    mixed = drawn[np.random.default_rng(3).permutation(drawn.n_obs)].copy()
    for adata in (drawn, mixed, drawn[drawn.obs["split"] == "train"].copy()):
        partition = read_partition(adata)
        task = Task.of(adata, partition, time_key="h", lineages_key="lineages")
        rows = partition.rows("train")
        here = [rows[task.times[rows] == time] for time in task.times_of("train")]
        found = task.data().chains
        passed = np.stack([adata.obs_names[at][found[:, k]] for k, at in enumerate(here)], axis=1)
        np.testing.assert_array_equal(passed, names)


def test_the_history_of_a_cell_is_that_of_its_chain():
    links = np.array([[0, 1], [2, 0], [1, 1]])
    after = np.array([[0.0], [1.0], [0.1]])
    before = _sequence._of_chains(links, after, np.random.default_rng(0))
    assert before[0] == 2
    assert before[1] in (0, 1)
    assert before[2] == 2, "no chain passes it: as the nearest cell that one passes"


def test_cells_of_the_chains_stay_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr("heldout.tasks.forecast.networks._method.MOST", 30)
    rng = np.random.default_rng(0)
    cells = [rng.normal(size=(100, 2)) for _ in range(3)]
    chains = rng.integers(100, size=(50, 3))
    data = Snapshots(np.arange(3.0), cells, None, chains=chains)
    kept = capped(data, seed=0)
    assert max(map(len, kept.cells)) <= 30
    for k in range(3):
        np.testing.assert_array_equal(kept.cells[k][kept.chains[:, k]], cells[k][chains[:30, k]])


def test_scores_and_other_seeds(drawn):
    """The judged fit and its other seeds see the chains, baselines do not need them."""
    ho.tl.forecast(
        drawn, "h", method="lstm_published", config=ho.model.PublishedConfig(max_epochs=1), lineages_key="lineages"
    )
    table = ho.tl.evaluate(drawn, "forecast", baselines=["damped_shift"], n_bootstrap=50)
    row = table.query("role == 'model' and metric == 'energy_distance'").iloc[0]
    assert row["ci_low"] < row["ci_high"]
    del drawn.uns["heldout"]["fits"]["lineages"]
    ho.pp.lineages(drawn, "h", n_chains=120, rng=1)
    with pytest.raises(ValueError, match="were drawn again after the fit 'forecast' was trained on them"):
        ho.tl.evaluate(drawn, "forecast", baselines=["damped_shift"], n_bootstrap=50)


def test_the_model_class(drawn):
    fit = fitted(drawn)
    ho.model.CellForecaster.setup_anndata(drawn, "h", lineages_key="lineages")
    with pytest.raises(ValueError, match="method='flow' does not train on chains"):
        ho.model.CellForecaster(drawn)
    model = ho.model.CellForecaster(drawn, "feedforward", QUICK)
    model.train()
    assert model.fit_.hash == fit.hash
    again = ho.model.CellForecaster.from_adata(drawn, "forecast")
    np.testing.assert_array_equal(again.predict(8), model.predict(8))


def test_refused(drawn, refuses):
    def asked(**options):
        return lambda a: ho.tl.forecast(
            a, "h", **{"method": "lstm", "config": QUICK, "lineages_key": "lineages", **options}
        )

    refuses(asked(method="flow", config=None), drawn, "lineages_key='lineages'", "does not train on chains", "lstm")
    refuses(asked(lineages_key="X_pca"), drawn, "'X_pca' is 'pp.pca', not 'pp.lineages'", "Lineages are 'lineages'")
    refuses(asked(lineages_key="lines"), drawn, "There is no fit 'lines'")
    drawn.obs["hours"] = drawn.obs["h"]
    refuses(
        lambda a: ho.tl.forecast(a, "hours", method="lstm", lineages_key="lineages"),
        drawn,
        "along 'h'",
        "along 'hours'",
    )
    ho.pp.split_time(drawn, "h", test=[6, 8], key_added="other")
    refuses(asked(split_key="other"), drawn, "other")
    fewer = drawn[drawn.obs_names != ho.get.lineages(drawn).iloc[0, 0]].copy()
    refuses(asked(), fewer, "chains of 'lineages' pass cells that are no longer in adata")
    later = drawn.copy()
    later.obs["h"] = later.obs["h"].replace(6, 7)
    refuses(asked(), later, "0, 1, 2, 3.5, 5, 6", "0, 1, 2, 3.5, 5, 7", "has changed")
    swapped = drawn.copy()
    swapped.obs["h"] = swapped.obs["h"].replace({0: 1, 1: 0})
    refuses(asked(), swapped, "not train cells of their time")


def test_a_representation_without_a_record_is_told(drawn, caplog):
    drawn.obsm["mine"] = drawn.obsm["X_pca"].copy()
    with pytest.warns(UserWarning, match="no record"):
        ho.pp.lineages(drawn, "h", n_chains=120, use_rep="mine", key_added="unproven")
    with caplog.at_level(logging.WARNING, logger="heldout"):
        ho.tl.forecast(drawn, "h", method="lstm", config=QUICK, lineages_key="unproven")
    assert "no record that it was fitted on train cells only" in caplog.text
