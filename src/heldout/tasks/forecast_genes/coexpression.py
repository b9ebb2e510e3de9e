"""Predict a gene from the train genes: regressions over cells of the history, applied at the target time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from heldout._core.method import Fitted
from heldout._core.options import NoConfig
from heldout.tasks.forecast_genes.regression import apply_ridge, fit_ridge

if TYPE_CHECKING:
    from heldout.tasks.forecast_genes.features import History
    from heldout.tasks.forecast_genes.interface import Data

_PENALTIES = np.logspace(0, 4.5, 19)


class Coexpression:
    """Ridge regression of each gene on the train genes, over cells. Train genes are known at the target time.

    The regressions use only cells of the history: those of all times, or those of the last time. The choice and the
    penalty are those that best predict each train gene from the other train genes. A line through these predictions
    then corrects their size and mean. This is not a forecast in the strict sense, because it uses the train genes that
    were measured in the same cells at the target time.
    """

    stochastic: ClassVar[bool] = False
    default_config: ClassVar[Any] = NoConfig()

    def fit(self, data: Data, config: NoConfig, *, seed: int) -> Fitted:
        """Solve by one singular value decomposition of cells × train genes for each choice of cells."""
        tries = [_fit(data, last_only=last_only) for last_only in (False, True)]
        errors = [float(np.mean((tried["held_out"] - data.change[data.train]) ** 2)) for tried in tries]
        best = int(np.argmin(errors))
        found = tries[best]
        info = {"cells": ["history", "last time"][best], "penalty": float(found["penalty"][0])}
        size = float(found["held_out"].std()) or 1.0
        line = fit_ridge(found["held_out"][:, None] / size, data.change[data.train])
        arrays = {"weights": found["weights"], "size": np.array([size])}
        return Fitted({**arrays, **{name: line[name] for name in ("coef", "intercept", "held_out")}}, info)

    def predict(self, fitted: Fitted, history: History) -> np.ndarray:
        """Means of the target cells by the regression of each gene, minus the last mean."""
        arrays = fitted.arrays
        carried = _carry_over(arrays["weights"], history, last_only=fitted.info["cells"] == "last time")
        return apply_ridge(arrays, carried[:, None] / arrays["size"][0])


def _carry_over(weights: np.ndarray, history: History, *, last_only: bool) -> np.ndarray:
    """Change of each gene of the history, (G,), from its covariance with the weighted train genes."""
    rows = _rows(history, last_only=last_only)
    X = _centre(history, rows, np.arange(len(history.last)))
    return _mean(history, rows) + X.T @ (X @ weights) - history.last


def _fit(data: Data, *, last_only: bool) -> dict[str, np.ndarray]:
    history, train = data.history, data.train
    rows = _rows(history, last_only=last_only)
    X = _centre(history, rows, train)
    mean, last = _mean(history, rows)[train], history.last[train]
    shift = data.target[train] - mean
    _, S, Vt = np.linalg.svd(X, full_matrices=False)
    least, best = np.inf, None
    for penalty in _PENALTIES:
        shrunk = S**2 / (S**2 + penalty)
        weights = (shift - Vt.T @ (shrunk * (Vt @ shift))) / penalty
        diagonal = (1 - (Vt**2 * shrunk[:, None]).sum(axis=0)) / penalty
        # the regression of one train gene on all others, from the inverse of their common matrix
        held_out = mean + shift - weights / np.maximum(diagonal, 1e-12) - last
        error = float(np.mean((held_out - data.change[train]) ** 2))
        if error < least:
            least, best = error, (penalty, weights, held_out)
    assert best is not None
    penalty, weights, held_out = best
    of_gene = np.zeros(len(history.last))
    of_gene[train] = weights
    return {"weights": of_gene, "penalty": np.array([penalty]), "held_out": held_out}


def _rows(history: History, *, last_only: bool) -> np.ndarray:
    return history.time_of == len(history.times) - 1 if last_only else np.ones(len(history.time_of), dtype=bool)


def _mean(history: History, rows: np.ndarray) -> np.ndarray:
    return np.asarray(history.cells[rows].mean(axis=0), dtype=np.float64).ravel()


def _centre(history: History, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return history.cells[rows][:, columns] - _mean(history, rows)[columns]
