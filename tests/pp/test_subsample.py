"""Subsampling: at most n of each group, the same cells whatever stands beside them."""

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

import heldout as ho
from heldout._core.draws import draws, lowest_per_group
from heldout._core.partition import read_partition
from tests.helpers.properties import properties

HYPOTHESIS = properties(80)


def names(n):
    return np.array([f"cell{i}" for i in range(n)], dtype=object)


def kept(adata, *args, **kwargs):
    return list(ho.pp.subsample(adata, *args, **kwargs, copy=True).obs_names)


@HYPOTHESIS
@given(
    groups=st.lists(st.sampled_from(["a", "b", "é", "10", "9"]), min_size=1, max_size=60),
    n=st.integers(1, 12),
    seed=st.integers(0, 2**40),
)
def test_the_lowest_n_of_each_group(groups, n, seed):
    groups = np.array(groups, dtype=object)
    numbers = draws(names(len(groups)), seed)
    rows = lowest_per_group(groups, numbers, n)
    assert rows.tolist() == sorted(rows)
    for group in set(groups):
        of_group = np.flatnonzero(groups == group)
        expected = of_group[np.argsort(numbers[of_group])][:n]
        assert set(rows) & set(of_group) == set(expected)


@HYPOTHESIS
@given(groups=st.lists(st.sampled_from("abc"), min_size=1, max_size=40), seed=st.integers(0, 99), data=st.data())
def test_neither_order_nor_other_groups_matter(groups, seed, data):
    adata = ad.AnnData(
        np.zeros((len(groups), 1), dtype=np.float32), obs=pd.DataFrame({"group": groups}, index=names(len(groups)))
    )
    whole = kept(adata, "group", 4, rng=seed)
    shuffled = adata[data.draw(st.permutations(range(len(groups))))].copy()
    assert sorted(kept(shuffled, "group", 4, rng=seed)) == sorted(whole)
    alone = adata[adata.obs["group"] == groups[0]].copy()
    assert kept(alone, "group", 4, rng=seed) == [name for name in whole if adata.obs["group"][name] == groups[0]]


def test_at_most_n_of_each_group_and_all_of_a_small_one(lmna):
    small = lmna[lmna.obs["library"].ne("GSM8325046") | (np.arange(360) < 3)].copy()
    ho.pp.subsample(small, "library", 7)
    counts = small.obs["library"].value_counts()
    assert counts["GSM8325046"] == 3
    assert (counts.drop("GSM8325046") == 7).all()
    ho.pp.subsample(small, "library")
    assert small.n_obs == 80


def test_rows_stay_together_and_in_order(lmna):
    lmna.obsm["totals"] = np.asarray(lmna.X.sum(axis=1))
    part = ho.pp.subsample(lmna, "library", 5, copy=True)
    assert (np.diff(lmna.obs_names.get_indexer(part.obs_names)) > 0).all()
    np.testing.assert_array_equal(part.obsm["totals"], np.asarray(part.X.sum(axis=1)))
    np.testing.assert_array_equal(part.X.toarray(), lmna[part.obs_names].X.toarray())
    assert part.var_names.equals(lmna.var_names)
    assert list(part.uns) == list(lmna.uns)


def test_one_seed_one_draw(lmna):
    assert kept(lmna, "library", 5) == kept(lmna, "library", 5, rng=0)
    assert kept(lmna, "library", 5, rng=4) == kept(lmna, "library", 5, rng=np.random.default_rng(4))
    assert kept(lmna, "library", 5, rng=4) != kept(lmna, "library", 5, rng=5)
    assert kept(lmna, "library", 5, rng=None) != kept(lmna, "library", 5, rng=None)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    kept(lmna, "library", 5, rng=4)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_a_smaller_draw_is_part_of_a_larger_one(lmna):
    assert set(kept(lmna, "library", 5)) < set(kept(lmna, "library", 6)) < set(kept(lmna, "library", 20))


def test_twice_is_once(lmna):
    once = kept(lmna, "library", 5)
    ho.pp.subsample(lmna, "library", 10)
    ho.pp.subsample(lmna, "library", 5)
    assert list(lmna.obs_names) == once


def test_the_draw_is_the_same_on_every_machine():
    expected = [7965616841306645460, 5374293706669855672, 4519104378074442303]
    found = draws(np.array(["AAAC-1", "细胞", ""], dtype=object), 0)
    assert found.dtype == np.uint64
    assert found.tolist() == expected


def test_the_draws_are_uniform_and_seeds_are_unrelated():
    numbers = [draws(names(4000), seed) / 2.0**64 for seed in range(4)]
    for one in numbers:
        assert kstest(one, "uniform").pvalue > 1e-3
    off_diagonal = np.corrcoef(np.argsort(np.argsort(numbers, axis=1), axis=1))[np.triu_indices(4, 1)]
    assert np.abs(off_diagonal).max() < 0.06
    assert len(set(draws(names(4000), 0).tolist())) == 4000


def test_in_place_copy_and_view(lmna, caplog):
    copied = ho.pp.subsample(lmna, "library", 5, copy=True)
    assert lmna.n_obs == 360
    assert not copied.is_view
    view = lmna[:, :10]
    with caplog.at_level(logging.WARNING, logger="heldout"):
        assert ho.pp.subsample(view, "library", 5) is None
    assert "was a view" in caplog.text
    assert not view.is_view
    assert view.shape == (60, 10)
    assert lmna.shape == (360, 150)
    assert ho.pp.subsample(lmna, "library", 5) is None
    assert list(lmna.obs_names) == list(copied.obs_names) == list(view.obs_names)
    lmna.X = lmna.X * 2
    assert copied.X.sum() * 2 == lmna.X.sum()


def test_a_split_stays_valid(lmna):
    ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=19, val=0)
    before = read_partition(lmna).hash
    ho.pp.subsample(lmna, "library", 5)
    partition = read_partition(lmna)
    assert partition.hash == before
    assert partition.counts() == {"train": 40, "val": 10, "test": 10, "unused": 0}


@pytest.mark.parametrize("dtype", [int, float, bool, "category", object, "string"])
def test_groups_of_every_kind(lmna, dtype):
    lmna.obs["group"] = (lmna.obs["day"] > 10).astype(dtype)
    ho.pp.subsample(lmna, "group", 9)
    assert lmna.obs["group"].value_counts().tolist() == [9, 9]


@pytest.mark.parametrize("n", [0, -3, 2.5, "7", None, np.nan])
def test_a_number_that_is_none(lmna, refuses, n):
    refuses(lambda a: ho.pp.subsample(a, "library", n), lmna, f"n={n!r} must be an integer >= 1")


def test_columns_that_do_not_serve(lmna, refuses):
    refuses(
        lambda a: ho.pp.subsample(a, "librari"), lmna, "group_key='librari' is not a column", "Did you mean 'library'?"
    )
    lmna.obs["library"] = lmna.obs["library"].where(np.arange(360) > 3)
    refuses(
        lambda a: ho.pp.subsample(a, "library"),
        lmna,
        "(group_key) has 4 missing values in 360 cells",
        ".notna()].copy()",
    )


def test_duplicate_names_and_other_things(lmna, refuses):
    duplicated = lmna.obs_names.to_numpy(dtype=object, copy=True)
    duplicated[1] = duplicated[0]
    lmna.obs_names = duplicated
    refuses(lambda a: ho.pp.subsample(a, "library"), lmna, "1 duplicated names", "obs_names_make_unique()")
    with pytest.raises(TypeError, match="adata must be an AnnData, got DataFrame"):
        ho.pp.subsample(lmna.obs, "library")


def test_a_failing_call_leaves_a_view_a_view(lmna, refuses):
    refuses(lambda a: ho.pp.subsample(a, "librari"), lmna[10:], "not a column")


def test_every_kind_of_matrix(lmna, array_type):
    X = lmna.X.toarray()
    lmna.X = array_type(X)
    rows = lmna.obs_names.get_indexer(kept(lmna, "library", 5))
    ho.pp.subsample(lmna, "library", 5)
    assert type(lmna.X) is type(array_type(X))
    found = lmna.X if isinstance(lmna.X, np.ndarray) else lmna.X.toarray()
    np.testing.assert_array_equal(found, X[rows])
