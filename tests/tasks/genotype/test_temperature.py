"""Temperature of logits, against a search on a grid and on logits of known boldness."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from heldout.tasks.genotype.temperature import temperature


def drawn(rng: np.random.Generator, n: int, n_classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are calibrated, and labels drawn from them."""
    logits = rng.normal(scale=1.5, size=(n, n_classes))
    p = np.exp(log_softmax(logits, axis=1))
    return logits, (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_it_finds_how_bold_logits_are(factor, n_classes):
    logits, labels = drawn(np.random.default_rng(0), 20000, n_classes)
    assert temperature(factor * logits, labels) == pytest.approx(factor, rel=0.05)


def test_it_equals_a_search_on_a_grid_with_the_prior_and_weights():
    rng = np.random.default_rng(1)
    logits, labels = drawn(rng, 15)
    weights = rng.random(15)

    def loss(T: float) -> float:
        log_p = log_softmax(logits / T, axis=1)
        return float(-(weights * log_p[np.arange(15), labels]).sum() + np.log(T) ** 2 / (2 * 0.7**2))

    grid = np.geomspace(0.05, 100, 20001)
    assert temperature(logits, labels, weights) == pytest.approx(grid[np.argmin([loss(T) for T in grid])], rel=1e-3)


def test_few_groups_without_an_error_are_not_certain():
    labels = np.array([0, 0, 1, 1])
    logits = np.where(np.arange(2) == labels[:, None], 1.0, -1.0)
    few = temperature(logits, labels)
    many = temperature(np.tile(logits, (100, 1)), np.tile(labels, 100))
    assert many < few < 1.0
    assert np.exp(log_softmax(logits / few, axis=1))[np.arange(4), labels].max() < 0.96


def test_logits_that_are_wrong_or_equal():
    labels = np.tile([0, 0, 1, 1], 50)
    wrong = np.where(np.arange(2) == labels[:, None], -1.0, 1.0)
    assert 1.5 < temperature(wrong[:4], labels[:4]) < temperature(wrong, labels)
    assert temperature(np.zeros((4, 2)), labels[:4]) == 1.0
