"""Predictions of train groups by methods that were fitted without them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import log_softmax

from heldout._core.arrays import loaded, take
from heldout.tasks.genotype.rows import predict_groups

if TYPE_CHECKING:
    from heldout.tasks.genotype.interface import Data


def left_out(
    data: Data, methods: dict[str, Any], row_of: np.ndarray, folds: list[np.ndarray], n_rows: int, seed: int
) -> np.ndarray:
    """Log-probabilities of each row by each method, fitted without the fold of the row, (k × R × n_classes)."""
    found = np.full((len(methods), n_rows, data.n_classes), np.nan)
    for fold in folds:
        inside = np.isin(row_of, fold)
        inner = replace(data, train=data.train[~inside], val=data.val[:0])
        cells = data.train[inside]
        X = loaded(take(data.X, cells, None))
        number = np.searchsorted(fold, row_of[inside])
        types = None if data.cell_types is None else data.cell_types[cells]
        for m, method in enumerate(methods.values()):
            fitted = method.fit(inner, method.default_config, seed=seed)
            found[m, fold] = predict_groups(method, fitted, X, number, types)
    return found


def log_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Log-loss of each row, (n,), from logits or log-probabilities, (n × n_classes)."""
    return np.asarray(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels])
