"""The flow of perturbed cells: closed forms, sources, zeros, and what a user sees."""

import subprocess
import sys
from dataclasses import replace

import anndata as ad
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.decomposition import PCA

import heldout as ho
from heldout._core.fits import read_fit
from heldout._core.method import Fitted
from heldout.tasks.perturbation.methods.moved_cells import KeptCells, keep_cells
from heldout.tasks.perturbation.networks._condition import Conditions
from heldout.tasks.perturbation.networks.flow._method import GeneFlow
from heldout.tasks.perturbation.networks.flow._module import coupled
from heldout.tasks.perturbation.networks.flow._nets import PlainMLP, SkipMLP
from heldout.tasks.perturbation.networks.flow._solvers import solve
from heldout.tasks.perturbation.networks.flow._sources import ComposedBlocks, Composer
from heldout.tasks.perturbation.networks.flow._space import Space, components_of
from heldout.tasks.perturbation.networks.flow._zeros import thresholds, with_zeros
from heldout.tasks.perturbation.pairs import Pair, Pairs
from heldout.tasks.perturbation.predictions import Controls
from heldout.tasks.perturbation.task import predict
from tests.helpers.perturbations import CONFIGS, brute_means, combinations, exact, simulated, task_of

TINY = CONFIGS["flow"]


@pytest.fixture(scope="module")
def screen():
    return combinations()


@pytest.fixture(scope="module")
def gaussian():
    """Mean, and the root and the inverse-free parts of a covariance with variances from 0.05 to 4."""
    rng = np.random.default_rng(0)
    vectors, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    return rng.normal(size=5), vectors, np.array([0.05, 0.2, 0.5, 1.5, 4.0])


def optimal_field(gaussian):
    """μ + (tΣ - (1 - t)I)(t²Σ + (1 - t)²I)⁻¹(x - tμ), the velocity from standard normal noise to the Gaussian."""
    mean, vectors, variances = (torch.from_numpy(part) for part in gaussian)

    def field(t, x):
        factor = (t * variances - (1 - t)) / (t**2 * variances + (1 - t) ** 2)
        return mean + ((x - t * mean) @ vectors * factor) @ vectors.T

    return field


@pytest.mark.parametrize(
    ("solver", "n_steps", "off"), [("euler", 400, 0.03), ("midpoint", 60, 2e-3), ("rk4", 20, 2e-3), ("dopri5", 1, 1e-5)]
)
def test_solvers_carry_noise_to_the_gaussian(gaussian, solver, n_steps, off):
    """The closed form of the map is x₁ = μ + Σ^½ x₀, so moments and every single point are known."""
    mean, vectors, variances = gaussian
    noise = np.random.default_rng(1).normal(size=(200, 5))
    found = solve(optimal_field(gaussian), torch.from_numpy(noise), solver, n_steps, 1e-7).numpy()
    expected = mean + (noise @ vectors * np.sqrt(variances)) @ vectors.T
    assert np.abs(found - expected).max() < off


def floor(variances):
    """Smallest mean squared error of a velocity from noise: the mean over t of λ / (t²λ + (1 - t)²)."""
    t = (np.arange(2000) + 0.5) / 2000
    return np.mean([np.mean(each / (t**2 * each + (1 - t) ** 2)) for each in variances])


def trained_loss(net, gaussian, n_steps=500):
    mean, vectors, variances = gaussian
    torch.manual_seed(0)
    root = torch.from_numpy(vectors * np.sqrt(variances)).float()
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    losses = []
    for step in range(n_steps):
        begin, t = torch.randn(512, 5), torch.rand(512, 1)
        end = torch.from_numpy(mean).float() + torch.randn(512, 5) @ root.T
        loss = (net((1 - t) * begin + t * end, t, torch.zeros(512, 1)) - (end - begin)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / n_steps)
        losses.append(float(loss.detach()))
    return np.mean(losses[-100:])


def test_a_trained_network_reaches_the_closed_form_of_the_loss_unless_it_is_narrow(gaussian):
    best = floor(gaussian[2])
    torch.manual_seed(0)
    assert trained_loss(SkipMLP(5, 1, width=32, n_layers=1), gaussian) == pytest.approx(best, rel=0.08)
    narrow = trained_loss(PlainMLP(5, 1, width=2, n_layers=1), gaussian)
    assert narrow > 1.3 * best  # noise of five dimensions does not pass two


def module_of(screen, config, **options):
    task = task_of(screen)
    data = task.data(task.observed("train"))
    method = GeneFlow()
    fitted = method.fit(data, config, seed=0, **options)
    return method, fitted, data


@pytest.fixture(scope="module")
def fitted(screen):
    return module_of(screen, TINY)


def test_guidance_of_1_is_the_conditional_velocity(fitted):
    method, fit, _ = fitted
    module, conditions = method.module(fit), method.conditions(fit)
    encoded, _ = conditions.encode(Pairs.of([Pair((conditions.targets[0],), 0)]))
    x, t = torch.randn(4, module.space.n_dims), torch.tensor(0.3)
    with torch.no_grad():
        c = module.encoder(encoded).expand(4, -1)
        hidden = module.encoder(encoded, torch.tensor([True])).expand(4, -1)
        one, other = (module.velocity(x, t.expand(4, 1), each) for each in (c, hidden))
        assert torch.equal(module.field(encoded, 4)(t, x), one)
        module.config = replace(module.config, guidance=2.5)
        torch.testing.assert_close(module.field(encoded, 4)(t, x), other + 2.5 * (one - other))
        module.config = replace(module.config, guidance=1.0)


@pytest.mark.parametrize("network", ["mlp", "skip_mlp", "unet", "latents"])
@pytest.mark.parametrize("prediction", ["v", "x"])
def test_every_network_predicts_finite_cells(screen, network, prediction):
    config = replace(TINY, network=network, prediction=prediction, width=4, n_latents=4, patch=8, batch_size=128)
    task = task_of(screen)
    fit = task.fit("flow", config)
    cells = predict(fit, Pairs.of([Pair(("GENE00001",), 0)]), task.controls(fit.arrays["control"])).cells(
        0, 6, np.random.default_rng(0)
    )
    assert cells.shape == (6, 80)
    assert np.isfinite(cells).all()
    assert (cells >= 0).all()


@pytest.mark.parametrize("source", ["noise", "control", "composed"])
@pytest.mark.parametrize("coupling", ["independent", "transport"])
def test_every_source_trains(screen, source, coupling):
    _, fit, _ = module_of(screen, replace(TINY, source=source, coupling=coupling))
    assert np.isfinite(fit.history["train_loss"]).all()


def test_transport_pairs_the_nearest_points_of_the_same_perturbation():
    begin = torch.tensor([[0.0], [10.0], [0.0], [10.0]])
    end = torch.tensor([[9.0], [1.0], [9.0], [11.0]])
    groups = torch.tensor([[0, 0], [0, 0], [1, 0], [1, 0]])
    assert coupled(begin, end, groups).tolist() == [1, 0, 2, 3]


def test_composed_cells_leave_out_the_perturbation_itself():
    rng = np.random.default_rng(0)
    effects = {"A": np.array([3.0, 0, 0, 0, 0, 0]), "B": np.array([0, 1.0, 0, 0, 0, 0]), "C": rng.normal(size=6)}
    adata, profiles = exact(effects, {("A", "B"): 5.0})
    ho.pp.split_assigned(adata, "guide", train=list(profiles), test=[])
    task = task_of(adata, perturbation_key="guide")
    data = task.data(task.observed("train"))
    kept = keep_cells(data, 10, seed=0)
    composer = Composer(KeptCells(Fitted(kept.arrays, kept.info)))
    controls = task.controls(data.profiles.control)
    pair = composer.draw(Pair(("A", "B"), 0), controls, 3, rng)
    np.testing.assert_allclose(pair, np.tile(profiles["A"] + effects["B"], (3, 1)), rtol=1e-6)
    single = composer.draw(Pair(("A",), 0), controls, 3, rng)
    np.testing.assert_allclose(single, np.tile(profiles["control"], (3, 1)), rtol=1e-6)
    cells = data.cells()
    blocks = ComposedBlocks(cells, cells.train, Conditions.of(data), 16, composer, seed=0)
    for batch in (batch for block in blocks for batch in block):
        for number, source in zip(batch["number"].tolist(), batch["source"].numpy(), strict=True):
            expected = profiles["A"] + effects["B"] if number >= 0 and len(cells.targets[number]) == 2 else None
            np.testing.assert_allclose(source, profiles["control"] if expected is None else expected, rtol=1e-5)


def test_thresholds_give_the_share_of_zeros_of_train():
    rng = np.random.default_rng(0)
    generated, share = rng.normal(0.3, 1, (5000, 3)), np.array([0.0, 0.6, 1.0])
    found = thresholds(generated, share)
    cells = with_zeros(rng.normal(0.3, 1, (5000, 3)), found)
    np.testing.assert_allclose((cells == 0).mean(axis=0)[1:], share[1:], atol=0.03)
    assert (cells >= 0).all()  # expression is not negative


def test_principal_components_are_those_of_train(screen):
    task = task_of(screen)
    cells = task.data(task.observed("train")).cells()
    X = screen.X[cells.train].toarray().astype(np.float64)
    found = components_of(cells, cells.train, X.mean(axis=0), 5)
    other = PCA(5, svd_solver="full").fit(X)
    np.testing.assert_allclose(np.abs((found["components"] * other.components_).sum(axis=1)), 1, atol=1e-3)
    np.testing.assert_allclose(found["spread_comps"] ** 2, other.explained_variance_, rtol=1e-3)
    arrays = {"centre": X.mean(axis=0).astype(np.float32), "spread": X.std(axis=0), "scale": np.ones(1), **found}
    space = Space.of(arrays)
    z = space.encode(torch.from_numpy(X[:4]).float())
    np.testing.assert_allclose(space.decode(z).numpy(), other.inverse_transform(other.transform(X[:4])), atol=1e-3)
    _, fit, _ = module_of(screen, replace(TINY, space="pca", n_comps=7))
    assert fit.arrays["net.net.into.weight"].shape == (8, 7)


def test_a_flow_learns_the_means_of_train_and_spreads_like_its_cells():
    """Cells of two perturbations with far means: the generated cells have their means and standard deviations."""
    rng = np.random.default_rng(0)
    adata, _ = exact({"A": np.full(6, 2.0), "B": np.full(6, -2.0)}, {}, n_cells=150)
    adata.X = np.maximum(adata.X.toarray() + rng.normal(0, 0.7, adata.shape), 0.01)
    ho.pp.split_assigned(adata, "guide", train=["control", "A", "B"], test=[])
    task = task_of(adata, perturbation_key="guide")
    config = ho.model.PerturbationFlowConfig(width=48, n_layers=2, n_condition=16, n_updates=500, lr=5e-3)
    fit = task.fit("flow", config)
    pairs = Pairs.of([Pair(("A",), 0), Pair(("B",), 0), Pair(("C",), 0)])
    prediction = predict(fit, pairs, Controls.without_cells(fit.arrays["control"]))
    assert prediction.fallback.tolist() == [False, False, True]
    means = brute_means(adata, np.ones(adata.n_obs, bool), "guide")
    for i, name in enumerate("AB"):
        cells = prediction.cells(i, 400, np.random.default_rng(1))
        np.testing.assert_allclose(cells.mean(axis=0), means[name], atol=0.35)
        np.testing.assert_allclose(cells.std(axis=0), 0.7, atol=0.25)


@pytest.mark.parametrize("kind", ["csc", "dense", "dask"])
def test_matrices_in_memory_give_the_same_fit_and_dask_another_order_of_cells(screen, fitted, kind):
    adata = screen.copy()
    adata.X = {
        "csc": sparse.csc_matrix,
        "dense": lambda X: X.toarray(),
        "dask": lambda X: da.from_array(X.toarray(), chunks=(100, -1)),
    }[kind](adata.X)
    _, found, _ = module_of(adata, TINY)
    for name, array in fitted[1].arrays.items():
        if kind == "dask" and (name.startswith("net.") or name == "threshold"):
            assert np.isfinite(found.arrays[name]).all(), name
        elif name in ("centre", "spread", "scale"):
            np.testing.assert_allclose(found.arrays[name], array, rtol=1e-5, atol=1e-6, err_msg=name)
        else:
            np.testing.assert_allclose(found.arrays[name], array, atol=1e-4, err_msg=name)


def test_an_unseen_gene_has_a_condition_through_an_embedding():
    adata = simulated(n_doubles=0)
    values = pd.DataFrame(adata.varm["true_embedding"], index=adata.var_names)
    ho.pp.embedding(adata, values, key_added="modules")
    ho.pp.split_perturbations(adata, "perturbation", hold_out="single", val=0, test=0.3)
    ho.tl.perturbation(adata, method="flow", config=replace(TINY, perturbation_embedding="modules"))
    predicted = ho.tl.predict_profiles(adata, "perturbation")
    assert not predicted.obs["fallback"].any()
    assert len(np.unique(predicted.X, axis=0)) == predicted.n_obs


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"network": "transformer"}, "network='transformer' must be one of 'skip_mlp'"),
        ({"condition_dropout": 1.0}, "condition_dropout=1.0 must be a number"),
        ({"n_steps": 0}, "n_steps=0 must be an integer >= 1"),
        ({"source": "sum"}, "source='sum' must be one of 'noise'"),
    ],
)
def test_impossible_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        ho.model.PerturbationFlowConfig(**options)


def test_control_cells_are_needed_where_the_source_is_controls(screen):
    task = task_of(screen)
    fit = task.fit("flow", replace(TINY, source="control", zeros="none"))
    prediction = predict(fit, Pairs.of([Pair(("GENE00001",), 0)]))
    with pytest.raises(ValueError, match="Pass the AnnData that holds the control cells"):
        _ = prediction.change


def test_the_flow_goes_through_tl_and_a_new_process(screen, tmp_path):
    adata = screen.copy()
    ho.tl.perturbation(adata, method="flow", config=TINY, rng=3)
    before = ho.tl.predict_cells(adata, "perturbation", n_cells=3)
    adata.write_h5ad(tmp_path / "a.h5ad")
    code = (
        "import sys, anndata as ad, heldout as ho, numpy as np, torch\n"
        "torch.set_num_threads(1)\n"
        "cells = ho.tl.predict_cells(ad.read_h5ad(sys.argv[1] + '/a.h5ad'), 'perturbation', n_cells=3)\n"
        "np.save(sys.argv[1] + '/a.npy', cells.X)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), before.X)


def test_the_model_class_is_the_function(screen):
    adata = screen.copy()
    ho.model.PerturbationFlow.setup_anndata(adata, "perturbation")
    model = ho.model.PerturbationFlow(adata, TINY)
    model.train(rng=3)
    model.to_adata(adata)
    ho.tl.perturbation(adata, method="flow", config=TINY, rng=3, key_added="other")
    for name, array in read_fit(adata, "other").arrays.items():
        np.testing.assert_array_equal(read_fit(adata, "perturbation").arrays[name], array, err_msg=name)
    again = ho.model.PerturbationFlow.from_adata(adata)
    np.testing.assert_array_equal(again.predict(n_cells=2).X, model.predict(n_cells=2).X)
    assert isinstance(again.predict(n_cells=2), ad.AnnData)


def test_a_flow_continues_from_another_screen_with_other_genes(screen):
    other = combinations(rng=1)
    other.obs_names = "other" + other.obs_names
    pairs = [name for name in screen.obs.loc[screen.obs["split"] == "test", "perturbation"].unique() if "+" in name]
    other = other[~other.obs["perturbation"].isin(pairs)].copy()
    other.obs["all"] = "train"
    del other.obs["split"], other.uns["heldout"]
    ho.pp.split_assigned(other, "all", train=["train"], test=[])
    ho.tl.perturbation(other, "perturbation", method="flow", config=TINY, key_added="first")
    adata = screen[:, ::-1].copy()
    slow = replace(TINY, lr=1e-12)
    ho.tl.perturbation(adata, method="flow", config=slow, start="first", reference=other)
    first, second = read_fit(other, "first"), read_fit(adata, "perturbation")
    order = pd.Index(first.genes).get_indexer(second.genes)
    into = "fitted.net.net.into.weight"
    np.testing.assert_allclose(second.arrays[into], first.arrays[into][:, order], atol=1e-6)
    np.testing.assert_array_equal(second.arrays["fitted.centre"], first.arrays["fitted.centre"][order])
