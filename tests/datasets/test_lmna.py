"""The LMNA simulation: its layout, its truth, and the pattern it exists to show."""

import anndata as ad
import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from heldout.datasets import lmna_simulated
from heldout.datasets._lmna import DAYS, LIBRARIES, MT_GENES

STRENGTHS = ("genotype_strength", "day_strength", "fingerprint_strength")
MIXED = {"test": ("GSM8325052", "GSM8325056"), "val": ("GSM8325049", "GSM8325054")}


@pytest.fixture(scope="module")
def adata():
    return lmna_simulated(n_cells=150, rng=1)


def day_matched(test, val):
    on = {day: tuple(library for library, _, d in LIBRARIES if d == day) for day in DAYS}
    return {"test": on[test], "val": on[val]}


def auc(adata, split, n_hvg=1000):
    """AUC over test cells of a logistic regression on genes chosen and scaled on the training libraries."""
    x = np.log1p(1e4 * adata.X.toarray() / adata.obs["total_counts"].to_numpy()[:, None])
    patient = (adata.obs["genotype"] == "patient").to_numpy()
    test = adata.obs["library"].isin(split["test"]).to_numpy()
    train = ~test & ~adata.obs["library"].isin(split["val"]).to_numpy()
    sd = x[train].std(axis=0)
    top = np.argsort(-sd)[:n_hvg]
    x = np.clip(x[:, top] / sd[top], -10, 10)
    classifier = LogisticRegression(C=0.01, max_iter=500, tol=1e-3).fit(x[train], patient[train])
    return roc_auc_score(patient[test], classifier.decision_function(x[test]))


def log_profile(adata, cells):
    """Log-proportions of the pooled counts."""
    pooled = np.asarray(adata.X[np.asarray(cells)].sum(axis=0)).ravel() + 0.5
    return np.log(pooled / pooled.sum())


def correlation(x, y):
    return np.corrcoef(np.ravel(x), np.ravel(y))[0, 1]


def test_layout_is_the_published_one(adata):
    control = {46: 0, 47: 2, 48: 4, 49: 9, 50: 9, 51: 16, 52: 19, 53: 30}
    patient = {54: 0, 55: 9, 56: 16, 57: 19}
    expected = {
        f"GSM83250{number}": (genotype, day)
        for genotype, days in (("control", control), ("patient", patient))
        for number, day in days.items()
    }
    assert {library: (genotype, day) for library, genotype, day in LIBRARIES} == expected
    found = adata.obs.drop_duplicates("library").set_index("library")
    assert {library: (row.genotype, row.day) for library, row in found.iterrows()} == expected
    assert DAYS == (0, 2, 4, 9, 16, 19, 30)


def test_documented_slots(adata):
    assert adata.shape == (12 * 150, 2000)
    assert dict(adata.obs.dtypes.astype(str)) == {
        "library": "category",
        "genotype": "category",
        "day": "int64",
        "total_counts": "float32",
        "n_genes_by_counts": "int64",
        "pct_counts_mt": "float32",
    }
    assert list(adata.obs["genotype"].cat.categories) == ["control", "patient"]
    assert (adata.obs["library"].value_counts() == 150).all()
    assert adata.obs_names.is_unique
    assert adata.obs_names[0] == "GSM8325046_000001"
    assert adata.var_names.is_unique
    assert tuple(adata.var_names[adata.var["mt"]]) == MT_GENES
    assert adata.varm["day_programme"].shape == (2000, 7)
    assert adata.varm["fingerprint"].shape == (2000, 12)
    assert (adata.var["genotype_effect"] != 0).sum() == pytest.approx(0.05 * 2000, abs=2)


def test_counts_and_quality_measures(adata):
    assert sparse.issparse(adata.X)
    assert adata.X.format == "csr"
    assert adata.X.dtype == np.float32
    assert adata.X.has_canonical_format
    assert (adata.X.data > 0).all()
    assert (adata.X.data == np.round(adata.X.data)).all()
    assert 0.75 < 1 - adata.X.nnz / np.prod(adata.shape) < 0.9
    dense = adata.X.toarray()
    np.testing.assert_array_equal(adata.obs["total_counts"], dense.sum(axis=1))
    np.testing.assert_array_equal(adata.obs["n_genes_by_counts"], (dense > 0).sum(axis=1))
    share = dense[:, adata.var["mt"].to_numpy()].sum(axis=1) / dense.sum(axis=1)
    np.testing.assert_allclose(adata.obs["pct_counts_mt"], 100 * share, rtol=1e-5)
    assert 3 < adata.obs["pct_counts_mt"].mean() < 7


def test_counts_are_overdispersed():
    plain = lmna_simulated(n_cells=1000, n_genes=200, fingerprint_strength=0, rng=0)[:1000].X.toarray()
    mean, variance = plain.mean(axis=0), plain.var(axis=0)
    assert np.median((variance / mean)[mean > 0.5]) > 1.2


def test_same_seed_same_data_and_no_global_state():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    small = {"n_cells": 20, "n_genes": 150}
    first, again = lmna_simulated(rng=3, **small), lmna_simulated(rng=3, **small)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert (first.X != again.X).nnz == 0
    np.testing.assert_array_equal(first.varm["fingerprint"], again.varm["fingerprint"])
    by_generator = lmna_simulated(rng=np.random.default_rng(3), **small)
    assert (first.X != by_generator.X).nnz == 0
    for other in (4, None):
        assert (first.X != lmna_simulated(rng=other, **small).X).nnz > 0


def test_truth_does_not_depend_on_number_of_cells_or_other_strengths():
    few = lmna_simulated(n_cells=2, n_genes=150, rng=0)
    more = lmna_simulated(n_cells=5, n_genes=150, day_strength=0, rng=0)
    doubled = lmna_simulated(n_cells=2, n_genes=150, day_strength=2, rng=0)
    np.testing.assert_array_equal(few.var["genotype_effect"], more.var["genotype_effect"])
    np.testing.assert_allclose(doubled.varm["day_programme"], 2 * few.varm["day_programme"])


def test_blocks_of_cells_are_joined(monkeypatch):
    monkeypatch.setattr("heldout.datasets._lmna.CELLS_PER_BLOCK", 7)
    assert lmna_simulated(n_cells=20, n_genes=100).shape == (240, 100)


def test_genotype_effect_is_recoverable(adata):
    effect = adata.var["genotype_effect"].to_numpy()
    patient, day = adata.obs["genotype"] == "patient", adata.obs["day"]
    estimate = [log_profile(adata, patient & (day == d)) - log_profile(adata, ~patient & (day == d)) for d in (9, 16)]
    carriers = effect != 0
    assert correlation(np.mean(estimate, axis=0)[carriers], effect[carriers]) > 0.85


def test_day_programme_is_recoverable(adata):
    control, day = adata.obs["genotype"] == "control", adata.obs["day"]
    profiles = np.stack([log_profile(adata, control & (day == d)) for d in DAYS], axis=1)
    profiles -= profiles.mean(axis=1, keepdims=True)
    programme = adata.varm["day_programme"]
    np.testing.assert_allclose(programme.mean(axis=1), 0, atol=1e-12)
    assert correlation(profiles, programme) > 0.8


def test_day_programme_is_smooth(adata):
    programme = adata.varm["day_programme"]
    neighbours = correlation(programme[:, :-1], programme[:, 1:])
    assert neighbours > 0.3
    assert neighbours > correlation(programme[:, :-3], programme[:, 3:])


def test_fingerprint_is_recoverable(adata):
    first, second = (log_profile(adata, adata.obs["library"] == f"GSM83250{number}") for number in (49, 50))
    truth = adata.varm["fingerprint"][:, 3] - adata.varm["fingerprint"][:, 4]
    expressed = np.minimum(first, second) > np.log(5e-4)
    assert correlation((first - second)[expressed], truth[expressed]) > 0.8
    assert np.polyfit(truth[expressed], (first - second)[expressed], deg=1) == pytest.approx([1, 0], abs=0.1)


def test_strength_of_zero_switches_an_effect_off():
    nothing = lmna_simulated(n_cells=200, n_genes=300, **dict.fromkeys(STRENGTHS, 0))
    assert (nothing.var["genotype_effect"] == 0).all()
    assert not nothing.varm["day_programme"].any()
    np.testing.assert_allclose(nothing.varm["fingerprint"], 0, atol=1e-12)
    depth = nothing.obs.groupby("library", observed=True)["total_counts"].mean()
    assert depth.std() / depth.mean() < 0.06
    assert auc(nothing, day_matched(19, 0), n_hvg=300) == pytest.approx(0.5, abs=0.1)


def test_largest_strengths_stay_finite():
    extreme = lmna_simulated(n_cells=5, n_genes=200, **dict.fromkeys(STRENGTHS, 10))
    assert np.isfinite(extreme.varm["fingerprint"]).all()
    assert np.isfinite(extreme.X.data).all()
    depth = extreme.obs.groupby("library", observed=True)["total_counts"].mean()
    assert depth.max() / depth.min() < 20


def test_mixed_days_invert_and_matched_days_do_not(adata):
    assert auc(adata, MIXED) < 0.4
    for test, val in ((19, 0), (16, 0), (0, 16)):
        assert auc(adata, day_matched(test, val)) > 0.75


def test_without_day_programme_nothing_inverts():
    assert auc(lmna_simulated(n_cells=100, day_strength=0, rng=1), MIXED) > 0.7


def test_without_genotype_effect_matched_days_are_at_chance():
    flat = [lmna_simulated(n_cells=100, n_genes=1000, genotype_strength=0, rng=seed) for seed in range(3)]
    splits = [day_matched(test, val) for test, val in ((19, 0), (16, 0), (0, 16))]
    aucs = [auc(adata, split, n_hvg=500) for adata in flat for split in splits]
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(("strength", "low", "high"), [(1, 0.85, 1), (0, 0.4, 0.6)])
def test_fingerprint_gives_away_random_labels_of_libraries(strength, low, high):
    adata = lmna_simulated(n_cells=150, genotype_strength=0, day_strength=0, fingerprint_strength=strength)
    rng = np.random.default_rng(0)
    label = adata.obs["library"].cat.codes.isin(rng.choice(12, size=6, replace=False)).to_numpy()
    held_out = rng.random(adata.n_obs) < 0.25
    x = np.log1p(1e4 * adata.X.toarray() / adata.obs["total_counts"].to_numpy()[:, None])
    x /= x[~held_out].std(axis=0)
    classifier = LogisticRegression(C=0.01, max_iter=500, tol=1e-3).fit(x[~held_out], label[~held_out])
    assert low < roc_auc_score(label[held_out], classifier.decision_function(x[held_out])) <= high


@pytest.mark.parametrize("name", ["n_cells", "n_genes"])
@pytest.mark.parametrize("value", [0, -1, 10.0, True, "10"])
def test_refuses_bad_numbers(name, value):
    with pytest.raises(ValueError, match=rf"{name}=.*must be an integer >= "):
        lmna_simulated(**{name: value})


@pytest.mark.parametrize("name", STRENGTHS)
@pytest.mark.parametrize("value", [-0.1, 10.1, np.inf, np.nan, None, "1", True])
def test_refuses_bad_strengths(name, value):
    with pytest.raises(ValueError, match=rf"{name}=.*must be a number in \[0, 10\]"):
        lmna_simulated(**{name: value})


@pytest.mark.parametrize("rng", [-1, 1.5, "0", True])
def test_refuses_bad_rng(rng):
    with pytest.raises(ValueError, match=r"rng=.*numpy\.random\.Generator"):
        lmna_simulated(rng=rng)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_survives_a_round_trip(tmp_path, suffix):
    adata = lmna_simulated(n_cells=5, n_genes=120, rng=None)
    getattr(adata, f"write_{suffix}")(tmp_path / f"lmna.{suffix}")
    back = getattr(ad, f"read_{suffix}")(tmp_path / f"lmna.{suffix}")
    assert (back.X != adata.X).nnz == 0
    assert list(back.obs["library"].cat.categories) == list(adata.obs["library"].cat.categories)
    np.testing.assert_array_equal(back.varm["fingerprint"], adata.varm["fingerprint"])
    record = back.uns["lmna_simulated"]
    assert set(record) == {"n_cells", "n_genes", *STRENGTHS, "rng", "libraries", "days"}
    assert record["rng"] == "None"
    assert record["libraries"].split(", ") == list(adata.obs["library"].cat.categories)
    np.testing.assert_array_equal(record["days"], DAYS)
