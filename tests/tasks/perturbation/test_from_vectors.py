"""Unseen targets from vectors: neighbours and lasso against references, and nothing from shuffled vectors."""

import numpy as np
import pandas as pd
import pytest

import heldout as ho
from heldout._core.fits import read_fit
from heldout.tasks.perturbation.methods.vector_knn import _chosen, cosines, neighbour_mean
from heldout.tasks.perturbation.methods.vector_lasso import _best_penalty, largest_penalty, lasso
from tests.helpers.perturbations import simulated

METHODS = {"vector_knn": ho.model.VectorKnnConfig, "vector_lasso": ho.model.VectorLassoConfig}


@pytest.fixture(scope="module")
def screen():
    """Fifty singles with their true vectors; 30 % of them held out."""
    adata = simulated(n_singles=50, n_doubles=0, n_genes=150, n_cells=30, embedding_share=0.9, rng=1)
    ho.pp.split_perturbations(adata, "perturbation", val=0, test=0.3)
    vectors = pd.DataFrame(adata.varm["true_embedding"], index=adata.var_names)
    ho.pp.embedding(adata, vectors, key_added="truth")
    shuffled = vectors.iloc[np.random.default_rng(0).permutation(len(vectors))].set_index(vectors.index)
    ho.pp.embedding(adata, shuffled, key_added="shuffled")
    return adata


def fitted(adata, method, vectors, **options):
    config = METHODS[method](perturbation_embedding=vectors, **options)
    ho.tl.perturbation(adata, method=method, config=config, key_added="fit")
    return read_fit(adata, "fit").info["fitted"]


def test_neighbours_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    P, others, effects = rng.normal(size=(4, 3)), rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    found = neighbour_mean(cosines(P, others), effects, 3)
    for i in range(4):
        cosine = np.array([P[i] @ v / np.linalg.norm(P[i]) / np.linalg.norm(v) for v in others])
        best = np.argsort(-cosine)[:3]
        weights = np.maximum(cosine[best], 0)
        np.testing.assert_allclose(found[i], weights @ effects[best] / weights.sum())
    assert (neighbour_mean(np.full((1, 9), -0.5), effects, 3) == 0).all()


def test_the_lasso_solves_its_problem():
    """The subgradient of the objective is 0: used dimensions balance the penalty, and others are below it."""
    rng = np.random.default_rng(0)
    X, truth = rng.normal(size=(60, 12)), np.zeros((12, 4))
    truth[:3] = rng.normal(size=(3, 4))
    Y = X @ truth + 0.1 * rng.normal(size=(60, 4))
    top = largest_penalty(X, Y)
    assert not lasso(X, Y, 1.001 * top).any()
    B = lasso(X, Y, 0.1 * top)
    assert (np.abs(B[:3]).sum(axis=1) > 0).all()
    assert not B[3:].any()
    gradient = X.T @ (Y - X @ B) / 60
    for j in range(12):
        if B[j].any():
            np.testing.assert_allclose(gradient[j], 0.1 * top * B[j] / np.linalg.norm(B[j]), atol=1e-2 * top)
        else:
            assert np.linalg.norm(gradient[j]) <= 0.1 * top


@pytest.mark.parametrize("method", METHODS)
def test_true_vectors_predict_unseen_targets(screen, method):
    info = fitted(screen, method, "truth")
    assert info["shrinkage"] > 0.3 if method == "vector_knn" else info["n_dimensions_used"] > 0
    table = ho.tl.evaluate(screen, "fit", baselines=["mean"], n_bootstrap=200)
    for metric in ("l2", "pearson_delta", "discrimination"):
        row = table[(table["role"] == "model") & (table["metric"] == metric)].iloc[0]
        assert row["verdict"] == "better", metric
        assert "better than shuffled embedding" in row["note"]
    assert (table[table["method"] == method]["n_fallback"] == 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_shuffled_vectors_are_not_used(screen, method):
    info = fitted(screen, method, "shuffled")
    assert info["shrinkage"] == 0 if method == "vector_knn" else info["n_dimensions_used"] == 0
    ho.tl.perturbation(screen, method="latent_additive", key_added="template")
    found, template = (ho.tl.predict_profiles(screen, key) for key in ("fit", "template"))
    np.testing.assert_allclose(found.X, template.X, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_target_without_a_vector_has_the_template(screen, method):
    fitted(screen, method, "truth")
    found = ho.tl.predict_profiles(screen, "fit", perturbations=["nobody", "nobody else"])
    assert found.obs["fallback"].all()
    np.testing.assert_array_equal(found.X[0], found.X[1])


def test_options_are_kept_and_checked(screen):
    assert fitted(screen, "vector_knn", "truth", n_neighbors=4)["n_neighbors"] == 4
    assert fitted(screen, "vector_lasso", "truth", penalty=1e9)["n_dimensions_used"] == 0
    with pytest.raises(ValueError, match="n_neighbors=0 must be an integer >= 1"):
        ho.model.VectorKnnConfig(n_neighbors=0)
    targets = screen.obs["perturbation"].cat.categories
    nothing = pd.DataFrame(np.eye(2), index=[gene for gene in screen.var_names if gene not in set(targets)][:2])
    ho.pp.embedding(screen, nothing, key_added="other")
    with pytest.raises(ValueError, match="method='vector_lasso' needs a vector"):
        fitted(screen, "vector_lasso", "other")


def test_few_targets_with_many_dimensions_are_not_fitted():
    """A fold must not be predicted from a template that contains it: random vectors of six targets help nobody."""
    rng = np.random.default_rng(0)
    used = [
        np.isfinite(_best_penalty(rng.normal(size=(6, 64)), centred(rng.normal(size=(6, 20))), rng)) for _ in range(20)
    ]
    assert np.mean(used) <= 0.15
    shrinkages = [_chosen(rng.normal(size=(6, 64)), centred(rng.normal(size=(6, 20))), None)[1] for _ in range(20)]
    assert np.mean(np.array(shrinkages) > 0) <= 0.15


def centred(values):
    """Effects without their mean, the template."""
    return values - values.mean(axis=0)
