"""What a report and predicted profiles say to a reader: adding up, missing intervals, and ranges of scores."""

import numpy as np
import pytest

import heldout as ho
from heldout._core.metric import metric_of
from tests.helpers.perturbations import simulated


@pytest.fixture(scope="module")
def screen():
    """A screen with 4 pairs in val, and an evaluated fit of ``latent_additive``."""
    adata = simulated(n_doubles=20)
    ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0.2, test=0.5)
    ho.tl.perturbation(adata, method="latent_additive")
    ho.tl.evaluate(adata, baselines=["additive", "mean", "no_change"], n_bootstrap=100)
    return adata


def test_the_report_says_if_a_method_is_better_than_adding_up(screen):
    report = ho.get.evaluation(screen)
    text = " ".join(str(report).split())
    assert "Is latent_additive better than adding up single effects (additive)? Over 10 combinations: by L2 " in text
    leaderboard = ho.get.leaderboard(screen, "perturbation", metrics=["l2"], baselines=["additive"])
    assert "against additive" in " ".join(leaderboard.columns)
    scores = ho.get.scores(screen).pivot_table(index="perturbation", columns="method", values="l2")
    difference = (scores["latent_additive"] - scores["additive"]).mean()
    assert f"(difference {difference:#.3g},".replace("-", "−") in text
    assert "single effects (additive)?" in report._repr_html_()


@pytest.mark.parametrize(("method", "baselines"), [("additive", ["mean"]), ("mean", ["no_change"])])
def test_nothing_is_said_without_the_sum(screen, method, baselines):
    adata = screen.copy()
    ho.tl.perturbation(adata, method=method, key_added="other")
    report = ho.tl.evaluate(adata, "other", baselines=baselines, n_bootstrap=20)
    assert "adding up" not in str(report)


def test_singles_do_not_count_as_combinations():
    adata = simulated(n_singles=16, n_doubles=10)
    ho.pp.split_perturbations(adata, "perturbation", val=0, test=0.4)
    ho.tl.perturbation(adata, method="latent_additive")
    report = ho.tl.evaluate(adata, baselines=["additive", "mean"], n_bootstrap=20)
    judged = ho.get.scores(adata).query("method == 'additive'")
    n = int((judged["n_targets"] == 2).sum())
    assert 0 < n < len(judged)
    assert f"Over {n} combination" in " ".join(str(report).split())


def test_only_compared_combinations_are_counted(screen):
    adata = screen.copy()
    profiles = ho.tl.predict_profiles(adata)
    report = ho.tl.score_predictions(adata, {"tool": profiles[:7].copy()}, baselines=["additive"], n_bootstrap=20)
    assert "Is tool better than adding up single effects (additive)? Over 7 combinations:" in " ".join(
        str(report).split()
    )


def test_intervals_of_bounded_scores_are_bounded(screen):
    table = ho.get.evaluation(screen).table
    for _, row in table.dropna(subset=["ci_low"]).iterrows():
        low, high = metric_of(row["metric"]).bounds
        assert low <= row["ci_low"] <= row["ci_high"] <= high, row["metric"]
        if np.isfinite(row["difference_low"]):
            assert low - high <= row["difference_low"] <= row["difference_high"] <= high - low


def test_missing_intervals_are_named_with_what_is_possible(screen, caplog):
    profiles = ho.tl.predict_profiles(screen)
    assert "Pairs with 2 of 2 targets in train: the intervals are NaN" in caplog.text
    assert "val has 4 such perturbations and coverage=0.9 needs 9. coverage=0.8 is possible." in caplog.text
    assert np.isnan(profiles.layers["lower"]).all()
    assert (profiles.obs["interval"] == "too few val perturbations").all()
    assert profiles.obs["coverage"].isna().all()
    assert (profiles.obs["n_val"] == 4).all()
    caplog.clear()
    profiles = ho.tl.predict_profiles(screen, coverage=0.8)
    assert "NaN" not in caplog.text
    assert np.isfinite(profiles.layers["lower"]).all()
    assert (profiles.obs["interval"] == "calibrated").all()
    assert (profiles.obs["coverage"] == 0.8).all()


def test_the_status_of_an_interval_is_that_of_its_row(screen):
    table = ho.get.perturbations(screen).query("partition == 'test' and not control")
    pair, single = table["perturbation"].iloc[0], screen.var_names[70]
    profiles = ho.tl.predict_profiles(screen, perturbations=[pair, single], coverage=0.8)
    finite = np.isfinite(profiles.layers["upper"]).all(axis=1)
    assert finite.tolist() == (profiles.obs["interval"] == "calibrated").tolist() == [True, False]
    assert profiles.obs["n_val"].tolist() == [4, 0]
