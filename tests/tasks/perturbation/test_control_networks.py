"""Networks that turn control cells into perturbed cells: what they recover, and their losses by hand."""

from dataclasses import replace

import anndata as ad
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import heldout as ho
from heldout._core.fits import read_fit
from heldout._core.method import Fitted
from heldout.metrics import energy_distance
from heldout.tasks.perturbation import METHODS
from heldout.tasks.perturbation.networks._condition import Conditions
from heldout.tasks.perturbation.networks._network import Blueprint
from heldout.tasks.perturbation.networks.graph._graph import graph_of, joined_to
from heldout.tasks.perturbation.networks.set_transport._batches import SetBlocks
from heldout.tasks.perturbation.networks.set_transport._module import BANDWIDTHS, energy, mmd
from heldout.tasks.perturbation.pairs import Pairs
from heldout.tasks.perturbation.predictions import Controls
from heldout.tasks.perturbation.task import predict
from tests.helpers.perturbations import CONFIGS, combinations, contexts, simulated, task_of

SMALL = {"batch_size": 128, "lr": 1e-2}
LATENT = {**SMALL, "n_hidden": 64, "n_latent": 16, "dropout": 0.0, "n_updates": 250}
TRAINED = {
    "latent_additive_network": ho.model.LatentAdditiveNetworkConfig(**LATENT),
    "graph": ho.model.GraphConfig(**LATENT),
    "compositional": ho.model.CompositionalConfig(**LATENT),
    "set_transport": ho.model.SetTransportConfig(**SMALL, n_updates=150, n_hidden=32, set_size=16, n_layers=1),
}


@pytest.fixture(scope="module")
def screen():
    """Half of the pairs are in test; all their members are in train."""
    return combinations(n_doubles=20, n_cells=25, effect_strength=4)


def true_changes(adata, pairs):
    truth = adata.uns["truth"]
    row = {name: i for i, name in enumerate(truth["perturbations"])}
    profiles = truth["profiles"][0]
    return np.stack([profiles[row["+".join(targets)]] - profiles[row["control"]] for targets in pairs.targets])


def errors(adata, task, fit):
    """Mean distance of the predicted to the true changes of the test perturbations."""
    pairs = task.observed("test").pairs
    found = predict(fit, pairs, task.controls(fit.arrays["control"]))
    return np.linalg.norm(found.change - true_changes(adata, pairs), axis=1).mean(), found


@pytest.mark.parametrize("method", TRAINED)
def test_pairs_with_seen_members_are_nearer_to_the_truth_than_simple_means(screen, method):
    task = task_of(screen)
    simple = [errors(screen, task, task.fit(name))[0] for name in ("no_change", "mean")]
    error, found = errors(screen, task, task.fit(method, TRAINED[method]))
    assert error < 0.95 * min(simple)
    assert not found.fallback.any()


def test_a_graph_of_genes_predicts_unseen_genes_only_if_it_says_something():
    adata = simulated(n_singles=30, n_doubles=0, n_cells=20, effect_strength=4, embedding_share=0.9, rng=3)
    vectors = pd.DataFrame(adata.varm["true_embedding"], index=adata.var_names)
    ho.pp.embedding(adata, vectors, key_added="modules")
    ho.pp.split_perturbations(adata, "perturbation", hold_out="single", val=0, test=0.3)
    task = task_of(adata)
    config = ho.model.GraphConfig(**LATENT, n_neighbors=4, perturbation_embedding="modules")
    error, found = errors(adata, task, task.fit("graph", config))
    shuffled, _ = errors(adata, task, task.fit("graph", config, replacement="shuffled"))
    mean, _ = errors(adata, task, task.fit("mean"))
    assert error < 0.95 * min(mean, shuffled)
    assert not found.fallback.any()


def test_targets_outside_the_graph_have_the_mean_vector_and_are_flagged(screen):
    fit = task_of(screen).fit("graph", CONFIGS["graph"])
    pairs = Pairs([("nowhere",), ("elsewhere",)], np.zeros(2, dtype=int))
    found = predict(fit, pairs)
    assert found.fallback.all()
    np.testing.assert_allclose(found.change[0], found.change[1], atol=0.3)
    method, fitted = METHODS["graph"].load()(), Fitted.of(fit)
    module, conditions = method.module(fitted), method.conditions(fitted)
    vector = module.encoder.perturbation(conditions.encode(pairs)[0])[0]
    learned = module.encoder.targets.weight[: fitted.info["n_learned"]]
    torch.testing.assert_close(vector, learned.mean(dim=0))


def test_the_graph_joins_each_node_to_the_most_similar_train_targets():
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(7, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    found = joined_to(unit, 4, 2)
    for i in range(7):
        cosine = {j: unit[i] @ unit[j] for j in range(4) if j != i}
        best = sorted(cosine, key=cosine.get)[-2:]
        expected = [max(cosine[j], 0) if j in best else 0 for j in range(4)]
        np.testing.assert_allclose(found[i], expected, atol=1e-12)


def test_without_vectors_the_graph_is_the_co_expression_of_train_cells(screen):
    task = task_of(screen)
    data = task.data(task.observed("train"))
    targets = Conditions.of(data).targets
    nodes, weights = graph_of(data, targets, 3, 1)
    train = (screen.obs["split"] == "train").to_numpy()
    correlation = pd.DataFrame(np.corrcoef(screen.X[train].toarray().T), screen.var_names, screen.var_names)
    assert nodes[: len(targets)] == list(targets)
    assert set(nodes) == set(screen.var_names)
    for node in (nodes[0], nodes[-1]):
        best = correlation.loc[node, [t for t in targets if t != node]].nlargest(3).clip(lower=0)
        expected = (best / best.sum()).reindex(targets).fillna(0)
        np.testing.assert_allclose(weights[nodes.index(node)], expected, atol=1e-5)
    _, two = graph_of(data, targets, 3, 2)
    np.testing.assert_array_equal(np.diag(two), 0)
    np.testing.assert_allclose(two.sum(axis=1), 1, rtol=1e-5)


def test_a_graph_that_joins_no_targets_says_that_it_has_no_effect(screen, caplog):
    adata = screen.copy()
    adata.var_names = [f"other{i}" for i in range(adata.n_vars)]
    task_of(adata).fit("graph", CONFIGS["graph"])
    assert "joins no two of the 12 train targets" in caplog.text


def test_sets_learn_that_only_some_cells_respond():
    """Half of the cells of A respond: a moved mean has one mode, and the moved set has two."""
    rng = np.random.default_rng(0)
    control, perturbed = rng.normal(5, 0.5, (400, 8)), rng.normal(5, 0.5, (400, 8))
    perturbed[:200, :4] += 4
    obs = pd.DataFrame({"guide": ["control"] * 400 + ["A"] * 400}, index=[f"c{i}" for i in range(800)])
    adata = ad.AnnData(np.concatenate([control, perturbed]).astype(np.float32).clip(0), obs=obs)
    adata.obs["side"] = np.where(np.arange(800) % 4, "train", "test")
    ho.pp.split_assigned(adata, "side", train=["train"], test=["test"])
    task = task_of(adata, perturbation_key="guide")
    config = ho.model.SetTransportConfig(batch_size=128, lr=5e-3, n_hidden=32, n_updates=400, n_layers=1)
    fit = task.fit("set_transport", config)
    found = predict(fit, Pairs([("A",)], np.zeros(1, dtype=int)), task.controls(fit.arrays["control"]))
    generator = np.random.default_rng(1)
    cells = found.cells(0, 200, generator)
    moved = task.controls(fit.arrays["control"]).draw(0, 200, generator) + found.change[0]
    truth = adata[(adata.obs["guide"] == "A") & (adata.obs["side"] == "test")].X
    assert energy_distance(truth, cells) < 0.4 * energy_distance(truth, moved)
    assert np.ptp(np.percentile(cells[:, 0], [10, 90])) > 3


def test_the_adversary_removes_the_perturbation_from_the_latent_coordinates(screen):
    task = task_of(screen)
    data = task.data(task.observed("train"))
    cells = data.cells()
    x = torch.from_numpy(cells.measured.dense(cells.train).astype(np.float32))
    labels = cells.perturbation[cells.train]
    half = np.arange(len(labels)) % 2 == 0
    scores = {}
    for adversary in (0.0, 1.0):
        config = replace(TRAINED["compositional"], adversary=adversary)
        method = METHODS["compositional"].load()()
        module = method.module(method.fit(data, config, seed=0))
        latent = module.encode(module.standardised(x)).detach().numpy()
        latent = (latent - latent.mean(axis=0)) / latent.std(axis=0)
        probe = LogisticRegression(max_iter=200).fit(latent[half], labels[half])
        scores[adversary] = probe.score(latent[~half], labels[~half])
    assert scores[1.0] < 0.7 * scores[0.0]


def test_losses_are_the_formulas_written_out(screen):
    task = task_of(screen)
    data = task.data(task.observed("train"))
    cells = data.cells()
    rng = np.random.default_rng(0)
    for name, power in (("latent_additive_network", 2), ("graph", 4)):
        method = METHODS[name].load()()
        config = CONFIGS[name] if power == 2 else ho.model.GraphConfig(loss="autofocus", n_hidden=8, n_latent=4)
        arrays, info = method.prepare(data, config, seed=0, start=None)
        conditions = method.conditions_of(data, info, None)
        blueprint = Blueprint(config, conditions, arrays, info)
        module = method.build(blueprint).eval()
        with torch.no_grad():
            module.encoder.targets.weight[:-1] = torch.from_numpy(
                rng.normal(size=(len(conditions.targets), config.n_latent)).astype(np.float32)
            )
        rows = cells.train[cells.perturbation[cells.train] >= 0][:6]
        batch = next(iter(method.blocks(cells, blueprint, rows, batch_size=6, seed=None)))[0]
        found = module(batch)[2].loss.item()
        total = 0.0
        for x, control, row in zip(batch["X"], batch["controls"], rows.tolist(), strict=True):
            vector = module.encoder.contexts.weight[0]
            for target in cells.targets[cells.perturbation[row]]:
                vector = vector + module.encoder.targets.weight[conditions.targets.index(target)]
            latent = module.encode(((control - module.centre) / module.scale)[None])
            decoded = module.decode(latent + vector)[0] * module.scale + module.centre
            total += ((decoded - x) / module.scale).abs().pow(power).mean().item()
        assert found == pytest.approx(total / 6, rel=1e-5)


def test_distances_of_sets_are_those_of_loops():
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(2, 5, 3)) for _ in range(2))
    y += 1
    predicted, truth = torch.from_numpy(x), torch.from_numpy(y)

    def distance(a, b):
        return np.linalg.norm(a - b)

    off = [(i, j) for i in range(5) for j in range(5) if i != j]
    every = [(i, j) for i in range(5) for j in range(5)]
    expected = [
        2 * np.mean([distance(p[i], t[j]) for i, j in every]) - np.mean([distance(p[i], p[j]) for i, j in off])
        for p, t in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(energy(predicted, truth), np.array(expected) / 3**0.5, rtol=1e-5)
    unit = np.mean([distance(t[i], t[j]) ** 2 for t in y for i, j in off])

    def kernel(a, b):
        return np.mean([np.exp(-(distance(a, b) ** 2) / (width * unit)) for width in BANDWIDTHS])

    expected = [
        np.mean([kernel(p[i], p[j]) for i, j in off]) - 2 * np.mean([kernel(p[i], t[j]) for i, j in every])
        for p, t in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(mmd(predicted, truth), expected, rtol=1e-6)
    equal = torch.ones((2, 5, 3), dtype=torch.float64)
    assert torch.isfinite(mmd(predicted.requires_grad_(), equal)).all()


def test_a_set_has_cells_of_one_perturbation_and_controls_of_its_context():
    adata = contexts()
    task = task_of(adata)
    data = task.data(task.observed("train"))
    cells, conditions = data.cells(), Conditions.of(data)
    dense = adata.X.toarray()
    where = {row.tobytes(): i for i, row in enumerate(dense)}
    make = lambda seed: SetBlocks(cells, cells.train, conditions, 40, 10, 1000, seed=seed)  # noqa: E731
    blocks, seen = make(0), []
    for (batch,) in blocks:
        assert len(batch["X"]) <= 40
        for x, control, context in zip(
            batch["X"].split(10), batch["controls"].split(10), batch["context"].split(10), strict=True
        ):
            rows = [where[row.numpy().tobytes()] for row in x]
            starts = [where[row.numpy().tobytes()] for row in control]
            assert len(set(zip(cells.perturbation[rows], cells.context[rows], strict=True))) == 1
            assert set(starts) <= set(cells.controls(int(context[0])))
            assert set(cells.context[rows]) == set(context.tolist())
            seen += rows
    assert set(seen) == set(cells.train)
    assert len(list(make(0))) == len(blocks)
    for (one,), (two,) in zip(make(1), make(1), strict=True):
        assert torch.equal(one["X"], two["X"])
        assert torch.equal(one["controls"], two["controls"])


@pytest.mark.parametrize("method", TRAINED)
def test_cells_start_from_the_controls_at_hand_or_from_kept_ones(screen, method):
    task = task_of(screen)
    fit = task.fit(method, CONFIGS[method])
    assert task.fit(method, CONFIGS[method]).hash == fit.hash
    pairs = task.observed("test").pairs
    kept = predict(fit, pairs, Controls.without_cells(fit.arrays["control"])).change
    at_hand = predict(fit, pairs, task.controls(fit.arrays["control"])).change
    np.testing.assert_allclose(kept, at_hand, atol=0.2)  # other draws of the same controls
    found = predict(fit, pairs, task.controls(fit.arrays["control"]))
    n = len(task.data(task.observed("train")).cells().controls(0))
    assert found.distinct_cells(0, 10_000, np.random.default_rng(0)).shape == (n, 80)


@pytest.mark.parametrize("method", TRAINED)
def test_a_dask_array_is_fitted_with_the_same_coordinates(screen, method):
    lazy = screen.copy()
    lazy.X = da.from_array(screen.X.toarray(), chunks=(200, -1))
    fit, found = (task_of(adata).fit(method, CONFIGS[method]) for adata in (screen, lazy))
    assert fit.arrays.keys() == found.arrays.keys()
    for name, array in found.arrays.items():
        if "net." in name:  # trained on other batches
            assert np.isfinite(array).all(), name
        else:
            np.testing.assert_allclose(array, fit.arrays[name], atol=1e-5, err_msg=name)
    task = task_of(lazy)
    prediction = predict(found, task.observed("test").pairs, task.controls(found.arrays["control"]))
    assert np.isfinite(prediction.change).all()


@pytest.mark.parametrize("method", TRAINED)
def test_a_network_continues_from_a_fit_of_another_screen(screen, method):
    """Without steps of a size, the predictions are those of the start, with genes and targets by name."""
    parent = screen.copy()
    ho.tl.perturbation(parent, method=method, config=CONFIGS[method], key_added="base")
    other = simulated(n_doubles=0, n_cells=10)[:, ::-1].copy()
    ho.pp.split_assigned(other, "perturbation", train=list(other.obs["perturbation"].cat.categories))
    still = replace(CONFIGS[method], lr=1e-12, n_updates=1, max_epochs=1)
    ho.tl.perturbation(other, "perturbation", method=method, config=still, start="base", reference=parent)
    task, fit = task_of(other, perturbation_key="perturbation"), read_fit(parent, "base")
    task = replace(task, columns=fit.columns(other.var_names, key="base"))
    train = task.observed("train")
    controls, pairs = task.controls(train.control), train.pairs
    expected = predict(fit, pairs, controls).change
    found = ho.tl.predict_profiles(other, perturbations=["+".join(targets) for targets in pairs.targets])
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(found[:, screen.var_names].layers["change"], expected, atol=1e-3)
