"""A weighted average of several methods, with weights from groups of train that are left out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.special import log_softmax, logsumexp

from heldout._core.method import Fitted, with_prefix, without_prefix
from heldout.tasks.genotype.features import OF_GENES
from heldout.tasks.genotype.group_rows import rows_of_train
from heldout.tasks.genotype.left_out import fit_member, left_out, log_losses
from heldout.tasks.genotype.penalty import inner_folds
from heldout.tasks.genotype.rows import predict_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heldout._core.method import Registry
    from heldout._core.types import Matrix
    from heldout.tasks.genotype.interface import Data

logger = logging.getLogger("heldout")


class Combined:
    """Fit methods on all groups, and average their predictions. Subclasses find the weights on left-out groups.

    With one train group in a class nothing can be left out, and all weights are equal.
    """

    features: ClassVar[Any] = "genes_and_types"
    by_group: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    default_config: ClassVar[Any]
    name: ClassVar[str]
    argument: ClassVar[str]
    """Option with the names of the methods."""
    of_probabilities: ClassVar[bool]
    """Whether probabilities are averaged, or logits."""

    def __init__(self) -> None:
        self.registry: Registry | None = None

    def weights_of(self, logits: np.ndarray, labels: np.ndarray, balance: np.ndarray, config: Any) -> np.ndarray:
        """Weights of k methods, non-negative with the sum 1. Methods without weight are not fitted.

        Parameters
        ----------
        logits
            Log-probabilities of left-out groups by each method, (k × n × n_classes).
        labels, balance
            Class and weight of each group, (n,).
        config
            Options of the method.
        """
        raise NotImplementedError

    def fit(self, data: Data, config: Any, *, seed: int) -> Fitted:
        """Predict left-out groups with each method, find the weights, and fit the methods on all groups."""
        methods = self._methods(getattr(config, self.argument))
        rows, row_of = rows_of_train(data, self.name)
        folds, k = inner_folds(rows) if len(methods) > 1 else [], len(methods)
        weights, n, losses = np.full(k, 1 / k), 0, np.empty(0)
        if folds:
            held_out = np.sort(np.concatenate(folds))
            found = left_out(data, methods, row_of, folds, len(rows.labels), seed)[:, held_out]
            logits, left, n = log_softmax(found, axis=2), rows.taken(held_out), len(held_out)
            losses = np.array([left.weights @ log_losses(each, left.labels) for each in logits]) / n
            weights = self.weights_of(logits, left.labels, left.weights, config)
        else:
            logger.info("%s: too few train groups of a class to leave one out, so all weights are equal", self.name)
        arrays: dict[str, np.ndarray] = {"weights": weights}
        members = {}
        for weight, (name, method) in zip(weights, methods.items(), strict=True):
            if weight > 0:
                fitted = fit_member(method, data, seed=seed)
                arrays |= with_prefix(fitted.arrays, f"{name}.")
                members[name] = fitted.info
        info = {"combined_by": self.name, "names": list(methods), "weights": weights.tolist()}
        return Fitted(arrays, info | {"losses": losses.tolist(), "n_left_out": n, "members": members})

    def predict(self, fitted: Fitted, X: Matrix, cell_types: np.ndarray | None = None) -> np.ndarray:
        """Log-probabilities of the group that the rows form, repeated for each row."""
        group, parts = np.zeros(X.shape[0], dtype=np.int64), []
        shares = dict(zip(fitted.info["names"], fitted.arrays["weights"], strict=True))
        used = {name: share for name, share in shares.items() if share > 0}
        for name, method in self._methods(list(used)).items():
            member = Fitted(without_prefix(fitted.arrays, f"{name}."), fitted.info["members"][name])
            parts.append(log_softmax(predict_groups(method, member, X, group, cell_types).astype(np.float64), axis=1))
        weights = np.array(list(used.values()))
        if self.of_probabilities:
            found = logsumexp(np.stack(parts), axis=0, b=weights[:, None, None])
        else:
            found = log_softmax(np.tensordot(weights, np.stack(parts), axes=1), axis=1)
        return np.repeat(found.astype(np.float32), X.shape[0], axis=0)

    def _methods(self, names: Sequence[str]) -> dict[str, Any]:
        assert self.registry is not None
        for name in names:
            cls = self.registry[name].load()
            if issubclass(cls, Combined) or cls.features not in OF_GENES:
                single = self.argument.removesuffix("s")
                msg = (
                    f"{type(self.default_config).__name__}: {self.argument} has {name!r}, which cannot be a {single}. "
                    f"{self.argument.capitalize()} must read genes, such as 'pseudobulk_shrunken' or 'mean_embedding'."
                )
                raise ValueError(msg)
        return {name: self.registry.implementation(name) for name in dict.fromkeys(names)}
