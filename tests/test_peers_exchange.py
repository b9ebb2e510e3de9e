"""Exchange of files with other tools: a worker in another process that adds up changes is judged like our additive."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import scanpy as sc

import heldout as ho
from tests.helpers.paths import ROOT
from tests.helpers.scripts import load


@pytest.fixture(scope="module")
def driver():
    sys.path[:0] = [str(ROOT / "benchmarks")]
    try:
        yield load("benchmarks/peers_perturbation.py")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def screen():
    adata = ho.datasets.perturbations_simulated(n_singles=10, n_doubles=12, n_genes=80, n_cells=20)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.5)
    return adata


def test_a_question_has_no_test_cells(driver, screen):
    question = driver.question_of(screen, seed=0, settings={})
    assert set(question.cells.obs_names) == set(screen.obs_names[screen.obs["split"] == "train"])
    assert not set(question.wanted) & set(question.cells.obs["perturbation"].astype(str))
    assert len(question.wanted) == 6


def test_a_question_is_read_as_it_was_written(driver, screen, tmp_path):
    question = driver.question_of(screen, seed=3, settings={"epochs": 2})
    question.terms = {"gene1": ["GO:1", "GO:2"]}
    driver.write_question(tmp_path / "question.h5ad", question)
    read = sys.modules["peers.exchange"].read_question(tmp_path / "question.h5ad")
    assert (read.wanted, read.seed, read.settings) == (question.wanted, 3, {"epochs": 2})
    assert (read.terms, read.targets) == (question.terms, question.targets)
    assert list(read.cells.var_names) == list(screen.var_names)
    for name in ["control", *question.targets[:3]]:
        np.testing.assert_array_equal(read.of(name), question.of(name))
    assert set(read.validation(0.1)) <= set(question.cells.obs["perturbation"].astype(str)) - {"control"}


def test_a_worker_that_adds_up_changes_scores_as_the_additive_baseline(driver, screen, tmp_path):
    answer, facts = driver.read_answer(
        driver.asked("sum", screen, tmp_path, data="simulation", seed=0, environments=None)
    )
    assert facts["seconds"] >= 0
    adata = screen.copy()
    ho.tl.score_predictions(adata, {"sum": answer}, baselines=["additive", "mean"], mask_var=None, n_bootstrap=20)
    scores = ho.get.scores(adata, "predictions").set_index(["method", "perturbation"])
    columns = ["l2", "pearson_delta", "rank", "energy_distance", "mmd"]
    np.testing.assert_allclose(scores.loc["sum", columns], scores.loc["additive", columns], rtol=1e-4, atol=1e-6)
    assert scores.loc["sum", "rank"].mean() < 0.4  # a random order scores 0.5
