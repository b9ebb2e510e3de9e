"""The audit finds donors that were centred on their class, and is silent on corrections without the label."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import heldout as ho
from heldout.auditing._cell_states import columns_of_states
from tests.helpers.leaks import case_of
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
    assert "were centred or corrected with the label" in row.finding


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
def test_centring_without_the_label_warns(share):
    (row,) = said(centred(simulated(), share=share), "unit_variation").itertuples()
    assert row.status == "warn"
    assert "no sign that label was used" in row.finding
    assert "10 libraries of 10 in test vary less than their cells allow" in row.finding


def test_centring_of_train_alone_is_no_alarm():
    adata = simulated()
    moved = centred(adata.copy()).X
    train = (adata.obs["split"] == "train").to_numpy()
    adata.X = np.where(train[:, None], moved, adata.X.toarray()).astype(np.float32)
    (row,) = said(adata, "unit_variation").itertuples()
    assert row.status == "pass"


def with_types(adata, seed=0):
    """Add four cell types in shares that differ between libraries, without a column that names them."""
    rng = np.random.default_rng(seed)
    kind = np.concatenate(
        [rng.choice(4, size=n, p=rng.dirichlet([3] * 4)) for n in adata.obs.groupby("library", sort=False).size()]
    )
    adata = adata[np.argsort(adata.obs["library"], kind="stable")].copy()
    shifts = rng.normal(0, 1.5, (4, adata.n_vars))
    adata.X = sparse.csr_array((adata.X.toarray() + shifts[kind]).astype(np.float32))
    return adata, kind


def test_shares_of_cell_types_without_a_column_of_cell_types():
    """The centring leaves less variation than the shares of the cell types demand."""
    raw, _ = with_types(simulated())
    (row,) = said(raw, "unit_variation").itertuples()
    assert row.status == "pass"
    (row,) = said(centred(raw, "label"), "unit_variation").itertuples()
    assert row.status == "fail"


def test_an_embedding_that_was_centred_within_cell_types():
    adata, kind = with_types(simulated())
    Z = adata.X.toarray()
    of_both = pd.DataFrame(Z).groupby([kind, adata.obs["library"].to_numpy()]).transform("mean").to_numpy()
    adata.obsm["X_raw"] = Z
    adata.obsm["X_harmony"] = Z - 0.9 * (of_both - pd.DataFrame(Z).groupby(kind).transform("mean").to_numpy())
    found = said(adata, "unit_variation").set_index("subject")["status"].astype(str)
    assert found.to_dict() == {"X": "pass", "obsm['X_harmony']": "warn", "obsm['X_raw']": "pass"}


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


def test_many_cells_are_not_run(monkeypatch):
    monkeypatch.setattr("heldout.auditing.unit_variation.MOST_CELLS", 500)
    (row,) = said(simulated(), "unit_variation").itertuples()
    assert row.status == "not run"
    assert "The 20 libraries that were drawn have 600 cells, more than 500." in row.finding
    assert "heldout.pp.subsample" in row.finding


def test_columns_of_cell_states_are_those_with_most_values():
    """Columns can have numbers as names, and only those that vary within libraries count."""
    adata, rng = simulated(), np.random.default_rng(0)
    for key, n in (("b", 2), (0, 7), ("a", 3), (1, 5), ("c", 40)):
        adata.obs[key] = rng.permutation(np.arange(adata.n_obs) % n).astype(str)
    adata.obs["site"] = adata.obs["library"].str[-1]
    case, rows = case_of(adata, label_key="label"), np.arange(adata.n_obs)
    unit = pd.factorize(adata.obs["library"])[0]
    assert [codes.max() + 1 for codes in columns_of_states(case, rows, unit)] == [7, 5, 3]


def test_a_column_that_is_named_by_a_number():
    adata = simulated()
    adata.obs[0] = np.arange(adata.n_obs) % 3
    (row,) = said(adata, "unit_variation").itertuples()
    assert row.status == "pass"


def test_paired_samples():
    adata = simulated()
    adata.obs["donor"] = adata.obs.groupby("label")["library"].transform(lambda x: pd.factorize(x, sort=True)[0])
    ho.pp.split_groups(adata, "donor", val=0, test=0.3)
    (row,) = said(centred(adata, "label"), "unit_variation", group_key="donor").itertuples()
    assert row.status == "fail"


def test_few_units_cannot_decide():
    (row,) = said(centred(simulated(n_libraries=8), "label"), "unit_variation").itertuples()
    assert row.status == "unidentifiable"
