"""What a split refuses, and that the AnnData stays as it was."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest

import heldout as ho
from heldout._core.partition import read_partition
from heldout.splitting._groups import Groups
from tests.helpers.splits import groups_in, gsm

CALLS = {
    "groups": lambda a, **k: ho.pp.split_groups(a, "library", "genotype", **k),
    "matched": lambda a, **k: ho.pp.split_matched(a, "library", "day", label_key="genotype", test=19, val=0, **k),
    "assigned": lambda a, **k: ho.pp.split_assigned(a, "library", train=gsm(46, 54), test=gsm(52, 57), **k),
    "cells": lambda a, **k: ho.pp.split_cells(a, **k),
}


@pytest.mark.parametrize("name", ["group_key", "label_key", "match_key"])
def test_a_missing_column_is_named_with_what_is_near(lmna, name, refuses):
    columns = {"group_key": "library", "match_key": "day", "label_key": "genotype"}
    wanted = columns[name]
    columns[name] = wanted[:-1] + "x"
    refuses(
        lambda a: ho.pp.split_matched(a, **columns, test=19),
        lmna,
        f"{name}={columns[name]!r} is not a column of adata.obs",
        f"Did you mean {wanted!r}?",
    )


@pytest.mark.parametrize("name", ["library", "genotype", "day"])
def test_missing_values_are_counted(lmna, name, refuses):
    lmna.obs[name] = lmna.obs[name].where(np.arange(360) >= 7)
    argument = {"library": "group_key", "genotype": "label_key", "day": "match_key"}[name]
    refuses(
        CALLS["matched"],
        lmna,
        f"adata.obs[{name!r}] ({argument}) has 7 missing values in 360 cells",
        ".notna()].copy()",
    )
    rest = lmna[lmna.obs[name].notna()].copy()
    CALLS["matched"](rest)


def test_a_group_with_two_labels(lmna, refuses):
    labels = lmna.obs["genotype"].astype(str).to_numpy(copy=True)
    labels[5] = "patient"
    lmna.obs["genotype"] = labels
    for call in (CALLS["groups"], CALLS["matched"]):
        refuses(call, lmna, "1 of 12 groups", "label_key='genotype'", "'GSM8325046' has 'control', 'patient'", "finer")


def test_one_donor_of_each_class_cannot_be_held_out(lmna, refuses):
    """With val there is one partition to give up; without it there is none."""
    lmna.obs["donor"] = lmna.obs["genotype"].astype(str) + " donor"
    with_val, without = (lambda a, v=v: ho.pp.split_groups(a, "donor", "genotype", test=0.5, val=v) for v in (0.2, 0))
    refuses(with_val, lmna, "at least 3 groups of each class", "Ask for fewer partitions (for example val=0)")
    refuses(without, lmna, "1 of 'control' and 1 of 'patient'", "no split can hold out groups")


def test_a_group_on_two_days(lmna, refuses):
    day = lmna.obs["day"].to_numpy(copy=True)
    day[0] = 30
    lmna.obs["day"] = day
    refuses(CALLS["matched"], lmna, "match_key='day'", "'GSM8325046' has '0', '30'")


def test_one_class_in_a_partition(lmna, refuses):
    def matched(test, val=()):
        return lambda a: ho.pp.split_matched(a, "library", "day", label_key="genotype", test=test, val=val)

    refuses(matched(30), lmna, "test has no group with genotype 'patient'", "'GSM8325053'", "Choose other")
    refuses(matched(19, 2), lmna, "val has no group with genotype 'patient'", "'GSM8325047'")
    refuses(matched([0, 9, 16, 19]), lmna, "train has no group with genotype 'patient'", "'GSM8325047'")
    refuses(
        lambda a: ho.pp.split_assigned(a, "library", train=gsm(46, 54), test=gsm(47), label_key="genotype"),
        lmna,
        "test has no group with genotype 'patient'",
    )


def test_one_class_altogether(lmna, refuses):
    control = lmna[lmna.obs["genotype"] == "control"].copy()
    refuses(CALLS["matched"], control, "label_key='genotype' has only one class ('control')")


def test_nothing_left_for_train(lmna, refuses):
    some = lmna[lmna.obs["day"].isin([0, 9])].copy()
    refuses(
        lambda a: ho.pp.split_matched(a, "library", "day", label_key="genotype", test=9, val=0),
        some,
        "test=['9'] and val=['0'] hold out every group",
        "match_key='day'",
    )
    refuses(lambda a: ho.pp.split_assigned(a, "library", train=[], test=gsm(46)), lmna, "train is empty")


def test_too_few_groups_of_a_class_name_the_class(lmna, refuses):
    few = lmna[lmna.obs["library"].isin(gsm(46, 47, 48, 49, 54, 55))].copy()
    refuses(
        lambda a: ho.pp.split_groups(a, "library", "genotype"),
        few,
        "every class in train, val, test",
        "at least 3 groups",
        "only 2 of 'patient'",
        "val=0",
    )
    ho.pp.split_groups(few, "library", "genotype", val=0)
    assert groups_in(few, "test")
    refuses(lambda a: ho.pp.split_groups(a, "genotype"), lmna, "at least 3 groups")


def test_unknown_groups_and_groups_listed_twice(lmna, refuses):
    refuses(
        lambda a: ho.pp.split_assigned(a, "library", train=gsm(46), test=["GSM832505"]),
        lmna,
        "test='GSM832505' is not a group",
        "Did you mean 'GSM8325",
    )
    refuses(
        lambda a: ho.pp.split_assigned(a, "library", train=gsm(46, 47), val=gsm(47)),
        lmna,
        "'GSM8325047' is listed in 'train' and again in 'val'",
        "Remove it",
    )
    refuses(lambda a: ho.pp.split_assigned(a, "library", train=gsm(46, 46)), lmna, "'GSM8325046' is listed in 'train'")


def test_unknown_match_values_and_values_asked_for_twice(lmna, refuses):
    def matched(test, val=()):
        return lambda a: ho.pp.split_matched(a, "library", "day", label_key="genotype", test=test, val=val)

    refuses(matched(18), lmna, "test='18' is not a value of match_key", "'19'")
    refuses(matched(19, "zero"), lmna, "val='zero' is not a value of match_key", "'0', '16', '19'")
    refuses(matched([19], 19), lmna, "test='19'", "names a value of match_key twice", "Remove it")
    refuses(matched([19, 19.0]), lmna, "test='19'", "names a value of match_key twice")
    refuses(matched([]), lmna, "test is empty", "match_key='day'")
    refuses(matched(np.nan), lmna, "test='nan' is not a value")


@pytest.mark.parametrize("split", [lambda a, **k: ho.pp.split_groups(a, "library", **k), ho.pp.split_cells])
@pytest.mark.parametrize(
    ("fractions", "words"),
    [
        ({"val": -0.1}, ["val=-0.1", "[0, 1)"]),
        ({"test": 1.0}, ["test=1.0", "[0, 1)"]),
        ({"test": 20}, ["test=20", "[0, 1)"]),
        ({"val": np.nan}, ["val=nan", "[0, 1)"]),
        ({"val": "0.2"}, ["val='0.2'", "[0, 1)"]),
        ({"val": 0.5, "test": 0.5}, ["val=0.5 and test=0.5", "val + test < 1"]),
        ({"val": 0.7, "test": 0.6}, ["val=0.7 and test=0.6", "leave a share for train"]),
    ],
)
def test_fractions_out_of_range(lmna, split, fractions, words, refuses):
    refuses(lambda a: split(a, **fractions), lmna, *words)


def test_genes_must_be_held_out(lmna, refuses):
    refuses(lambda a: ho.pp.split_genes(a, val=0, test=0), lmna, "val=0 and test=0 hold nothing out", "> 0")


def test_shares_that_round_to_nothing(lmna, refuses):
    refuses(lambda a: ho.pp.split_cells(a, val=0.001), lmna, "val=0.001 of 360 cells", "0 to leave the partition out")
    refuses(ho.pp.split_cells, lmna[:1].copy(), "of 1 cells")
    for name, call in CALLS.items():
        refuses(call, lmna[:0].copy(), "0 cells" if name == "cells" else "adata has no cells")


@pytest.mark.parametrize("scheme", CALLS)
@pytest.mark.parametrize("key", ["a/b", "", 3, None])
def test_a_key_that_files_cannot_hold(lmna, scheme, key, refuses):
    refuses(lambda a: CALLS[scheme](a, key_added=key), lmna, f"key_added={key!r}", "without '/'", "another name")


@pytest.mark.parametrize("scheme", CALLS)
def test_duplicate_names(lmna, scheme, refuses):
    names = lmna.obs_names.to_numpy(dtype=object, copy=True)
    names[1] = names[0]
    lmna.obs_names = names
    refuses(CALLS[scheme], lmna, "adata.obs_names has 1 duplicated", "'GSM8325046_000001'", "obs_names_make_unique()")


@pytest.mark.parametrize("scheme", CALLS)
@pytest.mark.parametrize("what", [None, pd.DataFrame({"library": ["a"]}), np.eye(3)])
def test_not_an_anndata(scheme, what):
    with pytest.raises(TypeError, match=f"adata must be an AnnData, got {type(what).__name__}"):
        CALLS[scheme](what)


def test_a_failing_call_leaves_a_view_a_view(lmna, refuses):
    view = lmna[lmna.obs["day"] != 19]
    refuses(CALLS["matched"], view, "test='19' is not a value of match_key")
    assert view.is_view


def test_no_group_key(lmna, refuses):
    refuses(lambda a: ho.pp.split_groups(a, []), lmna, "group_key is empty", "split_cells")


def test_a_failing_call_leaves_an_earlier_split(lmna, refuses):
    CALLS["matched"](lmna)
    refuses(lambda a: ho.pp.split_groups(a, "genotype"), lmna, "at least 3 groups")
    assert read_partition(lmna).scheme == "matched"


def test_long_names_of_merged_groups_cost_no_memory_for_each_cell():
    merged = np.array(["+".join(f"library{i}" for i in range(1000))] * 20_000 + ["other"], dtype=object)
    tracemalloc.start()
    groups = Groups.of(merged, np.array(["a"] * 20_000 + ["b"], dtype=object))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert groups.labels.tolist() == ["a", "b"]
    assert peak < 20e6


def test_a_label_with_one_class_is_refused(lmna, refuses):
    lmna.obs["same"] = "control"
    refuses(lambda a: ho.pp.split_groups(a, "library", "same"), lmna, "label_key='same'", "only one class", "'control'")


def test_a_column_that_is_no_split_is_not_overwritten(lmna, refuses):
    refuses(
        lambda a: ho.pp.split_groups(a, "library", "genotype", key_added="day"),
        lmna,
        "key_added='day'",
        "not a split",
        "Choose another name",
    )
    lmna.obs["mine"] = np.where(lmna.obs["day"] == 19, "test", "train")
    ho.pp.split_assigned(lmna, "mine", train=["train"], test=["test"], key_added="mine")
    assert read_partition(lmna, "mine").counts()["test"] == 60
