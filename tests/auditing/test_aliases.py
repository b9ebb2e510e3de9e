"""Groups with two spellings, and groups that are placeholders."""

from __future__ import annotations

import numpy as np
import pytest

import heldout as ho
from heldout._core.placeholders import is_placeholder
from heldout.auditing._spelling import same_spelling, stem, without_suffix
from tests.helpers.audits import design


def audited(test, train):
    """The findings for donors of these names, with two cells each."""
    adata = design(n_cells=2, donor=[*test, *train], split=["test"] * len(test) + ["train"] * len(train))
    table = ho.tl.audit(adata, group_key="donor", items=["aliases"])
    return table[table["item"] == "aliases"]


@pytest.mark.parametrize("alias", ["d1", " D1", "D_1", "D 01", "D1.0", "D-1"])
def test_a_second_spelling_fails(alias):
    found = audited(["D1", "D2"], [alias, "D3"])
    assert found["status"].tolist() == ["fail"]
    assert f"'D1' in test and {alias!r}" in found["finding"].iloc[0]


@pytest.mark.parametrize("alias", ["D1_rep2", "D1b", "D1-replicate 3", "D1 bis"])
def test_a_suffix_warns(alias):
    found = audited(["D1", "D2"], [alias, "D3"])
    assert found["status"].tolist() == ["warn"]
    assert "only in a suffix" in found["finding"].iloc[0]


@pytest.mark.parametrize(
    "train", [["D2", "D11"], ["1-11"], ["D1-2"], ["CD4-", "D1+"], ["d1_x", "mouse"], ["-1"], ["D10", "1E"]]
)
def test_different_names_pass(train):
    assert audited(["D1", "11-1", "CD4+", "1"], train)["status"].tolist() == ["pass"]


@pytest.mark.parametrize("name", ["unassigned", "Doublet", "NA", "unknown", "negative", "not_assigned"])
def test_a_placeholder_warns(name):
    found = audited(["D1"], [name, "D2"])
    assert found["status"].tolist() == ["warn"]
    assert found["value"].tolist() == [2]
    assert f"{name!r} is no donor but 2 cells of unknown or several donors, in train" in found["finding"].iloc[0]


def test_a_placeholder_that_is_not_used_is_no_concern():
    adata = design(n_cells=2, donor=["D1", "D2", "unassigned"], split=["test", "train", "unused"])
    table = ho.tl.audit(adata, group_key="donor", items=["aliases"])
    assert table.loc[table["item"] == "aliases", "status"].tolist() == ["pass"]


def test_nothing_to_compare_is_not_run():
    adata = design(n_cells=2, donor=["D1", "D2"], split=["test", "train"])
    assert ho.tl.audit(adata, items=["aliases"]).iloc[0]["status"] == "not run"


def test_the_split_of_demultiplexed_cells_is_questioned():
    adata = design(n_cells=4, donor=[f"D{i}" for i in range(6)])
    adata.obs["donor"] = np.where(np.arange(adata.n_obs) % 4 == 3, "unassigned", adata.obs["donor"])
    train = ["D0", "D1", "D2", "D3", "unassigned"]
    with pytest.raises(ValueError, match="unassigned"):
        ho.pp.split_assigned(adata, "donor", train=train, test=["D4", "D5"])
    ho.pp.split_assigned(adata, "donor", train=train, test=["D4", "D5"], unused=())
    table = ho.tl.audit(adata)
    assert table.loc[table["item"] == "aliases", "status"].tolist() == ["warn"]


def test_forms_of_names():
    assert same_spelling("Donor_01") == same_spelling("donor 1.0")
    assert same_spelling("P1-2") != same_spelling("P12")
    assert without_suffix("S12c") == without_suffix("S12_rep1")
    assert without_suffix("L01") != without_suffix("L02")
    assert is_placeholder(" N/A ")
    assert not is_placeholder("nadia")


@pytest.mark.parametrize(
    ("names", "same"),
    [
        (("[('DrugA', 0.05, 'uM')]", "[('DrugA', 5.0, 'uM')]"), True),
        (("Erlotinib_10nM", "Erlotinib 1.5 uM"), True),
        (("STAT1_sg1", "STAT1_sg2"), True),
        (("TP53_1", "TP53_2"), True),
        (("NKX2-1", "NKX2-2"), False),
        (("IFNB", "IFNG"), False),
        (("[('DrugA', 0.05, 'uM')]", "[('DrugB', 0.05, 'uM')]"), False),
    ],
)
def test_stems_of_perturbations(names, same):
    assert (stem(names[0]) == stem(names[1])) == same


def test_a_number_alone_is_no_stem():
    assert stem("compound_12") == stem("gene 3") == ""
