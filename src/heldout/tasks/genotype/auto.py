"""The method that predicts left-out groups of train best, the simplest one within one standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from heldout._core.method import Fitted
from heldout.tasks.genotype.config import AutoGroupsConfig
from heldout.tasks.genotype.features import OF_GENES
from heldout.tasks.genotype.group_rows import rows_of_train
from heldout.tasks.genotype.left_out import folds_of, left_out, log_losses
from heldout.tasks.genotype.rows import predict_groups

if TYPE_CHECKING:
    from heldout._core.fits import Fit
    from heldout._core.method import Registry
    from heldout._core.types import Matrix
    from heldout.tasks.genotype.interface import Data

_METHOD = "auto"


class Auto:
    """Choose a method by inner folds over the groups of train, and fit it on all of train.

    Each candidate predicts groups that it was not fitted on. The best candidate has the lowest log-loss of groups, and
    the first candidate that is worse by at most one standard error of the difference is chosen, so candidates are
    listed from the simplest. With fewer than three train groups in a class nothing can be left out, and the first
    candidate is taken.
    """

    features: ClassVar[Any] = "genes_and_types"
    by_group: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    default_config: ClassVar[Any] = AutoGroupsConfig()

    def __init__(self) -> None:
        self.registry: Registry | None = None

    def fit(self, data: Data, config: AutoGroupsConfig, *, seed: int) -> Fitted:
        """Predict left-out groups with each candidate, choose one, and fit it on all groups."""
        methods = {name: self._candidate(name) for name in dict.fromkeys(config.candidates)}
        rows, row_of = rows_of_train(data, _METHOD)
        folds, names = folds_of(rows) if len(methods) > 1 else [], list(methods)
        chosen, losses, errors, n = 0, [], [], 0
        if folds:
            held_out = np.sort(np.concatenate(folds))
            logits = left_out(data, methods, row_of, folds, len(rows.labels), seed)[:, held_out]
            left = rows.taken(held_out)
            table = np.stack([log_losses(each, left.labels) * left.weights for each in logits])
            n, best = len(held_out), int(table.mean(axis=1).argmin())
            worse = table - table[best]
            error = worse.std(axis=1, ddof=1) / np.sqrt(n)
            chosen = int(np.argmax(worse.mean(axis=1) <= error))
            losses, errors = table.mean(axis=1).tolist(), error.tolist()
        name = names[chosen]
        fitted = methods[name].fit(data, methods[name].default_config, seed=seed)
        how = f"chosen by leaving out {n} groups of train" if folds else "the first candidate, as train has few groups"
        found = {"chosen": name, "how": how, "candidates": names, "losses": losses, "errors": errors}
        return Fitted(fitted.arrays, {**found, "of_chosen": fitted.info}, fitted.history)

    def predict(self, fitted: Fitted, X: Matrix, cell_types: np.ndarray | None = None) -> np.ndarray:
        """Log-probabilities of the group that the rows form, repeated for each row."""
        method = self._candidate(fitted.info["chosen"])
        member = Fitted(fitted.arrays, fitted.info["of_chosen"])
        found = predict_groups(method, member, X, np.zeros(X.shape[0], dtype=np.int64), cell_types)
        return np.repeat(np.asarray(found, dtype=np.float32), X.shape[0], axis=0)

    def _candidate(self, name: str) -> Any:
        assert self.registry is not None
        if name == _METHOD or self.registry[name].load().features not in OF_GENES:
            msg = (
                f"AutoGroupsConfig: candidates has {name!r}, which cannot be a candidate. Candidates must read genes, "
                "such as 'pseudobulk_shrunken' or 'logistic'."
            )
            raise ValueError(msg)
        return self.registry.implementation(name)


def choice_in_words(fit: Fit) -> str:
    """What ``auto`` chose, as a sentence after a space. Empty for other methods."""
    found = fit.info["fitted"]
    if "chosen" not in found:
        return ""
    losses = [f"{name} {loss:.3f}" for name, loss in zip(found["candidates"], found["losses"], strict=False)]
    tail = f"; log-loss: {', '.join(losses)}" if losses else ""
    return f" auto chose {found['chosen']} ({found['how']}{tail})."
