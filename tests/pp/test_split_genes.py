"""Splits of genes: planted modules are found on train cells and stay together, in any order of genes and cells."""

import itertools
import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import heldout as ho
from heldout._core.partition import PARTITIONS, read_partition
from heldout.pp import split_genes
from heldout.splitting import _modules
from heldout.splitting._modules import assign_modules, correlation, find_modules
from tests.helpers.properties import properties

HYPOTHESIS = properties(60)
SLOWER = properties(20)
SIZES = (12, 9, 8, 7, 6, 5, 5, 4, 4)


def planted(sizes=SIZES, n_constant=0, n_cells=240, seed=0, noise=0.5):
    """Sparse non-negative expression driven by one factor a module; ``var["planted"]`` says which, -1 for constant."""
    rng = np.random.default_rng(seed)
    module = np.repeat(np.arange(len(sizes)), sizes)
    factors = rng.gamma(2, size=(n_cells, len(sizes)))
    X = factors[:, module] * rng.uniform(0.5, 2, len(module)) + noise * rng.normal(size=(n_cells, len(module)))
    X = np.hstack([np.clip(X, 0, None), np.zeros((n_cells, n_constant))]).astype(np.float32)
    names = [f"gene{i}" for i in range(X.shape[1])]
    var = pd.DataFrame({"planted": [*module, *[-1] * n_constant]}, index=names)
    adata = ad.AnnData(X, obs=pd.DataFrame(index=[f"cell{i}" for i in range(n_cells)]), var=var)
    ho.pp.split_cells(adata, val=0.1, test=0.3)
    return adata


def partition_of(adata, key="gene_split"):
    return dict(zip(adata.var_names, adata.var[key].astype(str), strict=True))


def gene_hash(adata, key="gene_split"):
    return read_partition(adata, key, axis="var").hash


def shares(adata, key="gene_split"):
    return adata.var[key].value_counts(normalize=True)


# --- random ---------------------------------------------------------------------------------------------------------


@HYPOTHESIS
@given(n=st.integers(8, 150), seed=st.integers(0, 2**31), val=st.sampled_from([0.0, 0.15, 0.4]))
def test_random_genes_have_the_shares_and_do_not_depend_on_order(n, seed, val):
    adata = ad.AnnData(np.ones((2, n), dtype=np.float32), var=pd.DataFrame(index=[f"g{i}" for i in range(n)]))
    split_genes(adata, val=val, test=0.2, rng=seed)
    assert list(adata.var["gene_split"].cat.categories) == list(PARTITIONS)
    counts = read_partition(adata, "gene_split", axis="var").counts()
    assert sum(counts.values()) == n
    assert counts["unused"] == 0
    for partition, share in (("train", 0.8 - val), ("val", val), ("test", 0.2)):
        assert abs(counts[partition] - share * n) <= 1

    other = adata[:, np.random.default_rng(seed).permutation(n)].copy()
    split_genes(other, val=val, test=0.2, rng=seed)
    assert partition_of(other) == partition_of(adata)
    assert gene_hash(other) == gene_hash(adata)


def test_random_needs_neither_matrix_nor_split_of_cells():
    adata = ad.AnnData(var=pd.DataFrame(index=[f"g{i}" for i in range(20)]), obs=pd.DataFrame(index=["a"]))
    split_genes(adata)
    assert "gene_split_module" not in adata.var
    assert read_partition(adata, "gene_split", axis="var").params == {
        "by": "random",
        "val": 0.15,
        "test": 0.15,
        "rng": 0,
    }


def test_the_draw_of_a_seed_is_the_same_on_every_machine():
    adata = ad.AnnData(np.ones((1, 8), dtype=np.float32), var=pd.DataFrame(index=list("abcdefgh")))
    split_genes(adata, val=0.25, test=0.25)
    drawn = {p: [gene for gene, q in partition_of(adata).items() if p == q] for p in ("val", "test")}
    assert drawn == {"val": ["c", "d"], "test": ["a", "f"]}
    assert gene_hash(adata) == "6db447a33aa9292ea2756e89cfaffddda9df3546038dbdc170a3d1c40e5bbf81"


def test_other_seeds_other_splits():
    adata = planted()
    for by in ("random", "module"):
        hashes = [gene_hash(split_genes(adata, by=by, rng=seed, copy=True)) for seed in range(20)]
        assert len(set(hashes)) > 5
        assert hashes[3] == gene_hash(split_genes(adata, by=by, rng=np.random.default_rng(3), copy=True))


# --- modules --------------------------------------------------------------------------------------------------------


@SLOWER
@given(
    sizes=st.lists(st.integers(2, 12), min_size=4, max_size=12),
    n_constant=st.integers(0, 5),
    seed=st.integers(0, 1000),
)
def test_planted_modules_are_recovered_and_never_cross(sizes, n_constant, seed):
    adata = planted(sizes, n_constant=n_constant, seed=seed)
    split_genes(adata, by="module", n_modules=len(sizes), rng=seed)
    varying = adata.var[adata.var["planted"] >= 0]
    assert (varying.groupby("planted")["gene_split_module"].nunique() == 1).all()
    assert varying["gene_split_module"].nunique() == len(sizes)
    assert (adata.var.groupby("gene_split_module")["gene_split"].nunique() == 1).all()
    assert set(varying["gene_split"]) == {"train", "val", "test"}
    numbers = varying["gene_split_module"].value_counts(sort=False).sort_index()
    assert numbers.index.tolist() == list(range(len(sizes)))
    assert numbers.is_monotonic_decreasing


def test_a_random_split_tears_modules_apart_and_a_coarser_tree_does_not():
    adata = planted()
    split_genes(adata, key_added="random")
    assert (adata.var.groupby("planted")["random"].nunique() > 1).any()
    for n_modules in (3, 5, len(SIZES)):
        split_genes(adata, by="module", n_modules=n_modules)
        assert (adata.var.groupby("planted")["gene_split"].nunique() == 1).all()


@SLOWER
@given(seed=st.integers(0, 1000), kind=st.sampled_from(["dense", "csr", "csc"]))
def test_modules_depend_on_no_order_and_no_kind_of_matrix(seed, kind):
    adata = planted(n_constant=4, seed=seed, noise=2.0)
    rng = np.random.default_rng(seed)
    other = adata[rng.permutation(adata.n_obs), rng.permutation(adata.n_vars)].copy()
    other.X = {"dense": np.array, "csr": sparse.csr_matrix, "csc": sparse.csc_array}[kind](other.X)
    for each in (adata, other):
        split_genes(each, by="module", n_modules=7, rng=seed)
    assert partition_of(other) == partition_of(adata)
    assert gene_hash(other) == gene_hash(adata)
    modules = other.var["gene_split_module"].reindex(adata.var_names)
    assert modules.tolist() == adata.var["gene_split_module"].tolist()


def test_every_kind_of_matrix_and_a_layer(array_type):
    adata = planted(n_constant=2)
    expected = gene_hash(split_genes(adata, by="module", copy=True))
    adata.X = array_type(adata.X)
    split_genes(adata, by="module")
    adata.layers["log"], adata.X = adata.X.copy(), np.random.default_rng(0).normal(size=adata.shape)
    split_genes(adata, by="module", layer="log", key_added="layer")
    assert gene_hash(adata) == gene_hash(adata, "layer") == expected


@pytest.mark.parametrize("what", ["noise", "nan"])
def test_cells_outside_train_have_no_influence(what):
    adata = planted(noise=2.0)
    split_genes(adata, by="module")
    other = adata.copy()
    held = read_partition(other).rows("val", "test")
    fake = np.random.default_rng(1).permuted(other.X[held], axis=0)[:, ::-1] * 7
    other.X[held] = np.nan if what == "nan" else fake
    split_genes(other, by="module", key_added="again")
    assert gene_hash(other, "again") == gene_hash(adata)
    train = read_partition(other).rows("train")
    other.X[train] = np.random.default_rng(1).permuted(other.X[train], axis=0)
    split_genes(other, by="module", key_added="shuffled")
    assert gene_hash(other, "shuffled") != gene_hash(adata)


def test_constant_genes_are_modules_of_their_own_in_the_same_shares():
    adata = planted(n_constant=40)
    adata.X[:, -20:] = 3.3
    held = read_partition(adata).rows("test")
    adata.X[np.ix_(held, np.arange(adata.n_vars - 40, adata.n_vars))] += np.arange(len(held))[:, None]
    split_genes(adata, by="module", val=0.25, test=0.25, n_modules=9)
    constant = adata.var[adata.var["planted"] < 0]
    assert constant["gene_split_module"].nunique() == 40
    assert constant["gene_split"].value_counts()[["train", "val", "test"]].tolist() == [20, 10, 10]
    assert not set(constant["gene_split_module"]) & set(adata.var.loc[adata.var["planted"] >= 0, "gene_split_module"])


def test_the_record_and_the_module_column():
    adata = planted(n_constant=3)
    split_genes(adata, by="module", n_modules=np.int64(9), rng=5)
    partition = read_partition(adata, "gene_split", axis="var")
    assert partition.scheme == "genes"
    assert partition.params == {
        "by": "module",
        "val": 0.15,
        "test": 0.15,
        "rng": 5,
        "n_modules": 9,
        "n_constant": 3,
        "split_key": "split",
        "split_hash": read_partition(adata).hash,
        "layer": None,
    }
    assert adata.var["gene_split_module"].dtype == np.int64
    split_genes(adata)
    assert "gene_split_module" not in adata.var
    assert read_partition(adata, "gene_split", axis="var").params["by"] == "random"
    assert read_partition(adata).scheme == "cells"


def test_a_column_of_modules_that_is_not_ours_stays(refuses):
    adata = planted()
    adata.var["gene_split_module"] = "mine"
    refuses(lambda a: split_genes(a, by="module"), adata, "overwrite the column 'gene_split_module'", "another name")
    split_genes(adata)
    assert (adata.var["gene_split_module"] == "mine").all()


def test_shares_that_whole_modules_cannot_meet_are_told(caplog):
    adata = planted((20, 20, 20))
    split_genes(adata, by="module", n_modules=3)
    assert "test has 0.33 of the genes instead of 0.15" in caplog.text
    assert shares(adata)[["train", "val", "test"]].round(2).tolist() == [0.33] * 3
    caplog.clear()
    split_genes(adata, by="module")
    assert "instead of" not in caplog.text
    assert shares(adata)["test"] == pytest.approx(0.15, abs=0.02)
    assert adata.var["gene_split_module"].value_counts().max() <= 0.15 * 60


def test_by_default_there_are_as_few_modules_as_the_shares_allow():
    adata = planted([20] * 30, noise=1.0)
    split_genes(adata, by="module")
    assert (adata.var.groupby("planted")["gene_split"].nunique() == 1).all()
    assert adata.var["gene_split_module"].value_counts().max() <= 0.15 * 600
    assert adata.var["gene_split_module"].nunique() < 30
    assert shares(adata)[["train", "val", "test"]].tolist() == pytest.approx([0.7, 0.15, 0.15], abs=0.02)


def test_raw_counts_are_told(lmna, caplog):
    ho.pp.split_cells(lmna)
    split_genes(lmna, by="module")
    assert "adata.X has raw counts" in caplog.text


def test_copies_views_and_files(tmp_path, unchanged):
    adata = planted()
    with unchanged(adata):
        copied = split_genes(adata, by="module", copy=True)
        view = adata[:, :40]
        assert split_genes(view, by="module") is None
    assert not view.is_view
    copied.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    assert gene_hash(again) == gene_hash(copied)
    assert again.var["gene_split_module"].tolist() == copied.var["gene_split_module"].tolist()
    split_genes(again, by="module")
    assert gene_hash(again) == gene_hash(copied)


# --- the parts ------------------------------------------------------------------------------------------------------


def test_correlation_is_that_of_numpy_over_many_chunks(array_type):
    adata = planted(n_cells=5000, n_constant=2)
    rows, columns = np.arange(4999, 0, -1), np.arange(adata.n_vars)[::-1]
    found, varies = correlation(array_type(adata.X), rows, columns)
    expected = np.corrcoef(adata.X[1:, ::-1][:, 2:], rowvar=False)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert varies.tolist() == [False] * 2 + [True] * sum(SIZES)


def test_modules_are_those_of_ward_on_the_standardised_genes():
    from scipy.cluster.hierarchy import fcluster, ward

    adata = planted(noise=3.0)
    rows, columns = np.arange(adata.n_obs), np.arange(adata.n_vars)
    found = find_modules(correlation(adata.X, rows, columns)[0], 6)
    vectors = (adata.X - adata.X.mean(axis=0)).astype(float)
    vectors /= np.linalg.norm(vectors, axis=0)
    expected = fcluster(ward(vectors.T), 6, criterion="maxclust")
    assert len(set(zip(found, expected, strict=True))) == len(set(found)) == 6


def objective(codes, sizes, wanted):
    held = np.bincount(codes, weights=sizes, minlength=len(wanted))
    return ((held - sum(sizes) * wanted) ** 2).sum()


@SLOWER
@given(
    sizes=st.lists(st.integers(1, 30), min_size=3, max_size=8),
    wanted=st.sampled_from([(0.7, 0.15, 0.15), (0.5, 0.5), (0.9, 0.1), (1 / 3, 1 / 3, 1 / 3)]),
    seed=st.integers(0, 100),
)
def test_few_modules_are_assigned_exactly_and_the_search_comes_near(sizes, wanted, seed):
    sizes, wanted = np.array(sizes), np.array(wanted)
    every = [c for c in itertools.product(range(len(wanted)), repeat=len(sizes)) if len(set(c)) == len(wanted)]
    best = min(objective(codes, sizes, wanted) for codes in every)
    exact = assign_modules(sizes, wanted, np.random.default_rng(seed))
    assert objective(exact, sizes, wanted) == pytest.approx(best, abs=1e-5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_modules, "EXACT_LIMIT", 0)
        searched = assign_modules(sizes, wanted, np.random.default_rng(seed))
    assert len(set(searched)) == len(wanted)
    every_step = [
        objective(
            np.where(np.arange(len(sizes)) == i, b, np.where(np.arange(len(sizes)) == j, a, searched)), sizes, wanted
        )
        for i, j in itertools.permutations(range(len(sizes)), 2)
        for a, b in [(searched[i], searched[j])]
    ]
    assert objective(searched, sizes, wanted) <= min(every_step) + 1e-6


@pytest.mark.parametrize("n_modules", [20, 30, 100])
def test_many_modules_meet_the_shares(n_modules):
    rng = np.random.default_rng(n_modules)
    sizes, wanted = rng.integers(1, 60, n_modules), np.array([0.7, 0.15, 0.15])
    for seed in range(10):
        codes = assign_modules(sizes, wanted, np.random.default_rng(seed))
        assert (np.abs(np.bincount(codes, weights=sizes) - sizes.sum() * wanted) <= 3).all()


# --- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"by": "go"}, ["by='go'", "one of 'random', 'module'"]),
        ({"by": "module", "split_key": None}, ["split_key=None", "by='random'", "test cells"]),
        ({"by": "module", "split_key": "spli"}, ["split_key='spli' is not a column of adata.obs", "'split'"]),
        ({"by": "module", "layer": "log"}, ["layer='log' is not in adata.layers"]),
        ({"n_modules": 5}, ["n_modules=5 works only with by='module'"]),
        ({"layer": "log"}, ["layer='log' works only with by='module'"]),
        ({"by": "module", "n_modules": 2}, ["n_modules=2", "integer in [3, 60]"]),
        ({"by": "module", "n_modules": 61}, ["n_modules=61", "integer in [3, 60]"]),
        ({"by": "module", "n_modules": 5.0}, ["n_modules=5.0", "must be an integer"]),
        ({"by": "module", "n_modules": True}, ["n_modules=True", "must be an integer"]),
        ({"val": 0.6, "test": 0.5}, ["val=0.6 and test=0.5"]),
        ({"val": 0.001}, ["val=0.001 of 60 genes rounds to 0 genes", "0 to leave"]),
        ({"key_added": "a/b"}, ["key_added='a/b'"]),
        ({"key_added": "planted"}, ["key_added='planted'", "not a split"]),
        ({"key_added": "planted", "by": "module"}, ["key_added='planted'", "not a split"]),
    ],
    ids=str,
)
def test_what_makes_no_split(arguments, words, refuses):
    refuses(lambda a: split_genes(a, **arguments), planted(), *words)


def test_matrices_and_cells_that_make_no_modules(refuses, monkeypatch):
    def module(adata):
        split_genes(adata, by="module")

    adata = planted()
    flat = adata.copy()
    flat.X[:, 2:] = 1
    refuses(module, flat, "Only 2 genes vary in the train cells", "partitions (3)")
    same = adata.copy()
    same.X[:] = same.X[:, :1]
    refuses(module, same, "form 1 modules of identical genes")
    few = adata[[*read_partition(adata).rows("train")[:2], *read_partition(adata).rows("test")]].copy()
    refuses(module, few, "at least 3 train cells", "has 2")
    holes = adata.copy()
    holes.X[read_partition(adata).rows("train")[0], 3] = np.inf
    refuses(module, holes, "NaN or infinite values in train cells")
    refuses(split_genes, adata[:, :0].copy(), "adata has no genes")
    monkeypatch.setattr(_modules, "MOST_GENES", 50)
    refuses(module, adata, "60 genes vary", "at most 50", "highly_variable_genes")
    with pytest.raises(TypeError, match="adata must be an AnnData"):
        split_genes(None)


def test_records_are_plain_json():
    adata = planted()
    split_genes(adata, by="module")
    assert json.loads(adata.uns["heldout"]["splits"]["gene_split"]["params"])["by"] == "module"
