"""Pseudobulk of screens, against pandas and scanpy, and its order and refusals."""

from __future__ import annotations

import anndata as ad
import dask.array as da
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata.experimental import read_elem_lazy
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import heldout as ho
from tests.helpers.properties import properties


@pytest.fixture
def screen():
    """240 cells × 12 genes of three perturbations and controls in two lines, with a split."""
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "guide": pd.Categorical(rng.choice(["control", "A", "B", "A+B"], 240, p=[0.4, 0.2, 0.2, 0.2])),
            "line": rng.choice(["K562", "RPE1"], 240),
            "day": rng.choice([2, 10], 240),
        },
        index=[f"c{i}" for i in range(240)],
    )
    adata = ad.AnnData(rng.poisson(1.0, (240, 12)).astype(np.float32), obs=obs)
    adata.var["symbol"] = [f"S{i}" for i in range(12)]
    adata.varm["embedding"] = rng.standard_normal((12, 3))
    ho.pp.split_perturbations(adata, "guide", hold_out="combination", val=0, test=1)
    return adata


def by_pandas(adata, by, statistic):
    frame = pd.DataFrame(np.asarray(adata.X, dtype=np.float64), index=adata.obs_names)
    return getattr(frame.groupby([adata.obs[key] for key in by], observed=True), statistic)()


def test_values_and_order(screen, any_array_type):
    expected = screen.copy()
    screen.X = any_array_type(screen.X)
    bulk = ho.get.pseudobulk(screen, ["guide", "line", "day"])
    mean = by_pandas(expected, ["guide", "line", "day"], "mean")
    assert list(bulk.obs[["guide", "line", "day"]].itertuples(index=False, name=None)) == mean.index.to_list()
    np.testing.assert_allclose(bulk.X, mean, rtol=1e-10)
    np.testing.assert_allclose(bulk.layers["var"], by_pandas(expected, ["guide", "line", "day"], "var"), rtol=1e-10)
    assert bulk.obs["n_cells"].sum() == 240
    assert bulk.X.dtype == bulk.layers["var"].dtype == np.float64
    pd.testing.assert_frame_equal(bulk.var, expected.var)
    np.testing.assert_array_equal(bulk.varm["embedding"], expected.varm["embedding"])
    assert bulk.obs["day"].dtype == expected.obs["day"].dtype
    assert bulk.obs_names[0] == "A|K562|2"


def test_dask_stays_lazy_until_it_is_read(screen, array_type):
    expected = ho.get.pseudobulk(screen, ["guide", "line"])
    blocks = [array_type(screen.X[a:b]) for a, b in ((0, 100), (100, 240))]
    screen.X = da.concatenate([da.from_array(block, chunks=block.shape, asarray=False) for block in blocks])
    bulk = ho.get.pseudobulk(screen, ["guide", "line"])
    np.testing.assert_allclose(bulk.X, expected.X, rtol=1e-12)
    np.testing.assert_allclose(bulk.layers["var"], expected.layers["var"], rtol=1e-10)
    assert isinstance(screen.X, da.Array)


def test_a_matrix_on_disk_is_read_block_by_block(screen, tmp_path):
    screen.X = sparse.csr_matrix(screen.X)
    expected = ho.get.pseudobulk(screen, ["guide", "line"], split_key="split")
    screen.write_h5ad(tmp_path / "screen.h5ad")
    with h5py.File(tmp_path / "screen.h5ad") as file:
        screen.X = read_elem_lazy(file["X"], chunks=(50, 12))
        assert screen.X.numblocks == (5, 1)
        bulk = ho.get.pseudobulk(screen, ["guide", "line"], split_key="split")
    np.testing.assert_allclose(bulk.X, expected.X, rtol=1e-12)
    np.testing.assert_allclose(bulk.layers["var"], expected.layers["var"], rtol=1e-10)


@properties(30)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 60), blocks=st.integers(1, 4))
def test_finer_groups_add_up_to_coarser_ones(seed, n, blocks):
    rng = np.random.default_rng(seed)
    obs = pd.DataFrame({"a": rng.choice(["x", "y"], n), "b": rng.integers(0, 3, n)}, index=[str(i) for i in range(n)])
    X = rng.poisson(1.0, (n, 4)).astype(np.float64)
    adata = ad.AnnData(da.from_array(X, chunks=(-(-n // blocks), 4)), obs=obs)
    fine, coarse = ho.get.pseudobulk(adata, ["a", "b"]), ho.get.pseudobulk(adata, "a")
    assert fine.obs["n_cells"].sum() == coarse.obs["n_cells"].sum() == n
    for i, a in enumerate(coarse.obs["a"]):
        of = (fine.obs["a"] == a).to_numpy()
        k, mean, var = fine.obs["n_cells"].to_numpy()[of, None], fine.X[of], np.nan_to_num(fine.layers["var"][of])
        np.testing.assert_allclose((k * mean).sum(axis=0) / k.sum(), coarse.X[i], atol=1e-12)
        if k.sum() > 1:
            total = ((k - 1) * var + k * (mean - coarse.X[i]) ** 2).sum(axis=0) / (k.sum() - 1)
            np.testing.assert_allclose(total, coarse.layers["var"][i], atol=1e-12)


def test_equals_scanpy(screen):
    screen.X = sparse.csr_matrix(screen.X)
    bulk = ho.get.pseudobulk(screen, ["guide", "line"])
    screen.obs["line"] = screen.obs["line"].astype("category")
    other = sc.get.aggregate(screen, by=["guide", "line"], func=["mean", "var"])
    assert (other.obs[["guide", "line"]].astype(str).to_numpy() == bulk.obs[["guide", "line"]].astype(str)).all(
        axis=None
    )
    np.testing.assert_allclose(bulk.X, other.layers["mean"], rtol=1e-5)
    np.testing.assert_allclose(bulk.layers["var"], other.layers["var"], rtol=1e-5, atol=1e-6)


def test_partitions_are_kept_apart(screen):
    bulk = ho.get.pseudobulk(screen, "guide", split_key="split")
    assert bulk.obs[["guide", "split"]].astype(str).to_numpy().tolist() == [
        ["A", "train"],
        ["A+B", "test"],
        ["B", "train"],
        ["control", "train"],
        ["control", "test"],
    ]
    for i, (guide, part) in enumerate(zip(bulk.obs["guide"], bulk.obs["split"], strict=True)):
        rows = ((screen.obs["guide"] == guide) & (screen.obs["split"] == part)).to_numpy()
        assert bulk.obs["n_cells"].iloc[i] == rows.sum()
        np.testing.assert_allclose(bulk.X[i], screen.X[rows].mean(axis=0), rtol=1e-6)


def test_unused_cells_are_left_out(screen):
    ho.pp.split_assigned(screen, "guide", train=["A", "control"], test=["B"], key_added="other")
    used = screen.obs["other"] != "unused"
    assert not used.all()
    bulk = ho.get.pseudobulk(screen, ["guide"], split_key="other")
    assert bulk.obs["n_cells"].sum() == used.sum()
    assert "unused" not in bulk.obs["other"].cat.categories


def test_the_order_of_cells_does_not_matter(screen):
    order = np.random.default_rng(1).permutation(240)
    one, other = (ho.get.pseudobulk(x, ["line", "guide"], split_key="split") for x in (screen, screen[order].copy()))
    pd.testing.assert_frame_equal(one.obs, other.obs)
    np.testing.assert_allclose(one.X, other.X, rtol=1e-12)


def test_categories_give_the_order_and_only_those_that_occur_stay(screen):
    wanted = ["control", "none", "B", "A", "A+B"]
    screen.obs["guide"] = pd.Categorical(screen.obs["guide"].astype(str), categories=wanted)
    bulk = ho.get.pseudobulk(screen, "guide")
    assert bulk.obs["guide"].tolist() == ["control", "B", "A", "A+B"]
    assert bulk.obs["guide"].cat.categories.tolist() == ["control", "B", "A", "A+B"]


def test_one_cell_has_a_mean_and_no_variance(screen):
    bulk = ho.get.pseudobulk(screen[:1].copy(), "guide")
    assert bulk.obs["n_cells"].tolist() == [1]
    assert np.isnan(bulk.layers["var"]).all()
    np.testing.assert_array_equal(bulk.X[0], screen.X[0])


def test_a_layer(screen):
    screen.layers["twice"] = 2 * screen.X
    np.testing.assert_allclose(
        ho.get.pseudobulk(screen, "guide", layer="twice").X, 2 * ho.get.pseudobulk(screen, "guide").X
    )


def test_it_is_stored(screen, through_file):
    bulk = ho.get.pseudobulk(screen, ["guide", "line"], split_key="split")
    again = through_file(bulk)
    np.testing.assert_array_equal(again.layers["var"], bulk.layers["var"])
    assert again.obs["guide"].tolist() == bulk.obs["guide"].tolist()


def test_names_that_join_to_the_same_text_stay_apart():
    adata = ad.AnnData(np.ones((2, 1)), obs=pd.DataFrame({"a": ["x", "x|y"], "b": ["y|z", "z"]}, index=["1", "2"]))
    bulk = ho.get.pseudobulk(adata, ["a", "b"])
    assert bulk.obs_names.is_unique
    assert bulk.n_obs == 2


def broken(adata):
    adata.X[3, 2] = np.nan


def holes(adata):
    adata.obs["line"] = adata.obs["line"].where(adata.obs["day"] == 2)


def all_unused(adata):
    adata.obs["all"] = "unused"


@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        (None, {"by": "guid"}, ["by='guid'", "guide"]),
        (None, {"by": []}, ["by=[]"]),
        (None, {"by": ["guide", "guide"]}, ["twice"]),
        (None, {"by": ["guide", "split"], "split_key": "split"}, ["twice"]),
        (lambda a: a.obs.insert(0, "n_cells", 1), {"by": "n_cells"}, ["n_cells"]),
        (holes, {"by": "line"}, ["missing"]),
        (broken, {"by": "guide"}, ["1 genes", "NaN", "2"]),
        (all_unused, {"by": "guide", "split_key": "all"}, ["all"]),
        (None, {"by": "guide", "layer": "counts"}, ["layer='counts'"]),
    ],
)
def test_what_is_refused(screen, refuses, change, arguments, words):
    if change is not None:
        change(screen)
    refuses(lambda a: ho.get.pseudobulk(a, **arguments), screen, *words)


def test_another_kind_of_matrix_is_refused(screen, tmp_path):
    screen.write_h5ad(tmp_path / "screen.h5ad")
    backed = ad.read_h5ad(tmp_path / "screen.h5ad", backed="r")
    with pytest.raises(TypeError, match="Load or convert it"):
        ho.get.pseudobulk(backed, "guide")
    backed.file.close()
