"""A weighted sum of the logits of several methods. The weights depend on how well they predict left-out groups."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.special import log_softmax

from heldout._core.arrays import loaded, take
from heldout._core.method import Fitted, with_prefix, without_prefix
from heldout.tasks.genotype.baselines import groups_of_train
from heldout.tasks.genotype.config import StackedGroupsConfig
from heldout.tasks.genotype.features import OF_GENES
from heldout.tasks.genotype.penalty import balanced_weights, inner_folds
from heldout.tasks.genotype.rows import predict_groups
from heldout.tasks.genotype.temperature import temperature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heldout._core.method import Registry
    from heldout._core.types import Matrix
    from heldout.tasks.genotype.interface import Data

logger = logging.getLogger("heldout")

_METHOD = "stacked"
_LEAST = 2
"""Groups of each class that an inner fold must leave to the members, which choose their penalties with them."""


class StackedMethods:
    """Stack methods: a weighted sum of calibrated logits, with non-negative weights that sum to one.

    Each member predicts groups of train that it was not fitted on (inner folds over groups). A temperature calibrates
    these logits, and the weights minimise the log-loss of their sum. A penalty shrinks the weights towards equal
    weights, and counts more with fewer groups. The sum has a temperature, too. With fewer than three train groups in a
    class nothing can be left out: weights are then equal, and temperatures are 1.
    """

    features: ClassVar[Any] = "genes_and_types"
    by_group: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    default_config: ClassVar[Any] = StackedGroupsConfig()

    def __init__(self) -> None:
        self.registry: Registry | None = None

    def fit(self, data: Data, config: StackedGroupsConfig, *, seed: int) -> Fitted:
        """Predict left-out groups with each member, find the weights, and fit the members on all groups."""
        methods = self._members(config.members)
        (groups, labels), row_of = groups_of_train(data, _METHOD)
        folds = _folds(labels, groups)
        k = len(methods)
        weights, temperatures, final = np.full(k, 1 / k), np.ones(k), 1.0
        found: dict[str, Any] = {"names": list(methods), "left_out_losses": [], "left_out_loss": None}
        if folds:
            rows = np.sort(np.concatenate(folds))
            logits = _left_out(data, methods, row_of, folds, len(labels), seed)[:, rows]
            of_row, balance = labels[rows], balanced_weights(labels[rows], groups[rows])
            temperatures = np.array([temperature(each, of_row, balance) for each in logits])
            calibrated = logits / temperatures[:, None, None]
            weights = stacking_weights(calibrated, of_row, balance, strength=config.strength)
            summed = np.tensordot(weights, calibrated, axes=1)
            final = temperature(summed, of_row, balance)
            found["left_out_losses"] = [_loss(each, of_row, balance) for each in calibrated]
            found["left_out_loss"] = _loss(summed / final, of_row, balance)
        else:
            logger.info("stacked: too few train groups of a class to leave one out, so all members have equal weight")
        arrays: dict[str, np.ndarray] = {"weights": weights, "temperatures": temperatures * final}
        found["members"] = {}
        for name, method in methods.items():
            fitted = method.fit(data, method.default_config, seed=seed)
            arrays |= with_prefix(fitted.arrays, f"{name}.")
            found["members"][name] = fitted.info
        return Fitted(arrays, found)

    def predict(self, fitted: Fitted, X: Matrix, cell_types: np.ndarray | None = None) -> np.ndarray:
        """Log-probabilities of the group that the rows form, repeated for each row."""
        group, total = np.zeros(X.shape[0], dtype=np.int64), 0.0
        methods = self._members(fitted.info["names"])
        weights = fitted.arrays["weights"] / fitted.arrays["temperatures"]
        for weight, (name, method) in zip(weights, methods.items(), strict=True):
            member = Fitted(without_prefix(fitted.arrays, f"{name}."), fitted.info["members"][name])
            total = total + weight * predict_groups(method, member, X, group, cell_types).astype(np.float64)
        return np.repeat(log_softmax(total, axis=1).astype(np.float32), X.shape[0], axis=0)

    def _members(self, names: Sequence[str]) -> dict[str, Any]:
        assert self.registry is not None
        wrong = [name for name in names if name == _METHOD or self.registry[name].load().features not in OF_GENES]
        if wrong:
            msg = (
                f"StackedGroupsConfig: members has {wrong[0]!r}, which cannot be a member. Members must read genes, "
                "such as 'pseudobulk_shrunken' or 'mean_embedding'."
            )
            raise ValueError(msg)
        return {name: self.registry.implementation(name) for name in dict.fromkeys(names)}


def stacking_weights(logits: np.ndarray, labels: np.ndarray, balance: np.ndarray, *, strength: float) -> np.ndarray:
    """Weights of k methods, non-negative with the sum 1, that minimise the log-loss of the weighted sum of logits.

    The penalty is strength · k · ‖w − 1/k‖² / n. It is 0 for equal weights, and strength · (k − 1) / n for one method
    alone.

    Parameters
    ----------
    logits
        Logits or log-probabilities of left-out groups by each method, (k × n × n_classes).
    labels, balance
        Class and weight of each group, (n,).
    strength
        Strength of the penalty.
    """
    from scipy.optimize import minimize

    k, n = logits.shape[:2]
    equal = np.full(k, 1 / k)
    of_true = logits[:, np.arange(n), labels]

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        log_p = log_softmax(np.tensordot(w, logits, axes=1), axis=1)
        slopes = np.einsum("nc,mnc->mn", np.exp(log_p), logits) - of_true
        value = -float(balance @ log_p[np.arange(n), labels]) + strength * k * float(((w - equal) ** 2).sum())
        return value / n, (slopes @ balance + 2 * strength * k * (w - equal)) / n

    limits = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(k)}
    found = minimize(
        loss, equal, jac=True, bounds=[(0, 1)] * k, constraints=limits, method="SLSQP", options={"ftol": 1e-10}
    )
    weights = np.clip(found.x, 0, None)
    return np.asarray(weights / weights.sum())


def _folds(labels: np.ndarray, groups: np.ndarray) -> list[np.ndarray]:
    """Inner folds that leave two groups of each class to the members."""
    folds = inner_folds(labels, groups, method=_METHOD)
    kept = []
    for rows in folds:
        rest = np.setdiff1d(np.arange(len(labels)), rows)
        if np.bincount(labels[rest], minlength=int(labels.max()) + 1).min() >= _LEAST:
            kept.append(rows)
    return kept


def _left_out(
    data: Data, methods: dict[str, Any], row_of: np.ndarray, folds: list[np.ndarray], n_rows: int, seed: int
) -> np.ndarray:
    """Log-probabilities of each row by each member, fitted without the fold of the row, (k × R × n_classes)."""
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


def _loss(logits: np.ndarray, labels: np.ndarray, balance: np.ndarray) -> float:
    return -float(balance @ log_softmax(logits, axis=1)[np.arange(len(labels)), labels]) / len(labels)
