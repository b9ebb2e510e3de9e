"""Splits of a MuData: one partition a cell, in the MuData and in each modality, under one hash."""

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import heldout as ho
from heldout._core.partition import read_partition
from tests.helpers.properties import properties
from tests.helpers.same import assert_same, content_of
from tests.helpers.splits import assigned, cells

HYPOTHESIS = properties(40)
TRAIN = [f"GSM83250{number}" for number in (46, 47, 48, 50, 51, 53, 55, 57)]

SPLITS = {
    "groups": lambda a, **kw: ho.pp.split_groups(a, "library", "genotype", **kw),
    "balanced": lambda a, **kw: ho.pp.split_groups(
        a, "library", "genotype", val=0, test=0.5, share_of="cells", covariate_keys="day", **kw
    ),
    "stable": lambda a, **kw: ho.pp.split_groups(a, "library", stable=True, rng=1, **kw),
    "matched": lambda a, **kw: ho.pp.split_matched(a, "library", "day", label_key="genotype", test=19, val=0, **kw),
    "assigned": lambda a, **kw: ho.pp.split_assigned(a, "library", train=TRAIN, test="GSM8325052", **kw),
    "cells": lambda a, **kw: ho.pp.split_cells(a, **kw),
    "perturbations": lambda a, **kw: ho.pp.split_perturbations(
        a, "day", control="0", hold_out="single", val=0, test=0.3, group_key="library", control_share=0.4, **kw
    ),
    "time": lambda a, **kw: ho.pp.split_time(a, "day", train=9, test=30, between="val", **kw),
}


def modalities(adata, in_rna, in_protein):
    """MuData of the cells of an AnnData, those of the second modality backwards; ``obs`` goes to both."""
    rna, protein = adata[in_rna].copy(), adata[in_protein][::-1].copy()
    protein = ad.AnnData(np.ones((protein.n_obs, 2), dtype=np.float32), obs=protein.obs)
    protein.var_names = ["CD3", "CD4"]
    return md.MuData({"rna": rna, "protein": protein})


@pytest.fixture
def mdata(lmna):
    """The simulation as two modalities: cells in both, in RNA only, in protein only."""
    draw = np.random.default_rng(0).integers(0, 3, lmna.n_obs)
    return modalities(lmna, draw != 0, draw != 1)


@pytest.fixture(params=SPLITS.values(), ids=SPLITS.keys())
def make(request):
    return request.param


def content(mdata):
    """Everything that a failing call might have changed."""
    own = {"obs": mdata.obs.copy(), "var": mdata.var.copy(), "uns": dict(mdata.uns)}
    return {**own, **{name: content_of(modality) for name, modality in mdata.mod.items()}}


@pytest.fixture
def refused():
    """Function ``(call, mdata, *words)``: the call fails with all these words and changes nothing anywhere."""

    def check(call, mdata, *words, error=ValueError):
        before = content(mdata)
        with pytest.raises(error) as caught:
            call(mdata)
        for word in words:
            assert word in str(caught.value)
        assert_same(before, content(mdata), "mdata")

    return check


def assert_split_everywhere(mdata, expected, key="split"):
    """The split of an AnnData of all cells stands in the MuData and in each modality."""
    wanted = assigned(expected, key)
    for part in (mdata, *mdata.mod.values()):
        assert assigned(part, key) == {name: wanted[name] for name in part.obs_names}
        found = read_partition(part, key)
        assert found.hash == read_partition(expected, key).hash
        assert found.scheme == read_partition(expected, key).scheme
        assert found.params == read_partition(expected, key).params


# --- what is written ------------------------------------------------------------------------------------------------


def test_the_split_is_that_of_all_cells_everywhere(make, mdata, lmna):
    make(lmna)
    assert make(mdata) is None
    assert_split_everywhere(mdata, lmna)


def test_a_copy_is_a_mudata_and_the_original_stays(make, mdata, lmna):
    before = content(mdata)
    changed = make(mdata, copy=True)
    assert isinstance(changed, md.MuData)
    assert_same(before, content(mdata), "mdata")
    make(lmna)
    assert_split_everywhere(changed, lmna)


@HYPOTHESIS
@given(where=st.lists(st.sampled_from(["rna", "protein", "both"]), min_size=24, max_size=24), seed=st.integers(0, 99))
def test_which_modality_has_a_cell_does_not_matter(where, seed):
    where = np.array(where)
    where[:2] = ["rna", "protein"]
    whole = cells([f"g{i}" for i in range(8)], ["a", "b"] * 4)
    mdata = modalities(whole, where != "protein", where != "rna")
    for adata in (whole, mdata):
        ho.pp.split_groups(adata, "group", "label", val=0.25, test=0.25, rng=seed)
        ho.pp.folds(adata, "group", "label", n_folds=3, rng=seed)
    for key in ("split", "fold_0", "fold_1", "fold_2"):
        assert_split_everywhere(mdata, whole, key)


def test_folds_are_read_at_the_top_and_in_a_modality(mdata, lmna):
    for adata in (lmna, mdata):
        ho.pp.folds(adata, "library", "genotype", n_folds=3, val=0)
    for part in (mdata, mdata["rna"], mdata["protein"]):
        assert ho.get.fold_keys(part) == ["fold_0", "fold_1", "fold_2"]
        for train, test in ho.get.iterate_folds(part):
            assert sorted([*train, *test]) == list(range(part.n_obs))
    for key in ho.get.fold_keys(mdata):
        assert_split_everywhere(mdata, lmna, key)


def test_tables_of_a_mudata(mdata, lmna):
    for adata in (lmna, mdata):
        ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    assert ho.get.split(mdata).equals(ho.get.split(lmna))
    assert ho.get.split(mdata, group_key="library")["n_cells"].sum() == 360
    table, expected = ho.get.split_table(mdata), ho.get.split_table(lmna)
    assert table["split_hash"].unique().tolist() == expected["split_hash"].unique().tolist()
    assert table["partition"].to_dict() == expected["partition"].to_dict()


def test_a_published_split_goes_to_every_modality_and_back(mdata, lmna):
    ho.pp.split_groups(lmna, "library", "genotype")
    ho.pp.split_from(mdata, ho.get.split_table(lmna))
    assert_split_everywhere(mdata, lmna)
    again = lmna.copy()
    del again.obs["split"], again.uns["heldout"]
    ho.pp.split_from(again, ho.get.split_table(mdata))
    assert_split_everywhere(mdata, again)
    part = mdata["protein"].copy()
    ho.pp.split_from(part, ho.get.split_table(mdata), key_added="again")
    assert part.obs["again"].equals(part.obs["split"])


def test_a_split_of_genes_is_for_one_modality(mdata, lmna, refused):
    ho.pp.split_genes(lmna)
    table = ho.get.split_table(lmna, "gene_split", axis="var")
    for call in (
        lambda m: ho.pp.split_from(m, table),
        lambda m: ho.pp.split_genes(m),
        lambda m: ho.get.split_table(m, axis="var"),
    ):
        refused(call, mdata, "got MuData. For a MuData, pass one modality, e.g. mdata['rna']", error=TypeError)


@pytest.mark.parametrize("call", [ho.pp.scale, ho.pp.pca, ho.pp.highly_variable_genes, ho.tl.genotype, ho.tl.evaluate])
def test_what_is_of_genes_takes_one_modality(mdata, call, refused):
    ho.pp.split_groups(mdata, "library", "genotype")
    refused(call, mdata, "For a MuData, pass one modality", error=TypeError)


def test_a_modality_is_prepared_and_judged_on_the_split_of_all(mdata):
    ho.pp.split_matched(mdata, "library", "day", label_key="genotype", test=19, val=0)
    rna = mdata["rna"]
    ho.pp.highly_variable_genes(rna, n_top_genes=40, flavor="seurat_v3")
    ho.tl.genotype(rna, "genotype", method="qc_logistic")
    table = ho.tl.evaluate(rna, "genotype", baselines=["majority"])
    assert set(table["method"]) == {"qc_logistic", "majority"}
    assert ho.get.fits(rna)["split_hash"].unique().tolist() == [read_partition(mdata).hash]


# --- files and update -----------------------------------------------------------------------------------------------


def test_update_and_a_file_keep_the_split(make, mdata, lmna, tmp_path):
    make(lmna)
    make(mdata)
    mdata.update()
    assert_split_everywhere(mdata, lmna)
    mdata.write(tmp_path / "two.h5mu")
    read = md.read(tmp_path / "two.h5mu")
    assert_split_everywhere(read, lmna)
    read.update()
    assert_split_everywhere(read, lmna)
    make(read)
    assert_split_everywhere(read, lmna)
    assert list(read.uns["heldout"]["splits"]) == ["split"]


def test_a_backed_mudata(mdata, lmna, tmp_path):
    mdata.write(tmp_path / "two.h5mu")
    backed = md.read_h5mu(tmp_path / "two.h5mu", backed="r")
    for adata in (lmna, backed):
        ho.pp.split_groups(adata, "library", "genotype")
    assert backed.isbacked
    assert_split_everywhere(backed, lmna)
    backed.file.close()


def test_cells_that_are_dropped_later_leave_the_split_valid(mdata):
    ho.pp.split_groups(mdata, "library", "genotype")
    hash_ = read_partition(mdata).hash
    fewer = mdata[mdata.obs_names[::3]].copy()
    for part in (fewer, *fewer.mod.values()):
        assert read_partition(part).hash == hash_
    moved = mdata.copy()
    moved.obs.loc[moved.obs_names[0], "split"] = "unused"
    with pytest.raises(ValueError, match="are in another partition"):
        read_partition(moved)


# --- columns --------------------------------------------------------------------------------------------------------


def test_a_column_of_the_top_comes_first(mdata, lmna):
    halves = np.where(lmna.obs["day"] > 5, "late", "early")
    mdata.obs["library"] = pd.Series(halves, index=lmna.obs_names).loc[mdata.obs_names]
    ho.pp.split_assigned(mdata, "library", train="early", test="late")
    lmna.obs["half"] = halves
    ho.pp.split_assigned(lmna, "half", train="early", test="late")
    assert assigned(mdata) == assigned(lmna)


def test_a_column_of_one_modality_that_has_all_cells(mdata, lmna):
    del mdata
    full = modalities(lmna, np.ones(360, dtype=bool), lmna.obs["day"].to_numpy() > 5)
    full["protein"].obs["library"] = "another thing"
    ho.pp.split_matched(full, "rna:library", "rna:day", label_key="genotype", test=19)
    ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=19)
    assert read_partition(full).hash == read_partition(lmna).hash
    assert read_partition(full).params["group_key"] == "rna:library"
    assert read_partition(full["rna"]).params["group_key"] == "library"
    assert read_partition(full["protein"]).params["group_key"] == "rna:library"
    ho.tl.genotype(full["rna"], "genotype", method="qc_logistic")
    assert set(ho.tl.evaluate(full["rna"], "genotype", baselines=[])["method"]) == {"qc_logistic"}
    assert ho.get.split(full)["n_cells"].tolist() == ho.get.split(lmna)["n_cells"].tolist()


def test_what_one_modality_lacks_the_other_says(mdata, lmna):
    shared = mdata["rna"].obs_names.intersection(mdata["protein"].obs_names)
    mdata["protein"].obs.loc[shared[:5], "library"] = np.nan
    mdata["rna"].obs.loc[shared[5:9], "library"] = np.nan
    for adata in (lmna, mdata):
        ho.pp.split_groups(adata, "library")
    assert assigned(mdata) == assigned(lmna)


@pytest.mark.parametrize("how", ["text", "categories", "float", "categories of numbers"])
def test_modalities_may_store_one_value_in_different_ways(mdata, lmna, how):
    protein = mdata["protein"].obs
    if how == "text":
        protein["library"] = protein["library"].astype(str).astype(object)
    elif how == "categories":
        protein["library"] = protein["library"].cat.reorder_categories(protein["library"].cat.categories[::-1])
    elif how == "float":
        protein["day"] = protein["day"].astype(float)
    else:
        for part in mdata.mod.values():
            part.obs["day"] = pd.Categorical(part.obs["day"])
        protein["day"] = protein["day"].cat.reorder_categories(protein["day"].cat.categories[::-1])
    for adata in (lmna, mdata):
        ho.pp.split_groups(adata, ["library", "day"], key_added="groups")
        ho.pp.split_time(adata, "day", test=30, key_added="time")
    for key in ("groups", "time"):
        assert assigned(mdata, key) == assigned(lmna, key)


# --- what is refused ------------------------------------------------------------------------------------------------


def by_library(mdata):
    ho.pp.split_groups(mdata, "library", "genotype")


def test_modalities_that_disagree(mdata, refused):
    shared = mdata["rna"].obs_names.intersection(mdata["protein"].obs_names)
    protein = mdata["protein"].obs
    protein["library"] = protein["library"].astype(str)
    protein.loc[shared[3], "library"] = "GSM1"
    refused(
        by_library,
        mdata,
        "group_key='library' is not the same in all modalities for 1 cells",
        f"{shared[3]!r}: 'GSM",
        "'GSM1' in 'protein'",
        "'rna:library'",
    )


def test_cells_without_a_value(mdata, refused):
    only = mdata["protein"].obs_names.difference(mdata["rna"].obs_names)
    del mdata["protein"].obs["library"]
    words = (f"has no value for {len(only)} of 360 cells", "which are in 'protein'", "mdata.obs['library']")
    refused(by_library, mdata, "group_key='library'", *words)
    refused(lambda m: ho.pp.split_groups(m, "rna:library"), mdata, "group_key='rna:library'", *words)


def test_a_column_that_is_nowhere_or_empty(mdata, refused):
    refused(
        lambda m: ho.pp.split_groups(m, "librari"),
        mdata,
        "group_key='librari' is not a column of adata.obs, nor of a modality. Did you mean",
        "library'",
    )
    for part in mdata.mod.values():
        part.obs["nothing"] = np.nan
    refused(lambda m: ho.pp.split_groups(m, "nothing"), mdata, "has no value for 360 of 360 cells")


def test_a_name_that_is_taken_in_one_modality(mdata, refused):
    mdata["protein"].obs["fold_1"] = 3.5
    mdata["protein"].obs["split"] = "mine"
    refused(by_library, mdata, "key_added='split' is a column", "not a split")
    refused(lambda m: ho.pp.folds(m, "library", "genotype", n_folds=3), mdata, "key_added='fold_1' is a column")


def test_a_mudata_that_is_out_of_date(mdata, refused):
    fewer = mdata["rna"][:-5].copy()
    gone = len(mdata["rna"].obs_names[-5:].difference(mdata["protein"].obs_names))
    mdata.mod["rna"] = fewer
    refused(by_library, mdata, f"{gone} cells are in mdata.obs, but in no modality", "mdata.update()")
    mdata.update()
    by_library(mdata)


def test_a_modality_with_new_cells(mdata, refused):
    more = cells(["g"], library=["GSM8325046"])
    more.var_names = mdata["protein"].var_names
    mdata.mod["protein"] = ad.concat([mdata["protein"], more])
    refused(by_library, mdata, "3 cells are in a modality, but not in mdata.obs", "'cell0'", "mdata.update()")


def test_a_view_is_refused_and_its_copy_is_not(mdata, refused):
    view = mdata[mdata.obs_names[:200]]
    refused(by_library, view, "view of another MuData", ".copy()")
    changed = ho.pp.split_cells(view, copy=True)
    assert read_partition(changed).counts()["train"] == 120
    assert "split" not in mdata.obs


def test_modalities_that_share_genes(lmna, refused):
    one, two = lmna[:100].copy(), lmna[100:].copy()
    refused(by_library, md.MuData({"one": one, "two": two}, axis=1), "axis=1", "share genes, not cells")
    both = md.MuData({"raw": lmna, "log": lmna.copy()}, axis=-1)
    by_library(both)
    assert assigned(both) == assigned(both["raw"]) == assigned(both["log"])


def test_names_that_stand_for_two_cells(mdata, refused):
    names = mdata["rna"].obs_names.to_list()
    mdata["rna"].obs_names = [names[1], *names[1:]]
    refused(by_library, mdata, "mdata['rna'].obs_names has 1 duplicated names", repr(names[1]))


def test_a_mudata_in_a_mudata(mdata):
    nested = md.MuData({"inner": mdata})
    with pytest.raises(TypeError, match=r"mdata\['inner'\] is a MuData itself"):
        by_library(nested)
    assert "split" not in nested.obs
    assert "split" not in mdata.obs
