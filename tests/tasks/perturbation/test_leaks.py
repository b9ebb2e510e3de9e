"""An evaluation of perturbations that were also in train has no verdict."""

from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc

import heldout as ho
from heldout._core.leaks import TITLE


@pytest.fixture
def screen():
    adata = ho.datasets.perturbations_simulated(n_singles=8, n_doubles=0, n_genes=60, n_cells=24)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata.obs["donor"] = [f"d{i % 4}" for i in range(adata.n_obs)]
    adata.obs["context"] = [f"c{i % 2}" for i in range(adata.n_obs)]
    return adata


def judged(adata, **options):
    ho.tl.perturbation(adata, "perturbation", method="mean", **options)
    return ho.tl.evaluate(adata, "perturbation", baselines=["no_change"], n_bootstrap=20)


def test_a_split_of_cells_leaks_in_all_reports(screen):
    ho.pp.split_cells(screen, val=0, test=0.5)
    report = judged(screen)
    assert str(report).startswith(TITLE)
    assert report.answer.startswith("Leaks: 8 of 8 values of perturbation in test are also in train or val")
    assert set(report["verdict"]) == {"leaks"}
    assert report.table[["ci_low", "difference_low"]].isna().all(axis=None)
    assert str(ho.get.leaderboard(screen)).startswith(TITLE)
    ho.tl.evaluate(screen, "perturbation", baselines=["no_change", "additive"], n_bootstrap=20)
    strata = ho.get.strata(screen)
    assert set(strata["verdict"]) == {"leaks"}
    assert strata["difference_low"].isna().all()


def test_predictions_of_another_tool_leak_too(screen):
    ho.pp.split_cells(screen, val=0, test=0.5)
    ho.tl.perturbation(screen, "perturbation", method="mean")
    other = ho.tl.predict_profiles(screen, "perturbation")
    table = ho.tl.score_predictions(screen, {"tool": other}, "perturbation", baselines=["no_change"], n_bootstrap=20)
    assert set(table["verdict"]) == {"leaks"}


def test_held_out_perturbations_and_donors_do_not_leak(screen):
    ho.pp.split_perturbations(screen, "perturbation", val=0, test=0.5)
    assert "leaks" not in set(judged(screen)["verdict"])
    ho.pp.split_assigned(screen, "donor", train=["d0", "d1"], test=["d2", "d3"])
    assert "leaks" not in set(judged(screen)["verdict"])


def test_a_perturbation_leaks_in_the_same_context_only(screen):
    names = sorted(set(screen.obs["perturbation"]) - {"control"})
    first, c0 = screen.obs["perturbation"].isin(names[:4]), screen.obs["context"] == "c0"
    control = screen.obs["perturbation"] == "control"
    test = np.where(control, np.arange(screen.n_obs) % 3 == 0, first == c0)
    screen.obs["set"] = np.where(test, "test", "train")
    ho.pp.split_assigned(screen, "set", train=["train"], test=["test"])
    assert "leaks" not in set(judged(screen, covariate_keys="context")["verdict"])
    assert set(judged(screen)["verdict"]) == {"leaks"}
