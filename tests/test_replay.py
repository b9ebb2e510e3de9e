"""Replay gives new cells what they would have got had they been there; and the leak guard over the chain."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse

import heldout as ho

HELD_OUT = ["GSM8325053", "GSM8325057"]


@pytest.fixture
def whole(lmna):
    """All cells, raw. Two libraries stand in no list, so no fit sees them: they play the cells that come later."""
    train = [f"GSM83250{n}" for n in (47, 48, 49, 50, 51, 55, 56)]
    ho.pp.split_assigned(lmna, "library", train=train, val=["GSM8325046", "GSM8325054"], test=["GSM8325052"])
    lmna.layers["counts"] = lmna.X.copy()
    return lmna


@pytest.fixture
def new(whole):
    """The later cells as they come: raw counts, no split."""
    new = whole[later(whole)].copy()
    del new.obs["split"], new.uns["heldout"]
    return new


def later(adata: AnnData) -> np.ndarray:
    return adata.obs["library"].isin(HELD_OUT).to_numpy()


def log(adata: AnnData, total: float | None = 1e4) -> AnnData:
    given = type(adata.X)
    if sparse.issparse(adata.X):
        adata.X = sparse.csr_matrix(adata.X)  # scanpy 1.11 takes no sparse arrays
    sc.pp.normalize_total(adata, target_sum=total)
    sc.pp.log1p(adata)
    if sparse.issparse(adata.X):
        adata.X = given(adata.X)
    return adata


def to_dense(X) -> np.ndarray:
    return X.toarray() if sparse.issparse(X) else X


def assert_replayed(new: AnnData, whole: AnnData) -> None:
    """``new`` is to be what the later cells are in the prepared whole."""
    expected = whole[later(whole)]
    assert list(new.obs_names) == list(expected.obs_names)
    assert list(new.var_names) == list(expected.var_names)
    assert type(new.X) is type(whole.X)
    np.testing.assert_array_equal(to_dense(new.X), to_dense(expected.X))
    for key in ("highly_variable", "highly_variable_rank", "highly_variable_score"):
        assert (key in new.var) == (key in expected.var)
        if key in expected.var:
            np.testing.assert_array_equal(new.var[key], expected.var[key])
    for key in expected.obsm:
        np.testing.assert_allclose(new.obsm[key], expected.obsm[key], rtol=1e-6, atol=1e-5)
        np.testing.assert_array_equal(new.varm[key], expected.varm[key])
    assert list(new.uns["heldout"]["chain"]) == list(whole.uns["heldout"]["chain"])
    assert set(new.uns["heldout"]["fits"]) == set(whole.uns["heldout"]["fits"])


def hvg(adata):
    log(adata)
    ho.pp.highly_variable_genes(adata, 40)


def scale(adata):
    log(adata)
    ho.pp.scale(adata)


def scale_not_logged(adata):
    sc.pp.normalize_total(adata, target_sum=1e4)
    ho.pp.scale(adata)


def scale_counts(adata):
    ho.pp.scale(adata)


def pca(adata):
    log(adata)
    ho.pp.pca(adata, 5)


def pca_of_some_genes(adata):
    log(adata)
    adata.var["mine"] = np.arange(adata.n_vars) % 3 == 0
    ho.pp.pca(adata, 5, mask_var="mine")


def everything(adata):
    log(adata)
    ho.pp.highly_variable_genes(adata, 40)
    ho.pp.scale(adata, max_value=3)
    ho.pp.pca(adata, 5)


def everything_subset(adata):
    log(adata)
    ho.pp.highly_variable_genes(adata, 40, subset=True)
    ho.pp.scale(adata)
    ho.pp.pca(adata, 5)


def pca_then_fewer_genes(adata):
    log(adata)
    ho.pp.highly_variable_genes(adata, 40)
    ho.pp.pca(adata, 5, mask_var=None)
    adata._inplace_subset_var(np.arange(adata.n_vars) < 50)


def two_pcas(adata):
    log(adata)
    ho.pp.pca(adata, 5, key_added="before")
    ho.pp.scale(adata)
    ho.pp.pca(adata, 5, key_added="after")


def counts_in_a_layer(adata):
    log(adata)
    ho.pp.highly_variable_genes(adata, 40, flavor="seurat_v3", layer="counts")
    ho.pp.scale(adata)
    ho.pp.pca(adata, 5)


def counts_first_then_normalised(adata):
    ho.pp.highly_variable_genes(adata, 40, flavor="seurat_v3")
    log(adata)
    ho.pp.scale(adata)


def counts_first_then_normalised_subset(adata):
    ho.pp.highly_variable_genes(adata, 40, flavor="seurat_v3", subset=True)
    log(adata)
    ho.pp.scale(adata)


def genes_in_another_order_since(adata):
    log(adata)
    ho.pp.highly_variable_genes(adata, 40)
    adata._inplace_subset_var(np.random.default_rng(0).permutation(adata.n_vars))
    ho.pp.scale(adata)
    ho.pp.pca(adata, 5)
    adata._inplace_subset_var(np.random.default_rng(1).permutation(adata.n_vars))


def x_and_layer(adata):
    adata.layers["log"] = log(adata).X.copy()
    ho.pp.scale(adata)
    ho.pp.scale(adata, max_value=2, layer="log")


CHAINS = [
    hvg,
    scale,
    scale_not_logged,
    scale_counts,
    pca,
    pca_of_some_genes,
    everything,
    everything_subset,
    pca_then_fewer_genes,
    two_pcas,
    counts_in_a_layer,
    counts_first_then_normalised,
    counts_first_then_normalised_subset,
    genes_in_another_order_since,
]
chains = pytest.mark.parametrize("prepare", CHAINS, ids=[chain.__name__ for chain in CHAINS])


@chains
def test_later_cells_get_what_they_would_have_got(whole, new, prepare):
    prepare(whole)
    assert ho.pp.replay(new, whole) is None
    assert_replayed(new, whole)


@chains
def test_genes_in_another_order_and_genes_that_nobody_knows(whole, new, prepare):
    prepare(whole)
    unknown = AnnData(new.X[:, :20] * 3, obs=new.obs, layers={"counts": new.X[:, :20]})
    unknown.var_names = [f"UNKNOWN{i}" for i in range(20)]
    new = ad.concat([new, unknown], axis=1, merge="same")
    new = new[:, np.random.default_rng(0).permutation(new.n_vars)].copy()
    ho.pp.replay(new, whole)
    assert_replayed(new, whole)


@pytest.mark.parametrize("prepare", [everything, everything_subset, counts_in_a_layer])
def test_every_kind_of_matrix(whole, new, array_type, prepare):
    for adata in (whole, new):
        adata.X = array_type(adata.X.toarray())
        adata.layers["counts"] = array_type(adata.layers["counts"].toarray())
    prepare(whole)
    ho.pp.replay(new, whole)
    expected = whole[later(whole)]
    np.testing.assert_allclose(to_dense(new.X), to_dense(expected.X), rtol=1e-6)
    np.testing.assert_allclose(new.obsm["X_pca"], expected.obsm["X_pca"], rtol=1e-5, atol=1e-5)
    assert type(new.X) is type(whole.X)


@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_counts_of_another_type(whole, new, dtype):
    everything(whole)
    new.X = new.X.toarray().astype(dtype)
    ho.pp.replay(new, whole)
    np.testing.assert_allclose(new.X, to_dense(whole[later(whole)].X), rtol=1e-6)


def test_a_median_total_is_kept_to_the_last_digit(whole, new):
    for adata in (whole, new):
        adata.X = adata.X * 1013
    log(whole, total=None)
    ho.pp.scale(whole)
    ho.pp.replay(new, whole)
    np.testing.assert_allclose(to_dense(new.X), to_dense(whole[later(whole)].X), rtol=1e-6)


@pytest.mark.parametrize("prepare", [hvg, scale, pca, everything, everything_subset])
def test_cells_that_are_log_normalised_already(whole, new, prepare):
    prepare(whole)
    ho.pp.replay(log(new), whole)
    assert_replayed(new, whole)


@pytest.mark.parametrize("log_first", [False, True])
def test_a_single_cell(whole, new, log_first):
    everything_subset(whole)
    one = (log(new) if log_first else new)[3].copy()
    ho.pp.replay(one, whole)
    expected = whole[one.obs_names]
    np.testing.assert_array_equal(to_dense(one.X), to_dense(expected.X))
    np.testing.assert_allclose(one.obsm["X_pca"], expected.obsm["X_pca"], rtol=1e-6, atol=1e-5)


def test_an_empty_cell_stays_empty(whole, new):
    scale(whole)
    new.X = new.X.toarray()
    new.X[3] = 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Some cells have zero counts", UserWarning)
        ho.pp.replay(new, whole)
    assert (new.X[3] == 0).all()
    np.testing.assert_array_equal(new.X[4], to_dense(whole[new.obs_names[4]].X)[0])


def test_x_and_a_layer(whole, new):
    x_and_layer(whole)
    new.layers["log"] = log(new).X.copy()
    ho.pp.replay(new, whole)
    assert_replayed(new, whole)
    np.testing.assert_array_equal(to_dense(new.layers["log"]), to_dense(whole[later(whole)].layers["log"]))


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_a_reference_read_back_from_a_file(whole, new, tmp_path, suffix):
    everything(whole)
    path = tmp_path / f"reference.{suffix}"
    if suffix == "h5ad":
        whole.write_h5ad(path)
        read = ad.read_h5ad(path)
    else:
        whole.write_zarr(path)
        read = ad.read_zarr(path)
    ho.pp.replay(new, read)
    assert_replayed(new, whole)
    path = tmp_path / f"new.{suffix}"  # and what was replayed can be stored in turn
    if suffix == "h5ad":
        new.write_h5ad(path)
        again = ad.read_h5ad(path)
    else:
        new.write_zarr(path)
        again = ad.read_zarr(path)
    assert_replayed(again, whole)


def test_copy_leaves_both_alone(whole, new, unchanged):
    everything_subset(whole)
    with unchanged(whole), unchanged(new):
        replayed = ho.pp.replay(new, whole, copy=True)
    assert_replayed(replayed, whole)


def test_in_place_keeps_the_object_and_its_own_columns(whole, new):
    everything_subset(whole)
    new.obs["mine"] = np.arange(new.n_obs)
    new.uns["mine"] = 5
    ho.pp.replay(new, whole)
    assert_replayed(new, whole)
    assert list(new.obs["mine"]) == list(range(new.n_obs))
    assert new.uns["mine"] == 5
    assert not new.is_view


def test_a_view_becomes_its_own_and_the_parent_stays(whole, new, unchanged):
    everything(whole)
    with unchanged(new):
        view = new[new.obs["day"] == 30]
        ho.pp.replay(view, whole)
    assert not view.is_view
    np.testing.assert_array_equal(to_dense(view.X), to_dense(whole[view.obs_names].X))


@pytest.mark.parametrize("method", ["logistic", "pseudobulk_logistic"])
@pytest.mark.parametrize("prepare", [hvg, everything, everything_subset, counts_in_a_layer])
def test_a_prediction_of_later_cells_is_that_of_the_reference(whole, new, prepare, method):
    prepare(whole)
    ho.tl.genotype(whole, "genotype", method=method)
    ho.pp.replay(new, whole)
    ho.tl.predict(new, reference=whole)
    expected = whole[later(whole)]
    np.testing.assert_allclose(
        new.obsm["genotype_log_probability"], expected.obsm["genotype_log_probability"], rtol=1e-6, atol=1e-6
    )
    assert list(new.obs["genotype_prediction"]) == list(expected.obs["genotype_prediction"])


def test_prediction_without_replay_is_refused(whole, new, unchanged):
    everything(whole)
    ho.tl.genotype(whole, "genotype", method="logistic")
    with unchanged(new), pytest.raises(ValueError, match=r"heldout.pp.replay\(adata, reference\)"):
        ho.tl.predict(new, reference=whole)


def lose_genes(adata):
    adata._inplace_subset_var(np.arange(adata.n_vars) >= 4)


def normalise_otherwise(adata):
    log(adata, total=1e6)


def normalise_with_other_genes(adata):
    extra = AnnData(sparse.csr_matrix(np.full((adata.n_obs, 1), 50, dtype=np.float32)), obs=adata.obs)
    extra.var_names = ["SPIKE"]
    both = log(ad.concat([adata, extra], axis=1, merge="same"))
    adata._init_as_actual(both)


def scale_by_scanpy(adata):
    log(adata).X = adata.X.toarray()
    sc.pp.scale(adata)


def spoil(value):
    def change(adata):
        adata.X = adata.X.toarray()
        adata.X[1, 1] = value

    return change


BAD_NEW = {
    "genes missing": (lose_genes, r"lacks 4 of the 150 genes .*'GENE00001'.*Add them as zeros"),
    "another total": (normalise_otherwise, r"holds log1p of counts normalised to 1e\+06.*reference held .* 10000 per"),
    "normalised over other genes": (normalise_with_other_genes, r"over the 150 genes of the reference.*Bring the new"),
    "scaled": (scale_by_scanpy, r"adata holds values below zero .*but the reference held log1p"),
    "not logged": (lambda a: sc.pp.normalize_total(a, target_sum=1e4), r"not logged.*but the reference held log1p"),
    "NaN": (spoil(np.nan), r"adata.X has NaN or infinite values"),
    "negative": (spoil(-1), r"adata holds values below zero"),
    "empty": (lambda a: setattr(a, "X", a.X * 0), r"adata.X holds nothing but zeros"),
    "duplicates": (lambda a: setattr(a, "var_names", ["A", "A", *a.var_names[2:]]), r"var_names has 1 duplicated"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_NEW.values(), ids=BAD_NEW.keys())
@pytest.mark.parametrize("prepare", [hvg, everything_subset])
def test_bad_new_cells(whole, new, unchanged, prepare, spoil, message):
    prepare(whole)
    spoil(new)
    with unchanged(new), unchanged(whole), pytest.raises(ValueError, match=message):
        ho.pp.replay(new, whole)


def test_counts_for_a_reference_without_a_common_total(whole, new, unchanged):
    log(whole)
    whole._inplace_subset_var(np.arange(whole.n_vars) % 2 == 0)  # genes dropped before the first step
    ho.pp.scale(whole)
    with unchanged(new), pytest.raises(ValueError, match=r"adata holds raw counts.*common total"):
        ho.pp.replay(new, whole)
    ho.pp.replay(log(new), whole)  # the user knows how it was done
    assert_replayed(new, whole)


def test_a_layer_that_is_not_there(whole, new, unchanged):
    counts_in_a_layer(whole)
    del new.layers["counts"]
    with unchanged(new), pytest.raises(ValueError, match=r"layer='counts' is not in adata.layers"):
        ho.pp.replay(new, whole)


def test_twice_is_refused(whole, new, unchanged):
    everything(whole)
    ho.pp.replay(new, whole)
    with unchanged(new), pytest.raises(ValueError, match=r"prepared already \(highly_variable_genes → scale → X_pca\)"):
        ho.pp.replay(new, whole)


def test_a_reference_that_was_not_prepared(whole, new, unchanged):
    with unchanged(new), pytest.raises(ValueError, match="no recorded preparation to replay"):
        ho.pp.replay(new, whole)


def test_a_pca_of_some_genes_whose_others_are_gone(whole, new, unchanged):
    pca_of_some_genes(whole)
    whole._inplace_subset_var(whole.var["mine"].to_numpy())
    with unchanged(new), pytest.raises(ValueError, match=r"normalised over 150 genes, of which .*'X_pca' recorded 50"):
        ho.pp.replay(new, whole)


def test_an_altered_fit_is_noticed(whole, new, unchanged):
    everything(whole)
    whole.uns["heldout"]["fits"]["scale"]["arrays"]["a0000"][0] += 1
    with unchanged(new), pytest.raises(ValueError, match=r"fit 'scale' was altered after it was stored"):
        ho.pp.replay(new, whole)


@pytest.mark.parametrize("prepare", [hvg, scale, pca, everything, everything_subset])
def test_another_split_after_preparation_stops_the_fit(whole, unchanged, prepare):
    prepare(whole)
    ho.pp.split_matched(whole, "library", "day", label_key="genotype", test=16, val=0)
    first = whole.uns["heldout"]["chain"][0]
    moved = rf"fit '{first}' was made on another split .*\(e.g. 'GSM.*' and \d+ more\)\. 60 cells that it has seen are now test"
    with unchanged(whole), pytest.raises(ValueError, match=moved):
        ho.tl.genotype(whole, "genotype", method="logistic")


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_the_guard_survives_a_file(whole, tmp_path, suffix):
    everything(whole)
    path = tmp_path / f"a.{suffix}"
    if suffix == "h5ad":
        whole.write_h5ad(path)
        read = ad.read_h5ad(path)
    else:
        whole.write_zarr(path)
        read = ad.read_zarr(path)
    for adata in (whole, read):
        ho.tl.genotype(adata, "genotype", method="logistic")
    np.testing.assert_array_equal(whole.obsm["genotype_log_probability"], read.obsm["genotype_log_probability"])
    ho.pp.split_matched(read, "library", "day", label_key="genotype", test=16, val=0)
    with pytest.raises(ValueError, match="was made on another split"):
        ho.tl.genotype(read, "genotype", method="logistic")


def test_the_guard_is_about_cells_and_not_about_how_the_split_was_made(whole):
    everything(whole)
    parts = {
        part: sorted(whole.obs["library"][whole.obs["split"] == part].unique()) for part in ("train", "val", "test")
    }
    ho.pp.split_assigned(whole, "library", **parts, label_key=None)
    whole._inplace_subset_obs(np.arange(whole.n_obs) % 2 == 0)  # cells dropped since do no harm either
    ho.tl.genotype(whole, "genotype", method="logistic")
