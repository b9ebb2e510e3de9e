"""Forecasts of held-out genes: what they see, what they say, and what they write."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import heldout as ho
from heldout._core.fits import read_fit
from heldout._core.partition import read_partition
from heldout.tasks.forecast_genes import METHODS
from heldout.tasks.forecast_genes.task import Task
from tests.helpers.courses import CLOSED, NETWORKS, QUICK, course, options


@pytest.fixture
def adata():
    return course()


def test_every_method_is_listed():
    assert set(METHODS.names()) == {*CLOSED, *NETWORKS}


@pytest.mark.parametrize("method", [*CLOSED, *NETWORKS])
def test_test_genes_at_the_target_time_are_never_read(method):
    seen, blind = course(), course()
    test = (blind.var["gene_split"] == "test").to_numpy()
    target = (blind.obs["hour"] == 8).to_numpy()
    for value in (np.nan, 1e6):
        blind.X[np.ix_(target, test)] = value
        for adata in (seen, blind):
            ho.tl.forecast_genes(adata, "hour", **options(method))
        one, two = (read_fit(a, "forecast_genes") for a in (seen, blind))
        assert one.hash == two.hash
        for column in ("forecast_genes_prediction", "forecast_genes_change"):
            np.testing.assert_array_equal(seen.var[column], blind.var[column])


@pytest.mark.parametrize("method", [m for m in (*CLOSED, *NETWORKS) if m not in ("persistence", "linear")])
def test_train_genes_at_the_target_time_are_read(method):
    before, after = course(), course()
    train = (after.var["gene_split"] == "train").to_numpy()
    after.X[np.ix_((after.obs["hour"] == 8).to_numpy(), train)] += 1
    for adata in (before, after):
        ho.tl.forecast_genes(adata, "hour", **options(method))
    test = (before.var["gene_split"] == "test").to_numpy()
    assert not np.allclose(before.var["forecast_genes_change"][test], after.var["forecast_genes_change"][test])


@pytest.mark.parametrize("method", [*CLOSED, "lstm", "feedforward_published"])
def test_val_genes_only_stop(method):
    """The closed forms do not depend on val genes at the target time at all."""
    before, after = course(), course()
    val = (after.var["gene_split"] == "val").to_numpy()
    after.X[np.ix_((after.obs["hour"] == 8).to_numpy(), val)] += 3
    for adata in (before, after):
        ho.tl.forecast_genes(adata, "hour", **options(method))
    one, two = (read_fit(a, "forecast_genes") for a in (before, after))
    if method in CLOSED:
        assert one.hash == two.hash
    else:
        assert not one.history["val_loss"].equals(two.history["val_loss"])
        np.testing.assert_array_equal(one.history["train_loss"], two.history["train_loss"])


@pytest.mark.parametrize("method", ["ridge", "low_rank", "coexpression", "stacked", "lstm", "lstm_published"])
def test_order_of_cells_and_genes_does_not_matter(method):
    adata = course()
    draw = np.random.default_rng(1)
    other = adata[draw.permutation(adata.n_obs), draw.permutation(adata.n_vars)].copy()
    for one in (adata, other):
        ho.tl.forecast_genes(one, "hour", **options(method))
    again = other.var.loc[adata.var_names]
    np.testing.assert_array_equal(adata.var["forecast_genes_change"], again["forecast_genes_change"])
    assert read_fit(adata, "forecast_genes").hash == read_fit(other, "forecast_genes").hash


def test_ridge_finds_the_rule(adata):
    ho.tl.forecast_genes(adata, "hour", method="ridge")
    hour = adata.obs["hour"].to_numpy()
    true = adata.X[hour == 8].mean(axis=0) - adata.X[hour == 4].mean(axis=0)
    test = (adata.var["gene_split"] == "test").to_numpy()
    assert np.abs(adata.var["forecast_genes_change"].to_numpy() - true)[test].max() < 0.3
    np.testing.assert_allclose(
        adata.var["forecast_genes_prediction"],
        adata.X[hour == 4].mean(axis=0) + adata.var["forecast_genes_change"],
    )


def test_simple_methods_by_hand(adata):
    hour = adata.obs["hour"].to_numpy()
    mean = {t: adata.X[hour == t].mean(axis=0) for t in (2, 4, 8)}
    train = (adata.var["gene_split"] == "train").to_numpy()
    expected = {
        "persistence": np.zeros(adata.n_vars),
        "mean": np.full(adata.n_vars, (mean[8] - mean[4])[train].mean()),
        "linear": (mean[4] - mean[2]) / 2 * 4,
    }
    for method, change in expected.items():
        ho.tl.forecast_genes(adata, "hour", method=method)
        np.testing.assert_allclose(adata.var["forecast_genes_change"], change, atol=1e-12)


def test_ridge_agrees_with_scikit_learn(adata):
    from sklearn.linear_model import RidgeCV

    from heldout.tasks.forecast_genes.regression import _PENALTIES

    task = Task.of(adata, read_partition(adata, "gene_split", axis="var"), time_key="hour", n_replicates=2)
    data = task.data(seed=0)
    F = data.history.mean - data.history.mean.mean(axis=1, keepdims=True)
    reference = RidgeCV(alphas=_PENALTIES).fit(F[data.train], data.change[data.train])
    fit, change = task.fit("ridge")
    assert fit.arrays["fitted.penalty"][0] == pytest.approx(reference.alpha_)
    np.testing.assert_allclose(change, reference.predict(F), atol=1e-8)


@pytest.mark.parametrize("method", ["mean", "ridge", "gaussian_process", "coexpression"])
def test_held_out_predictions_are_those_of_a_fit_without_the_gene(method):
    """At fixed hyperparameters: ``held_out`` agrees with leaving the gene out for real."""
    from heldout.tasks.forecast_genes import coexpression, gaussian_process, regression

    adata = course(n_genes=24)
    task = Task.of(adata, read_partition(adata, "gene_split", axis="var"), time_key="hour", n_replicates=2)
    data = task.data(seed=0)
    gene, others = data.train[0], data.train[1:]
    less = replace(data, train=others)
    if method == "mean":
        implementation = METHODS["mean"].load()()
        held = implementation.fit(data, None, seed=0).arrays["held_out"][0]
        assert held == pytest.approx(implementation.predict(implementation.fit(less, None, seed=0), data.history)[gene])
    elif method == "ridge":
        F, y = data.history.mean, data.change
        full = regression.fit_ridge(F[data.train], y[data.train])
        A = F[others] - F[others].mean(axis=0)
        coef = np.linalg.solve(A.T @ A + full["penalty"][0] * np.eye(A.shape[1]), A.T @ (y[others] - y[others].mean()))
        alone = (F[gene] - F[others].mean(axis=0)) @ coef + y[others].mean()
        assert full["held_out"][0] == pytest.approx(alone, rel=1e-6)
    elif method == "coexpression":
        found = coexpression._fit(data, last_only=False)
        X = data.history.cells - data.history.cells.mean(axis=0)
        A, penalty = X[:, others], found["penalty"][0]
        weights = np.linalg.solve(A.T @ A + penalty * np.eye(len(others)), A.T @ X[:, gene])
        shift = data.target[others] - data.history.cells[:, others].mean(axis=0)
        alone = data.history.cells[:, gene].mean() + shift @ weights - data.history.last[gene]
        assert found["held_out"][0] == pytest.approx(alone, rel=1e-6)
    else:
        fitted = gaussian_process.GaussianProcess().fit(data, None, seed=0)
        arrays = fitted.arrays
        spread, level = data.change[data.train].std(), arrays["level"][0]
        Z, y = arrays["points"], (data.change[data.train] - level) / spread
        K = gaussian_process._kernel(Z, Z, arrays["log_parameters"])
        noise = np.exp(arrays["log_parameters"][3]) * np.eye(len(Z) - 1)
        alone = level + spread * K[0, 1:] @ np.linalg.solve(K[1:, 1:] + noise, y[1:])
        assert arrays["held_out"][0] == pytest.approx(alone, rel=1e-6)


def test_hyperparameters_of_the_process_are_at_a_mode(adata):
    """The gradient that is given to the optimiser is that of its function."""
    import heldout.tasks.forecast_genes.gaussian_process as gp

    draw = np.random.default_rng(0)
    Z, y = draw.normal(size=(20, 3)), draw.normal(size=20)
    found = gp._mode(Z, y)

    def loss(x):
        K = gp._kernel(Z, Z, x) + np.exp(x[3]) * np.eye(20)
        likelihood = 0.5 * y @ np.linalg.solve(K, y) + 0.5 * np.linalg.slogdet(K)[1]
        return likelihood + 0.5 * (((x - gp._START) / gp._WIDTH) ** 2).sum()

    for step in np.eye(4) * 0.05:
        assert loss(found) <= min(loss(found + step), loss(found - step)) + 1e-6


@pytest.mark.parametrize("method", ["stacked", "lstm", "feedforward", "lstm_published"])
def test_predicting_again_gives_the_same_bits(adata, method, through_file):
    ho.tl.forecast_genes(adata, "hour", **options(method))
    before = adata.var["forecast_genes_change"].to_numpy()
    again = through_file(adata)
    del again.var["forecast_genes_change"], again.var["forecast_genes_prediction"]
    ho.tl.predict(again, "forecast_genes")
    np.testing.assert_array_equal(again.var["forecast_genes_change"], before)


def test_another_process_fits_the_same_bits(adata, tmp_path):
    adata.write_h5ad(tmp_path / "a.h5ad")
    ho.tl.forecast_genes(adata, "hour", method="lstm", config=QUICK["lstm"], n_replicates=4)
    code = f"""
        import anndata as ad, heldout as ho
        from heldout._core.fits import read_fit
        from heldout.model import GeneNetworkConfig
        a = ad.read_h5ad({str(tmp_path / "a.h5ad")!r})
        config = GeneNetworkConfig(max_epochs=3, n_hidden=(8, 4), batch_size=64)
        ho.tl.forecast_genes(a, "hour", method="lstm", config=config, n_replicates=4)
        print(read_fit(a, "forecast_genes").hash)
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert ran.stdout.split()[-1] == read_fit(adata, "forecast_genes").hash


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_kinds_of_matrix_agree(kind):
    adata = course()
    adata.X = np.where(adata.X < 4, 0, adata.X)
    other = adata.copy()
    other.X = kind(other.X)
    for one in (adata, other):
        ho.tl.forecast_genes(one, "hour", method="stacked")
    np.testing.assert_array_equal(adata.var["forecast_genes_change"], other.var["forecast_genes_change"])


def test_times_after_the_target_are_not_read():
    other = course()
    ho.tl.forecast_genes(other, "hour", method="ridge", at=4)
    hour = other.obs["hour"].to_numpy()
    later = other.copy()
    later.X[hour == 8] = np.nan
    ho.tl.forecast_genes(later, "hour", method="ridge", at=4)
    np.testing.assert_array_equal(other.var["forecast_genes_change"], later.var["forecast_genes_change"])
    assert read_fit(other, "forecast_genes").info["history"] == [0.0, 1.0, 2.0]


def test_libraries_count_alike(adata):
    """With libraries the pseudobulk of a time is the mean of library means."""
    ho.tl.forecast_genes(adata, "hour", method="persistence", group_key="library")
    last = adata.obs["hour"] == 4
    means = [
        adata.X[(last & (adata.obs["library"] == lib)).to_numpy()].mean(axis=0) for lib in ("lib0", "lib1", "lib2")
    ]
    np.testing.assert_allclose(adata.var["forecast_genes_prediction"], np.mean(means, axis=0))


def test_bootstrap_draws_libraries_and_cells():
    from heldout.tasks.forecast_genes.features import bootstrap_weights, cell_weights

    time_of = np.repeat([0, 1], 60)
    library_of = np.tile([0, 1, 2], 40)
    weights = bootstrap_weights(time_of, library_of, 200, np.random.default_rng(0))
    for time in (0, 1):
        np.testing.assert_allclose(weights[:, time_of == time].sum(axis=1), 1)
    absent = [(row[(time_of == 0) & (library_of == 0)] == 0).all() for row in weights]
    assert 0.2 < np.mean(absent) < 0.4  # (2/3)³
    np.testing.assert_allclose(weights.mean(axis=0), cell_weights(time_of, library_of), atol=0.01)
    single = bootstrap_weights(time_of, None, 400, np.random.default_rng(0))
    X = np.random.default_rng(1).normal(size=(120, 1))
    error = (single[:, time_of == 0] @ X[time_of == 0]).std()
    assert error == pytest.approx(X[time_of == 0].std() / np.sqrt(60), rel=0.15)


def test_copy_leaves_the_original(adata, unchanged):
    with unchanged(adata):
        copied = ho.tl.forecast_genes(adata, "hour", method="mean", copy=True)
    assert "forecast_genes_change" in copied.var


def test_model_class_has_the_life_of_the_function(adata):
    config = QUICK["lstm"]
    ho.tl.forecast_genes(adata, "hour", method="lstm", config=config, n_replicates=4)
    ho.model.GeneForecaster.setup_anndata(adata, "hour", n_replicates=4)
    model = ho.model.GeneForecaster(adata, config)
    with pytest.raises(ValueError, match="not trained"):
        model.predict()
    model.train()
    np.testing.assert_array_equal(model.predict()["change"], adata.var["forecast_genes_change"])
    model.to_adata(adata, "class")
    assert read_fit(adata, "class").hash == read_fit(adata, "forecast_genes").hash
    again = ho.model.GeneForecaster.from_adata(adata, "class")
    pd.testing.assert_frame_equal(again.predict(), model.predict())
    assert {"train_loss", "val_loss"} == set(again.history_)
    for call in (model.save, ho.model.GeneForecaster.load, ho.model.GeneForecaster.load_registry):
        with pytest.raises(TypeError, match="pickle"):
            call("somewhere")
    ho.tl.forecast_genes(adata, "hour", method="ridge", key_added="ridge")
    with pytest.raises(ValueError, match="not a network"):
        ho.model.GeneForecaster.from_adata(adata, "ridge")
    with pytest.raises(ValueError, match="architecture"):
        ho.model.GeneForecaster(adata, architecture="transformer")


def test_training_leaves_the_global_generator_alone(adata):
    import torch

    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    ho.tl.forecast_genes(adata, "hour", **options("feedforward"))
    assert torch.equal(torch.rand(2), expected)


def test_without_val_genes_training_runs_to_the_end(caplog):
    adata = course()
    ho.pp.split_genes(adata, val=0)
    with caplog.at_level(logging.WARNING, "heldout"):
        ho.tl.forecast_genes(adata, "hour", **options("feedforward"))
    assert "no val partition" in caplog.text
    assert len(read_fit(adata, "forecast_genes").history) == 3
