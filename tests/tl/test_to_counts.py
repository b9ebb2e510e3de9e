"""Counts of predictions: sizes and dispersions of train cells, and means that stay those of the prediction."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import heldout as ho
from heldout._core.partition import read_partition
from heldout.tasks.perturbation.counts.noise import Rates, rounded, without_negatives
from heldout.tasks.perturbation.counts.predicted import Columns, learnt

DISPERSIONS = np.array([0.0, 0.1, 0.5, 2.0])


def screen_of(n=3000, *, genes=80, seed=0):
    """Negative binomial counts with known size factors and dispersions, of controls and two perturbations."""
    rng = np.random.default_rng(seed)
    rate = rng.lognormal(0, 1.2, genes)
    rate *= 2000 / rate.sum()
    alpha = DISPERSIONS[np.arange(genes) % 4]
    names = np.repeat(["control", "A", "B"], n // 3)
    fold = {name: np.exp(rng.normal(0, 0.3, genes)) for name in ("A", "B")} | {"control": np.ones(genes)}
    size = rng.lognormal(-0.5, 0.4, n)
    mean = size[:, None] * np.stack([rate * fold[name] for name in names])
    shape = np.where(alpha > 0, 1 / np.maximum(alpha, 1e-9), 1)
    counts = rng.poisson(mean * np.where(alpha > 0, rng.gamma(shape, 1 / shape, mean.shape), 1)).astype(np.float32)
    obs = pd.DataFrame({"perturbation": names}, index=[f"c{i}" for i in range(n)])
    adata = ad.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(genes)]))
    adata.layers["counts"] = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=2000)
    sc.pp.log1p(adata)
    ho.pp.split_perturbations(adata, "perturbation", val=0, test=0.5, rng=seed)
    return adata, alpha


@pytest.fixture(scope="module")
def truth():
    return screen_of()


@pytest.fixture
def screen(truth):
    return truth[0].copy()


def model_of(adata):
    partition = read_partition(adata)
    genes = np.arange(adata.n_vars)
    return learnt(adata, partition, Columns.of(partition, None, None), genes, counts_layer="counts", layer=None)


def log_of(counts):
    return np.log1p(counts.X.toarray() / counts.obs["size_factor"].to_numpy()[:, None])


def test_sizes_and_dispersions_are_those_of_the_simulation(truth):
    adata, alpha = truth
    model = model_of(adata)
    total = np.asarray(adata.layers["counts"].sum(axis=1)).ravel()[(adata.obs["split"] == "train").to_numpy()]
    np.testing.assert_allclose(model.all_sizes, np.sort(total) / 2000, rtol=1e-4)
    for value, allowed in zip(DISPERSIONS, (0.06, 0.06, 0.12, 0.4), strict=True):
        assert abs(np.median(model.dispersion[alpha == value]) - value) < allowed


def test_profiles_become_cells_with_the_mean_the_zeros_and_the_spread_of_measured_ones(screen):
    """The profile of measured cells, written as counts, is compared with these cells."""
    rows = (screen.obs["perturbation"] == "control").to_numpy()
    measured = screen[rows]
    profile = ad.AnnData(np.asarray(measured.X.mean(axis=0)), var=screen.var)
    profile.obs["perturbation"] = ["control"]
    counts = ho.tl.to_counts(screen, profile, n_cells=3000)
    assert (counts.X.data % 1 == 0).all()
    log, true = log_of(counts), measured.X.toarray()
    np.testing.assert_allclose(log.mean(axis=0), profile.X[0], atol=0.12)
    assert abs((log.mean(axis=0) - profile.X[0]).mean()) < 0.01
    np.testing.assert_allclose((log == 0).mean(axis=0), (true == 0).mean(axis=0), atol=0.06)
    np.testing.assert_allclose(log.std(axis=0).mean(), true.std(axis=0).mean(), rtol=0.05)
    raw = np.asarray(measured.layers["counts"].toarray())
    np.testing.assert_allclose(counts.X.toarray().mean(axis=0).sum(), raw.mean(axis=0).sum(), rtol=0.05)
    high = raw.mean(axis=0) > 2
    ratio = counts.X.toarray().var(axis=0)[high] / raw.var(axis=0)[high]
    assert 0.75 < np.median(ratio) < 1.25


def test_predicted_cells_keep_their_means_and_gain_no_noise(screen):
    ho.tl.perturbation(screen, method="mean")
    cells = ho.tl.predict_cells(screen, n_cells=300)
    counts = screen.ho.tl.to_counts(cells)
    pd.testing.assert_frame_equal(counts.obs.drop(columns="size_factor"), cells.obs)
    log, x = log_of(counts), cells.X
    for name in cells.obs["perturbation"].unique():
        rows = (cells.obs["perturbation"] == name).to_numpy()
        target = np.maximum(x[rows].mean(axis=0), 0)
        assert abs((log[rows].mean(axis=0) - target).mean()) < 0.01
        np.testing.assert_allclose(log[rows].mean(axis=0), target, atol=0.25)
    noisy = ho.tl.to_counts(screen, cells, noise="negative_binomial")
    assert log.std(axis=0).mean() < log_of(noisy).std(axis=0).mean()
    assert counts.uns["heldout"]["counts"]["n_negative"] == int((x < 0).sum())


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_every_matrix_and_order_give_the_same_counts(screen, make):
    profile = ad.AnnData(np.asarray(screen[:50].X.mean(axis=0)).repeat(2, axis=0), var=screen.var)
    profile.obs["perturbation"] = ["A", "X"]
    expected = ho.tl.to_counts(screen, profile, n_cells=5)
    assert expected.obs_names.tolist()[:6] == [f"0|{k}" for k in range(5)] + ["1|0"]
    other = screen.copy()
    other.X, other.layers["counts"] = make(other.X.toarray()), make(other.layers["counts"].toarray())
    alone = profile[[1]].copy()
    alone.X = make(alone.X)
    found = ho.tl.to_counts(other, alone, n_cells=5)
    np.testing.assert_array_equal(found.X.toarray(), expected.X.toarray()[5:])


def test_dask_gives_the_same_counts(screen):
    da = pytest.importorskip("dask.array")
    profile = ad.AnnData(np.asarray(screen[:50].X.mean(axis=0)), var=screen.var)
    profile.obs["perturbation"] = ["A"]
    expected = ho.tl.to_counts(screen, profile, n_cells=5)
    for name, X in (("counts", screen.layers["counts"]), (None, screen.X)):
        lazy = da.from_array(X.toarray(), chunks=(700, -1)).map_blocks(sparse.csr_matrix)
        if name is None:
            screen.X = lazy
        else:
            screen.layers[name] = lazy
    np.testing.assert_array_equal(ho.tl.to_counts(screen, profile, n_cells=5).X.toarray(), expected.X.toarray())


def test_counts_are_read_from_train_only(screen):
    profile = ad.AnnData(np.asarray(screen[:50].X.mean(axis=0)), var=screen.var)
    profile.obs["perturbation"] = ["A"]
    expected = ho.tl.to_counts(screen, profile, n_cells=5)
    test = (screen.obs["split"] == "test").to_numpy()
    garbage = screen.layers["counts"].toarray()
    garbage[test] = 7
    screen.layers["counts"] = garbage
    np.testing.assert_array_equal(ho.tl.to_counts(screen, profile, n_cells=5).X.toarray(), expected.X.toarray())


def test_one_cell_of_each_perturbation_is_a_cell(screen):
    ho.tl.perturbation(screen, method="moved_cells")
    counts = ho.tl.to_counts(screen, ho.tl.predict_cells(screen, n_cells=1))
    assert counts.uns["heldout"]["counts"]["noise"] == "rounding"
    assert counts.n_obs == 1


def test_rows_of_nan_are_left_out_of_sparse_profiles(screen):
    ho.tl.perturbation(screen, method="mean")
    profiles = ho.tl.predict_profiles(screen, perturbations=["A", "B"])
    expected = ho.tl.to_counts(screen, profiles, n_cells=20)[:20]
    profiles.X[1] = np.nan
    for make in (np.array, sparse.csr_matrix, sparse.csc_matrix):
        spoilt = profiles.copy()
        spoilt.X = make(profiles.X)
        found = ho.tl.to_counts(screen, spoilt, n_cells=20)
        np.testing.assert_array_equal(found.X.toarray(), expected.X.toarray())


def test_doses_that_the_split_does_not_know():
    adata = ho.datasets.doses_simulated(n_perturbations=6, n_genes=60, n_cells=12, doses=(0.1, 1.0, 10.0))
    adata.layers["counts"] = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata.obs.loc[adata.obs["perturbation"] == "control", "dose"] = np.nan
    ho.pp.split_perturbations(adata, "perturbation", val=0, test=0.3)
    ho.tl.perturbation(adata, method="dose_linear", dose_key="dose")
    profiles = ho.tl.predict_profiles(adata)
    counts = ho.tl.to_counts(adata, profiles, n_cells=10)
    assert counts.n_obs == 10 * profiles.n_obs
    assert counts.uns["heldout"]["counts"]["noise"] == "negative_binomial"
    del profiles.uns["heldout"]  # as from another tool
    again = ho.tl.to_counts(adata, profiles, dose_key="dose", n_cells=10)
    np.testing.assert_array_equal(again.X.toarray(), counts.X.toarray())


def test_the_counts_go_to_the_challenge(screen):
    ho.tl.perturbation(screen, method="mean")
    cells = ho.tl.predict_cells(screen, n_cells=20)
    cells.obs["line"] = "H1"
    challenge = ho.tl.to_convention(ho.tl.to_counts(screen, cells), "vcc", context_key="line")
    assert set(challenge.obs["target_gene"]) == set(cells.obs["perturbation"])
    cells.X = np.abs(cells.X)
    with pytest.raises(ValueError, match=r"needs raw counts. .*heldout.tl.to_counts"):
        ho.tl.to_convention(cells, "vcc", context_key="line")


def _without_counts(adata, cells):
    del adata.layers["counts"]


def _other_counts(adata, cells):
    adata.layers["counts"] = adata.layers["counts"] * 2 + adata.layers["counts"].power(2)


def _other_genes(adata, cells):
    cells.var_names = [f"X{name}" for name in cells.var_names]


def _counts_already(adata, cells):
    cells.X = np.round(np.abs(cells.X) * 3)


def _not_logged(adata, cells):
    cells.X = np.expm1(cells.X.toarray()) * np.linspace(1, 2, cells.n_obs)[:, None]


def _zero_counts(adata, cells):
    adata.layers["counts"] = adata.layers["counts"] * 0


def _unnamed(adata, cells):
    cells.obs["perturbation"] = pd.Series([None, *cells.obs["perturbation"][1:]], index=cells.obs_names, dtype=object)


def _without_names(adata, cells):
    del cells.obs["perturbation"]


@pytest.mark.parametrize(
    ("spoil", "options", "words"),
    [
        (_without_counts, {}, r"counts_layer='counts' is not in adata.layers, .* adata.layers\['counts'\] ="),
        (_other_counts, {}, r"adata.X is not log1p of the normalised counts"),
        (_other_genes, {}, "80 genes that adata lacks"),
        (_counts_already, {}, "predicted.X holds raw counts"),
        (_not_logged, {}, "predicted.X has values up to .*, which are not log-normalised"),
        (_zero_counts, {}, "No train cell has counts"),
        (_unnamed, {}, r"predicted.obs\['perturbation'\] has 1 missing values"),
        (_without_names, {}, "predicted.obs has no column 'perturbation'"),
        (None, {"n_cells": 5}, "n_cells=5 is for profiles"),
        (None, {"noise": "poisson"}, "noise='poisson' must be one of"),
    ],
)
def test_what_cannot_be_counted_is_refused(screen, spoil, options, words):
    cells = screen[:20].copy()
    if spoil is not None:
        spoil(screen, cells)
    with pytest.raises(ValueError, match=words):
        ho.tl.to_counts(screen, cells, **options)


@given(st.integers(1, 12), st.floats(-3, 3), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_no_value_is_negative_and_means_stay(n, shift, seed):
    x = np.maximum(np.random.default_rng(seed).normal(0.5, 1, (n, 6)), 0) + shift
    moved = without_negatives(x)
    assert (moved >= 0).all()
    np.testing.assert_allclose(moved.mean(axis=0), np.maximum(x.mean(axis=0), 0), atol=1e-12)
    order = np.argsort(x, axis=0, kind="stable")
    assert (np.diff(np.take_along_axis(moved, order, axis=0), axis=0) >= -1e-12).all()


@given(st.floats(0.005, 20), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_measured_counts_are_kept_by_rounding(size, seed):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.lognormal(0, 1.5, (3, 40))).astype(np.float64)
    x = np.log1p(counts / size).astype(np.float32).astype(np.float64)
    np.testing.assert_array_equal(rounded(x, np.full(3, size), rng), counts)


def test_rates_have_the_wanted_mean():
    rng = np.random.default_rng(0)
    sizes, dispersion = rng.lognormal(-1, 0.4, 500), np.array([0.0, 0.2, 3.0])
    rates = Rates.of(dispersion, sizes, 5.0)
    x = np.array([[0.01, 0.3, 2.0], [1.0, 3.0, 0.5]])
    for row in x:
        s = rng.choice(sizes, 200_000)
        log = np.log1p(rates.drawn(np.tile(row, (len(s), 1)), s, rng) / s[:, None])
        np.testing.assert_allclose(log.mean(axis=0), row, rtol=0.03)
