"""Cells that components were fitted on lie too far out along them; forecasts start from where other cells lie."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.decomposition import PCA

import heldout as ho
from heldout._core.fits import read_fit
from heldout.tasks.forecast import space as module
from heldout.tasks.forecast.shrinkage import FOLDS, fewer_columns, folds_of, shrinkage_of
from heldout.tasks.forecast.space import Spaces
from tests.helpers.forecasts import noise_floor

TIMES = 5


def noise(n_genes, n_cells=120, seed=0, times=TIMES):
    """Counts of cells that are all alike, as log values; the time means nothing."""
    rng = np.random.default_rng(seed)
    X = np.log1p(rng.poisson(rng.gamma(0.5, 2, n_genes), (times * n_cells, n_genes))).astype(np.float32)
    adata = ad.AnnData(X)
    adata.obs["day"] = np.repeat(np.arange(float(times)), n_cells)
    return adata


def by_time(adata):
    return [np.asarray(adata[adata.obs["day"] == at].X, dtype=np.float64) for at in np.unique(adata.obs["day"])]


def by_definition(cells, n_comps):
    """Each fold in turn: components of the others by scikit-learn, and variances within and between times."""
    inside, outside, between, signal, noise = np.zeros((5, n_comps))
    orders = [np.random.default_rng(0).permutation(len(X)) for X in cells]
    for fold in range(FOLDS):
        out = [np.isin(np.arange(len(X)), order[fold::FOLDS]) for X, order in zip(cells, orders, strict=True)]
        kept = [X[~o] for X, o in zip(cells, out, strict=True)]
        pca = PCA(n_comps, svd_solver="full").fit(np.concatenate(kept))
        of_kept = [pca.transform(X) for X in kept]
        of_left = [pca.transform(X[o]) for X, o in zip(cells, out, strict=True)]
        inside += sum(((z - z.mean(axis=0)) ** 2).sum(axis=0) for z in of_kept) / sum(len(z) - 1 for z in of_kept)
        squares = [((z - k.mean(axis=0)) ** 2).sum(axis=0) for z, k in zip(of_left, of_kept, strict=True)]
        variance = sum(squares) / sum(len(z) * (1 + 1 / len(k)) for z, k in zip(of_left, of_kept, strict=True))
        outside += variance
        noise += variance * np.mean([1 / len(k) for k in of_kept])
        places, others = (np.array([z.mean(axis=0) for z in part]) for part in (of_kept, of_left))
        between += places.var(axis=0, ddof=1)  # times have the same number of cells
        signal += ((places - places.mean(axis=0)) * (others - others.mean(axis=0))).sum(axis=0) / (len(cells) - 1)
    within = np.sqrt((outside / inside).clip(0, 1))
    return within, np.sqrt(((signal.clip(0) + noise) / between).clip(0, 1))


@pytest.mark.parametrize("n_genes", [60, 300])
def test_the_shrinkage_is_that_of_left_out_cells(n_genes):
    cells = by_time(noise(n_genes, 30, times=3))
    expected = by_definition(cells, 8)
    columns = cells if n_genes < 90 else fewer_columns(cells)
    spaces = Spaces(lambda i: sparse.csr_matrix(cells[i]), np.array([30, 30, 30]), n_genes, ())
    for found in (shrinkage_of(folds_of(columns), 8), spaces.fit(3, 8).shrinkage):
        np.testing.assert_allclose(found.within, expected[0], rtol=1e-5)
        np.testing.assert_allclose(found.between, expected[1], rtol=1e-4)


@pytest.mark.parametrize("n_cells", [15, 40, 150])
@pytest.mark.parametrize("kind", ["noise", "branching"])
def test_train_cells_are_placed_as_other_cells_of_the_same_times(kind, n_cells):
    """Half of the cells of each time are new. Plain train cells are much farther from them than these are apart."""
    if kind == "noise":
        adata = noise(600, 2 * n_cells)
        adata.obs["time"] = adata.obs["day"]
    else:
        adata = ho.datasets.branching_simulated(n_cells=2 * n_cells, n_genes=600, times=(0, 8, 16, 24, 32))
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
        adata.X = adata.X.toarray()
    cells = [np.asarray(adata[adata.obs["time"] == at].X) for at in np.unique(adata.obs["time"])]
    train, new = [X[::2] for X in cells], [X[1::2] for X in cells]
    space = Spaces(lambda i: train[i], np.full(TIMES, n_cells), 600, ()).fit(TIMES, 50)
    plain, placed, floor = [], [], []
    for i, (seen, others) in enumerate(zip(train, new, strict=True)):
        truth, start = space.encode(others), space.encode(seen)
        plain.append(ho.metrics.energy_distance(truth, start))
        placed.append(ho.metrics.energy_distance(truth, space.as_new(start, i)))
        floor.append(noise_floor(truth, None, np.random.default_rng(0)))
    assert abs(np.mean(placed)) < 0.7 * np.mean(floor)
    assert np.mean(plain) > 1.2 * np.mean(floor)


@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4), seed=st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_fewer_columns_keep_all_products(sizes, seed):
    rng = np.random.default_rng(seed)
    cells = [rng.poisson(1.0, (n, 70)).astype(np.float32) for n in sizes]
    cells[-1][0] = cells[0][0]  # two cells that are the same
    few = np.concatenate(fewer_columns([sparse.csr_matrix(X) for X in cells]))
    assert few.shape == (sum(sizes), sum(sizes))
    X = np.concatenate(cells).astype(np.float64)
    np.testing.assert_allclose(few @ few.T, X @ X.T, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["uint8", "int16", "few genes", "no counts"])
def test_fewer_columns_of_any_numbers(kind):
    """Products of small integers overflow, and cells with values of few genes lie in few dimensions."""
    X = np.random.default_rng(0).poisson(40.0, (60, 200))
    if kind == "few genes":
        X = np.where(np.arange(200) < 20, np.log1p(X), 0).astype(np.float32)
    elif kind == "no counts":
        X = np.zeros((60, 200), dtype=np.float32)
    else:
        X = X.astype(kind)
    for cells in ([X[:30], X[30:]], [sparse.csc_matrix(X[:30]), sparse.csc_matrix(X[30:])]):
        few = np.concatenate(fewer_columns(cells))
        if kind != "no counts":
            np.testing.assert_allclose(few @ few.T, X.astype(np.float64) @ X.T.astype(np.float64), rtol=1e-6)
        assert np.isfinite(shrinkage_of(folds_of(np.split(few, 2)), 10).within).all()


def test_many_cells_are_not_kept_in_memory(monkeypatch):
    """The spread then follows from sums of one tenth that is left out."""
    monkeypatch.setattr(module, "_FEW_CELLS", 100)
    cells, reads = by_time(noise(80, 400, times=3)), []

    def read(i):
        reads.append(i)
        return cells[i]

    spaces = Spaces(read, np.array([400] * 3), 80, (2,))
    found = spaces.fit(3, 5)
    assert reads == [0, 1, 2]
    expected = shrinkage_of(list(folds_of(cells))[:1], 5)
    np.testing.assert_allclose(found.shrinkage.within, expected.within, rtol=1e-8)
    np.testing.assert_allclose(found.shrinkage.between, expected.between, rtol=1e-6)
    assert spaces.fit(2, 5).shrinkage.within.shape == (5,)
    assert reads == [0, 1, 2], "sums of the first two times were kept"


def test_strong_signals_keep_their_spread():
    rng = np.random.default_rng(0)
    adata = noise(300)
    direction = rng.normal(size=300) / np.sqrt(300)
    X = adata.X + np.outer(rng.normal(scale=8, size=adata.n_obs), direction)
    adata.X = X.astype(np.float32)
    cells = by_time(adata)
    spread = Spaces(lambda i: cells[i], np.full(TIMES, 120), 300, ()).fit(TIMES, 10).shrinkage.within
    assert spread[0] > 0.97
    assert spread[1:].max() < 0.9


@pytest.mark.parametrize("kind", ["dense", "sparse", "dask"])
def test_nothing_is_forecast_where_nothing_changes(kind):
    """Before, a method that shrinks cells had a corrected skill of 0.95 here."""
    adata = noise(400)
    if kind != "dense":
        adata.X = sparse.csr_matrix(adata.X)
    if kind == "dask":
        da = pytest.importorskip("dask.array")
        adata.X = da.from_array(adata.X, chunks=(150, 400))
    ho.pp.split_time(adata, "day", test=4)
    ho.tl.forecast(adata, "day", method="var_ridge")
    table = ho.tl.evaluate(adata)
    found = table.query("level == 'day' and metric == 'energy_distance'").set_index("method")["estimate"]
    fit = read_fit(adata, "forecast")
    cells = noise(400)[(adata.obs["day"] == 4).to_numpy()].X
    observed = (cells - fit.arrays["space.mean"]) @ fit.arrays["space.components"].T
    halves = ho.metrics.split_half(observed, ho.metrics.energy_distance, n=100, rng=0)
    assert found["persistence"] < 2 * np.quantile(halves, 0.95)
    assert abs(found["var_ridge"] - found["persistence"]) < np.quantile(halves, 0.95)


def test_train_cells_start_with_the_spread_of_other_cells(tmp_path):
    adata = noise(300)
    adata.layers["same"] = adata.X
    ho.pp.split_time(adata, "day", test=4)
    ho.tl.forecast(adata, "day", method="persistence")
    fit = read_fit(adata, "forecast")
    within, between = fit.arrays["space.within"], fit.arrays["space.between"]
    assert within.max() < 0.9
    adata.write_h5ad(tmp_path / "stored.h5ad")
    for again in (adata, ad.read_h5ad(tmp_path / "stored.h5ad")):
        predicted = ho.tl.predict_cells(again, "forecast", at=4)
        plain = (adata[adata.obs["day"] == 3].X - fit.arrays["space.mean"]) @ fit.arrays["space.components"].T
        middle = plain.mean(axis=0)
        np.testing.assert_allclose(predicted.obsm["X_pca"], between * middle + within * (plain - middle), atol=1e-4)
    few = adata[(adata.obs["day"] == 3).to_numpy() & (np.arange(adata.n_obs) % 2 == 0)].copy()
    of_few = ho.tl.predict_cells(few, "forecast", at=4)
    at = dict(zip(predicted.obs["start_cell"], predicted.obsm["X_pca"], strict=True))
    for cell, row in zip(of_few.obs["start_cell"], of_few.obsm["X_pca"], strict=True):
        np.testing.assert_allclose(row, at[cell], atol=1e-4)
    new = noise(300, seed=0)
    new = new[new.obs["day"] == 3].copy()
    of_new = ho.tl.predict_cells(new, "forecast", at=4, reference=adata)
    np.testing.assert_allclose(of_new.obsm["X_pca"], plain, atol=1e-4)


@pytest.mark.parametrize("use_rep", [None, "X_pca"])
def test_a_representation_too(use_rep):
    adata = noise(40)
    ho.pp.split_time(adata, "day", test=4)
    if use_rep:
        ho.pp.pca(adata, n_comps=5)
    ho.tl.forecast(adata, "day", method="persistence", use_rep=use_rep)
    arrays = read_fit(adata, "forecast").arrays
    if use_rep is None:
        assert "space.within" not in arrays, "40 genes are kept as they are"
    else:
        assert arrays["space.within"].shape == (5,)
        assert (arrays["space.within"] < 1).all()


def test_fits_of_earlier_versions_are_compared_as_they_were_made(monkeypatch):
    """Baselines that are fitted now then see plain cells too."""
    with monkeypatch.context() as patch:
        patch.setattr(Spaces, "shrunk", lambda self, space, *options: space)
        adata = noise(300, 40)
        ho.pp.split_time(adata, "day", test=4)
        ho.tl.forecast(adata, "day", method="persistence")
        before = ho.tl.evaluate(adata, baselines=["pooled_past"]).table
    assert "space.within" not in read_fit(adata, "forecast").arrays
    now = ho.tl.evaluate(adata, baselines=["pooled_past"]).table
    np.testing.assert_allclose(now["estimate"], before["estimate"])


def test_components_of_very_many_genes_are_not_fitted_again(monkeypatch, caplog):
    monkeypatch.setattr(module, "_MANY_GENES", 50)
    adata = noise(60)
    ho.pp.split_time(adata, "day", test=4)
    ho.pp.pca(adata, n_comps=5)
    ho.tl.forecast(adata, "day", method="persistence", use_rep="X_pca")
    assert "use_rep has 60 genes, too many to see how far cells spread" in caplog.text
    assert "space.within" not in read_fit(adata, "forecast").arrays
