"""Genes that were scaled by their range or by quantiles of all cells are found; those scaled on train cells pass."""

import numpy as np
import pytest
import scanpy as sc
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler

from heldout.auditing._trace_ranges import of_range
from heldout.auditing.provenance import provenance
from tests.helpers.leaks import by_library, case_of, simulated

SCALERS = {
    "min–max": MinMaxScaler(),
    "min–max to -1 and 1": MinMaxScaler((-1, 1)),
    "max–abs": MaxAbsScaler(),
    "robust": RobustScaler(),
}
SIDES = {"leak": "fail", "val": "warn", "twin": "pass"}
CELLS = {"leak": "all cells (train, val, test)", "val": "the train and val cells", "twin": "the train cells"}


@pytest.fixture(scope="module")
def logged():
    adata = simulated(n_genes=200)
    by_library(adata, val=True)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata = adata[:, adata.X.getnnz(axis=0) > 10].copy()
    adata.X = adata.X.toarray()
    return adata


def fitted_on(adata, side):
    used = {"leak": ["train", "val", "test"], "val": ["train", "val"], "twin": ["train"]}[side]
    return adata.obs["split"].isin(used).to_numpy()


def about(adata, subject):
    return [f for f in provenance(case_of(adata)) if f.subject == subject]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("scaler", SCALERS)
def test_scaled_genes(logged, scaler, side):
    adata = logged.copy()
    model = SCALERS[scaler].fit(adata.X[fitted_on(adata, side)])
    adata.layers["scaled"] = model.transform(adata.X).astype(np.float32)
    (found,) = about(adata, "layers['scaled']")
    assert found.status == SIDES[side]
    assert f"was scaled on {CELLS[side]}." in found.finding


def test_centred_genes_divided_by_the_largest_absolute_value(logged):
    adata = logged.copy()
    for side in SIDES:
        rows = fitted_on(adata, side)
        centred = adata.X - adata.X[rows].mean(axis=0)
        adata.layers["scaled"] = centred / np.abs(centred[rows]).max(axis=0)
        (found,) = about(adata, "layers['scaled']")
        assert found.status == SIDES[side]
        assert "largest absolute value of 1 " in found.finding


def test_each_kind_of_matrix(logged, any_array_type):
    adata = logged.copy()
    for side in ("leak", "twin"):
        scaled = MinMaxScaler().fit(logged.X[fitted_on(adata, side)]).transform(logged.X)
        adata.X = any_array_type(scaled.astype(np.float32))
        (found,) = about(adata, "X")
        assert found.status == SIDES[side]


def test_the_number_of_genes_that_tell(logged):
    X = MinMaxScaler().fit_transform(logged.X)
    codes = np.where(logged.obs["split"] == "test", 2, 0)
    telling = int((X[codes == 0].max(axis=0) < 1 - 1e-6).sum())
    verdict, proof = of_range(X, codes, centred=False)
    assert verdict.status == "fail"
    assert f"{telling} of them do not have it over the train cells" in proof


def test_clipped_to_the_range_of_train_cells_is_not_named(logged):
    adata = logged.copy()
    adata.X = MinMaxScaler(clip=True).fit(adata.X[fitted_on(adata, "twin")]).transform(adata.X)
    assert not about(adata, "X")


def test_clipped_at_one_value_is_not_named(logged):
    adata = logged.copy()
    adata.X = np.clip(adata.X / np.quantile(adata.X, 0.99, axis=0).clip(0.1), 0, 1)
    assert not about(adata, "X")


def test_no_test_cells(logged):
    adata = logged[logged.obs["split"] != "test"].copy()
    adata.X = MinMaxScaler().fit_transform(adata.X)
    (found,) = about(adata, "X")
    assert found.status == "warn"


def test_values_that_were_not_scaled_are_not_named(logged):
    adata = logged.copy()
    adata.X = adata.X / (1 + adata.X.mean(axis=1, keepdims=True))
    assert not about(adata, "X")
    adata.X = adata.X - 0.5
    (found,) = about(adata, "X")
    assert found.status == "not run"
