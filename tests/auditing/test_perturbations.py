"""Perturbations that stand on both sides of a split under other names."""

from __future__ import annotations

import numpy as np
import pytest

import heldout as ho
from tests.helpers.audits import design, row

NAMES = ["control", "A", "B", "C", "A+B", "B+A", "A+C"]


def screen(**columns):
    """Forty cells of each name, in two lines."""
    adata = design(n_cells=40, perturbation=NAMES * 2, line=["k562"] * 7 + ["rpe1"] * 7, **columns)
    adata.obs["cell"] = np.arange(adata.n_obs) % 2
    return adata


def by_hand(adata, test, *, control_in_test=True):
    """Names in ``test`` are test; half of the control cells too, unless told otherwise."""
    held = adata.obs["perturbation"].isin(test)
    control = (adata.obs["perturbation"] == "control") & (adata.obs["cell"] == 1) & control_in_test
    adata.obs["split"] = np.where(held | control, "test", "train")
    return ho.tl.audit(adata, perturbation_key="perturbation", items=["perturbations"])


def test_a_name_turned_round_is_the_same_perturbation():
    found = row(by_hand(screen(), ["B+A"]), "perturbations", "perturbation")
    assert found["status"] == "fail"
    assert "B+A in test is A+B in train" in found["finding"]
    assert found["value"] == 1


def test_whole_perturbations_pass_and_their_members_are_counted():
    table = by_hand(screen(), ["A+B", "B+A"])
    found = row(table, "perturbations", "perturbation")
    assert found["status"] == "pass"
    assert "in train or val: 1 with 2 targets" in found["finding"]
    assert row(table, "perturbations", "control")["status"] == "pass"
    found = row(by_hand(screen(), ["A+B", "B+A", "A", "A+C"]), "perturbations", "perturbation")
    assert "in train or val: 2 with 1 target." in found["finding"]


def test_test_cells_without_controls_of_their_own_warn():
    found = row(by_hand(screen(), ["C"], control_in_test=False), "perturbations", "control")
    assert found["status"] == "warn"
    assert found["value"] == 1


@pytest.mark.parametrize("hold_out", ["single", "combination", "context"])
def test_the_splits_of_heldout_pass(hold_out):
    adata = screen()
    options = {"covariate_keys": "line"} if hold_out == "context" else {}
    ho.pp.split_perturbations(adata, "perturbation", hold_out=hold_out, val=0, test=0.5, **options)
    table = ho.tl.audit(adata, items=["perturbations"])
    assert set(table.loc[table["item"] == "perturbations", "status"]) == {"pass"}
    if hold_out == "context":
        assert "Train or val has 5 of 5 in other contexts" in row(table, "perturbations", "perturbation")["finding"]


def test_guides_are_read_from_the_record():
    adata = screen()
    adata.obs["guide"] = adata.obs["perturbation"].str.replace("A", "A_g1") + np.where(adata.obs["cell"] == 1, "", "")
    guides = {"A_g1": "A", "B": "A", "C": "C", "control": "control"}
    adata = adata[adata.obs["guide"].isin([*guides])].copy()
    ho.pp.split_perturbations(adata, "guide", targets=guides, val=0, test=0.5)
    assert row(ho.tl.audit(adata, items=["perturbations"]), "perturbations", "guide")["status"] == "pass"
    own = adata.obs["guide"].isin(["A_g1"])
    adata.obs["own"] = np.where(own, "test", "train")
    assert (
        row(
            ho.tl.audit(adata, perturbation_key="guide", split_key="own", items=["perturbations"]),
            "perturbations",
            "guide",
        )["status"]
        == "pass"
    )


def test_names_that_cannot_be_read_are_not_run():
    adata = screen()
    adata.obs["perturbation"] = adata.obs["perturbation"].replace({"C": "C+"})
    found = by_hand(adata, ["A"])
    assert row(found, "perturbations")["status"] == "not run"
    assert "empty part" in row(found, "perturbations")["finding"]


def test_without_a_key_it_is_not_run():
    adata = screen()
    adata.obs["split"] = "train"
    assert row(ho.tl.audit(adata, items=["perturbations"]), "perturbations")["status"] == "not run"


def relatives_of(names, held, **columns):
    """Findings on relatives, where the names in ``held`` are test."""
    adata = design(n_cells=4, perturbation=["control", *names], **columns)
    table = by_hand(adata.copy() if "cell" in adata.obs else _numbered(adata), held)
    rows = table[table["item"] == "perturbations"]
    return rows[rows["measure"] == "test perturbations with a relative in train or val"]


def _numbered(adata):
    adata.obs["cell"] = np.arange(adata.n_obs) % 2
    return adata


def test_a_drug_at_another_dose_is_named():
    found = relatives_of(["a_1nM", "a_5nM", "b_1nM", "b_5nM", "c_1nM"], ["a_5nM", "c_1nM"])
    assert found[["subject", "status", "value"]].values.tolist() == [["names", "warn", 1]]
    assert "a_5nM in test and a_1nM in train or val" in found["finding"].iloc[0]


def test_a_column_of_drugs_is_compared():
    drug = [None, "x", "x", "y", "y", "z"]
    found = relatives_of(["p", "q", "r", "s", "t"], ["q", "t"], drug=drug, n_targets=[5] * 6, drug_type=["s"] * 6)
    assert found[["subject", "status", "value"]].values.tolist() == [["drug", "warn", 1]]
    assert "1 test perturbation has the same drug" in found["finding"].iloc[0]


def test_a_column_with_one_value_is_no_relation():
    assert not len(relatives_of(["p", "q", "r"], ["q"], treatment=["no", "ko", "ko", "ko"]))
    assert not len(relatives_of(["pert_1", "pert_2", "pert_3"], ["pert_2"]))


def test_guides_with_their_genes_in_the_record_are_not_related():
    names = ["STAT1_sg1", "STAT1_sg2", "IRF1_sg1", "IRF1_sg2", "MYC_sg1", "MYC_sg2"]
    adata = design(n_cells=6, perturbation=["control", *names])
    genes = {name: name.split("_")[0] for name in names} | {"control": "control"}
    ho.pp.split_perturbations(adata, "perturbation", targets=genes, val=0, test=0.4)
    table = ho.tl.audit(adata, items=["perturbations"])
    assert not table["measure"].str.contains("relative").any()


def test_a_placeholder_is_no_perturbation():
    table = by_hand(_numbered(design(n_cells=4, perturbation=["control", "A", "B", "unassigned"])), ["B"])
    found = row(table, "perturbations", "names")
    assert found["status"] == "warn"
    assert "'unassigned' is no perturbation" in found["finding"]


# --- the control of a split that was made elsewhere -------------------------------------------------------------------


def named(control, test=("A", "B")):
    """A split by hand with half of the control cells in test."""
    adata = design(n_cells=20, perturbation=[control, "A", "B", "C", "D"])
    held = adata.obs["perturbation"].isin(test)
    half = (adata.obs["perturbation"] == control).to_numpy() & (np.arange(adata.n_obs) % 2 == 0)
    adata.obs["split"] = np.where(held | half, "test", "train")
    return adata


AUDIT = {"perturbation_key": "perturbation", "items": ["perturbations"]}


@pytest.mark.parametrize("name", ["AAVS1", "[('DMSO_TF', 0.0, 'uM')]", "PBS", "NT-1"])
def test_the_control_of_a_split_by_hand_is_named(name):
    table = ho.tl.audit(named(name), control=name, **AUDIT)
    found = table[table["item"] == "perturbations"]
    assert set(found["status"].astype(str)) == {"pass"}


@pytest.mark.parametrize("name", ["PBS", "NT-1", "non-targeting_00025", "mock", "unstimulated", "Controls"])
def test_usual_names_of_controls_are_known(name):
    assert row(ho.tl.audit(named(name), **AUDIT), "perturbations", "perturbation")["status"] == "pass"


def test_an_unknown_control_is_asked_for():
    found = row(ho.tl.audit(named("AAVS1"), **AUDIT), "perturbations", "perturbation")
    assert found["status"] == "fail"
    assert "pass control='AAVS1'" in found["advice"]


def test_a_named_control_hides_no_leak():
    adata = named("AAVS1")
    adata.obs.iloc[np.flatnonzero(adata.obs["perturbation"] == "A")[:3], adata.obs.columns.get_loc("split")] = "train"
    found = row(ho.tl.audit(adata, control=["AAVS1"], **AUDIT), "perturbations", "perturbation")
    assert found["status"] == "fail"
    assert "A in test" in found["finding"]


def test_controls_that_are_refused(refuses):
    adata = named("AAVS1")
    refuses(lambda a: ho.tl.audit(a, control="AAVS2", **AUDIT), adata, "control='AAVS2'", "Did you mean 'AAVS1'?")
    refuses(lambda a: ho.tl.audit(a, control="AAVS1"), adata, "needs perturbation_key")
