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


def test_it_equals_a_search_on_a_grid_with_smoothed_targets_and_weights():
    rng = np.random.default_rng(1)
    logits, labels = drawn(rng, 15)
    weights = rng.random(15)
    counts = np.bincount(labels)
    true = (counts[labels] + 1) / (counts[labels] + 2)

    def loss(T: float) -> float:
        log_p = log_softmax(logits / T, axis=1)
        of_true, of_other = log_p[np.arange(15), labels], log_p[np.arange(15), 1 - labels]
        return -float((weights * (true * of_true + (1 - true) * of_other)).sum())

    grid = np.geomspace(0.05, 100, 20001)
    assert temperature(logits, labels, weights) == pytest.approx(grid[np.argmin([loss(T) for T in grid])], rel=1e-3)


def test_few_groups_without_an_error_are_not_certain():
    labels = np.array([0, 0, 1, 1])
    logits = np.where(np.arange(2) == labels[:, None], 1.0, -1.0)
    p = np.exp(log_softmax(logits / temperature(logits, labels), axis=1))[np.arange(4), labels]
    np.testing.assert_allclose(p, 3 / 4, rtol=1e-3)


def test_logits_that_are_wrong_or_equal():
    labels = np.array([0, 0, 1, 1])
    wrong = np.where(np.arange(2) == labels[:, None], -1.0, 1.0)
    assert temperature(wrong, labels) == 100.0
    assert temperature(np.zeros((4, 2)), labels) == 1.0
