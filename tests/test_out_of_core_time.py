"""Time, genes and lineages of a dask array: the same as in memory."""

from __future__ import annotations

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
import pytest
import scanpy as sc

import heldout as ho
from heldout._core.fits import read_fit
from tests.helpers.courses import course, options
from tests.helpers.forecasts import adata_of, split
from tests.helpers.lazy import BLOCKS, lazy


@pytest.fixture(params=BLOCKS)
def kind(request):
    return request.param


def forecasts(adata, method, **given):
    config = ho.model.FlowConfig(max_epochs=2, n_pairs=64, n_refinements=0) if method == "flow" else None
    ho.tl.forecast(adata, "h", method=method, config=config, **given)
    ho.tl.evaluate(adata, "forecast", baselines=["persistence", "damped_shift"])
    return ho.tl.predict_cells(adata, "forecast", at=8).X, ho.get.evaluation(adata, "forecast")


@pytest.mark.parametrize("method", ["ot_linear", "var_ridge"])
def test_forecast_of_cells(method, kind):
    check_forecast_of_cells(method, kind)


def test_forecast_of_cells_by_the_flow():
    """Methods get encoded cells, whatever the kind of the blocks, so that one kind is enough for the slow method."""
    check_forecast_of_cells("flow", "csr_matrix")


def check_forecast_of_cells(method, kind):
    memory = split(adata_of(n_genes=120))
    dask = lazy(memory, kind, rows=61)
    memory.X = BLOCKS[kind](memory.X)
    (there, table), (here, lazy_table) = (forecasts(adata, method, n_comps=5) for adata in (memory, dask))
    assert isinstance(dask.X, da.Array)
    np.testing.assert_allclose(np.asarray(here), np.asarray(there), rtol=1e-3, atol=1e-3)
    shown = ["metric", "method", "estimate"]
    np.testing.assert_allclose(lazy_table[shown[-1]], table[shown[-1]], rtol=1e-2, atol=1e-3)
    assert lazy_table[shown[:2]].equals(table[shown[:2]])


def test_forecast_in_components_of_a_dask_array():
    memory = split(adata_of(n_genes=120))
    dask = lazy(memory)
    for adata in (memory, dask):
        ho.pp.pca(adata, n_comps=5)
    there, here = (forecasts(adata, "ot_linear", use_rep="X_pca")[0] for adata in (memory, dask))
    np.testing.assert_allclose(here, there, rtol=1e-3, atol=1e-3)


def test_forecast_of_genes(kind):
    check_forecast_of_genes("linear", kind)


def test_forecast_of_genes_by_the_network():
    """Methods get means of genes, whatever the kind of the blocks, so that one kind is enough for the slow method."""
    check_forecast_of_genes("lstm", "csr_matrix")


def check_forecast_of_genes(method, kind):
    memory = course()
    dask = lazy(memory, kind)
    for adata in (memory, dask):
        ho.tl.forecast_genes(adata, "hour", **options(method))
        ho.tl.evaluate(adata, "forecast_genes", baselines=["persistence"])
    for column in ("forecast_genes_prediction", "forecast_genes_change"):
        np.testing.assert_allclose(dask.var[column], memory.var[column], rtol=1e-4, atol=1e-5)
    one, other = (ho.pl.trajectories(adata, "forecast_genes").flat[0].lines for adata in (memory, dask))
    assert len(one) == len(other) > 0
    for line, same in zip(one, other, strict=True):
        one_y, same_y = (np.asarray(drawn.get_ydata(), dtype=float) for drawn in (line, same))
        np.testing.assert_allclose(one_y, same_y, rtol=1e-4, atol=1e-5)
    plt.close("all")


def branching():
    adata = ho.datasets.branching_simulated(n_cells=60, n_genes=120)
    ho.pp.split_time(adata, "time", test=96, val=72)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def test_lineages(kind):
    memory = branching()
    dask = lazy(memory, kind)
    for adata in (memory, dask):
        ho.pp.lineages(adata, "time", n_chains=50, use_rep=None)
    np.testing.assert_array_equal(*(read_fit(a, "lineages").arrays["chains"] for a in (memory, dask)))


def test_modules_of_genes(kind):
    memory = branching()
    dask = lazy(memory, kind)
    for adata in (memory, dask):
        ho.pp.split_genes(adata, by="module", split_key="split", test=0.3, val=0.1)
    assert dask.var["gene_split"].equals(memory.var["gene_split"])
    assert dask.var["gene_split_module"].equals(memory.var["gene_split_module"])


def test_genes_per_cell(kind):
    memory = branching()
    drawn = [ho.pl.genes_per_cell(adata, "time", threshold=60) for adata in (memory, lazy(memory, kind))]
    assert drawn[0].get_title("left") == drawn[1].get_title("left") != ""
    assert [t.get_text() for t in drawn[0].texts] == [t.get_text() for t in drawn[1].texts]
    plt.close("all")
