"""Columns of partitions that were made elsewhere: pp.split_assigned with unit_key, and tl.audit with rename."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

import heldout as ho
from heldout._core.partition import read_partition
from tests.helpers.audits import design


def screen(values: list[object], column: str = "set"):
    adata = design(label=["case", "control"] * (len(values) // 2))
    adata.obs[column] = pd.Series(np.repeat(np.array(values, dtype=object), adata.n_obs // len(values))).to_numpy()
    return adata


def params(adata, key="split"):
    return read_partition(adata, key).params


def test_a_column_of_partitions_is_not_the_unit(caplog):
    adata = screen(["tr"] * 4 + ["te"] * 4)
    with caplog.at_level(logging.WARNING, "heldout"):
        ho.pp.split_assigned(adata, "set", train=["tr"], test=["te"], label_key="label")
    assert params(adata)["group_key"] is None
    assert "Pass unit_key" in caplog.text
    found = ho.tl.audit(adata, label_key="label", items="group_overlap")
    assert "pass" not in set(found.loc[found["item"] == "group_overlap", "status"])


def test_the_unit_of_an_adopted_column_is_recorded(caplog):
    adata = screen(["tr"] * 4 + ["te"] * 4)
    with caplog.at_level(logging.WARNING, "heldout"):
        ho.pp.split_assigned(adata, "set", train=["tr"], test=["te"], unit_key="library")
    assert params(adata)["group_key"] == "library"
    assert not caplog.text
    adata.obs["set"] = np.where(np.arange(adata.n_obs) % 2, "te", "tr")
    with caplog.at_level(logging.WARNING, "heldout"):
        ho.pp.split_assigned(adata, "set", train=["tr"], test=["te"], unit_key="library")
    assert "the split leaks: 8 of 8 values of library in test are also in train or val" in caplog.text
    found = ho.tl.audit(adata, items="group_overlap")
    assert found.loc[found["subject"] == "library", "status"].item() == "fail"


@pytest.mark.parametrize(
    ("column", "values", "is_unit"),
    [
        ("fold", ["a", "b"], True),
        ("day", [0, 1], True),
        ("donor", ["train", "test"], True),
        ("is_test", [False, True], False),
        ("split01", [0, 1], False),
        ("set", ["Train", "Validation"], False),
    ],
)
def test_units_are_told_from_names_of_partitions(column, values, is_unit):
    adata = screen([values[0]] * 4 + [values[1]] * 4, column)
    ho.pp.split_assigned(adata, column, train=[values[0]], test=[values[1]])
    assert (params(adata)["group_key"] == column) is is_unit


def test_unit_key_and_classes_are_checked(refuses):
    adata = screen(["tr"] * 4 + ["te"] * 4)
    lists = {"train": ["tr"], "test": ["te"]}
    refuses(lambda a: ho.pp.split_assigned(a, "set", **lists, unit_key="donr"), adata, "unit_key='donr'")
    adata.obs["one"] = np.where(adata.obs["set"] == "tr", adata.obs["label"], "case")
    refuses(lambda a: ho.pp.split_assigned(a, "set", **lists, label_key="one"), adata, "test has no cell with one")


@pytest.mark.parametrize("values", [["tr", "te"], ["Train", "Test"], [0, 1], [False, True]])
def test_the_audit_names_the_values_of_a_column_made_elsewhere(values):
    adata = screen([values[0]] * 4 + [values[1]] * 4)
    table = ho.tl.audit(adata, "library", "label", split_key="set").set_index("item")
    assert table.loc["integrity", "status"] == "fail"
    assert f"'{values[0]}' (16 cells)" in table.loc["integrity", "finding"]
    assert f"rename={{'{min(map(str, values))}': " in table.loc["integrity", "advice"]
    assert table.loc["group_overlap", "status"] == "not run"
    assert "pass" not in set(table["status"])
    renamed = {values[0]: "train", values[1]: "test"}
    table = ho.tl.audit(adata, "library", "label", split_key="set", rename=renamed, items="group_overlap")
    found = table[table["subject"] == "library"].iloc[0]
    assert found["status"] == "pass"
    assert "8 values" in found["finding"]


def test_rename_is_checked(refuses):
    adata = screen(["tr"] * 4 + ["te"] * 4)
    audit = {"group_key": "library", "label_key": "label"}
    for rename, words in (({"trn": "train"}, "'tr' ("), ({"tr": "trian"}, "'trian' must be one of 'train'")):
        refuses(lambda a, r=rename: ho.tl.audit(a, **audit, split_key="set", rename=r), adata, words)
    ho.pp.split_assigned(adata, "set", train=["tr"], test=["te"])
    refuses(lambda a: ho.tl.audit(a, **audit, rename={"tr": "train"}), adata, "is not needed")


@pytest.mark.parametrize("partition", ["train", "test", "unused"])
def test_items_that_compared_nothing_do_not_pass(partition):
    adata = screen([partition] * 8)
    items = ["group_overlap", "temporal_order", "perturbations", "duplicates", "fingerprint"]
    table = ho.tl.audit(adata, "library", "label", split_key="set", items=items)
    assert set(table["status"]) == {"not run"}


def test_the_message_on_an_unrecorded_column_fills_in_the_call():
    adata = screen(["Train"] * 4 + ["te"] * 4)
    call = "split_assigned(adata, 'set', train=['Train'], test=['te'], unit_key='library', key_added='split')"
    with pytest.raises(ValueError, match="has no record") as problem:
        ho.tl.genotype(adata, "label", split_key="set")
    assert call in str(problem.value)
