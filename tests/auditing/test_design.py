"""Items of the audit that look at the table of groups only."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import heldout as ho
from heldout._core import keys
from tests.helpers.audits import MIXED, assigned, design, row

DESIGN = [
    *("integrity", "group_overlap", "class_coverage", "power"),
    *("confounding", "covariate_prediction", "temporal_order", "test_looks"),
]


def balanced(**columns):
    """Eight train and eight test libraries; label, day and sex are crossed."""
    n = 16
    adata = design(
        label=["case", "control"] * (n // 2),
        day=np.repeat([0, 1, 2, 3] * 2, 2),
        sex=(["f"] * 4 + ["m"] * 4) * 2,
        **columns,
    )
    return assigned(adata, ["train"] * 8 + ["test"] * 8, label_key="label")


def audit(adata, **options):
    return ho.tl.audit(adata, **{"items": DESIGN, "covariate_keys": ["day", "sex"], **options})


def test_a_balanced_design_is_clean():
    table = audit(balanced())
    ran = table[table["status"] != "not run"]
    assert set(ran["status"]) == {"pass"}
    assert set(DESIGN) - set(ran["item"]) == {"temporal_order"}


@pytest.fixture
def lmna_mixed(lmna):
    ho.pp.split_assigned(lmna, "library", **MIXED, label_key="genotype")
    return lmna


def test_the_mixed_day_split_is_flagged_and_explained(lmna_mixed):
    table = audit(lmna_mixed, covariate_keys=["day"])
    found = row(table, "covariate_prediction", "day")
    assert found["status"] == "fail"
    assert found["value"] == 0
    for word in ("all train libraries of day 19 are patient", "GSM8325052 of day 19 is control", "2 of 2"):
        assert word in found["finding"]
    assert "split_matched" in found["advice"]


def test_the_day_matched_split_is_not_flagged(split):
    table = audit(split, covariate_keys=())
    assert not table["status"].isin(["fail", "warn"]).any()
    assert row(table, "covariate_prediction", "day")["value"] == 0.5
    assert row(table, "power")["status"] == "unidentifiable"
    assert row(table, "power")["value"] == 0.5


def test_a_covariate_that_is_right_for_the_wrong_reason_fails():
    adata = design(label=["a", "b"] * 8, day=[0, 1] * 8)
    table = audit(assigned(adata, ["train"] * 8 + ["test"] * 8, label_key="label"), covariate_keys="day")
    assert row(table, "covariate_prediction", "day")["value"] == 1
    assert row(table, "covariate_prediction", "day")["status"] == "fail"
    found = row(table, "confounding", "day")
    assert found["status"] == "fail"
    assert found["value"] == pytest.approx(1)


def test_integrity_of_a_column_without_a_record():
    adata = balanced()
    adata.obs["own"] = adata.obs["split"].astype(str)
    found = row(audit(adata, split_key="own", group_key="library", label_key="label"), "integrity")
    assert found["status"] == "warn"
    assert "split_assigned" in found["advice"]


def test_integrity_of_a_cell_that_moved():
    adata = balanced()
    adata.obs.iloc[0, adata.obs.columns.get_loc("split")] = "test"
    found = row(audit(adata, group_key="library", label_key="label"), "integrity")
    assert found["status"] == "fail"
    assert "1 of 64 names" in found["finding"]


@pytest.mark.parametrize("value", [np.nan, "holdout"])
def test_integrity_of_a_cell_in_no_partition(value):
    adata = balanced()
    adata.obs["own"] = adata.obs["split"].astype(object)
    adata.obs.iloc[3, adata.obs.columns.get_loc("own")] = value
    found = row(audit(adata, split_key="own", group_key="library"), "integrity")
    assert found["status"] == "fail"
    assert found["value"] == 1


def test_integrity_without_test_cells():
    adata = balanced()
    adata.obs["own"] = "train"
    assert row(audit(adata, split_key="own", group_key="library"), "integrity")["status"] == "fail"


def test_cells_dropped_after_the_split_do_no_harm():
    adata = balanced()
    found = row(audit(adata[5:].copy()), "integrity")
    assert found["status"] == "pass"
    assert "5 train cells of the original split are not in this AnnData" in found["finding"]


def test_a_declared_group_on_both_sides_fails():
    adata = balanced()
    ho.pp.split_cells(adata, test=0.5, val=0, key_added="cells")
    found = row(audit(adata, group_key="library", label_key="label", split_key="cells"), "group_overlap", "library")
    assert found["status"] == "fail"
    crossing = adata.obs.groupby("library")["cells"].nunique() > 1
    assert found["value"] == crossing.sum()


@pytest.mark.parametrize(
    ("name", "status"), [("donor", "fail"), ("Donor_ID", "fail"), ("sampleLane", "warn"), ("sequencing.pool", "warn")]
)
def test_an_undeclared_unit_on_both_sides(name, status):
    found = row(audit(balanced(**{name: [f"D{i % 8}" for i in range(16)]})), "group_overlap", name)
    assert found["status"] == status
    assert found["value"] == 8


def test_an_undeclared_unit_within_a_side_and_a_property_do_not():
    table = audit(balanced(donor=[f"D{i // 2}" for i in range(16)], phase=["G1", "S"] * 8, age=[30, 40] * 8))
    assert set(table.loc[table["item"] == "group_overlap", "subject"]) == {"library"}


def test_groups_linked_through_unused_cells():
    """No value of a column is on both sides, but an unused library links them."""
    adata = design(label=["a", "b", "a", "b"], donor=["D0", "D1", "D1", "D2"], lane=["N0", "N0", "N1", "N1"])
    adata = assigned(adata, ["train", "unused", "test", "test"])
    keys_ = ["library", "donor", "lane"]
    table = audit(adata, group_key=keys_, covariate_keys=())
    assert {key: row(table, "group_overlap", key)["status"] for key in keys_} == dict.fromkeys(keys_, "pass")
    assert row(table, "group_overlap", "library+donor+lane")["status"] == "fail"
    table = audit(adata[adata.obs["library"] != "L01"].copy(), group_key=keys_, covariate_keys=())
    assert set(table.loc[table["item"] == "group_overlap", "status"]) == {"pass"}


def test_val_that_shares_groups_with_train_warns():
    adata = balanced()
    adata.obs["own"] = adata.obs["split"].astype(str)
    adata.obs.iloc[[0, 4, 8], adata.obs.columns.get_loc("own")] = "val"
    assert row(audit(adata, split_key="own", group_key="library"), "group_overlap", "library")["status"] == "warn"


def test_a_class_that_test_lacks():
    adata = assigned(design(label=["a", "b", "a", "b", "a", "a"]), ["train"] * 4 + ["test"] * 2)
    table = audit(adata, label_key="label", covariate_keys=())
    assert row(table, "class_coverage", "test")["status"] == "fail"
    assert row(table, "class_coverage", "train")["status"] == "pass"
    assert row(table, "power")["value"] == 1


@pytest.mark.parametrize(
    ("labels", "match", "p"),
    [
        (["a", "a", "b", "b"], None, 1 / 6),
        (["a"] * 3 + ["b"] * 3, None, 1 / 20),
        (["a", "b"] * 4, [0, 0, 1, 1, 2, 2, 3, 3], 1 / 16),
        (["a", "b", "b"], [0, 0, 0], 1 / 3),
    ],
)
def test_power_is_one_over_the_number_of_labellings(labels, match, p):
    n = len(labels)
    adata = design(label=["a", "b", *labels], match=[9, 9, *(match or [0] * n)])
    adata = assigned(adata, ["train", "train"] + ["test"] * n)
    found = row(audit(adata, label_key="label", match_key="match" if match else None, covariate_keys=()), "power")
    assert found["value"] == pytest.approx(p)
    assert found["status"] == ("pass" if p <= 0.05 else "unidentifiable")


def test_paired_samples_are_exchanged_within_their_donor():
    adata = design(donor=np.repeat([f"D{i}" for i in range(8)], 2), condition=["ctrl", "stim"] * 8)
    ho.pp.split_assigned(adata, "donor", train=["D0", "D1"], test=[f"D{i}" for i in range(2, 8)])
    table = audit(adata, label_key="condition", covariate_keys=())
    assert row(table, "power")["value"] == pytest.approx(1 / 2**6)
    assert row(table, "class_coverage", "test")["value"] == 6
    assert row(table, "group_overlap", "donor")["status"] == "pass"


def test_a_donor_whose_two_samples_are_on_two_sides():
    adata = design(donor=np.repeat(["D0", "D1"], 2), condition=["ctrl", "stim"] * 2)
    adata.obs["own"] = np.where(adata.obs["condition"] == "ctrl", "train", "test")
    table = audit(adata, group_key="donor", label_key="condition", split_key="own", covariate_keys=())
    assert row(table, "group_overlap", "donor")["status"] == "fail"


def test_a_covariate_with_one_value_a_group_is_unidentifiable():
    adata = assigned(design(label=["a", "b"] * 4, day=range(8)), ["train"] * 4 + ["test"] * 4)
    assert (
        row(audit(adata, label_key="label", covariate_keys="day"), "confounding", "day")["status"] == "unidentifiable"
    )


def test_two_covariates_that_together_fix_the_label():
    """The label is one half of their sum, in no single one of them."""
    a, b = [0, 1, 1, 0] * 4, [1, 0, 1, 0] * 4
    label = ["yes" if x + y == 1 else "no" for x, y in zip(a, b, strict=True)]
    adata = assigned(
        design(label=label, a=np.array(a).astype(str), b=np.array(b).astype(str)), ["train"] * 8 + ["test"] * 8
    )
    table = audit(adata, label_key="label", covariate_keys=["a", "b"])
    assert row(table, "confounding", "a+b")["status"] == "pass"  # an interaction is not in the span of the two
    adata.obs["c"] = np.where(adata.obs["label"] == "yes", "1", "0")
    adata.obs["c"] = np.where(adata.obs["a"] == "1", np.where(adata.obs["c"] == "1", "2", "1"), adata.obs["c"])
    table = audit(adata, label_key="label", covariate_keys=["a", "c"])
    assert row(table, "confounding", "a+c")["status"] == "fail"


def test_a_covariate_that_varies_within_groups_is_not_run():
    adata = balanced()
    adata.obs["phase"] = ["G1", "S"] * (adata.n_obs // 2)
    table = audit(adata, covariate_keys=["phase"])
    assert row(table, "confounding", "phase")["status"] == "not run"
    assert row(table, "covariate_prediction", "phase")["status"] == "not run"


def test_temporal_order():
    adata = design(time=[0, 1, 2, 3, 4, 5])
    past = assigned(adata.copy(), ["train"] * 4 + ["test"] * 2)
    assert row(audit(past, time_key="time", covariate_keys=()), "temporal_order")["status"] == "pass"
    future = assigned(adata.copy(), ["train", "train", "test", "test", "train", "train"])
    found = row(audit(future, time_key="time", covariate_keys=()), "temporal_order")
    assert found["status"] == "warn"
    assert "4, 5" in found["finding"]
    ho.pp.split_cells(adata, key_added="cells")
    found = row(
        audit(adata, time_key="time", split_key="cells", group_key="library", covariate_keys=()), "temporal_order"
    )
    assert found["status"] == "fail"
    ho.pp.split_time(adata, "time", test=2, direction="interpolate", key_added="between")
    found = row(audit(adata, split_key="between", group_key="library", covariate_keys=()), "temporal_order")
    assert found["status"] == "pass"


def test_several_fits_on_one_test_set_warn(fitted):
    before = row(ho.tl.audit(fitted, items=DESIGN), "test_looks")
    ho.tl.evaluate(fitted, "genotype", baselines=[], n_bootstrap=20)  # the same fit again is not a new look
    again = row(ho.tl.audit(fitted, items=DESIGN), "test_looks")
    ho.tl.evaluate(fitted, "mlp", baselines=[], n_bootstrap=20)
    after = row(ho.tl.audit(fitted, items=DESIGN), "test_looks")
    assert (before["status"], again["status"], after["status"]) == ("pass", "pass", "warn")
    assert after["value"] == 2
    assert "2 looks" in after["finding"]


def test_the_result_does_not_depend_on_the_order_of_the_cells():
    adata = balanced()
    shuffled = adata[np.random.default_rng(1).permutation(adata.n_obs)].copy()
    pd.testing.assert_frame_equal(pd.DataFrame(audit(adata)), pd.DataFrame(audit(shuffled)))


def test_what_is_asked_is_checked_first(refuses):
    adata = balanced()
    refuses(lambda a: ho.tl.audit(a, items=["duplicate"]), adata, "duplicate", "duplicates")
    refuses(lambda a: ho.tl.audit(a, covariate_keys=["dya"]), adata, "covariate_keys", "dya", "day")
    refuses(lambda a: ho.tl.audit(a, label_key="lable"), adata, "label_key", "lable")
    refuses(lambda a: ho.tl.audit(a, split_key="nosplit"), adata, "split_key", "nosplit")
    refuses(lambda a: ho.tl.audit(a, n_cells=5), adata, "n_cells", "100")
    refuses(lambda a: ho.tl.audit(a, key_added="a/b"), adata, "key_added")
    refuses(lambda a: ho.get.audit(a, "none"), adata, "none", "heldout.tl.audit")


def test_stored_read_back_and_printed(lmna_mixed, through_file):
    table = audit(lmna_mixed, covariate_keys=["day"])
    back = through_file(lmna_mixed)
    stored = ho.get.audit(back)
    pd.testing.assert_frame_equal(pd.DataFrame(stored), pd.DataFrame(table), check_categorical=False)
    text = str(stored)
    assert text == str(table)
    assert "FAIL           covariate_prediction (day)" in text
    assert "Failed: covariate_prediction." in text.splitlines()[-1]
    assert max(map(len, text.splitlines())) <= 110
    html = stored._repr_html_()
    assert "&#39;day&#39;" in html
    assert "<script" not in html
    assert type(stored.query("status == 'fail'")) is pd.DataFrame
    assert sorted(back.uns[keys.UNS][keys.AUDITS]) == ["audit"]


def test_a_clean_report_does_not_claim_too_much(split):
    text = str(audit(split, covariate_keys=()))
    assert text.splitlines()[-1] == (
        "No leak found by the 7 items that ran. This does not prove that there is no leak. Cannot decide: power."
    )


def test_where_the_matrix_is_not_in_memory_the_design_is_audited(lmna, tmp_path):
    ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=19, val=0)
    lmna.write_h5ad(tmp_path / "lmna.h5ad")
    backed = ad.read_h5ad(tmp_path / "lmna.h5ad", backed="r")
    table = ho.tl.audit(backed, items="all")
    ran = table[table["status"] != "not run"]
    assert {"integrity", "group_overlap", "covariate_prediction"} <= set(ran["item"])
    assert row(table, "duplicates")["status"] == "not run"
    assert "Load" in row(table, "duplicates")["finding"]
    backed.file.close()


def test_scaled_values_are_read_from_another_layer(split):
    split.layers["counts"] = split.X.copy()
    sc.pp.normalize_total(split, target_sum=1e4)
    sc.pp.log1p(split)
    split.X = np.asarray(split.X.todense())
    ho.pp.scale(split)
    table = ho.tl.audit(split)
    assert not table["status"].isin(["fail", "warn"]).any(), str(table)
    assert row(table, "effective_size", "test")["status"] == "pass"
    del split.layers["counts"]
    assert "layer" in row(ho.tl.audit(split), "effective_size")["finding"]
