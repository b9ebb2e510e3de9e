"""TabPFN, a network that was trained on simulated tables, on the mean profiles of groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from heldout._core.method import Fitted
from heldout.tasks.genotype.baselines import group_means
from heldout.tasks.genotype.config import TabPFNConfig
from heldout.tasks.genotype.train_axes import scores_of, train_axes

if TYPE_CHECKING:
    from heldout._core.types import Matrix
    from heldout.tasks.genotype.interface import Data

_METHOD = "tabpfn"
_MOST_ROWS, _MOST_CLASSES = 10_000, 10
"""Limits of the second version of the network."""
_LEAST_PROBABILITY = 1e-6


class TabPFN:
    """TabPFN :cite:p:`hollmann2025` on principal components of the mean profiles of groups.

    The network has been trained on simulated tables, and reads the train groups again for each prediction. So the fit
    stores the table of train groups and no weights, and ``tabpfn`` must be installed to predict, too. Another version
    of its weights gives other predictions. The version of the package is stored with the fit.
    """

    features: ClassVar[Any] = "genes"
    by_group: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    default_config: ClassVar[Any] = TabPFNConfig()

    def __init__(self) -> None:
        self._ready: tuple[Fitted, Any] | None = None

    def fit(self, data: Data, config: TabPFNConfig, *, seed: int) -> Fitted:
        """Compute components of the train groups, and store their coordinates."""
        _, version = _package()
        means, labels = group_means(data, _METHOD)
        if len(means) > _MOST_ROWS or data.n_classes > _MOST_CLASSES:
            msg = (
                f"tabpfn supports up to {_MOST_ROWS} groups and {_MOST_CLASSES} classes, got {len(means)} groups and "
                f"{data.n_classes} classes. Use another method, such as pseudobulk_shrunken."
            )
            raise ValueError(msg)
        means = np.asarray(means, dtype=np.float64)
        axes = train_axes(means, config.n_comps, seed)
        arrays = {**axes, "scores": scores_of(axes, means), "labels": np.asarray(labels, dtype=np.int64)}
        info = {"seed": seed, "n_estimators": config.n_estimators, "device": config.device, "tabpfn": version}
        return Fitted(arrays, info)

    def predict(self, fitted: Fitted, X: Matrix) -> np.ndarray:
        """Log-probabilities of the mean of the rows, repeated for each row."""
        model = self._model(fitted)
        mean = np.asarray(X.mean(axis=0), dtype=np.float64).reshape(1, -1)
        p = np.asarray(model.predict_proba(scores_of(fitted.arrays, mean)), dtype=np.float64)
        p = np.clip(p[:, np.argsort(model.classes_)], _LEAST_PROBABILITY, None)
        return np.repeat(np.log(p / p.sum(axis=1, keepdims=True)).astype(np.float32), X.shape[0], axis=0)

    def _model(self, fitted: Fitted) -> Any:
        """The classifier with the train groups; it is made once for all groups that are predicted."""
        if self._ready is None or self._ready[0] is not fitted:
            package, _ = _package()
            info = fitted.info
            model = package.TabPFNClassifier(
                n_estimators=info["n_estimators"], device=info["device"], random_state=info["seed"]
            )
            self._ready = fitted, model.fit(fitted.arrays["scores"], fitted.arrays["labels"])
        return self._ready[1]


def _package() -> tuple[Any, str]:
    """The package tabpfn and its version."""
    try:
        import tabpfn
    except ImportError as problem:
        msg = "method='tabpfn' needs the package tabpfn. Install it: pip install 'heldout[tabpfn]'"
        raise ImportError(msg) from problem
    return tabpfn, str(getattr(tabpfn, "__version__", "unknown"))
