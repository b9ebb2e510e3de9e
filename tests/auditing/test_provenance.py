"""The audit proves by numbers which cells something was fitted on; what was fitted on train alone stays silent."""

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from scipy import sparse
from sklearn.decomposition import PCA

import heldout as ho
from heldout.auditing.provenance import provenance
from tests.helpers.leaks import by_library, case_of, real, simulated

LOAD = {"lmna": simulated, "kang": lambda: real("kang"), "onek1k": lambda: real("onek1k")}
GENES = "var['highly_variable']"
COORDINATES = "obsm['X_pca']"


def prepared(name="lmna", *, share=None):
    """Log-normalised with counts in a layer; test libraries, or a share of the cells."""
    adata = LOAD[name]()
    if share is None:
        by_library(adata, val=True)
    else:
        adata.obs["fold"] = np.where(np.random.default_rng(0).random(adata.n_obs) < share, "b", "a")
        ho.pp.split_assigned(adata, "fold", train=["a"], test=["b"])
    adata.layers["counts"] = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


@pytest.fixture(scope="module", params=LOAD)
def everything(request):
    return prepared(request.param)


@pytest.fixture(scope="module", params=[*LOAD, "a twentieth"])
def any_split(request):
    """Each data set with test libraries, and the simulation with a twentieth of the cells in test."""
    return prepared(share=0.05) if request.param == "a twentieth" else prepared(request.param)


def train(adata):
    return adata[adata.obs["split"] == "train"].copy()


def findings(adata, **options):
    return provenance(case_of(adata, **options))


def about(adata, subject, **options):
    (found,) = [f for f in findings(adata, **options) if f.subject == subject]
    return found


def test_nothing_is_fitted(everything):
    (found,) = findings(everything)
    assert found.status == "not run"
    assert "No fit, no scaled matrix" in found.finding


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("zero_center", [True, False])
def test_scanpy_pca_of_all_cells(everything, dense, zero_center):
    adata = everything.copy()
    if dense:
        adata.X = adata.X.toarray()
    sc.pp.pca(adata, n_comps=20, zero_center=zero_center)
    found = about(adata, COORDINATES)
    assert found.status == "fail"
    assert "all cells" in found.finding


@pytest.mark.parametrize("solver", ["arpack", "randomized", "covariance_eigh"])
def test_pca_of_the_train_cells(any_split, solver):
    adata = any_split.copy()
    X = adata.X.toarray()
    model = PCA(20, svd_solver=solver, random_state=0).fit(train(adata).X.toarray())
    adata.obsm["X_pca"] = model.transform(X).astype(np.float32)
    found = about(adata, COORDINATES)
    assert found.status == "pass"
    assert "the train cells" in found.finding
    adata.obsm["X_pca"] = PCA(20, svd_solver=solver, random_state=0).fit(X).transform(X).astype(np.float32)
    assert about(adata, COORDINATES).status == "fail"


def test_pca_of_train_and_val_is_worth_a_look():
    adata = prepared()
    inside = adata[adata.obs["split"].isin(["train", "val"])]
    model = PCA(10, random_state=0).fit(inside.X.toarray())
    adata.obsm["X_pca"] = model.transform(adata.X.toarray())
    assert about(adata, COORDINATES).status == "warn"


def test_pca_of_cells_that_are_gone():
    adata = prepared()
    sc.pp.pca(adata, n_comps=10)
    kept = adata[np.random.default_rng(0).random(adata.n_obs) < 0.5].copy()
    found = about(kept, COORDINATES)
    assert found.status == "not run"
    assert "dropped" in found.finding


@pytest.mark.parametrize("zero_center", [True, False])
@pytest.mark.parametrize("max_value", [None, 10])
def test_scale(any_split, zero_center, max_value):
    leaky = any_split.copy()
    leaky.X = leaky.X.toarray() if zero_center else leaky.X
    sc.pp.scale(leaky, zero_center=zero_center, max_value=max_value)
    found = about(leaky, "X")
    assert found.status == "fail"
    assert "all cells" in found.finding

    clean, fitted = any_split.copy(), train(any_split)
    fitted.X = fitted.X.toarray()
    sc.pp.scale(fitted)
    sd = np.where(fitted.var["std"] > 0, fitted.var["std"], 1)
    X = any_split.X.toarray() - (fitted.var["mean"].to_numpy() if zero_center else 0)
    X = X / sd
    clean.X = (X if max_value is None else np.clip(X, -max_value, max_value)).astype(np.float32)
    if not zero_center:
        clean.X = sparse.csr_matrix(clean.X)
    assert about(clean, "X").status == "pass"


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_scaled_layer_of_each_kind(kind):
    adata = prepared()
    sc.pp.scale(adata, zero_center=False)
    adata.layers["scaled"] = kind(adata.X.toarray())
    adata.X = adata.layers["counts"]
    assert about(adata, "layers['scaled']").status == "fail"


@pytest.mark.parametrize("flavor", ["seurat", "cell_ranger", "seurat_v3", None])
def test_highly_variable_genes(any_split, flavor):
    options = {} if flavor is None else {"flavor": flavor, "n_top_genes": 200}
    if flavor == "seurat_v3":
        pytest.importorskip("skmisc")
        options["layer"] = "counts"
    for cells, status in ((any_split.copy(), "fail"), (train(any_split), "pass")):
        sc.pp.highly_variable_genes(cells, **options)
        adata = any_split.copy()
        adata.var = cells.var.copy()
        adata.uns["hvg"] = cells.uns["hvg"]
        found = about(adata, GENES)
        assert found.status == status
        assert 0 < found.value <= 1

        del adata.var["means"], adata.uns["hvg"]  # only the choice is left: choose again
        expected = "not run" if flavor == "seurat_v3" else status
        assert about(adata, GENES).status == expected


@pytest.mark.parametrize("target_sum", [1e4, None])
def test_genes_chosen_before_scaling_are_told_from_the_counts(target_sum):
    adata = prepared()
    adata.X = adata.layers["counts"].copy()
    del adata.uns["log1p"]
    sc.pp.normalize_total(adata, target_sum=target_sum)
    sc.pp.log1p(adata)
    for cells, status in ((adata.copy(), "fail"), (train(adata), "pass")):
        sc.pp.highly_variable_genes(cells, n_top_genes=200)
        scaled = adata.copy()
        scaled.var = cells.var.copy()
        scaled.X = scaled.X.toarray()
        sc.pp.scale(scaled)
        assert about(scaled, GENES).status == status


def test_how_much_the_choice_matters():
    adata = prepared()
    chosen = {}
    for name, cells in (("all", adata.copy()), ("train", train(adata))):
        sc.pp.highly_variable_genes(cells, n_top_genes=200)
        chosen[name] = set(cells.var_names[cells.var["highly_variable"]])
    sc.pp.highly_variable_genes(adata, n_top_genes=200)
    share = len(chosen["all"] & chosen["train"]) / len(chosen["all"] | chosen["train"])
    assert about(adata, GENES).value == pytest.approx(share)


def test_what_heldout_fitted_passes(through_file):
    adata = prepared()
    ho.pp.highly_variable_genes(adata, 200)
    ho.pp.scale(adata)
    ho.pp.pca(adata, 10)
    for each in (adata, through_file(adata), adata[::2].copy()):
        found = findings(each)
        assert {f.subject for f in found} == {"highly_variable_genes", "scale", "X_pca"}
        assert {f.status for f in found} == {"pass"}


def test_a_fit_on_another_split_counts_the_test_cells_it_has_seen():
    adata = prepared()
    ho.pp.pca(adata, 10, mask_var=None)
    before = adata.obs["split"].to_numpy()
    libraries = np.sort(adata.obs["library"].unique())
    ho.pp.split_assigned(
        adata, "library", train=list(libraries[3:]), val=[libraries[1]], test=[libraries[0], libraries[2]]
    )
    seen = int(((before != "test") & (adata.obs["split"] == "test")).sum())
    found = about(adata, "X_pca")
    assert seen
    assert found.status == "fail"
    assert found.value == seen
    assert str(seen) in found.finding


def test_fits_of_other_splits_are_left_to_their_own_audit():
    adata = prepared()
    ho.pp.pca(adata, 10, mask_var=None)
    fits = adata.uns["heldout"]["fits"]
    assert about(adata, "X_pca").status == "pass"
    libraries = np.sort(adata.obs["library"].unique())
    ho.pp.split_assigned(adata, "library", train=list(libraries[1:]), test=[libraries[0]], key_added="other")
    found = about(adata, "X_pca", split_key="other")  # it belongs to the preparation, which all splits share
    assert found.status == "pass"  # library 0 was test there too
    adata.uns["heldout"]["chain"] = np.array([], dtype=str)
    assert fits
    assert about(adata, "fits of other splits", split_key="other").status == "not run"


def test_coordinates_overwritten_by_scanpy():
    adata = prepared()
    ho.pp.pca(adata, 10, mask_var=None)
    sc.pp.pca(adata, n_comps=10)
    assert about(adata, "X_pca").status == "pass"
    found = about(adata, COORDINATES)
    assert found.status == "fail"
    assert "overwritten" in found.finding


def test_choice_overwritten_by_scanpy():
    adata = prepared()
    ho.pp.highly_variable_genes(adata, 200)
    sc.pp.highly_variable_genes(adata, n_top_genes=200)
    found = about(adata, GENES)
    assert found.status == "fail"
    assert "differ" in found.finding


def test_an_altered_fit_fails():
    adata = prepared()
    ho.pp.pca(adata, 10, mask_var=None)
    adata.uns["heldout"]["fits"]["X_pca"]["arrays"]["a0000"][0] += 1
    found = about(adata, "X_pca")
    assert found.status == "fail"
    assert "altered" in found.finding


def test_what_cannot_be_told_is_named():
    adata = prepared()
    rng = np.random.default_rng(0)
    for key in ("X_scVI", "X_umap", "X_pca_harmony", "spatial"):
        adata.obsm[key] = rng.normal(1, 1, (adata.n_obs, 2))
    adata.obs["leiden"] = "0"
    adata.obs["dpt_pseudotime"] = 0.5
    found = about(adata, "no record")
    assert found.status == "not run"
    for name in ("X_scVI", "X_umap", "X_pca_harmony", "leiden", "dpt_pseudotime"):
        assert name in found.finding
    assert "spatial" not in found.finding


def test_a_column_without_a_record():
    adata = prepared()
    plain = ad.AnnData(adata.X, obs=adata.obs[["split", "library"]], var=adata.var)
    sc.pp.pca(plain, n_comps=10)
    assert about(plain, COORDINATES).status == "fail"
