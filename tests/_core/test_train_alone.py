"""A fit does not change with the values of test cells, and neither does its hash."""

from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc
from scipy import sparse

import heldout as ho
from heldout._core.arrays import describe, describe_train
from heldout._core.fits import read_fit


def altered(adata):
    """The same cells, with other totals in the test cells."""
    other = adata.copy()
    test = (other.obs["split"] == "test").to_numpy()
    X = other.X.toarray()
    X[test] = np.random.default_rng(0).random(X[test].shape)
    other.X = sparse.csr_matrix(X)
    return other


@pytest.mark.parametrize("step", ["highly_variable_genes", "scale", "pca"])
def test_preparation(step, split):
    sc.pp.normalize_total(split, target_sum=1e4)
    sc.pp.log1p(split)
    fits = []
    for adata in (split, altered(split)):
        if step == "pca":
            ho.pp.pca(adata, n_comps=2, mask_var=None)
        else:
            getattr(ho.pp, step)(adata)
        (key,) = adata.uns["heldout"]["fits"]
        fits.append(read_fit(adata, key))
    assert fits[0].info == fits[1].info
    assert fits[0].info["input"]["kind"] == "lognormalised"
    assert fits[0].hash == fits[1].hash


def test_classifiers(split):
    sc.pp.normalize_total(split, target_sum=1e4)
    sc.pp.log1p(split)
    fits = []
    for adata in (split, altered(split)):
        ho.tl.genotype(adata, method="logistic")
        fits.append(read_fit(adata, "genotype"))
    assert fits[0].hash == fits[1].hash


def test_train_is_described_alone_in_every_kind_of_matrix(any_array_type):
    rng = np.random.default_rng(0)
    counts = rng.poisson(2, (50, 8)).astype(np.float32)
    counts[:, 0] += 1
    train = rng.random(50) < 0.7
    logged = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4)
    X = np.where(train[:, None], logged, counts)
    whole, part = describe_train(any_array_type(X), train)
    assert whole == describe(X)
    assert part == describe(logged[train])
    assert (whole.kind, part.kind) == ("other", "lognormalised")
    X[~train, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        describe_train(any_array_type(X), train)
    with pytest.raises(ValueError, match=r"train cells of adata\.X are zero"):
        describe_train(any_array_type(np.where(train[:, None], 0, counts)), train)
