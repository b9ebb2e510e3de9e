"""Names of cells that now belong to other cells: a published split is refused, and the audit fails."""

import logging

import anndata as ad
import numpy as np
import pytest

import heldout as ho
from heldout.get import split_table
from heldout.pp import split_from
from tests.helpers.splits import assert_same_split, published, shuffled


@pytest.fixture
def split(lmna):
    return published(lmna)


@pytest.fixture
def fresh(_lmna):
    return shuffled(_lmna)


def joined(adata, order):
    """The libraries joined in this order. All use the same barcodes, which are then made unique."""
    whole = ad.concat([adata[adata.obs["library"] == name] for name in order])
    barcode = whole.obs.groupby("library", observed=True).cumcount().to_numpy()
    earlier = whole.obs.groupby(barcode).cumcount().to_numpy()
    whole.obs_names = [f"{b}-{n}" if n else f"{b}" for b, n in zip(barcode, earlier, strict=True)]
    return whole


@pytest.fixture
def libraries(fresh):
    return sorted(fresh.obs["library"].unique())


@pytest.mark.parametrize("key", ["library", ["library"], "day"])
def test_libraries_joined_in_another_order_are_refused(fresh, libraries, key):
    ours = joined(fresh, libraries)
    if key == "day":
        ho.pp.split_time(ours, "day", test=19)
    else:
        ho.pp.split_groups(ours, key, val=0, test=0.25)
    theirs = joined(fresh, libraries[::-1])
    before = theirs.copy()
    with pytest.raises(ValueError, match="cells have another (library|day) than in the table. For example, '"):
        split_from(theirs, split_table(ours))
    assert "split" not in theirs.obs
    assert theirs.uns == before.uns
    again = joined(fresh, libraries)
    split_from(again, split_table(ours))
    assert_same_split(ours, again)


def test_names_of_other_perturbations_are_refused():
    adata = ho.datasets.perturbations_simulated()
    key = "perturbation"
    adata.obs["line"] = np.where(np.arange(adata.n_obs) % 2, "k562", "rpe1")
    ho.pp.split_perturbations(adata, key, covariate_keys="line", hold_out="context", val=0, test=0.3)
    table = split_table(adata)
    same = adata.copy()
    split_from(same, table)
    other = adata[::-1].copy()
    other.obs_names = adata.obs_names
    with pytest.raises(ValueError, match="cells have another perturbation and line than in the table"):
        split_from(other, table)


def test_groups_that_cannot_be_compared_are_said(split, fresh, caplog, monkeypatch):
    table = split_table(split)
    monkeypatch.setattr(logging.getLogger("heldout"), "propagate", True)
    without = fresh.copy()
    del without.obs["library"]
    split_from(without, table)
    assert "were not compared" not in caplog.text
    fresh.obs["library"] = "x" + fresh.obs["library"].astype(str)
    split_from(fresh, table)
    assert "No value of library in obs is in the record of the table" in caplog.text
    assert_same_split(split, fresh)


def test_new_cells_of_a_known_group_may_be_unused(split, fresh):
    new = fresh[:5].copy()
    new.obs_names = [f"new{i}" for i in range(5)]
    more = ad.concat([fresh, new])
    split_from(more, split_table(split), missing="unused")
    assert (more.obs["split"][-5:] == "unused").all()


def test_the_audit_fails_when_the_group_of_a_cell_was_exchanged(split):
    assert (ho.tl.audit(split, items="integrity")["status"].astype(str)[0]) == "pass"
    split.obs["library"] = split.obs["library"].astype(str).to_numpy()[::-1]
    found = ho.tl.audit(split, items="integrity").iloc[0]
    assert found["status"] == "fail"
    assert "cells have another library than when the split was made" in found["finding"]
