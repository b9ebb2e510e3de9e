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


@needs_data
def test_onek1k_logistic_regression(donor_leak):
    result = donor_leak.study("onek1k", repeats=2, methods={"logistic": "logistic"}).groupby("folds of")["donor"].mean()
    assert 0.88 <= result["cells"] <= 0.98
    assert 0.2 <= result["donors"] <= 0.55


@needs_data
def test_onek1k_model_a(donor_leak):
    adata, donor_key = donor_leak.load("onek1k")
    cells, donors = (
        donor_leak.cross_validate(adata, donor_key, scheme=scheme, method="mlp", seed=0)["donor"]
        for scheme in ("cells", "donors")
    )
    assert cells > 0.8
    assert donors < 0.65


@needs_data
def test_kang_logistic_regression(donor_leak):
    result = donor_leak.study("kang", repeats=1, methods={"logistic": "logistic"}).set_index("folds of")
    assert result.loc["cells", "donor"] > 0.9
    assert result.loc["donors", "cell"] < 0.6


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
