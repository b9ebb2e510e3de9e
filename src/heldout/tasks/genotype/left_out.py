"""Fits of the members of a combination, and predictions of train groups by members that were fitted without them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import log_softmax

from heldout._core.arrays import loaded, take
from heldout.tasks.genotype.baselines import CellLogistic
from heldout.tasks.genotype.rows import predict_groups
from heldout.tasks.genotype.train_axes import sampled

if TYPE_CHECKING:
    from heldout._core.method import Fitted
    from heldout.tasks.genotype.interface import Data

MOST_CELLS = 20_000
"""Number of cells on which logistic regression is fitted as a member, and of left-out cells that are predicted."""

_MOST_INNER = 5_000
"""Number of cells on which logistic regression is fitted without the left-out groups."""


def fit_member(method: Any, data: Data, *, seed: int, most: int = MOST_CELLS) -> Fitted:
    """Fit a member with its default options.

    Logistic regression on cells loads its cells and needs many passes, so it gets at most ``most`` cells. ``C`` grows
    by the same factor, so that the penalty stays the same in relation to all cells.
    """
    config = method.default_config
    if isinstance(method, CellLogistic) and len(data.train) > most:
        kept = sampled(data, data.train, seed, most=most)
        config = replace(config, C=config.C * len(data.train) / len(kept))
        data = replace(data, train=kept)
    return method.fit(data, config, seed=seed)


def left_out(
    data: Data, methods: dict[str, Any], row_of: np.ndarray, folds: list[np.ndarray], n_rows: int, seed: int
) -> np.ndarray:
    """Log-probabilities of each row by each method, fitted without the fold of the row, (k × R × n_classes)."""
    found = np.full((len(methods), n_rows, data.n_classes), np.nan)
    row_of_cell = np.full(data.X.shape[0], -1)
    row_of_cell[data.train] = row_of
    for fold in folds:
        inside = np.isin(row_of, fold)
        inner = replace(data, train=data.train[~inside], val=data.val[:0])
        cells = sampled(data, data.train[inside], seed, most=MOST_CELLS)
        X = loaded(take(data.X, cells, None))
        number = np.searchsorted(fold, row_of_cell[cells])
        types = None if data.cell_types is None else data.cell_types[cells]
        for m, method in enumerate(methods.values()):
            fitted = fit_member(method, inner, seed=seed, most=_MOST_INNER)
            found[m, fold] = predict_groups(method, fitted, X, number, types)
    return found


def log_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Log-loss of each row, (n,), from logits or log-probabilities, (n × n_classes)."""
    return np.asarray(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels])
