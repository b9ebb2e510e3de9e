"""The acceptance case on public data: a meaningless label looks predictable until donors are held out."""

from __future__ import annotations

import anndata as ad
import pytest

import heldout as ho
from heldout._core.partition import read_partition
from tests.helpers.paths import DATA, needs_data
from tests.helpers.scripts import load


@pytest.fixture(scope="module")
def donor_leak():
    return load("tutorials/donor_leak.py")


def scores(donor_leak, name, method, *, every, seed=0):
    """AUCs of a random label over folds of cells and folds of donors, with every n-th cell."""
    adata, donor_key = donor_leak.load(name)
    return [
        donor_leak.cross_validate(adata[::every].copy(), donor_key, scheme=scheme, method=method, seed=seed)
        for scheme in ("cells", "donors")
    ]


@needs_data
def test_onek1k_logistic_regression(donor_leak):
    found = [scores(donor_leak, "onek1k", "logistic", every=2, seed=seed) for seed in range(2)]
    cells, donors = (sum(pair[number]["donor"] for pair in found) / 2 for number in (0, 1))
    assert 0.8 <= cells <= 0.98
    assert 0.2 <= donors <= 0.55


@needs_data
def test_onek1k_model_a(donor_leak):
    cells, donors = scores(donor_leak, "onek1k", "mlp", every=2)
    assert cells["donor"] > 0.75
    assert donors["donor"] < 0.65


@needs_data
def test_kang_logistic_regression(donor_leak):
    cells, donors = scores(donor_leak, "kang", "logistic", every=8)
    assert cells["donor"] > 0.9
    assert donors["cell"] < 0.6


@needs_data
def test_kang_donors_and_cell_types_balanced():
    """Eight donors of unequal size: the best split is balanced in cells, a split by number of donors is not."""
    adata = ad.read_h5ad(DATA / "kang2018" / "kang2018_8donors.h5ad", backed="r")
    ho.pp.split_groups(adata, "sample_id", share_of="cells", covariate_keys="cluster_id", test=0.25)
    ho.pp.split_groups(adata, "sample_id", test=0.25, key_added="plain")
    assert read_partition(adata).params["balance"]["proven"]
    wanted = {"train": 0.55, "val": 0.2, "test": 0.25}
    off = {
        key: sum(abs((adata.obs[key] == name).mean() - share) for name, share in wanted.items())
        for key in ("split", "plain")
    }
    assert off["split"] < 0.02 < 0.2 < off["plain"]
    adata.file.close()
