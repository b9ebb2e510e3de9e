"""One record for each metric, and everything that reads it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import heldout as ho
from heldout._core.metric import METRICS, PRIMARY, TASKS, metric_of, page, task_of
from heldout.metrics.inference import METRICS as OF_GROUPS
from heldout.tasks.forecast.evaluate import METRICS as OF_FORECASTS
from heldout.tasks.forecast_genes.evaluate import METRICS as OF_GENES
from heldout.tasks.genotype.compare import METRICS as OF_FOLDS
from heldout.tasks.perturbation.judging.scores import METRICS as OF_PERTURBATIONS

if TYPE_CHECKING:
    import anndata as ad

DOCS = Path(ho.__file__).parents[2] / "docs" / "metrics.md"

WRITTEN = {
    "genotype": {*OF_GROUPS, *OF_FOLDS},
    "forecast": set(OF_FORECASTS),
    "forecast_genes": set(OF_GENES),
    "perturbation": set(OF_PERTURBATIONS),
    "interactions": {"average_precision", "tpr_at_5", "tpr_at_20", "tpr_at_50"},
}


@pytest.mark.parametrize("task", TASKS)
def test_the_metrics_of_a_task_are_those_that_it_writes(task):
    assert {name for name, one in METRICS.items() if task in one.tasks} == WRITTEN[task]
    assert task_of(sorted(WRITTEN[task])) == task
    assert set(PRIMARY[task]) <= WRITTEN[task]


def test_records_are_complete():
    for name, one in METRICS.items():
        assert one.name == name
        assert one.direction in ("higher", "lower", "one", "zero")
        assert one.of in ("units", "cells")
        assert one.words.endswith(".")
        assert set(one.tasks) <= set(TASKS)


@pytest.mark.parametrize(
    ("name", "values", "best"),
    [("auc", [0.2, np.nan, 0.9], 2), ("wasserstein2", [3.0, 1.0, np.nan], 1), ("variance_ratio", [0.1, 1.2, 2.5], 1)],
)
def test_the_best_value(name, values, best):
    assert metric_of(name).best(values) == best


def test_the_record_agrees_with_the_metric():
    """A perfect prediction is better than a poor one by every metric that can be computed from numbers alone."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(60, 5))
    poor = truth + rng.normal(size=truth.shape) * 2
    labels = np.repeat([0, 1], 30)
    sure, unsure = (np.log(np.stack([1 - p, p], axis=1)) for p in (0.02 + 0.96 * labels, 0.5 - 0.3 * (labels - 0.5)))
    values = {
        "energy_distance": [ho.metrics.energy_distance(truth, x) for x in (truth, poor)],
        "wasserstein2": [ho.metrics.wasserstein(truth, x, p=2) for x in (truth, poor)],
        "variance_error": [ho.metrics.variance_error(truth, x) for x in (truth, poor)],
        "mmd": [ho.metrics.mmd(truth, x) for x in (truth, poor)],
        "rmse": [ho.metrics.rmse(truth[0], x[0]) for x in (truth, poor)],
        "mae": [ho.metrics.mae(truth[0], x[0]) for x in (truth, poor)],
        "r2": [ho.metrics.r2(truth[0], x[0]) for x in (truth, poor)],
        "auc": [ho.metrics.roc_auc(labels, x) for x in (sure, unsure)],
        "accuracy": [ho.metrics.accuracy(labels, x) for x in (sure, unsure)],
        "loss": [ho.metrics.log_loss(labels, x) for x in (sure, unsure)],
        "brier": [ho.metrics.brier(labels, x) for x in (sure, unsure)],
        "calibration_error": [ho.metrics.calibration_error(labels, x) for x in (sure, unsure)],
        "rank": [ho.metrics.perturbation_rank(truth, x).mean() for x in (truth, poor)],
        "discrimination": [ho.metrics.discrimination_score(truth, x).mean() for x in (truth, poor)],
        "variance_ratio": [float(ho.metrics.variance_ratio(truth, x)) for x in (truth, poor)],
    }
    for name, pair in values.items():
        assert metric_of(name).best(pair) == 0, name


def test_an_unknown_metric_is_refused():
    with pytest.raises(ValueError, match="metric='w2' is not a metric of heldout"):
        metric_of("w2")


def test_the_docs_page_is_current():
    assert DOCS.read_text() == page(), f"write it again: python -m heldout._core.metric > {DOCS}"


@pytest.fixture(scope="module")
def forecast() -> ad.AnnData:
    """An evaluated forecast of cells."""
    import scanpy as sc

    adata = ho.datasets.branching_simulated(n_cells=40, n_genes=60)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.split_time(adata, "time", test=96)
    ho.tl.forecast(adata, "time", method="damped_shift")
    ho.tl.evaluate(adata, "forecast", baselines=["persistence", "pooled_past"], n_bootstrap=10)
    return adata


def test_w2_of_forecasts_is_sorted_and_drawn_the_right_way(forecast):
    """The leaderboard once knew ``w2`` only, and sorted ``wasserstein2`` worst first."""
    board = ho.get.leaderboard(forecast, "forecast", metrics=["wasserstein2"], sort_by="wasserstein2")
    table = ho.get.evaluation(forecast, "forecast")
    rows = table[(table["metric"] == "wasserstein2") & (table["level"] == "time")].set_index("method")["estimate"]
    assert board.index[: len(rows)].tolist() == rows.sort_values().index.tolist()
    assert ho.pl.leaderboard(forecast, "forecast", metrics=["wasserstein2"])[0].get_xlabel() == "← W2"


def test_calibration_error_is_sorted_and_drawn_the_right_way(split):
    """It was missing in the leaderboard, which sorted it worst first."""
    ho.tl.genotype(split, method="majority", mask_var=None)
    ho.tl.evaluate(split, baselines=["qc_logistic"], n_bootstrap=10)
    name = "calibration_error"
    board = ho.get.leaderboard(split, "genotype", metrics=[name], sort_by=name)
    table = ho.get.evaluation(split, "genotype")
    rows = table[(table["metric"] == name) & (table["level"] == "library")].set_index("method")["estimate"]
    assert board.index[: len(rows)].tolist() == rows.sort_values().index.tolist()
    assert ho.pl.leaderboard(split, "genotype", metrics=[name])[0].get_xlabel() == "← calibration error"
