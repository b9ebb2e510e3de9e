"""The errors of published forecasts: what they are, what they reward, and how they are drawn."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import scanpy as sc
from scipy import sparse

import heldout as ho

mpl.use("Agg")


@pytest.fixture(scope="module")
def course():
    """A time course with two forecasts of cells and one of genes, all evaluated on test."""
    adata = ho.datasets.branching_simulated(n_cells=40, n_genes=100)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.split_time(adata, "time", test=[72, 96])
    for method in ("reversion", "damped_shift"):
        ho.tl.forecast(adata, "time", method=method, key_added=method)
        ho.tl.evaluate(adata, method, baselines=["persistence"])
    ho.pp.split_genes(adata, val=0.2, test=0.3, key_added="genes")
    ho.tl.forecast_genes(adata, "time", method="ridge", split_key="genes", key_added="ridge")
    ho.tl.evaluate(adata, "ridge", n_bootstrap=50)
    return adata


def test_each_task_target_and_reference_has_a_row(course):
    table = ho.get.published_errors(course)
    cells = table[table["task"] == "cell-state forecasting"]
    assert len(cells) == 2 * 2 * 3  # fits, targets, the method and two references
    assert table.loc[table["task"] == "gene-level prediction", "method"].tolist() == ["ridge", "persistence"]


def test_errors_of_cells_are_those_of_all_pairs_with_the_observed_cells(course):
    row = ho.get.published_errors(course, "reversion").query("method == 'reversion' and target == 96").iloc[0]
    predicted = ho.tl.predict_cells(course, "reversion", at=96, rng=0).X
    truth = course[course.obs["time"] == 96, course.uns["heldout"]["fits"]["reversion"]["genes"]].X
    truth = truth.toarray() if sparse.issparse(truth) else truth
    by_pair = np.stack([np.mean((truth - cell) ** 2, axis=0) for cell in predicted])
    assert row["rmse"] == pytest.approx(np.sqrt(by_pair.mean()), rel=1e-4)
    assert row["r2_per_gene"] == pytest.approx(np.mean(1 - by_pair.mean(axis=0) / truth.var(axis=0)), rel=1e-3)


def test_the_mean_of_the_answer_has_the_best_errors_though_it_has_no_cells(course):
    for _, rows in ho.get.published_errors(course, ["reversion", "damped_shift"]).groupby("target"):
        mean = rows[rows["method"] == "mean of the answer"].iloc[0]
        others = rows[rows["method"] != "mean of the answer"]
        assert mean["r2_per_gene"] == pytest.approx(0, abs=1e-9)
        assert (mean["rmse"] < others["rmse"]).all()
        assert (mean["r2"] > others["r2"]).all()


def test_errors_of_genes_are_those_of_the_evaluation(course):
    row = ho.get.published_errors(course, "ridge").set_index("method").loc["ridge"]
    table = ho.get.evaluation(course, "ridge").query("method == 'ridge'").set_index("metric")["estimate"]
    for name in ("rmse", "mae", "r2", "skill_corrected"):
        assert row[name] == pytest.approx(table[name], nan_ok=True)


def test_dense_data_give_the_same_table(course):
    dense = course.copy()
    dense.X = dense.X.toarray() if sparse.issparse(dense.X) else sparse.csr_matrix(dense.X)
    both = [
        ho.get.published_errors(adata, "reversion").drop(columns=["task", "fit", "method"]) for adata in (course, dense)
    ]
    np.testing.assert_allclose(*both, rtol=1e-6, atol=1e-8)


def test_what_cannot_be_reported_is_refused(course):
    fresh = course.copy()
    ho.tl.forecast(fresh, "time", method="persistence", key_added="new")
    with pytest.raises(ValueError, match="'new' was not evaluated"):
        ho.get.published_errors(fresh, "new")
    ho.pp.split_cells(fresh, key_added="by_cell")
    fresh.obs["class"] = np.where(np.arange(fresh.n_obs) % 2, "a", "b")
    ho.tl.genotype(fresh, "class", method="majority", mask_var=None, split_key="by_cell")
    with pytest.raises(ValueError, match="must name forecasts"):
        ho.get.published_errors(fresh, "genotype")
    del fresh.uns["heldout"]["evaluations"]
    with pytest.raises(ValueError, match="no evaluated forecast"):
        ho.get.published_errors(fresh)


def test_bars_have_the_values_of_the_table(course):
    table = ho.get.published_errors(course, ["reversion", "ridge"])
    axes = ho.pl.published_errors(course, ["reversion", "ridge"])
    assert len(axes) == 4
    for ax, metric in zip(axes, ("rmse", "mae", "r2", "skill_corrected"), strict=True):
        drawn = sorted(bar.get_width() for bar in ax.patches)
        assert drawn == pytest.approx(sorted(table[metric].dropna().clip(lower=-1)))
    with pytest.raises(ValueError, match="four Axes"):
        ho.pl.published_errors(course, axes=axes[:2])
