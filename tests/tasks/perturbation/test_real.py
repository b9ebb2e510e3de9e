"""Perturbation prediction on Norman 2019 and McFaline-Figueroa 2023, from cells to verdict."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pytest

import heldout as ho
from tests.helpers.paths import DATA
from tests.helpers.scripts import load

FILE = DATA / "norman2019" / "norman19_mcfaline23_devel.h5ad"
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason=f"{FILE} is not there; set HELDOUT_DATA_DIR")

FIVE = {
    "KLF1+MAP2K6": 0.98,
    "KLF1+TGFBR2": 0.99,
    "MAP2K3+MAP2K6": 0.73,
    "MAP2K3+SLC38A2": 0.71,
    "MAPK1+TGFBR2": 0.95,
}
"""Pearson delta of the additive prediction, all control cells being the reference of both changes."""


@pytest.fixture(scope="module")
def benchmark():
    return load("benchmarks/perturbation.py")


@pytest.fixture(scope="module")
def _screens():
    adata = ad.read_h5ad(FILE)
    return {name: adata[adata.obs["dataset"] == name].copy() for name in ("norman19", "mcfaline23")}


@pytest.fixture(autouse=True)
def _level_is_put_back():
    """The benchmark, run in this process, quietens the logger."""
    logger = logging.getLogger("heldout")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture
def norman(_screens):
    return _screens["norman19"].copy()


@pytest.fixture
def mcfaline(_screens):
    return _screens["mcfaline23"].copy()


def estimates(table, metric):
    return table[table["metric"] == metric].set_index("method")["estimate"]


def test_additive_on_the_five_pairs_whose_members_were_measured(norman):
    """As published: one pool of 100 control cells for everything, with ``metrics.pearson_delta``."""
    profiles = ho.get.pseudobulk(norman, "perturbation")
    mean = dict(zip(profiles.obs["perturbation"].astype(str), np.asarray(profiles.X), strict=True))
    control = mean["control"]
    for pair, expected in FIVE.items():
        a, b = pair.split("+")
        additive = mean[a] + mean[b] - control
        assert ho.metrics.pearson_delta(mean[pair], additive, control) == pytest.approx(expected, abs=0.01)
        assert np.isnan(ho.metrics.pearson_delta(mean[pair], control, control))  # no change has no correlation
        assert ho.metrics.profile_l2(mean[pair], additive) < ho.metrics.profile_l2(mean[pair], control)


def test_noise_of_the_controls_makes_weak_pairs_look_predictable(norman, benchmark):
    table = benchmark.controls(norman, draws=60)
    assert table["all controls"].round(2).to_dict() == pytest.approx(FIVE, abs=0.01)
    weak, strong = table.loc[["MAP2K3+MAP2K6", "MAP2K3+SLC38A2"]], table.drop(["MAP2K3+MAP2K6", "MAP2K3+SLC38A2"])
    assert (weak["same half"] - weak["disjoint halves"] > 0.3).all()
    assert (strong["same half"] - strong["disjoint halves"] < 0.12).all()
    assert (table["other pairs, same half"] > table["other pairs, disjoint"]).all()


def test_norman_from_cells_to_verdict(norman):
    """On pairs, additive beats no change and the mean. Pairs without a prediction are NaN and are counted."""
    ho.pp.split_perturbations(norman, "perturbation", hold_out="combination", val=0, test=1)
    ho.tl.perturbation(norman, method="additive", mask_var=None)
    table = ho.tl.evaluate(norman, "perturbation", n_bootstrap=500)
    for metric in ("l2", "rmse", "energy_distance"):
        by_method = estimates(table, metric)
        assert by_method["additive"] < min(by_method["no_change"], by_method["mean"])
    scores = ho.get.scores(norman, "perturbation")
    own = scores[scores["method"] == "additive"].set_index("perturbation")
    assert set(own.index[~own["fallback"]]) == set(FIVE)
    assert own.loc[list(FIVE), "l2"].max() < own.loc[own["fallback"], "l2"].median()
    row = table[(table["method"] == "linear") & (table["metric"] == "l2")].iloc[0]  # no perturbed gene is among the 500
    assert row["n"] == 0
    assert "predicts 0 of 15" in row["note"]
    predicted = ho.tl.predict_profiles(norman, "perturbation")
    assert predicted.shape == (15, 500)
    again = ho.tl.score_predictions(norman, predicted, mask_var=None, baselines=["no_change"], n_bootstrap=20)
    assert estimates(again, "l2")["predicted"] == pytest.approx(estimates(table, "l2")["additive"], abs=1e-3)


def test_mcfaline_in_lines_where_it_was_not_measured(mcfaline):
    """For weak knock-downs, other lines predict a perturbation no better than the mean of its line."""
    ho.pp.split_perturbations(
        mcfaline, "perturbation", hold_out="context", covariate_keys="cell_type", val=0, test=0.3, max_contexts=1
    )
    ho.tl.perturbation(mcfaline, mask_var=None)
    table = ho.tl.evaluate(mcfaline, "perturbation", n_bootstrap=500)
    assert {"context_mean", "transfer"} <= set(table["method"])
    by_method = estimates(table, "l2")
    assert by_method["context_mean"] < by_method["transfer"]
    judged = table[table["role"] == "model"].set_index("metric")
    assert judged.loc["pearson_delta", "verdict"] != "better"
    assert judged.loc["l2", "verdict"] != "better"
    ceiling = table.drop_duplicates("metric").set_index("metric")["ceiling"]
    assert ceiling["pearson_delta"] < 0.5  # most of the measured changes is noise
    predicted = ho.tl.predict_profiles(mcfaline, "perturbation", perturbations=["MAPK1"], contexts=["U87MG"])
    assert predicted.obs["cell_type"].tolist() == ["U87MG"]


def test_one_command_prints_the_leaderboard(benchmark, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["perturbation.py", "--seeds", "2", "--figure", str(tmp_path / "board.png")])
    benchmark.main()
    printed = capsys.readouterr().out
    assert "informed_additive against the best baseline" in printed
    assert "unit: perturbation" in printed
    assert (tmp_path / "board.png").stat().st_size > 5_000
