"""The two verbs of a genotype method for an estimator of scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy import sparse
from scipy.special import log_expit, log_softmax

from heldout._core.arrays import loaded, row_blocks, take
from heldout._core.method import Fitted
from heldout._core.partition import digests
from heldout._core.types import is_sparse
from heldout.tasks.genotype.estimators.estimator import without_scores
from heldout.tasks.genotype.group_rows import group_means, rows_of_train
from heldout.tasks.genotype.linear import linear_log_probability
from heldout.tasks.genotype.penalty import balanced_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anndata import AnnData

    from heldout._core.types import Matrix, MatrixOrDask
    from heldout.tasks.genotype.estimators.estimator import Estimator
    from heldout.tasks.genotype.interface import Data

SMALLEST = 1e-6
"""Probabilities are at least this, so that the mean logit of the cells of a group is finite."""

_CLOSE = 1e-3
_SAME_CELL = 1e-5


class CellEstimator:
    """An estimator with one row for each train cell."""

    features: ClassVar[Any] = "genes"
    by_group: ClassVar[bool] = False
    stochastic: ClassVar[bool] = True
    default_config: ClassVar[Any] = None

    _fitted: Fitted | None = None
    live: Any = None

    def fit(self, data: Data, config: Estimator, *, seed: int) -> Fitted:
        """Fit a clone. It stays with this object, and the result describes it."""
        X, labels, groups = self._rows(data, config)
        made = config.seeded(seed)
        extra: dict[str, Any] = {}
        if config.balanced and groups is not None:
            extra[config.weight_argument()] = balanced_weights(labels, groups)
        if _splits_by_group(made):
            extra["groups"] = groups
        try:
            made.fit(X, labels, **extra)
        except Exception as problem:
            raise ValueError(_failed(config.name, "fit", problem, X)) from problem
        if not any(hasattr(made, name) for name in ("predict_proba", "decision_function")):
            raise TypeError(without_scores(made))
        self._n_classes, self._name, self.live = data.n_classes, config.name, made
        arrays = _linear(made, X, self._of(X)) or {}
        source = "predict_proba" if hasattr(made, "predict_proba") else "decision_function"
        info = {"name": config.name, "scores": source, "linear": bool(arrays), "n_rows": int(X.shape[0])}
        self._fitted = Fitted(arrays, info)
        return self._fitted

    def predict(self, fitted: Fitted, X: Matrix) -> np.ndarray:
        """Log-probabilities of the fitted clone, or of the stored coefficients of a linear one."""
        if self._fitted is fitted:
            return self._of(X)
        return limited(linear_log_probability(fitted.arrays, X))

    def _rows(self, data: Data, config: Estimator) -> tuple[Matrix, np.ndarray, np.ndarray | None]:
        """Rows of ``X``, their classes and their groups."""
        groups = None if data.groups is None else data.groups[data.train]
        if config.balanced and groups is None:
            msg = "balanced=True needs groups. Pass group_key, or use a split that was made by group."
            raise ValueError(msg)
        return loaded(take(data.X, data.train, None)), data.labels[data.train], groups

    def _of(self, X: Matrix) -> np.ndarray:
        verb = "predict_proba" if hasattr(self.live, "predict_proba") else "decision_function"
        try:
            scores = np.asarray(getattr(self.live, verb)(X), dtype=np.float64)
            classes = np.asarray(getattr(self.live, "classes_", np.arange(self._n_classes))).astype(int)
        except Exception as problem:
            raise ValueError(_failed(self._name, verb, problem, X)) from problem
        return log_probability_of(scores, classes, verb, n_classes=self._n_classes, name=self._name)


class PseudobulkEstimator(CellEstimator):
    """An estimator with one row for each train group, the mean of its cells. It predicts means of groups."""

    by_group: ClassVar[bool] = True

    def predict(self, fitted: Fitted, X: Matrix) -> np.ndarray:
        """Log-probabilities of the mean of the rows, repeated for each row."""
        mean = np.asarray(X.mean(axis=0)).reshape(1, -1)
        return np.repeat(super().predict(fitted, mean), X.shape[0], axis=0)

    def _rows(self, data: Data, config: Estimator) -> tuple[Matrix, np.ndarray, np.ndarray | None]:
        groups = rows_of_train(data, f"{config.name} with rows='groups'")[0].groups
        means, labels = group_means(data, config.name)
        return means, labels, groups


def log_probability_of(scores: np.ndarray, classes: np.ndarray, verb: str, *, n_classes: int, name: str) -> np.ndarray:
    """Log-probabilities, (n × n_classes) float32, from what an estimator returns.

    Parameters
    ----------
    scores
        Probabilities, (n × classes); or margins, (n,) for two classes.
    classes
        Class number of each column.
    verb
        ``predict_proba`` or ``decision_function``.
    n_classes
        Number of classes.
    name
        Name of the estimator, for errors.

    Raises
    ------
    ValueError
        If a column is missing, values are not finite, or probabilities do not have the sum 1.
    """
    if verb == "decision_function" and scores.ndim == 1:
        scores = np.stack([log_expit(-scores), log_expit(scores)], axis=1)
    elif verb == "decision_function" and scores.ndim == 2 and scores.shape[1] == len(classes):
        scores = log_softmax(scores, axis=1)
    elif verb == "predict_proba" and scores.ndim == 2:
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = np.log(scores)
    if scores.ndim != 2 or scores.shape[1] != n_classes or sorted(classes.tolist()) != list(range(n_classes)):
        msg = (
            f"{name}.{verb} returned the shape {scores.shape} for the classes {classes.tolist()}, but there are "
            f"{n_classes} classes. It must return one column for each class."
        )
        raise ValueError(msg)
    total = np.exp(scores).sum(axis=1)
    if not np.isfinite(total).all() or not np.allclose(total, 1, atol=_CLOSE):
        wrong = int((~np.isclose(total, 1, atol=_CLOSE)).sum())
        msg = (
            f"{name}.{verb} returned {wrong} of {len(total)} rows that are NaN or do not have the sum 1. Look for "
            "features that are constant or not finite, and try the estimator on adata.X itself."
        )
        raise ValueError(msg)
    ordered = np.empty_like(scores)
    ordered[:, classes] = scores
    return limited(ordered)


def limited(log_probability: np.ndarray) -> np.ndarray:
    """Log-probabilities of at least ``SMALLEST``, with the sum 1."""
    limited = np.maximum(log_probability.astype(np.float64), np.log(SMALLEST))
    return np.asarray(limited - np.logaddexp.reduce(limited, axis=1, keepdims=True), dtype=np.float32)


def _linear(made: Any, X: Matrix, expected: np.ndarray) -> dict[str, np.ndarray] | None:
    """Coefficients, if the log-probabilities of the estimator are those of a linear model on train."""
    if not (hasattr(made, "coef_") and hasattr(made, "intercept_")):
        return None
    coef = made.coef_.toarray() if is_sparse(made.coef_) else np.asarray(made.coef_)
    n_outputs = 1 if expected.shape[1] == 2 else expected.shape[1]
    if coef.shape != (n_outputs, X.shape[1]) or coef.dtype.kind != "f":
        return None
    intercept = np.broadcast_to(np.atleast_1d(made.intercept_).astype(np.float64), n_outputs).copy()
    arrays = {"coef": coef.astype(np.float64), "intercept": intercept}
    found = limited(linear_log_probability(arrays, X))
    return arrays if np.allclose(found, expected, rtol=_CLOSE, atol=_CLOSE) else None


def _splits_by_group(made: Any) -> bool:
    """Whether the estimator is a search whose splitter asks for groups."""
    cv: Any = getattr(made, "cv", None)
    if not hasattr(made, "refit") or not hasattr(cv, "get_metadata_routing"):
        return False
    return bool(cv.get_metadata_routing().split.requests.get("groups"))


def _failed(name: str, verb: str, problem: Exception, X: Matrix) -> str:
    how = f"a {X.format} matrix" if is_sparse(X) else "a dense array"
    hint = ""
    if is_sparse(X) and any(word in str(problem).lower() for word in ("sparse", "dense")):
        hint = (
            " Make X dense (adata.X = adata.X.toarray()), begin a Pipeline with sklearn.decomposition.TruncatedSVD, or "
            "use heldout.model.Estimator(estimator, rows='groups')."
        )
    return (
        f"{name}.{verb} failed on {how} of {X.shape[0]} × {X.shape[1]} values of {X.dtype}: {type(problem).__name__}: "
        f"{str(problem).strip()}{hint}"
    )


def _checksum(X: MatrixOrDask) -> np.ndarray:
    """A weighted sum of each row, (n,), by which changed values are noticed."""
    weights = np.random.default_rng(0).uniform(0.5, 1.5, X.shape[1])
    parts = [np.asarray(sparse.csr_array(b) @ weights if is_sparse(b) else b @ weights) for _, b in row_blocks(X)]
    return np.concatenate(parts).astype(np.float64)


def predictions_to_keep(
    names: Iterable[str], codes: np.ndarray, X: MatrixOrDask, predict: Callable[[np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """Arrays with the predictions for all cells of a task, for a fit without its estimator.

    Parameters
    ----------
    names
        Names of the cells.
    codes
        Partition of each cell, (n_obs,). Cells of a group are averaged within a partition.
    X
        Values of the genes of the fit, (n_obs × n_genes).
    predict
        Function of row numbers that gives their log-probabilities.
    """
    parts = [np.flatnonzero(codes == part) for part in np.unique(codes)]
    order = np.argsort(np.concatenate(parts), kind="stable")
    log_probability = np.concatenate([predict(rows) for rows in parts])[order]
    return {"log_probability": log_probability, "cells": digests(names), "check": _checksum(X)}


def kept_predictions(fitted: Fitted, adata: AnnData, X: MatrixOrDask, *, key: str) -> np.ndarray:
    """Stored log-probabilities of cells, (n_obs × n_classes) float32.

    Parameters
    ----------
    fitted
        Result of the fit.
    adata
        Cells that were there when the fit was made.
    X
        Values of the genes of the fit, (n_obs × n_genes).
    key
        Name of the fit, for errors.

    Raises
    ------
    ValueError
        If cells were not there, or have other values.
    """
    arrays, wanted = fitted.arrays, digests(adata.obs_names)
    order = np.argsort(arrays["cells"], kind="stable")
    at = order[np.searchsorted(arrays["cells"], wanted, sorter=order).clip(max=len(order) - 1)]
    absent = arrays["cells"][at] != wanted
    changed = ~np.isclose(_checksum(X), arrays["check"][at], rtol=_SAME_CELL, atol=_SAME_CELL)
    if not (absent | changed).any():
        return np.asarray(arrays["log_probability"][at])
    name = fitted.info["name"]
    what = f"{int(absent.sum())} of these {len(wanted)} cells are new"
    if not absent.any():
        what = f"{int(changed.sum())} of these {len(wanted)} cells have other values"
    msg = (
        f"The fit {key!r} is a {name}. It is stored as its predictions for the cells of that time, because keeping the "
        f"estimator needs a pickle, and {what}. Fit again, on an AnnData that has these cells. Or keep the fitted "
        "estimator when you fit: wrapped = heldout.model.Estimator(estimator); heldout.tl.genotype(adata, "
        "method=wrapped); wrapped.fitted_ predicts the prepared matrix of other cells."
    )
    raise ValueError(msg)
