"""A split that holds out nothing: fits use all cells, predict new ones, and cannot be scored."""

import logging

import numpy as np
import pytest

import heldout as ho
from tests.helpers.perturbations import simulated


def all_train(adata):
    return (adata.obs["split"] == "train").all()


@pytest.mark.parametrize(
    "split",
    [
        lambda a: ho.pp.split_groups(a, "library", "genotype", val=0, test=0),
        lambda a: ho.pp.split_groups(a, "library", val=0, test=0, share_of="cells"),
        lambda a: ho.pp.split_groups(a, "library", val=0, test=0, stable=True),
        lambda a: ho.pp.split_cells(a, val=0, test=0),
        lambda a: ho.pp.split_time(a, "day", test=None),
        lambda a: ho.pp.split_time(a, "day", test=None, direction="interpolate"),
        lambda a: ho.pp.split_assigned(a, "library", train=list(a.obs["library"].unique())),
    ],
    ids=["groups", "share of cells", "stable", "cells", "forecast", "interpolate", "assigned"],
)
def test_all_cells_are_train_and_a_warning_says_that_nothing_can_be_scored(lmna, split, caplog):
    with caplog.at_level(logging.WARNING, logger="heldout"):
        split(lmna)
    assert all_train(lmna)
    assert "no fit on this split can be scored" in caplog.text


def test_a_classifier_of_all_donors_predicts_and_is_not_scored(lmna):
    ho.pp.split_groups(lmna, "library", "genotype", val=0, test=0)
    ho.tl.genotype(lmna, method="qc_logistic")
    ho.tl.predict(lmna, "genotype")
    assert ho.get.predictions(lmna)["label"].notna().all()
    with pytest.raises(ValueError, match=r"made without test cells.*Make another split with test cells"):
        ho.tl.evaluate(lmna)
    assert len(ho.get.ledger(lmna)) == 0


@pytest.mark.parametrize("hold_out", ["single", "combination", "context"])
def test_new_pairs_are_predicted_from_all_perturbations(hold_out):
    adata = simulated(n_contexts=2, n_cells=8)
    keys = {"covariate_keys": "cell_line"} if hold_out == "context" else {}
    ho.pp.split_perturbations(adata, "perturbation", hold_out=hold_out, val=0, test=0, **keys)
    assert all_train(adata), "controls, too"
    ho.tl.perturbation(adata, method="additive", mask_var=None)
    names = adata.obs["perturbation"].unique()
    first, second, *_ = [name for name in names if "+" not in name and name != "control"]
    profiles = ho.tl.predict_profiles(adata, perturbations=[f"{first}+{second}"])
    assert np.isfinite(profiles.X).all()
    with pytest.raises(ValueError, match=r"no test cells.*perturbations="):
        ho.tl.predict_profiles(adata)
    with pytest.raises(ValueError, match=r"made without test cells"):
        ho.tl.evaluate(adata)


def test_the_audit_says_that_there_are_no_test_cells(lmna):
    ho.pp.split_groups(lmna, "library", "genotype", val=0, test=0)
    table = ho.tl.audit(lmna).set_index("item")
    assert table.loc["integrity", "status"] == "warn"
    assert "no test cells" in table.loc["integrity", "finding"]
    assert "Make another split with test cells" in table.loc["integrity", "advice"]
    assert not set(table["status"]) & {"fail"}
    for item in ("group_overlap", "same_unit", "power", "label_selection", "test_looks", "duplicates"):
        assert table.loc[item, "status"] == "not run", item
    assert "in test" not in table.loc["aliases", "finding"], "an item does not claim what it did not compare"


def test_test_cells_that_were_dropped_are_another_fault(split):
    dropped = split[(split.obs["split"] != "test").to_numpy()].copy()
    table = ho.tl.audit(dropped, items=["integrity"]).set_index("item")
    assert table.loc["integrity", "status"] == "fail"
    ho.tl.genotype(dropped, method="majority")
    with pytest.raises(ValueError, match=r"needs cells in 'test'") as error:
        ho.tl.evaluate(dropped)
    assert "made without test cells" not in str(error.value)


def test_times_with_nothing_held_out_take_no_other_times(lmna, refuses):
    for options in ({"val": 0}, {"train": 9}, {"between": "val"}):
        refuses(lambda a, o=options: ho.pp.split_time(a, "day", test=None, **o), lmna, "test=None", "Leave them out")
