"""Means of cell types: the estimates against a reference, and donors that differ in one cell type."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import block_diag

import heldout as ho
from heldout.model import CellTypeConfig
from heldout.tasks.genotype.celltypes import CellTypePseudobulk, _effects, _prior
from heldout.tasks.genotype.train_axes import train_sample
from tests.tasks.genotype.donors import auc, data_of, donors

METHOD = CellTypePseudobulk()


def test_effects_equal_the_expectation_of_the_multivariate_normal_distribution():
    rng = np.random.default_rng(0)
    n = np.array([[3, 0, 10], [0, 0, 1], [0, 0, 0]])
    prior = {
        "mean": rng.normal(size=(3, 2)),
        "within": rng.random((3, 2)) + 0.5,
        "between": np.array([[0.3, 0.2], [0.1, 0.4], [0.0, 0.7]]),
        "shared": np.array([0.5, 0.8]),
    }
    mean = np.where(n[:, :, None] > 0, rng.normal(size=(3, 3, 2)), 0.0)
    found = _effects(prior, n, mean).reshape(3, 4, 2)
    for group in range(3):
        for gene in range(2):
            variance = np.r_[prior["shared"][gene], prior["between"][:, gene]]
            seen = np.flatnonzero(n[group])
            design = np.column_stack([np.ones(3), np.eye(3)])[seen]
            noise = block_diag(*(prior["within"][t, gene] / n[group, t] for t in seen)) if len(seen) else np.eye(0)
            covariance = design * variance @ design.T + noise
            gain = (design * variance).T @ np.linalg.inv(covariance)
            expected = gain @ (mean[group, seen, gene] - prior["mean"][seen, gene])
            units = np.divide(expected, np.sqrt(variance), out=np.zeros(4), where=variance > 0)
            np.testing.assert_allclose(found[group, :, gene], units, atol=1e-12)


def test_a_type_without_cells_is_at_the_mean_of_its_group():
    data = data_of(donors("mean", 0, n_donors=20))
    fitted = METHOD.fit(data, CellTypeConfig(Cs=(1.0,)), seed=0)
    prior = {name.removeprefix("types."): array for name, array in fitted.arrays.items() if name.startswith("types.")}
    n, mean = np.array([[20, 20, 20, 0]]), prior["mean"][None] + 1.0
    on_all, *_, on_d = _effects(prior, n, mean).reshape(5, -1)
    assert (on_all[prior["shared"] > 0] > 0).all()
    np.testing.assert_array_equal(on_d, 0)


def test_variances_are_found():
    rng = np.random.default_rng(0)
    rows, types, genes = 400, 3, 50
    n = rng.integers(0, 30, size=(rows, types))
    shared = rng.normal(scale=0.6, size=(rows, 1, genes))
    of_type = rng.normal(size=(rows, types, genes)) * np.array([0.0, 0.4, 0.8])[:, None]
    noise = rng.normal(size=(rows, types, genes)) / np.sqrt(np.maximum(n, 1))[:, :, None]
    mean = np.where(n[:, :, None] > 0, 2.0 + shared + of_type + noise, 0.0)
    var = np.where(n[:, :, None] > 1, 1.0, 0.0) * np.ones(genes)
    prior = _prior(n, mean, var)
    np.testing.assert_allclose(prior["within"], 1, atol=1e-9)
    np.testing.assert_allclose(prior["mean"].mean(axis=1), 2, atol=0.05)
    assert prior["shared"].mean() == pytest.approx(0.36, rel=0.1)
    np.testing.assert_allclose(prior["between"].mean(axis=1), [0.0, 0.16, 0.64], atol=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("types", [True, False], ids=["types", "clusters"])
def test_a_signal_in_one_cell_type_is_found_that_the_mean_does_not_show(types):
    found = [data_of(donors("one type", seed), types=types) for seed in range(3)]
    assert np.mean([auc("celltype_pseudobulk", data) for data in found]) > 0.9
    assert np.mean([auc("pseudobulk_logistic", data) for data in found]) < 0.7


@pytest.mark.slow
def test_it_invents_nothing_and_loses_little_on_a_signal_in_all_types():
    nothing = [auc("celltype_pseudobulk", data_of(donors("none", seed))) for seed in range(3)]
    assert 0.3 < np.mean(nothing) < 0.7
    signal = [data_of(donors("mean", seed)) for seed in range(3)]
    found, plain = (
        np.mean([auc(name, data) for data in signal]) for name in ("celltype_pseudobulk", "pseudobulk_logistic")
    )
    assert found > plain - 0.1


def test_clusters_of_new_cells_do_not_change_with_their_number(split):
    ho.tl.genotype(split, method="celltype_pseudobulk", mask_var=None, config=CellTypeConfig(n_clusters=3))
    library = split[split.obs["library"] == split.obs["library"].iloc[0]].copy()
    before = library.obsm["genotype_log_probability"].copy()
    ho.tl.predict(library)
    np.testing.assert_allclose(library.obsm["genotype_log_probability"], before, rtol=1e-6)


def test_a_sample_of_train_cells_has_as_many_of_each_group_as_there_are():
    data = data_of(donors("mean", 0, n_donors=12, n_cells=30, n_genes=10))
    train = data.groups[data.train]
    sample = train_sample(data, 0, most=60)
    where = [int(np.flatnonzero((row == data.X).all(axis=1))[0]) for row in sample]
    counts = np.bincount(data.groups[where], minlength=6)
    assert set(where) <= set(data.train)
    assert len(set(where)) == 60
    np.testing.assert_array_equal(counts, np.minimum(np.bincount(train), 10))
    np.testing.assert_array_equal(train_sample(data, 0), data.X[data.train])
