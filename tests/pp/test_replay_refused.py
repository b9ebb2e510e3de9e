"""What replay refuses, and that the AnnData stays as it was."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse

import heldout as ho
from tests.helpers.preparations import (
    assert_replayed,
    counts_in_a_layer,
    everything,
    everything_subset,
    hvg,
    log,
    pca,
    pca_of_some_genes,
    scale,
)


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
    "another total": (normalise_otherwise, r"has log1p of counts normalised to 1e\+06.*reference had .* 10000 per"),
    "normalised over other genes": (
        normalise_with_other_genes,
        r"over the 150 genes of the reference.*Prepare the new",
    ),
    "scaled": (scale_by_scanpy, r"adata has values below zero .*but the reference had log1p"),
    "not logged": (lambda a: sc.pp.normalize_total(a, target_sum=1e4), r"not logged.*but the reference had log1p"),
    "NaN": (spoil(np.nan), r"adata.X has NaN or infinite values"),
    "negative": (spoil(-1), r"adata has values below zero"),
    "empty": (lambda a: setattr(a, "X", a.X * 0), r"All values of adata.X are zero"),
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
    with unchanged(new), pytest.raises(ValueError, match=r"adata has raw counts.*common total"):
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
    with unchanged(new), pytest.raises(ValueError, match=r"prepared before \(highly_variable_genes → scale → X_pca\)"):
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
    with unchanged(new), pytest.raises(ValueError, match=r"Fit 'scale' was altered after it was stored"):
        ho.pp.replay(new, whole)


@pytest.mark.parametrize("prepare", [hvg, scale, pca, everything, everything_subset])
def test_another_split_after_preparation_stops_the_fit(whole, unchanged, prepare):
    prepare(whole)
    ho.pp.split_matched(whole, "library", "day", label_key="genotype", test=16, val=0)
    first = whole.uns["heldout"]["chain"][0]
    moved = (
        rf"Fit '{first}' was made on another split .*\(e.g. 'GSM.*' and \d+ more\)\. "
        "60 of its train and val cells are now test"
    )
    with unchanged(whole), pytest.raises(ValueError, match=moved):
        ho.tl.genotype(whole, "genotype", method="logistic")


def test_the_guard_survives_a_file(whole, through_file):
    everything(whole)
    read = through_file(whole)
    for adata in (whole, read):
        ho.tl.genotype(adata, "genotype", method="logistic")
    np.testing.assert_array_equal(whole.obsm["genotype_log_probability"], read.obsm["genotype_log_probability"])
    ho.pp.split_matched(read, "library", "day", label_key="genotype", test=16, val=0)
    with pytest.raises(ValueError, match="was made on another split"):
        ho.tl.genotype(read, "genotype", method="logistic")


def test_the_guard_is_about_cells_and_not_about_how_the_split_was_made(whole):
    everything(whole)
    other = whole.copy()
    other.obs["plate"] = "plate of " + other.obs["library"].astype(str)
    in_split = other.obs.groupby("split", observed=True)["plate"].unique()
    ho.pp.split_assigned(other, "plate", **{part: sorted(in_split[part]) for part in ("train", "val", "test")})
    for adata in (whole, other):
        adata._inplace_subset_obs(np.arange(adata.n_obs) % 2 == 0)  # cells dropped since do no harm either
        ho.tl.genotype(adata, "genotype", method="logistic")
    np.testing.assert_array_equal(other.obsm["genotype_log_probability"], whole.obsm["genotype_log_probability"])
    assert other.obs["genotype_prediction"].notna().all()
