"""The same perturbation in other contexts: the Bayes rule, its limits, similar contexts, and real data."""

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

import heldout as ho
from heldout.tasks.perturbation.config import PooledTransferConfig
from heldout.tasks.perturbation.interface import Data, Profiles
from heldout.tasks.perturbation.methods.baselines import ContextMean, Transfer
from heldout.tasks.perturbation.methods.pooled_transfer import PooledTransfer
from heldout.tasks.perturbation.methods.pooling import (
    Prior,
    closeness,
    context_distances,
    deviations,
    leave_one_out_errors,
    pooled,
    posterior_share,
)
from heldout.tasks.perturbation.pairs import Pairs
from heldout.tasks.perturbation.predictions import Controls
from tests.helpers.paths import DATA, needs_data
from tests.helpers.perturbations import contexts as with_contexts

PLAIN = PooledTransferConfig(matched_spread=False, similarity=False)


class Hierarchy:
    """Changes from a normal model: context mean + effect of the perturbation + its change in the context + noise."""

    def __init__(self, *, spread=1.0, between=0.5, noise=2.0, n=60, n_contexts=4, genes=40, seed=0):
        rng = np.random.default_rng(seed)
        self.rng, self.n, self.noise, self.spread, self.between = rng, n, noise, spread, between
        self.n_cells = rng.integers(5, 60, (n, n_contexts))
        self.context_mean = rng.normal(size=(n_contexts, genes))
        effect = rng.normal(size=(n, 1, genes)) * np.sqrt(spread)
        self.truth = self.context_mean + effect + rng.normal(size=(n, n_contexts, genes)) * np.sqrt(between)
        error = rng.normal(size=self.truth.shape) * np.sqrt(noise / self.n_cells)[:, :, None]
        self.measured = self.truth + error
        self.half = rng.normal(size=self.truth.shape) * np.sqrt(4 * noise / self.n_cells)[:, :, None]
        self.control = rng.uniform(1, 2, (n_contexts, genes))

    def data(self, out):
        """Train without the pairs in ``out``, a mask (perturbations × contexts)."""
        p, c = np.nonzero(~out)
        pairs = Pairs([(f"T{i:03d}",) for i in p], c)
        half = self.half[p, c]
        profiles = Profiles(pairs, self.measured[p, c], self.n_cells[p, c], self.control, lambda: half)
        return Data(np.array([f"G{i}" for i in range(self.control.shape[1])], dtype=object), profiles, cells=None)

    def errors(self, method, config=None):
        """Mean squared error on one left-out context of a third of the perturbations."""
        out = np.zeros((self.n, len(self.control)), dtype=bool)
        rows = np.arange(0, self.n, 3)
        out[rows, rows % len(self.control)] = True
        self.out = out
        p, c = np.nonzero(out)
        data = self.data(out)
        fitted = method.fit(data, config, seed=0)
        asked = Pairs([(f"T{i:03d}",) for i in p], c)
        found = method.predict(fitted, asked, Controls.without_cells(self.control), seed=0)
        assert not found.fallback.any()
        return float(((found.change - self.truth[p, c]) ** 2).mean())

    def bayes(self):
        """Error of the posterior mean with the true variances and the true context means, for ``out``."""
        p, c = np.nonzero(self.out)
        total = 0.0
        for i, context in zip(p, c, strict=True):
            others = np.flatnonzero(~self.out[i])
            weight = 1 / (self.between + self.noise / self.n_cells[i, others])
            deviation = (self.measured[i] - self.context_mean)[others]
            mean = weight @ deviation / (weight.sum() + 1 / self.spread)
            total += ((self.context_mean[context] + mean - self.truth[i, context]) ** 2).mean()
        return total / len(p)


def test_a_normal_model_is_predicted_as_well_as_by_its_bayes_rule():
    """The variances, the mixture and the context means are estimated, and this costs a few per cent."""
    simulation = Hierarchy(n=150)
    found = simulation.errors(PooledTransfer(), PLAIN)
    assert found == pytest.approx(simulation.bayes(), rel=0.06)
    assert found < 0.9 * simulation.errors(Transfer())
    assert found < 0.75 * simulation.errors(ContextMean())


def test_one_normal_part_is_the_closed_form():
    rng = np.random.default_rng(0)
    values, variance, near = rng.normal(size=(3, 5)), rng.uniform(0.5, 2, (3, 5)), rng.uniform(0.1, 1, 3)
    mean, of_mean = pooled(values, variance, near)
    for g in range(5):
        weights = near / variance[:, g]
        assert mean[g] == pytest.approx(np.average(values[:, g], weights=weights))
        assert of_mean[g] == pytest.approx((weights**2 * variance[:, g]).sum() / weights.sum() ** 2)
    spread = rng.uniform(1, 2, 5)
    prior = Prior(spread, np.zeros(5), np.array([1.0]), np.array([1.0]))
    np.testing.assert_allclose(posterior_share(mean, of_mean, prior), spread / (spread + of_mean))


def test_a_gene_without_variance_is_finite():
    mean, of_mean = pooled(np.zeros((2, 1)), np.array([[0.0], [0.0]]), np.ones(2))
    assert mean[0] == 0
    assert np.isfinite(of_mean[0])
    simulation = Hierarchy()
    simulation.measured[:, :, 0] = simulation.half[:, :, 0] = simulation.truth[:, :, 0] = 0
    assert np.isfinite(simulation.errors(PooledTransfer(), PooledTransferConfig()))


def test_a_mixture_is_the_posterior_mean():
    """Numerical integration over the prior gives the same."""
    spread, variance, value = 2.0, 0.7, 1.3
    prior = Prior(np.array([spread]), np.zeros(1), np.array([0.1, 3.0]), np.array([0.8, 0.2]))
    grid = np.linspace(-30, 30, 200_001)
    density = sum(
        w * np.exp(-(grid**2) / (2 * s * spread)) / np.sqrt(s * spread)
        for s, w in zip(prior.scales, prior.weights, strict=True)
    )
    posterior = density * np.exp(-((value - grid) ** 2) / (2 * variance))
    expected = (grid * posterior).sum() / posterior.sum()
    assert value * posterior_share(np.array([value]), np.array([variance]), prior)[0] == pytest.approx(expected)


def test_it_is_transfer_where_contexts_agree_and_the_context_mean_where_they_do_not():
    alike = Hierarchy(spread=4.0, between=0.0, noise=0.1)
    assert alike.errors(PooledTransfer(), PooledTransferConfig()) < 0.2 * alike.errors(ContextMean())
    assert alike.errors(PooledTransfer(), PooledTransferConfig()) < alike.errors(Transfer())
    unlike = Hierarchy(spread=0.0, between=1.0, noise=2.0)
    assert unlike.errors(PooledTransfer(), PLAIN) < 1.02 * unlike.errors(ContextMean())
    assert unlike.errors(PooledTransfer(), PooledTransferConfig()) < 1.1 * unlike.errors(ContextMean())
    assert unlike.errors(PooledTransfer(), PLAIN) < 0.75 * unlike.errors(Transfer())


def test_few_cells_count_less():
    simulation = Hierarchy(spread=1.0, between=0.0, noise=30.0, n=80)
    simulation.n_cells[:, 0] = 1
    rng = np.random.default_rng(1)
    error = rng.normal(size=simulation.truth.shape) * np.sqrt(30 / simulation.n_cells)[:, :, None]
    simulation.measured = simulation.truth + error
    simulation.half = 2 * error[rng.permutation(80)] * rng.choice([-1, 1], (80, 1, 1))
    assert simulation.errors(PooledTransfer(), PLAIN) < 0.4 * simulation.errors(Transfer())


def two_kinds(seed=0):
    """Ten contexts of two kinds, which differ in controls and in the effect of the only perturbation."""
    simulation = Hierarchy(n=1, n_contexts=10, spread=0.0, between=0.05, noise=0.5, genes=50, seed=seed)
    kind = np.arange(10) % 2
    rng = np.random.default_rng(seed)
    shift = rng.normal(size=(2, 50))
    simulation.control = rng.uniform(1, 2, 50) + shift[kind] + 0.1 * rng.normal(size=(10, 50))
    effect = rng.normal(size=(2, 50))[kind]
    simulation.measured = simulation.measured - simulation.context_mean + effect
    simulation.truth = simulation.truth - simulation.context_mean + effect
    return simulation


def test_contexts_with_similar_controls_count_more():
    simulation = two_kinds()
    similar, plain = (
        simulation.errors(PooledTransfer(), PooledTransferConfig(similarity=similarity)) for similarity in (True, False)
    )
    assert similar < 0.3 * plain
    assert plain < 1.2 * simulation.errors(Transfer())


def test_similarity_is_not_used_where_it_does_not_help():
    simulation = two_kinds()
    simulation.control = simulation.control[np.random.default_rng(3).permutation(10)]
    out = np.zeros((1, 10), dtype=bool)
    fitted = PooledTransfer().fit(simulation.data(out), PooledTransferConfig(), seed=0)
    useful = PooledTransfer().fit(two_kinds().data(out), PooledTransferConfig(), seed=0)
    assert useful.info["bandwidth"] is not None
    assert fitted.info["bandwidth"] is None or fitted.info["bandwidth"] > useful.info["bandwidth"]


def test_leaving_out_contexts_is_a_loop():
    rng = np.random.default_rng(0)
    values, number, near = rng.normal(size=(6, 3)), np.array([0, 0, 0, 1, 1, 2]), rng.uniform(0.1, 1, (6, 6))
    total = 0.0
    for i in range(5):
        others = [j for j in range(6) if j != i and number[j] == number[i]]
        total += ((values[i] - np.average(values[others], axis=0, weights=near[i, others])) ** 2).sum()
    assert leave_one_out_errors(values, number, near) == pytest.approx(total)


def test_distances_of_contexts_are_those_of_correlations():
    control = np.random.default_rng(0).uniform(0, 3, (4, 20))
    found = context_distances(control, control)
    centred = control - control.mean(axis=0)
    for i in range(4):
        for j in range(4):
            r = centred[i] @ centred[j] / np.linalg.norm(centred[i]) / np.linalg.norm(centred[j])
            assert found[i, j] == pytest.approx(2 - 2 * r, abs=1e-9)
    assert (closeness(found, np.inf) == 1).all()
    near = closeness(found, 0.5)
    assert (near.max(axis=1) == 1).all()
    assert (closeness(np.array([0.3, np.nan]), 0.5) == 1).all()


def test_deviations_have_the_variance_of_the_effects():
    """Five perturbations: a deviation from their mean varies by 4/5 of a perturbation, and is inflated by it."""
    change = np.random.default_rng(0).normal(size=(5, 20_000))
    rest, inflation = deviations(change, np.zeros(5, dtype=int), change.mean(axis=0)[None], np.array([5]))
    assert (rest**2 * inflation[:, None]).mean() == pytest.approx(1, abs=0.03)
    assert deviations(change[:1], np.array([0]), change[:1], np.array([1]))[1][0] == 0


def test_unknown_perturbations_and_one_context_have_the_template():
    adata = with_contexts()
    ho.tl.perturbation(adata, method="pooled_transfer")
    ho.tl.perturbation(adata, method="context_mean", key_added="mean")
    found, mean = (
        ho.tl.predict_profiles(adata, key, perturbations=["GENE00001+GENE00005"]) for key in ("perturbation", "mean")
    )
    assert found.obs["fallback"].all()
    assert np.abs(found.X - mean.X).max() < 3
    alone = adata[adata.obs["cell_line"] == "line1"].copy()
    ho.pp.split_perturbations(alone, "perturbation", hold_out="single", val=0, test=0.2)
    for key in ("pooled_transfer", "context_mean"):
        ho.tl.perturbation(alone, method=key, key_added=key)
    pooled_, mean = (ho.tl.predict_profiles(alone, key) for key in ("pooled_transfer", "context_mean"))
    np.testing.assert_allclose(pooled_.X, mean.X, rtol=1e-6)


@needs_data
def test_interferon_in_donors_and_cell_types():
    """Kang 2018: the same cell type of another donor predicts better than the mean of all contexts."""
    adata = ad.read_h5ad(DATA / "kang2018" / "kang2018_2donors_ctrl_stim.h5ad")
    adata.obs["condition"] = adata.obs["group_id"].astype(str)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata = adata[:, np.asarray(adata.X.mean(axis=0)).ravel().argsort()[-300:]].copy()
    ho.pp.split_perturbations(
        adata,
        "condition",
        control="ctrl",
        hold_out="context",
        covariate_keys=["donor", "cluster_id"],
        val=0,
        test=0.4,
    )
    ho.tl.perturbation(adata, method="pooled_transfer")
    table = ho.tl.evaluate(adata, baselines=["transfer", "context_mean", "no_change"], n_bootstrap=200)
    scores = table.pivot_table(index="method", columns="metric", values="estimate")
    assert scores.loc["pooled_transfer", "l2"] < 0.9 * scores.loc["transfer", "l2"]
    assert scores.loc["pooled_transfer", "energy_distance"] < 0.7 * scores.loc["transfer", "energy_distance"]
    assert (table["level"] == "context").all()
