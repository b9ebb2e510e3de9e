"""Kernel mean embeddings: the kernel they approximate, and signals that the mean profile does not show."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from heldout.model import EmbeddingConfig
from heldout.tasks.genotype.embedding import _embedded, _space
from tests.tasks.genotype.donors import auc, data_of, donors


def test_embeddings_approximate_the_mean_of_gaussian_kernels_in_components_of_train():
    data = data_of(donors("variance", 0, n_donors=8, n_cells=30))
    config = EmbeddingConfig(n_features=4000, n_comps=4, bandwidths=(0.5, 2.0))
    space = _space(data, config, 0)
    moments = _embedded(space, data.X, data.groups, 8)
    found = moments.mean @ moments.mean.T / (2 * config.n_features)
    scores = PCA(4).fit(data.X[data.train]).transform(data.X)
    train = scores[data.train]
    squared = cdist(scores, scores) ** 2
    width = np.median(cdist(train, train)[np.triu_indices(len(train), 1)])
    kernel = np.mean([np.exp(-squared / (2 * (b * width) ** 2)) for b in config.bandwidths], axis=0)
    member = (data.groups == np.arange(8)[:, None]) / np.bincount(data.groups)[:, None]
    np.testing.assert_allclose(found, member @ kernel @ member.T, atol=0.02)


def test_moments_of_random_features_are_those_of_each_group():
    data = data_of(donors("mean", 0, n_donors=6, n_cells=20))
    space = _space(data, EmbeddingConfig(n_features=5), 0)
    found = _embedded(space, data.X, np.where(data.groups == 5, -1, data.groups), 5)
    angles = (data.X - space["mean"]) @ space["components"].T @ space["frequencies"]
    features = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    for group in range(5):
        rows = features[data.groups == group]
        assert found.n[group] == len(rows)
        np.testing.assert_allclose(found.mean[group], rows.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(found.var[group], rows.var(axis=0, ddof=1), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("signal", "at_least"), [("variance", 0.9), ("composition", 0.7)])
def test_signals_are_found_that_the_mean_does_not_show(signal, at_least):
    found = [data_of(donors(signal, seed, n_donors=80)) for seed in range(3)]
    assert np.mean([auc("mean_embedding", data) for data in found]) > at_least
    assert np.mean([auc("pseudobulk_logistic", data) for data in found]) < 0.62


@pytest.mark.slow
def test_it_invents_nothing():
    assert 0.3 < np.mean([auc("mean_embedding", data_of(donors("none", seed))) for seed in range(3)]) < 0.7


def test_whitened_components_have_equal_variances():
    data = data_of(donors("mean", 0, n_donors=6, n_cells=20))
    space = _space(data, EmbeddingConfig(whiten=True, n_comps=3), 0)
    scores = (data.X[data.train] - space["mean"]) @ space["components"].T
    np.testing.assert_allclose(scores.std(axis=0), 1, rtol=1e-4)
