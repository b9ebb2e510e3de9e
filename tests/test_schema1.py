"""Files that the first version wrote (fits of schema 1) are still read, and predict what they predicted then."""

from __future__ import annotations

import tarfile
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import heldout as ho
from heldout._core.fits import read_fit
from heldout.tasks.forecast import METHODS as FORECAST
from heldout.tasks.forecast_genes import METHODS as FORECAST_GENES
from heldout.tasks.genotype import METHODS as GENOTYPE
from heldout.tasks.perturbation import METHODS as PERTURBATION

ARCHIVE = Path(__file__).parent / "schema1" / "schema1.tar.xz"
MIDDLE = ("ot_interpolation", "neighbour_mixture")
SINCE = {"moved_cells", "composed_cells", "residual_flow", "flow", "dose_linear", "dose_isotonic"}
SINCE |= {"latent_additive_network", "compositional", "graph", "set_transport"}
SINCE |= {"pooled_transfer", "vector_knn", "vector_lasso", "stacked", "pseudobulk_shrunken"}
SINCE |= {"celltype_pseudobulk", "mean_embedding", "pathway_logistic", "tabpfn", "auto", "ridge_reversion"}
SINCE |= {"blend", "multi_kernel", "states"}
"""Methods that the first version did not have."""

# Stored numbers must be read bit for bit. What is computed from them may differ in the last digits between machines,
# because BLAS and torch choose their kernels by the CPU.
SAME = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("schema1")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(path, filter="data")
    return path


@pytest.fixture(scope="module")
def expected(folder):
    with np.load(folder / "expected.npz") as stored:
        return dict(stored)


@pytest.fixture
def read(folder):
    return lambda name: ad.read_h5ad(folder / f"{name}.h5ad")


def names(registry, *, without=()):
    return [method.name for method in registry if method.name not in {*SINCE, *without}]


@pytest.mark.parametrize("wing", ["genotype", "forecast", "forecast_middle", "forecast_genes", "perturbation"])
def test_every_fit_is_read_with_the_hash_it_was_stored_with(read, wing):
    adata = read(wing)
    for key, stored in adata.uns["heldout"]["fits"].items():
        assert int(stored["schema"]) == 1
        assert read_fit(adata, key).hash == str(stored["hash"])


@pytest.mark.parametrize("method", names(GENOTYPE))
def test_genotype(read, expected, method):
    adata = read("genotype")
    del adata.obsm[f"{method}_log_probability"]
    ho.tl.predict(adata, method)
    np.testing.assert_allclose(adata.obsm[f"{method}_log_probability"], expected[f"genotype/{method}"], **SAME)


@pytest.mark.parametrize("method", names(FORECAST, without=MIDDLE))
def test_forecast(read, expected, method, caplog):
    predicted = ho.tl.predict_cells(read("forecast"), method, at=8)
    np.testing.assert_allclose(predicted.X, expected[f"forecast/{method}"], **SAME)


@pytest.mark.parametrize("method", MIDDLE)
def test_interpolation(read, expected, method):
    predicted = ho.tl.predict_cells(read("forecast_middle"), method, at=3.5)
    np.testing.assert_allclose(predicted.X, expected[f"forecast_middle/{method}"], **SAME)


@pytest.mark.parametrize("method", names(FORECAST_GENES))
def test_forecast_genes(read, expected, method):
    adata = read("forecast_genes")
    del adata.var[f"{method}_prediction"]
    ho.tl.predict(adata, method)
    np.testing.assert_allclose(adata.var[f"{method}_prediction"], expected[f"forecast_genes/{method}"], **SAME)


@pytest.mark.parametrize("method", names(PERTURBATION))
def test_perturbation(read, expected, method):
    predicted = ho.tl.predict_profiles(read("perturbation"), method)
    np.testing.assert_allclose(predicted.X, expected[f"perturbation/{method}"], **SAME)
    if "lower" in predicted.layers:
        np.testing.assert_allclose(predicted.layers["lower"], expected[f"perturbation_lower/{method}"], **SAME)


def test_preparation_is_replayed(read):
    adata = read("genotype")
    later = adata[adata.obs["split"] == "test"].copy()
    new = ad.AnnData(later.layers["counts"], obs=later.obs[["library", "day"]], var=later.var[[]])
    ho.pp.replay(new, adata)
    np.testing.assert_allclose(new.X.toarray(), later.X.toarray(), **SAME)
    np.testing.assert_allclose(new.obsm["X_pca"], later.obsm["X_pca"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("wing", "key"),
    [("genotype", "logistic"), ("forecast", "var_ridge"), ("forecast_genes", "ridge"), ("perturbation", "additive")],
)
def test_evaluations_and_records_are_read(read, wing, key):
    adata = read(wing)
    table = ho.get.evaluation(adata, key)
    assert set(table["method"]) >= {key}
    assert "look" in table.columns
    assert len(ho.get.ledger(adata)) == 1
    assert str(table)


def test_an_old_fit_is_evaluated_again(read):
    adata = read("perturbation")
    table = ho.tl.evaluate(adata, "latent_additive", baselines=["additive"], n_bootstrap=20)
    assert set(table["method"]) == {"latent_additive", "additive"}


@pytest.mark.parametrize("wing", ["genotype", "forecast", "forecast_genes", "perturbation"])
def test_evaluations_print_as_reports(read, wing):
    """The first version stored the table alone; question, verdict and leaderboard follow from it."""
    adata = read(wing)
    key = next(iter(adata.uns["heldout"]["evaluations"]))
    report = ho.get.evaluation(adata)
    assert len(report) == len(adata.uns["heldout"]["evaluations"][key])
    assert report.answer in " ".join(str(report).split())
    assert str(report).startswith(f"Evaluation of {key!r} on test: ")
    assert report["method"].iloc[0] in ho.get.leaderboard(adata).index
    assert ho.get.ledger(adata)["judged"].tolist() == [""]
    assert ho.get.summary(adata)
