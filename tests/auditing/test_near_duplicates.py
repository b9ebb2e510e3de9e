"""The audit finds cells that were sequenced twice, and takes no relatives for copies."""

import numpy as np
import pytest
import scanpy as sc

from heldout.auditing._finding import NotRun
from heldout.auditing.near_duplicates import near_duplicates
from tests.helpers.leaks import by_library, case_of, real, simulated, thinned, with_copies

DATASETS = {
    "lmna1000": lambda: simulated(1000),
    "lmna2000": lambda: simulated(2000),
    "onek1k": lambda: real("onek1k"),
    "kang": lambda: real("kang"),
}


@pytest.fixture(params=DATASETS.values(), ids=DATASETS.keys())
def dataset(request):
    return request.param()


def one(adata, **options):
    (finding,) = near_duplicates(case_of(adata, **options))
    return finding


def test_clean_libraries(dataset):
    by_library(dataset)
    found = one(dataset)
    assert found.status == "pass"
    assert found.value == 0


def test_thinned_copies_are_found(dataset):
    adata = with_copies(dataset, 60, change=thinned(0.5))
    by_library(adata)
    found = one(adata, n_cells=10 * adata.n_obs)  # every test cell is looked up
    n_test = int((adata.obs["split"] == "test").sum())
    assert 0.8 * 60 <= round(found.value * n_test) <= 60
    assert found.status in {"warn", "fail"}
    assert "copy" in found.finding


def test_pairs_are_named():
    adata = with_copies(simulated(), 40, change=thinned(0.5))
    by_library(adata)
    found = one(adata)
    assert found.status == "fail"
    copy, original = found.finding.split("e.g. ")[1].split(",")[0].split(" and ")
    genes = (np.asarray(adata[[copy, original]].X.toarray()) > 0).astype(int)
    assert not (genes[0] > genes[1]).any()  # thinning adds no gene
    assert "pair of libraries is" in found.finding


def test_copies_that_both_were_thinned_and_logged():
    adata = simulated()
    both = with_copies(adata, 40, change=thinned(0.5))
    both.X = thinned(0.7)(both.X, np.random.default_rng(1))
    sc.pp.normalize_total(both, target_sum=1e4)
    sc.pp.log1p(both)
    by_library(both)
    assert one(both).status == "fail"


def test_three_copies_of_one_cell():
    adata = simulated()
    train = adata[~adata.obs["library"].isin(np.sort(adata.obs["library"].unique())[::4])]
    once, again = (with_copies(adata, 40, change=thinned(0.6)) for _ in range(2))
    more = again[-40:].copy()
    more.obs_names = [f"again{i}" for i in range(40)]
    more.obs["library"] = train.obs["library"].iloc[0]
    import anndata as ad

    both = ad.concat([once, more])
    both.X = thinned(0.8)(both.X.tocsr(), np.random.default_rng(3))
    by_library(both)
    found = one(both)
    n_test = int((both.obs["split"] == "test").sum())
    assert found.value * n_test >= 32


def test_few_copies_only_warn():
    adata = with_copies(simulated(n_cells=150), 4, change=thinned(0.7))
    by_library(adata)
    assert one(adata).status == "warn"


def test_random_cells_of_clean_data():
    import heldout as ho

    adata = simulated()
    adata.obs["fold"] = np.random.default_rng(0).integers(0, 4, adata.n_obs)
    ho.pp.split_assigned(adata, "fold", train=[0, 1, 2], test=[3])
    assert one(adata).status == "pass"
    assert one(adata, group_key=()).status == "pass"


def test_does_not_depend_on_the_order_of_the_cells():
    adata = with_copies(simulated(), 30, change=thinned(0.5))
    by_library(adata)
    shuffled = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    assert one(adata, n_cells=500).value == one(shuffled, n_cells=500).value


def test_matrix_types_agree(any_array_type):
    adata = with_copies(simulated(n_genes=400, n_cells=40), 20, change=thinned(0.5))
    expected = adata.copy()
    adata.X = any_array_type(adata.X.toarray())
    for some in (adata, expected):
        by_library(some)
    found = one(adata)
    assert found.value == one(expected).value
    assert found.status == "fail"


def test_too_few_genes():
    adata = simulated(100)[:, :30].copy()
    by_library(adata)
    with pytest.raises(NotRun, match="genes"):
        near_duplicates(case_of(adata))
