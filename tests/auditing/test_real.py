"""The costly items on public data: donors are recognised, and a split of cells lets that through."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import heldout as ho
from tests.helpers.libraries import said
from tests.helpers.paths import DATA, needs_data

pytestmark = needs_data


@pytest.fixture(scope="module")
def onek1k():
    """OneK1K with a label for each donor that means nothing."""
    adata = ad.read_h5ad(DATA / "onek1k" / "onek1k_40donors.h5ad")
    adata.obs["indiv"] = adata.obs["indiv"].astype(str).astype("category")
    donors = np.sort(adata.obs["indiv"].unique())
    label = np.where(np.random.default_rng(0).permutation(np.arange(len(donors)) % 2), "A", "B")
    drawn = dict(zip(donors, label, strict=True))
    adata.obs["random_label"] = adata.obs["indiv"].astype(str).map(drawn).astype("category")
    return adata


def test_onek1k_gap(onek1k):
    adata = onek1k.copy()
    ho.pp.split_groups(adata, "indiv", label_key="random_label", test=0.3, val=0)
    table = said(adata, "leakage_gap", group_key="indiv", label_key="random_label").set_index("subject")
    assert table["value"]["cells"] > 0.58
    assert table["value"]["indivs"] < 0.52
    assert table["value"][""] > 0.1
    assert set(table["status"]) == {"pass"}


def test_onek1k_split_by_cell(onek1k):
    adata = onek1k.copy()
    ho.pp.split_cells(adata)
    for item in ("fingerprint", "random_labels", "leakage_gap"):
        table = said(adata, item, group_key="indiv", label_key="random_label")
        assert table["status"][0] == "fail", item


def test_kang_interferon_genes_are_worth_a_look():
    adata = ad.read_h5ad(DATA / "kang2018" / "kang2018_2donors_ctrl_stim.h5ad")
    ho.pp.split_cells(adata)
    (row,) = said(adata, "single_genes", group_key="donor", label_key="group_id").itertuples()
    assert row.status == "warn"  # biology as plain as that does not fail
    assert "IFIT1" in row.finding


def test_zhao_gap_by_patient():
    adata = ad.read_h5ad(DATA / "zhao2021" / "zhao2021_5patients.h5ad")
    ho.pp.split_groups(adata, "patient_id", test=0.4, val=0)
    table = said(adata, "effective_size", group_key="patient_id", label_key="condition").set_index("subject")
    assert table["value"]["test"] < 200  # of 2000
    row = said(adata, "fingerprint", group_key="patient_id", label_key="condition").loc[0]
    assert row["status"] == "pass"
    assert row["value"] > 0.9
