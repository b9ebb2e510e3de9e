"""Paired designs stay whole and are tested within pairs, and cells without a group are not taken for a group."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import heldout as ho
from heldout._core.partition import read_partition


def patients(n=6, repeats=4, n_genes=12, seed=0):
    """Cells of an untreated and a treated sample of each patient; treatment raises three genes."""
    rng = np.random.default_rng(seed)
    rows = [(f"P{p}", condition) for p in range(n) for condition in ("ctrl", "drug") for _ in range(repeats)]
    obs = pd.DataFrame(rows, columns=["patient", "condition"], index=[f"cell{i}" for i in range(len(rows))])
    obs["sample"] = obs["patient"] + "-" + obs["condition"].map({"ctrl": "1", "drug": "2"})
    obs["site"] = np.where(obs["patient"].isin(["P0", "P1", "P2"]), "A", "B")
    rate = (
        np.full((len(obs), n_genes), 3.0) * np.exp(rng.normal(0, 0.3, (n, n_genes)))[np.repeat(range(n), 2 * repeats)]
    )
    rate[(obs["condition"] == "drug").to_numpy(), :3] *= 4
    return ad.AnnData(rng.poisson(rate).astype(np.float32), obs=obs)


PAIRED = {"group_key": "sample", "label_key": "condition", "pair_key": "patient"}


def sides(adata, key="split"):
    return adata.obs.groupby("patient", observed=True)[key].nunique()


@pytest.mark.parametrize(
    "options",
    [{}, {"share_of": "cells"}, {"covariate_keys": "site"}, {"stable": True, "rng": 3}],
    ids=["shares", "cells", "covariates", "stable"],
)
def test_pairs_stay_whole_and_have_both_labels(options):
    adata = patients(n=8)
    ho.pp.split_groups(adata, **PAIRED, val=0.25, test=0.25, **options)
    assert (sides(adata) == 1).all()
    assert (adata.obs.groupby("split", observed=True)["condition"].nunique() == 2).all()
    if not options.get("stable"):
        assert adata.obs.groupby("split", observed=True)["patient"].nunique().to_dict() == {
            "train": 4,
            "val": 2,
            "test": 2,
        }
    record = read_partition(adata, "split")
    assert record.group_key == ["sample"]
    assert record.params["pair_key"] == "patient"
    assert set(record.params["groups"]["test"]) == set(adata.obs.loc[adata.obs["split"] == "test", "sample"])


@pytest.mark.parametrize(
    ("options", "n"), [({"n_folds": 3}, 3), ({"scheme": "leave_one_group_out"}, 6), ({"n_folds": 3, "n_inner": 2}, 6)]
)
def test_folds_of_pairs(options, n):
    adata = patients()
    ho.pp.folds(adata, **PAIRED, **options)
    keys = ho.get.fold_keys(adata)
    assert len(keys) == n
    for key in keys:
        assert (sides(adata, key) == 1).all()
        assert (adata.obs.groupby(key, observed=True)["condition"].nunique() == 2).all()


def test_the_split_does_not_depend_on_the_order_of_cells():
    adata = patients()
    shuffled = adata[np.random.default_rng(1).permutation(adata.n_obs)].copy()
    for data in (adata, shuffled):
        ho.pp.split_groups(data, **PAIRED, unused=["P5"])
    assert (adata.obs["split"].astype(str) == shuffled.obs["split"].astype(str)[adata.obs_names]).all()


def test_labels_are_exchanged_within_pairs_only():
    adata = patients(n=10, repeats=5)
    ho.pp.split_groups(adata, **PAIRED, val=0, test=0.5)
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    ho.tl.genotype(adata, "condition", method="nearest_centroid")
    table = ho.tl.evaluate(adata, baselines=["majority"], n_bootstrap=20)
    auc = table[(table["metric"] == "block_auc") & (table["role"] == "model") & (table["level"] == "sample")].iloc[0]
    assert auc["estimate"] == 1
    assert auc["p_value"] == pytest.approx(2.0**-5)  # five pairs, each with two exchangeable labels
    audited = ho.tl.audit(adata, items=["group_overlap"])
    passed = audited.loc[audited["item"] == "group_overlap"].set_index("subject")["status"].astype(str)
    assert passed[["sample", "patient"]].tolist() == ["pass", "pass"]


def test_the_audit_of_a_split_by_sample_advises_the_pair_key():
    adata = patients()
    ho.pp.split_groups(adata, "sample", "condition", val=0, test=0.4, rng=1)
    table = ho.tl.audit(adata, items=["group_overlap"]).set_index("subject")
    assert str(table.loc["patient", "status"]) == "warn"
    assert "pair_key='patient'" in table.loc["patient", "advice"]


@pytest.mark.parametrize("group_key", ["patient", ["sample", "patient"]])
def test_two_labels_in_a_unit_name_what_works(group_key):
    adata = patients()
    with pytest.raises(ValueError, match="paired design") as caught:
        ho.pp.split_groups(adata, group_key, "condition")
    text = str(caught.value)
    calls = {
        "split_groups(adata, 'sample', 'condition', pair_key='patient')",
        "folds(adata, 'sample', 'condition', pair_key='patient')",
        "split_matched(adata, 'sample', 'patient', label_key='condition', test='P0')",
        "folds(adata, 'sample', 'condition', scheme='leave_one_match_out', match_key='patient')",
    }
    for call in calls:
        assert call in text
        fresh = patients()
        eval(f"ho.pp.{call}", {"ho": ho, "adata": fresh})
        for key in [c for c in fresh.obs if c.startswith(("split", "fold"))]:
            assert (sides(fresh, key) == 1).all()


def test_without_a_sample_column_the_message_makes_one():
    adata = patients()
    del adata.obs["sample"]
    with pytest.raises(ValueError, match=r"adata.obs\['sample'\] = ") as caught:
        ho.pp.folds(adata, "patient", "condition")
    line = str(caught.value).split("Make a column of samples first: ")[1].split(". For shares")[0]
    exec(line, {"adata": adata})
    ho.pp.folds(adata, **PAIRED, n_folds=3)


@pytest.mark.parametrize("split", [ho.pp.split_groups, ho.pp.folds])
def test_pairs_that_are_refused(split, refuses):
    adata = patients()
    adata = adata[adata.obs["sample"] != "P4-2"].copy()
    refuses(lambda a: split(a, **PAIRED), adata, "pair_key='patient'", "'P4' has only 'ctrl'", "unused=['P4']")
    split(adata, **PAIRED, unused=["P4"])
    refuses(lambda a: split(a, "sample", pair_key="patient"), patients(), "pair_key='patient' needs label_key")
    refuses(lambda a: split(a, **PAIRED | {"pair_key": "sample"}), patients(), "is also in group_key")
    refuses(lambda a: split(a, **PAIRED | {"pair_key": "patent"}), patients(), "pair_key='patent'", "'patient'")
    mixed = patients()
    mixed.obs["patient"] = ["P0", "P1"] * (mixed.n_obs // 2)
    refuses(lambda a: split(a, **PAIRED), mixed, "different values of pair_key='patient'")


def test_leave_one_pair_out_makes_its_own_pairs(refuses):
    refuses(lambda a: ho.pp.folds(a, **PAIRED, scheme="leave_one_pair_out"), patients(), "leave_one_group_out")


# --- cells without a group --------------------------------------------------------------------------------------------


def demultiplexed():
    adata = patients()
    adata.obs["donor"] = adata.obs["sample"].astype(str)
    adata.obs.iloc[::5, adata.obs.columns.get_loc("donor")] = "unassigned"
    adata.obs.iloc[1::9, adata.obs.columns.get_loc("donor")] = "Doublet"
    return adata


CALLS = {
    "split_groups": lambda a, **more: ho.pp.split_groups(a, "donor", val=0, test=0.3, **more),
    "split_groups by cells": lambda a, **more: ho.pp.split_groups(a, "donor", share_of="cells", **more),
    "stable": lambda a, **more: ho.pp.split_groups(a, "donor", val=0, test=0.5, stable=True, **more),
    "folds": lambda a, **more: ho.pp.folds(a, "donor", n_folds=3, key_added="split", **more),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_placeholders_are_refused_or_left_out(call, refuses):
    adata = demultiplexed()
    refuses(call, adata, "'Doublet' (", "'unassigned' (", "unused=['Doublet', 'unassigned']")
    call(adata, unused=["unassigned", "Doublet"])
    outside = adata.obs["donor"].isin(["unassigned", "Doublet"])
    for key in [c for c in adata.obs if c.startswith("split")]:
        assert (adata.obs.loc[outside, key] == "unused").all()
        assert (adata.obs.loc[~outside, key] != "unused").all()
        record = read_partition(adata, key)
        assert record.params["groups"]["unused"] == ["unassigned", "Doublet"]
    everything = demultiplexed()
    call(everything, unused=())
    key = next(c for c in everything.obs if c.startswith("split"))
    assert (everything.obs[key] != "unused").all()


def test_listed_placeholders_are_refused_or_left_out(refuses):
    adata = demultiplexed()
    donors = sorted(set(adata.obs["donor"]) - {"unassigned", "Doublet"})
    lists = {"train": [*donors[:-2], "unassigned"], "test": donors[-2:]}
    refuses(lambda a: ho.pp.split_assigned(a, "donor", **lists), adata, "'unassigned' (", "unused=['unassigned']")
    refuses(lambda a: ho.pp.split_assigned(a, "donor", **lists, unused="unassigned"), adata, "'unassigned'", "'train'")
    everything = ho.pp.split_assigned(adata, "donor", **lists, unused=(), copy=True)
    assert (everything.obs.loc[adata.obs["donor"] == "unassigned", "split"] == "train").all()
    lists["train"] = donors[:-2]
    outside = adata.obs["donor"].isin(["unassigned", "Doublet"])
    for options in ({}, {"unused": ["unassigned", "Doublet"]}):
        done = ho.pp.split_assigned(adata, "donor", label_key="condition", **lists, **options, copy=True)
        assert (done.obs["split"] == "unused").tolist() == outside.tolist(), "labels of left-out cells do not matter"
        assert set(read_partition(done).params["left_out"]) == {"unassigned", "Doublet"}


def test_placeholders_as_units_of_an_adopted_column_are_refused_or_left_out(refuses):
    adata = demultiplexed()
    outside = adata.obs["donor"].isin(["unassigned", "Doublet"]).to_numpy()
    donors = sorted(set(adata.obs["donor"]) - {"unassigned", "Doublet"})
    adata.obs["set"] = np.where(adata.obs["donor"].isin(donors[:-2]) | outside, "tr", "te")

    def adopt(a, **more):
        return ho.pp.split_assigned(a, "set", train=["tr"], test=["te"], unit_key="donor", **more)

    refuses(adopt, adata, "'Doublet' (", "unused=['Doublet', 'unassigned']")
    done = adopt(adata, unused=["unassigned", "Doublet"], copy=True)
    assert (done.obs["split"] == "unused").tolist() == outside.tolist()
    assert (adopt(adata, unused=(), copy=True).obs["split"] != "unused").all()
    adata.obs.loc[outside, "set"] = "none of them"
    adopt(adata)
    assert (adata.obs["split"] == "unused").tolist() == outside.tolist(), "cells in no list need no unit"


def test_a_label_of_a_left_out_cell_does_not_matter(refuses):
    adata = demultiplexed()
    ho.pp.split_groups(adata, "donor", "condition", unused=["unassigned", "Doublet"], val=0)
    ho.pp.split_matched(
        adata,
        "donor",
        "patient",
        label_key="condition",
        test="P1",
        unused=["unassigned", "Doublet"],
        key_added="matched",
    )
    assert set(adata.obs.loc[adata.obs["matched"] == "test", "patient"]) == {"P1"}
    refuses(lambda a: ho.pp.split_groups(a, "donor", unused=["unasigned"]), adata, "'unasigned'", "'unassigned'")
    refuses(lambda a: ho.pp.split_groups(a, "site", unused=["A", "B"]), adata, "leaves no cells")
    refuses(lambda a: ho.pp.split_matched(a, "donor", "patient", label_key="condition", test="P1"), adata, "'Doublet'")


@pytest.mark.parametrize("name", ["unknown", "NA", "n/a", "None", "Negative", "Not assigned", "multiplets", "-"])
def test_names_of_cells_without_a_group(name, refuses):
    adata = patients()
    adata.obs["sample"] = adata.obs["sample"].replace("P0-1", name)
    refuses(lambda a: ho.pp.split_groups(a, "sample"), adata, repr(name), "unused=")


@pytest.mark.parametrize("name", ["Nana", "donor_unknown_3", "negative_selection", "Nonette", "control"])
def test_names_that_only_resemble_placeholders(name):
    adata = patients()
    adata.obs["sample"] = adata.obs["sample"].replace("P0-1", name)
    ho.pp.split_groups(adata, "sample")
