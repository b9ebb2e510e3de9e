"""Scaling against its definition and scanpy, and what it keeps as it was."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse

import heldout as ho

SPARSE = [sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix, sparse.csc_array]


def prepared(adata: AnnData, kind=sparse.csr_matrix, dtype="float32") -> AnnData:
    """Log-normalised, day 19 in test."""
    ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata.X = kind(adata.X.toarray().astype(dtype))
    return adata


def to_dense(X) -> np.ndarray:
    return X.toarray() if sparse.issparse(X) else X


def train_mask(adata: AnnData) -> np.ndarray:
    return (adata.obs["split"] == "train").to_numpy()


def by_hand(adata: AnnData, limit: float | None, *, centre: bool = False) -> np.ndarray:
    X = to_dense(adata.X).astype(np.float64)
    train = X[train_mask(adata)]
    sd = train.std(axis=0, ddof=1)
    scaled = (X - train.mean(axis=0) * centre) / np.where(sd > 0, sd, 1)
    return scaled if limit is None else scaled.clip(-limit, limit)


@pytest.mark.parametrize("limit", [None, 2.5, 10])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_divides_by_the_train_sd_and_clips(lmna, array_type, dtype, limit):
    prepared(lmna, array_type, dtype)
    before, expected = lmna.X, by_hand(lmna, limit)
    assert ho.pp.scale(lmna, max_value=limit) is None
    assert type(lmna.X) is type(before)
    assert lmna.X.dtype == dtype
    np.testing.assert_allclose(to_dense(lmna.X), expected, rtol=2e-6 if dtype == "float32" else 1e-12)
    if limit == 2.5:
        assert to_dense(lmna.X).max() == 2.5


def test_clips_below_as_well(lmna, array_type):
    prepared(lmna)
    X = lmna.X.toarray()
    lmna.X = array_type(np.where(X > 6, -X, X))
    expected = by_hand(lmna, 2)
    ho.pp.scale(lmna, max_value=2)
    np.testing.assert_allclose(to_dense(lmna.X), expected, rtol=2e-6)
    assert to_dense(lmna.X).min() == -2


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_other_numbers_become_float32(lmna, array_type, dtype):
    prepared(lmna)
    X = np.random.default_rng(0).poisson(1.0, size=lmna.shape)
    lmna.X = array_type(X.astype(dtype))
    expected = by_hand(lmna, 10)
    ho.pp.scale(lmna)
    assert lmna.X.dtype == np.float32
    np.testing.assert_allclose(to_dense(lmna.X), expected, rtol=2e-6)


@pytest.mark.parametrize("centre", [False, True])
def test_train_cells_are_scanpys(lmna, centre):
    prepared(lmna, np.array)
    train = lmna[train_mask(lmna)].copy()
    ho.pp.scale(lmna, max_value=None, zero_center=centre)
    sc.pp.scale(train, max_value=None, zero_center=centre)
    np.testing.assert_allclose(lmna.X[train_mask(lmna)], train.X, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_centring_dense(lmna, dtype):
    prepared(lmna, np.array, dtype)
    expected = by_hand(lmna, 3, centre=True)
    ho.pp.scale(lmna, max_value=3, zero_center=True)
    assert lmna.X.dtype == dtype
    np.testing.assert_allclose(lmna.X, expected, rtol=1e-5, atol=1e-5)
    assert lmna.X.min() < -1


@pytest.mark.parametrize("kind", SPARSE)
def test_centring_sparse_is_refused(lmna, kind, unchanged):
    prepared(lmna, kind)
    with unchanged(lmna), pytest.raises(ValueError, match=r"zero_center=True would turn the sparse.*zero_center=False"):
        ho.pp.scale(lmna, zero_center=True)


@pytest.mark.parametrize("kind", SPARSE)
def test_sparse_keeps_its_pattern(lmna, kind):
    prepared(lmna, kind)
    lmna.X.data[::7] = 0  # stored zeros stay stored
    before = lmna.X.copy()
    ho.pp.scale(lmna)
    np.testing.assert_array_equal(lmna.X.indices, before.indices)
    np.testing.assert_array_equal(lmna.X.indptr, before.indptr)
    assert type(lmna.X) is kind


def test_what_shares_the_matrix_is_not_touched(lmna, array_type):
    prepared(lmna, array_type)
    original = lmna.X
    lmna.layers["log"] = original
    before = original.copy()
    ho.pp.scale(lmna)
    assert lmna.layers["log"] is original
    if sparse.issparse(original):
        lmna.X.data[:50] = 0
        lmna.X.eliminate_zeros()  # in place: would garble a matrix that shared the pattern
    np.testing.assert_array_equal(to_dense(original), to_dense(before))


def test_a_gene_constant_in_train_is_left_as_is(lmna, array_type):
    prepared(lmna, np.array)
    X, train = lmna.X, train_mask(lmna)
    X[:, 0], X[:, 1] = 0, 0.1  # 0.1 has no exact binary form, so sums of it round
    X[~train, 0] = 3
    lmna.X = array_type(X)
    ho.pp.scale(lmna)
    np.testing.assert_array_equal(to_dense(lmna.X)[:, :2], X[:, :2])


@pytest.mark.parametrize("centre", [False, True])
def test_only_train_cells_have_a_say(lmna, centre):
    prepared(lmna, np.array)
    other, train = lmna.copy(), train_mask(lmna)
    other.X[~train] = np.random.default_rng(0).gamma(2.0, size=((~train).sum(), other.n_vars))
    for adata in (lmna, other):
        ho.pp.scale(adata, zero_center=centre)
    np.testing.assert_array_equal(lmna.X[train], other.X[train])
    fits = [adata.uns["heldout"]["fits"]["scale"] for adata in (lmna, other)]
    for name in fits[0]["arrays"]:
        np.testing.assert_array_equal(fits[0]["arrays"][name], fits[1]["arrays"][name])


def test_a_layer_instead_of_x(lmna, array_type):
    prepared(lmna, array_type)
    lmna.layers["log"] = lmna.X.copy()
    before, expected = to_dense(lmna.X).copy(), by_hand(lmna, 10)
    ho.pp.scale(lmna, layer="log")
    np.testing.assert_array_equal(to_dense(lmna.X), before)
    np.testing.assert_allclose(to_dense(lmna.layers["log"]), expected, rtol=2e-6)


def test_x_and_a_layer_are_two_steps(lmna, unchanged):
    prepared(lmna)
    lmna.layers["log"] = lmna.X.copy()
    ho.pp.scale(lmna)
    ho.pp.scale(lmna, max_value=3, layer="log")
    assert list(lmna.uns["heldout"]["chain"]) == ["scale", "scale_log"]
    for layer, where in ((None, "adata.X"), ("log", r"adata.layers\['log'\]")):
        with unchanged(lmna), pytest.raises(ValueError, match=f"{where} was scaled before"):
            ho.pp.scale(lmna, layer=layer)


def test_copy_leaves_the_original_alone(lmna, array_type, unchanged):
    prepared(lmna, array_type)
    expected = by_hand(lmna, 10)
    with unchanged(lmna):
        scaled = ho.pp.scale(lmna, copy=True)
    np.testing.assert_allclose(to_dense(scaled.X), expected, rtol=2e-6)


def test_scaling_again_takes_the_unscaled_matrix(lmna, unchanged):
    prepared(lmna)
    unscaled = lmna.X.copy()
    ho.pp.highly_variable_genes(lmna, 50)
    ho.pp.scale(lmna, max_value=3)
    with unchanged(lmna), pytest.raises(ValueError, match=r"scaled before.*restore the unscaled matrix"):
        ho.pp.scale(lmna)
    once = lmna.X.copy()
    lmna.X = unscaled.copy()
    ho.pp.scale(lmna, max_value=3)
    assert list(lmna.uns["heldout"]["chain"]) == ["highly_variable_genes", "scale"]
    np.testing.assert_array_equal(lmna.X.toarray(), once.toarray())


def test_a_new_split_can_be_prepared_from_the_unscaled_matrix(lmna):
    prepared(lmna)
    unscaled = lmna.X.copy()
    ho.pp.highly_variable_genes(lmna, 50)
    ho.pp.scale(lmna)
    ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=0, val=16)
    lmna.X = unscaled
    ho.pp.highly_variable_genes(lmna, 50)
    assert list(lmna.uns["heldout"]["chain"]) == ["highly_variable_genes"]  # the scaling was undone
    ho.tl.genotype(lmna, method="majority")


def test_a_view_becomes_its_own_and_the_parent_stays(lmna, array_type, unchanged):
    prepared(lmna, array_type)
    kind = type(lmna.X)
    with unchanged(lmna):
        view = lmna[lmna.obs["day"] != 30]
        expected = by_hand(view, 10)
        ho.pp.scale(view)
    assert not view.is_view
    assert type(view.X) is kind  # and not anndata's class for views
    np.testing.assert_allclose(to_dense(view.X), expected, rtol=2e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_value": 0}, "max_value=0 must be a number > 0"),
        ({"max_value": -1.0}, "max_value=-1.0 must be a number > 0"),
        ({"max_value": float("nan")}, "max_value=nan must be a number > 0"),
        ({"layer": "log"}, "layer='log' is not in adata.layers"),
        ({"split_key": "fold"}, "split_key='fold' is not a column"),
    ],
)
def test_bad_options(lmna, unchanged, options, message):
    prepared(lmna)
    with unchanged(lmna), pytest.raises(ValueError, match=message):
        ho.pp.scale(lmna, **options)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(lmna, array_type, unchanged, bad):
    prepared(lmna, np.array)
    lmna.X[0, 3] = bad
    lmna.X = array_type(lmna.X)
    lmna.layers["a"] = lmna.X.copy()
    lmna.X = array_type(np.ones(lmna.shape))
    with unchanged(lmna), pytest.raises(ValueError, match=r"layers\['a'\] has NaN or infinite values"):
        ho.pp.scale(lmna, layer="a")


def test_a_taken_key_is_refused_before_anything_changes(lmna, unchanged):
    prepared(lmna)
    ho.pp.pca(lmna, 3, key_added="scale")
    with unchanged(lmna), pytest.raises(ValueError, match=r"'scale' already holds a 'pp.pca' fit"):
        ho.pp.scale(lmna)


def test_memory_stays_near_the_sparse_matrix():
    n, p = 20_000, 1000
    X = sparse.random(n, p, density=0.1, format="csr", dtype=np.float32, random_state=0)
    adata = AnnData(X)
    adata.obs["half"] = np.where(np.arange(n) % 2, "a", "b")
    ho.pp.split_assigned(adata, "half", train=["a"], test=["b"])
    size = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    del X
    tracemalloc.start()
    try:
        ho.pp.scale(adata)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * size + 10e6  # 16 MB; the dense matrix would take 80 MB


@pytest.mark.parametrize("kind", SPARSE)
def test_the_recipe_takes_every_sparse_kind(lmna, kind):
    ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=19, val=0)
    wanted = ho.pp.recipe_karpe26(lmna, n_top_genes=40, copy=True)
    lmna.X = kind(lmna.X.toarray())
    ho.pp.recipe_karpe26(lmna, n_top_genes=40)
    assert isinstance(lmna.X, sparse.sparray) == issubclass(kind, sparse.sparray)
    np.testing.assert_allclose(to_dense(lmna.X), to_dense(wanted.X), rtol=1e-6)
