"""Principal components against scikit-learn's, fitted on the train cells."""

from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc
from scipy import sparse
from sklearn.decomposition import PCA

import heldout as ho
from heldout._core.fits import read_fit

N = 8


def prepared(adata, kind=sparse.csr_matrix, dtype="float32"):
    """Log-normalised, day 19 in test."""
    ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata.X = kind(adata.X.toarray().astype(dtype))
    return adata


def dense64(adata, layer: str | None = None) -> np.ndarray:
    X = adata.X if layer is None else adata.layers[layer]
    return (X.toarray() if sparse.issparse(X) else X).astype(np.float64)


def train_mask(adata) -> np.ndarray:
    return (adata.obs["split"] == "train").to_numpy()


def sklearns(X: np.ndarray, train: np.ndarray) -> tuple[PCA, np.ndarray]:
    """The model fitted on train, its loadings with our signs, and the coordinates of all cells."""
    model = PCA(N, svd_solver="full").fit(X[train])
    largest = np.abs(model.components_).argmax(axis=1)
    model.components_ *= np.sign(model.components_[np.arange(N), largest])[:, None]
    return model, model.transform(X)


def assert_is_sklearns(adata, X: np.ndarray, *, rtol: float = 1e-5, key: str = "X_pca") -> None:
    model, coordinates = sklearns(X, train_mask(adata))
    fit = read_fit(adata, key)
    np.testing.assert_allclose(fit.arrays["mean"], model.mean_, rtol=1e-10)
    np.testing.assert_allclose(fit.arrays["variance"], model.explained_variance_, rtol=rtol)
    np.testing.assert_allclose(fit.arrays["variance_ratio"], model.explained_variance_ratio_, rtol=rtol)
    np.testing.assert_allclose(fit.arrays["components"], model.components_, atol=10 * rtol)
    np.testing.assert_allclose(adata.obsm[key], coordinates, atol=100 * rtol)
    assert adata.obsm[key].dtype == np.float32


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_is_scikit_learns(lmna, array_type, dtype):
    prepared(lmna, array_type)
    lmna.X = array_type(np.round(dense64(lmna)).astype(dtype) if dtype == "int64" else dense64(lmna).astype(dtype))
    assert ho.pp.pca(lmna, N) is None
    assert_is_sklearns(lmna, dense64(lmna))
    np.testing.assert_allclose(lmna.varm["X_pca"], read_fit(lmna, "X_pca").arrays["components"].T)


def test_is_scikit_learns_far_from_zero(lmna):
    """Values as large as 1e5 must not lose the small differences between cells to float32."""
    prepared(lmna, np.array, "float64")
    lmna.X = lmna.X + 1e5
    ho.pp.pca(lmna, N)
    assert_is_sklearns(lmna, lmna.X)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arpack_beyond_the_widest_covariance(lmna, array_type, monkeypatch, dtype):
    monkeypatch.setattr("heldout.pp._pca._WIDE", 149)
    monkeypatch.setattr("heldout.pp._pca._covariance", None)  # must not be called
    prepared(lmna, array_type, dtype)
    ho.pp.pca(lmna, N)
    assert_is_sklearns(lmna, dense64(lmna), rtol=1e-4 if dtype == "float32" else 1e-6)


def test_arpack_is_deterministic(lmna, monkeypatch):
    monkeypatch.setattr("heldout.pp._pca._WIDE", 10)
    first = ho.pp.pca(prepared(lmna), N, rng=3, copy=True)
    again = ho.pp.pca(lmna, N, rng=3, copy=True)
    np.testing.assert_array_equal(first.obsm["X_pca"], again.obsm["X_pca"])


def test_the_largest_loading_is_positive(lmna, array_type):
    ho.pp.pca(prepared(lmna, array_type), N)
    loadings = lmna.varm["X_pca"]
    assert (loadings[np.abs(loadings).argmax(axis=0), np.arange(N)] > 0).all()


def test_mask_var_limits_the_genes(lmna, array_type):
    prepared(lmna, array_type)
    rng = np.random.default_rng(0)
    lmna.var["mine"] = rng.random(lmna.n_vars) < 0.4
    mask = lmna.var["mine"].to_numpy()
    ho.pp.pca(lmna, N, mask_var="mine")
    assert_is_sklearns(lmna, dense64(lmna)[:, mask])
    assert (lmna.varm["X_pca"][~mask] == 0).all()
    assert list(read_fit(lmna, "X_pca").genes) == list(lmna.var_names[mask])


def test_highly_variable_genes_are_used_when_they_are_there(lmna):
    prepared(lmna)
    ho.pp.highly_variable_genes(lmna, 40)
    whole = ho.pp.pca(lmna, N, mask_var=None, copy=True)
    ho.pp.pca(lmna, N)
    assert_is_sklearns(lmna, dense64(lmna)[:, lmna.var["highly_variable"]])
    assert_is_sklearns(whole, dense64(lmna))


def test_a_layer_and_a_key_of_ones_own(lmna, array_type):
    prepared(lmna, array_type)
    lmna.layers["half"] = lmna.X * 0.5
    ho.pp.pca(lmna, N, layer="half", key_added="X_half")
    assert_is_sklearns(lmna, dense64(lmna, "half"), key="X_half")
    assert list(lmna.uns["heldout"]["chain"]) == ["X_half"]
    assert "X_pca" not in lmna.obsm


@pytest.mark.parametrize("wide", [False, True])
def test_only_train_cells_have_a_say(lmna, monkeypatch, wide):
    if wide:
        monkeypatch.setattr("heldout.pp._pca._WIDE", 10)
    prepared(lmna, np.array)
    other, train = lmna.copy(), train_mask(lmna)
    other.X[~train] = np.random.default_rng(0).gamma(2.0, size=((~train).sum(), other.n_vars))
    for adata in (lmna, other):
        ho.pp.pca(adata, N)
    np.testing.assert_array_equal(lmna.varm["X_pca"], other.varm["X_pca"])
    np.testing.assert_allclose(lmna.obsm["X_pca"][train], other.obsm["X_pca"][train], rtol=1e-5, atol=1e-5)


def test_after_centred_scaling(lmna):
    prepared(lmna, np.array)
    ho.pp.scale(lmna, zero_center=True)
    ho.pp.pca(lmna, N)
    assert_is_sklearns(lmna, dense64(lmna))
    assert list(lmna.uns["heldout"]["chain"]) == ["scale", "X_pca"]


def test_as_many_components_as_there_are_genes(lmna):
    prepared(lmna)
    lmna = lmna[:, :6].copy()
    ho.pp.pca(lmna, 6)
    assert read_fit(lmna, "X_pca").arrays["variance_ratio"].sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_comps": 0}, r"n_comps=0 must be an integer >= 1"),
        (
            {"n_comps": 151},
            r"n_comps=151 must be an integer in \[1, 150\], because there are 240 train cells and 150 genes",
        ),
        ({"n_comps": 5, "mask_var": "few"}, r"n_comps=5 must be an integer in \[1, 4\], .*4 genes"),
        ({"n_comps": 5, "mask_var": "fewer"}, r"mask_var='fewer' is not a column of adata.var. Did you mean 'few'"),
        ({"n_comps": 5, "mask_var": "none"}, r"\(mask_var\) must be bool with at least one True"),
        ({"n_comps": 5, "mask_var": "genotype_effect"}, r"\(mask_var\) must be bool .*, got dtype float64"),
        ({"n_comps": 5, "key_added": "a/b"}, r"key_added='a/b' cannot be used as a key"),
        ({"n_comps": 5, "layer": "log"}, "layer='log' is not in adata.layers"),
        ({"n_comps": 5, "split_key": "fold"}, "split_key='fold' is not a column"),
    ],
)
def test_bad_options(lmna, unchanged, options, message):
    prepared(lmna)
    lmna.var["few"], lmna.var["none"] = np.arange(150) < 4, False
    with unchanged(lmna), pytest.raises(ValueError, match=message):
        ho.pp.pca(lmna, **options)


def test_fewer_cells_than_components(lmna, unchanged):
    prepared(lmna)
    few = lmna[np.r_[np.flatnonzero(train_mask(lmna))[:4], np.flatnonzero(~train_mask(lmna))]].copy()
    with (
        unchanged(few),
        pytest.raises(ValueError, match=r"n_comps=4 must be an integer in \[1, 3\], because there are 4 train cells"),
    ):
        ho.pp.pca(few, 4)
    none = lmna[~train_mask(lmna)].copy()
    with unchanged(none), pytest.raises(ValueError, match="pca needs cells in 'train'"):
        ho.pp.pca(none, 4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(lmna, array_type, unchanged, bad):
    prepared(lmna, np.array)
    lmna.X[-1, 3] = bad
    lmna.X = array_type(lmna.X)
    with unchanged(lmna), pytest.raises(ValueError, match="adata.X has NaN or infinite values"):
        ho.pp.pca(lmna, 5)


def test_a_view_becomes_its_own_and_the_parent_stays(lmna, unchanged):
    prepared(lmna)
    with unchanged(lmna):
        view = lmna[lmna.obs["day"] != 30]
        ho.pp.pca(view, N)
    assert not view.is_view
    assert view.obsm["X_pca"].shape == (330, N)
