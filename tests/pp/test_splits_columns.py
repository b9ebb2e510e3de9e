"""Kinds of columns, in place, copy and view."""

import numpy as np
import pandas as pd
import pytest

import heldout as ho
from heldout._core.partition import read_partition
from heldout._core.store import as_names
from tests.helpers.splits import assigned, cells, groups_in, gsm

# --- kinds of columns -----------------------------------------------------------------------------------------------

KINDS = {
    "text": lambda x: pd.Series([f"g{i}" for i in x], dtype=object),
    "string": lambda x: pd.Series([f"g{i}" for i in x], dtype="string"),
    "categorical": lambda x: pd.Series(pd.Categorical([f"g{i}" for i in x], categories=[f"g{i}" for i in range(99)])),
    "int": lambda x: pd.Series(x, dtype="int32"),
    "nullable int": lambda x: pd.Series(x, dtype="Int64"),
    "float": lambda x: pd.Series(x, dtype="float32"),
    "nullable float": lambda x: pd.Series(x, dtype="Float64"),
    "int categories": lambda x: pd.Series(pd.Categorical(x, categories=range(99))),
    "float categories": lambda x: pd.Series(pd.Categorical([float(i) for i in x])),
    "mixed": lambda x: pd.Series([i if i % 2 else f"g{i}" for i in x], dtype=object),
}


@pytest.mark.parametrize("kind", KINDS)
def test_group_columns_of_every_kind(kind):
    adata = cells(range(10), ["a", "b"] * 5)
    adata.obs["group"] = KINDS[kind](np.repeat(np.arange(10), 3).tolist()).set_axis(adata.obs_names)
    ho.pp.split_groups(adata, "group", "label", rng=1)
    assert (adata.obs.groupby("group", observed=True)["split"].nunique() == 1).all()
    first, second = adata.obs["group"].iloc[0], adata.obs["group"].iloc[3]
    ho.pp.split_assigned(adata, "group", train=[first], test=[second])
    assert read_partition(adata).counts() == {"train": 3, "val": 0, "test": 3, "unused": 24}


@pytest.mark.parametrize("stored", ["int64", "float32", "category", "float categories", "text", "Int64"])
@pytest.mark.parametrize(
    "given_", [19, 19.0, np.float32(19), np.int8(19), "19", [19], np.array([19.0]), (19, 30)], ids=repr
)
def test_day_values_match_whatever_they_are_stored_as(lmna, stored, given_):
    day = lmna.obs["day"]
    lmna.obs["day"] = {
        "category": lambda: day.astype("category"),
        "float categories": lambda: day.astype(float).astype("category"),
        "text": lambda: day.astype(str),
    }.get(stored, lambda: day.astype(stored))()
    ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=given_)
    assert {"GSM8325052", "GSM8325057"} <= set(groups_in(lmna, "test"))


def test_a_whole_day_is_found_among_days_that_are_not(lmna, refuses):
    lmna.obs["day"] = lmna.obs["day"].astype(float).replace(2.0, 2.5)
    for value in (19, 19.0):
        ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=value, val=[0])
        assert groups_in(lmna, "test") == gsm(52, 57)
    refuses(
        lambda a: ho.pp.split_matched(a, "library", "day", label_key="genotype", test=2.5), lmna, "test", "'patient'"
    )


@pytest.mark.parametrize("dtype", [bool, "boolean", int, float, "category", object])
def test_labels_of_every_kind(lmna, dtype):
    lmna.obs["sick"] = (lmna.obs["genotype"] == "patient").astype(dtype)
    ho.pp.split_groups(lmna, "library", "sick")
    for partition in ("train", "val", "test"):
        assert lmna.obs.loc[lmna.obs["split"] == partition, "sick"].nunique() == 2


def test_unused_categories_are_no_classes(lmna, refuses):
    lmna.obs["genotype"] = lmna.obs["genotype"].cat.add_categories(["carrier"])
    lmna.obs["library"] = lmna.obs["library"].cat.add_categories(["GSM0"])
    ho.pp.split_groups(lmna, "library", "genotype")
    ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=19, val=0)
    refuses(lambda a: ho.pp.split_assigned(a, "library", train=["GSM0"]), lmna, "train='GSM0'", "not a group")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([19.0, 0.5], ["19", "0.5"]),
        (np.array([0.1, 2], dtype=np.float32), ["0.1", "2"]),
        ([-0.0, 0], ["0", "0"]),
        ([1, "1", 1.0], ["1", "1", "1"]),
        ([True, False], ["True", "False"]),
        ([1e300], [str(int(1e300))]),
        (pd.Series([2.0, 1.5], dtype="Float64"), ["2", "1.5"]),
        (pd.Categorical([1.0, 2.0, 1.0]), ["1", "2", "1"]),
        (pd.Categorical(["a", None, "b"]), ["a", "nan", "b"]),
        (pd.Series([], dtype=object), []),
    ],
)
def test_names_of_values(values, names):
    found = as_names(values)
    assert found.dtype == object
    assert found.tolist() == names


def test_lists_may_be_any_iterable(lmna):
    train, test = gsm(46, 54), gsm(52, 57)
    made = []
    for kind in (list, tuple, set, iter, np.array, pd.Index, pd.Series, pd.Categorical):
        ho.pp.split_assigned(lmna, "library", train=kind(train), test=kind(test))
        made.append(read_partition(lmna).hash)
    assert len(set(made)) == 1
    ho.pp.split_assigned(lmna, "library", train="GSM8325046")
    assert groups_in(lmna, "train") == ["GSM8325046"]


def test_fractions_and_keys_may_be_numpy_and_pandas(lmna):
    ho.pp.split_groups(lmna, pd.Index(["library"]), "genotype", val=np.float32(0.25), test=np.float64(0.25))
    partition = read_partition(lmna)
    assert partition.params["val"] == 0.25
    assert partition.group_key == ["library"]


# --- in place, copy, view -------------------------------------------------------------------------------------------

CALLS = {
    "groups": lambda a, **k: ho.pp.split_groups(a, "library", "genotype", **k),
    "matched": lambda a, **k: ho.pp.split_matched(a, "library", "day", label_key="genotype", test=19, val=0, **k),
    "assigned": lambda a, **k: ho.pp.split_assigned(a, "library", train=gsm(46, 54), test=gsm(52, 57), **k),
    "cells": lambda a, **k: ho.pp.split_cells(a, **k),
}


@pytest.mark.parametrize("scheme", CALLS)
def test_in_place_copy_and_view(lmna, scheme):
    copied = CALLS[scheme](lmna, copy=True)
    assert "split" not in lmna.obs
    assert "heldout" not in lmna.uns
    view = lmna[lmna.obs["total_counts"] > 0]
    assert CALLS[scheme](view) is None
    assert not view.is_view
    assert "split" not in lmna.obs
    assert "heldout" not in lmna.uns
    assert CALLS[scheme](lmna) is None
    assert assigned(lmna) == assigned(copied) == assigned(view)
    assert read_partition(lmna).scheme == scheme


def test_a_second_split_beside_the_first(lmna):
    CALLS["matched"](lmna)
    first = read_partition(lmna).hash
    CALLS["cells"](lmna, key_added="leaky")
    assert read_partition(lmna).hash == first != read_partition(lmna, "leaky").hash
    assert set(lmna.uns["heldout"]["assignments"]) == {first, read_partition(lmna, "leaky").hash}
