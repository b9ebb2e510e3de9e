"""The audit finds donors that were centred on their class, and is silent on corrections without the label."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import heldout as ho
from tests.helpers.libraries import by_library, libraries, said


def simulated(seed=0, **options):
    adata = by_library(libraries(seed, n_genes=120, **{"n_cells": 30, "n_libraries": 20, **options}))
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def centred(adata, *keys, share=0.8, classes=("case", "control")):
    """Move each library towards the mean of the cells with the same values of keys."""
    X = pd.DataFrame(adata.X.toarray(), index=adata.obs_names)
    of_library = X.groupby(adata.obs["library"].to_numpy()).transform("mean")
    of_key = X.groupby([adata.obs[key].to_numpy() for key in keys]).transform("mean") if keys else X.mean()
    moved = adata.obs["label"].isin(classes).to_numpy()[:, None]
    adata.X = (X - moved * share * (of_library - of_key)).to_numpy(dtype=np.float32)
    return adata


@pytest.mark.parametrize("effect", [0.0, 0.5])
def test_libraries_that_were_centred_on_their_class(effect):
    (row,) = said(centred(simulated(effect=effect), "label"), "unit_variation").itertuples()
    assert row.status == "fail"
    assert row.value < 0.8
    assert "centred or corrected with the label" in row.finding


def test_one_class_that_was_centred():
    (row,) = said(centred(simulated(), "label", classes=["case"]), "unit_variation").itertuples()
    assert row.status == "fail"
    assert "class case" in row.finding


@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_raw_libraries_are_silent(effect):
    (row,) = said(simulated(effect=effect), "unit_variation").itertuples()
    assert row.status == "pass"
    assert row.value > 1


@pytest.mark.parametrize("share", [0.8, 1.0])
def test_centring_without_the_label_is_no_alarm(share):
    (row,) = said(centred(simulated(), share=share), "unit_variation").itertuples()
    assert row.status == "pass"
    assert "no sign that label was used" in row.finding


def test_equal_composition_by_design_is_no_alarm():
    """Each library has the same number of cells of each type, and the label has an effect."""
    adata = simulated(fingerprint=0.0, effect=1.0, n_cells=40)
    kind = np.arange(adata.n_obs) % 4
    adata.obs["cell_type"] = kind.astype(str)
    X = adata.X.toarray()
    adata.X = (X + np.eye(4)[kind] @ np.random.default_rng(0).normal(0, 3, (4, adata.n_vars))).astype(np.float32)
    (row,) = said(adata, "unit_variation").itertuples()
    assert row.status == "pass"


def test_embeddings_and_layers_are_read():
    adata = simulated()
    adata.layers["corrected"] = centred(adata.copy(), "label").X
    adata.obsm["X_corrected"] = pd.DataFrame(adata.layers["corrected"][:, :20], index=adata.obs_names)
    found = said(adata, "unit_variation").set_index("subject")["status"].astype(str)
    assert found.to_dict() == {"X": "pass", "layers['corrected']": "fail", "obsm['X_corrected']": "fail"}


def test_few_false_alarms():
    raised = [said(simulated(seed, n_cells=8, fingerprint=0.0), "unit_variation") for seed in range(6)]
    assert all((table["status"] == "pass").all() for table in raised)


def test_the_order_of_cells_and_the_kind_of_matrix_change_nothing(any_array_type):
    adata = centred(simulated(n_cells=8), "label")
    expected = said(adata, "unit_variation")
    other = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    other.X = any_array_type(np.asarray(other.X))
    found = said(other, "unit_variation")
    assert found["status"].tolist() == expected["status"].tolist() == ["fail"]
    np.testing.assert_allclose(found["value"], expected["value"], rtol=1e-4)


@pytest.mark.parametrize("n_cells", [1, 40])
def test_too_few_cells_or_units_are_not_run(n_cells):
    adata = libraries(0, n_libraries=16 if n_cells == 1 else 4, n_cells=n_cells)
    (row,) = said(by_library(adata), "unit_variation").itertuples()
    assert row.status == "not run"


def test_large_units_are_drawn_whole(monkeypatch):
    monkeypatch.setattr("heldout.auditing.unit_variation.N_CELLS", 300)
    (row,) = said(centred(simulated(), "label", share=0.9), "unit_variation").itertuples()
    assert row.status == "fail"


def test_paired_samples():
    adata = simulated()
    adata.obs["donor"] = adata.obs.groupby("label")["library"].transform(lambda x: pd.factorize(x, sort=True)[0])
    ho.pp.split_groups(adata, "donor", val=0, test=0.3)
    (row,) = said(centred(adata, "label"), "unit_variation", group_key="donor").itertuples()
    assert row.status == "fail"


def test_few_units_cannot_decide():
    (row,) = said(centred(simulated(n_libraries=8), "label"), "unit_variation").itertuples()
    assert row.status == "unidentifiable"
