"""Simple methods with one row for each group: ridge regression, centroids, compositions and boosted trees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.special import log_softmax

from heldout._core.method import Fitted
from heldout._core.options import NoConfig
from heldout.tasks.genotype.baselines import fit_rows
from heldout.tasks.genotype.config import BoostingConfig, LogisticConfig, RidgeConfig
from heldout.tasks.genotype.group_rows import group_means, row_means, rows_of_train
from heldout.tasks.genotype.linear import linear_log_probability

if TYPE_CHECKING:
    from heldout._core.types import Matrix
    from heldout.tasks.genotype.interface import Data


class _OfMeans:
    """A linear method that is fitted on the mean profiles of groups, and predicts cells."""

    features: ClassVar[Any] = "genes"
    by_group: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False

    def predict(self, fitted: Fitted, X: Matrix) -> np.ndarray:
        """Log-probabilities of the linear model."""
        return linear_log_probability(fitted.arrays, X)


class PseudobulkRidge(_OfMeans):
    """Ridge regression of the class on the mean profile of each group. Leave-one-out chooses the penalty."""

    default_config: ClassVar[Any] = RidgeConfig()

    def fit(self, data: Data, config: RidgeConfig, *, seed: int) -> Fitted:
        """Fit RidgeClassifierCV of scikit-learn. Log-odds are twice its score: 1 is a probability of 0.88."""
        from sklearn.linear_model import RidgeClassifierCV

        X, labels = group_means(data, "pseudobulk_ridge")
        scale = float(((X - X.mean(axis=0)) ** 2).sum()) / max(len(X), 1) or 1.0
        model = RidgeClassifierCV(alphas=np.asarray(config.alphas) * scale).fit(X, labels)
        arrays = {"coef": 2 * np.atleast_2d(model.coef_), "intercept": 2 * np.atleast_1d(model.intercept_)}
        return Fitted(arrays, {"alpha": float(model.alpha_) / scale})


class NearestCentroid(_OfMeans):
    """The class whose mean of group means is nearest in Euclidean distance."""

    default_config: ClassVar[Any] = NoConfig()

    def fit(self, data: Data, config: NoConfig, *, seed: int) -> Fitted:
        """Average groups, then classes. The unit of distances is the spread of groups around their centroid."""
        X, labels = group_means(data, "nearest_centroid")
        centroids = np.stack([X[labels == c].mean(axis=0) for c in range(data.n_classes)])
        df = max(len(X) - data.n_classes, 1)
        spread = float(((X - centroids[labels]) ** 2).sum()) / df or 1.0
        return Fitted({"coef": centroids / spread, "intercept": -(centroids**2).sum(axis=1) / (2 * spread)})


class CompositionLogistic:
    """Logistic regression on the cell-type composition of each group, as centred log-ratios."""

    features: ClassVar[Any] = "cell_types"
    by_group: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False
    default_config: ClassVar[Any] = LogisticConfig()

    def fit(self, data: Data, config: LogisticConfig, *, seed: int) -> Fitted:
        """Fit on one row for each group. Each cell type of a group gets half a cell more."""
        rows, row_of = rows_of_train(data, "composition_logistic", balanced=config.balanced)
        shares = row_means(data, row_of, len(rows.labels))
        ratios = _log_ratios(shares * np.bincount(row_of)[:, None])
        return fit_rows(ratios, rows, config)

    def predict(self, fitted: Fitted, X: Matrix) -> np.ndarray:
        """Log-probabilities of the group that the rows form, repeated for each row."""
        log_probability = linear_log_probability(fitted.arrays, _log_ratios(np.asarray(X).sum(axis=0, keepdims=True)))
        return np.repeat(log_probability, X.shape[0], axis=0)


def _log_ratios(counts: np.ndarray) -> np.ndarray:
    logs = np.log(counts + 0.5)
    return np.asarray(logs - logs.mean(axis=1, keepdims=True))


class PseudobulkBoosting:
    """Gradient-boosted trees on the mean profile of each group. They are stored as arrays, not as a pickle."""

    features: ClassVar[Any] = "genes"
    by_group: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    default_config: ClassVar[Any] = BoostingConfig()

    def fit(self, data: Data, config: BoostingConfig, *, seed: int) -> Fitted:
        """Fit scikit-learn's GradientBoostingClassifier."""
        from sklearn.ensemble import GradientBoostingClassifier

        X, labels = group_means(data, "pseudobulk_boosting")
        model = GradientBoostingClassifier(
            n_estimators=config.n_trees,
            learning_rate=config.lr,
            max_depth=config.max_depth,
            max_features=config.max_features,
            random_state=seed,
        ).fit(X.astype(np.float32), labels)
        trees = [tree.tree_ for tree in model.estimators_.ravel()]
        share = np.bincount(labels, minlength=data.n_classes) / len(labels)
        start = np.log(share) if data.n_classes > 2 else np.log(share[1:] / share[:1])
        arrays = {
            "start": start,
            "feature": _stacked([tree.feature for tree in trees], np.int64),
            "threshold": _stacked([tree.threshold for tree in trees], np.float64),
            "left": _stacked([tree.children_left for tree in trees], np.int64),
            "right": _stacked([tree.children_right for tree in trees], np.int64),
            "value": _stacked([tree.value.ravel() for tree in trees], np.float64),
        }
        info = {"lr": config.lr, "n_outputs": int(model.estimators_.shape[1]), "depth": config.max_depth}
        return Fitted(arrays, info)

    def predict(self, fitted: Fitted, X: Matrix) -> np.ndarray:
        """Log-probabilities of the mean of the rows, repeated for each row."""
        mean = np.asarray(X.mean(axis=0), dtype=np.float32).ravel()
        a, outputs = fitted.arrays, fitted.info["n_outputs"]
        node, trees = np.zeros(len(a["feature"]), dtype=int), np.arange(len(a["feature"]))
        for _ in range(fitted.info["depth"]):
            inner = a["left"][trees, node] >= 0
            below = mean[np.maximum(a["feature"][trees, node], 0)] <= a["threshold"][trees, node]
            child = np.where(below, a["left"][trees, node], a["right"][trees, node])
            node = np.where(inner, child, node)
        added = a["value"][trees, node].reshape(-1, outputs).sum(axis=0)
        raw = a["start"] + fitted.info["lr"] * added
        logits = np.array([0.0, raw[0]]) if outputs == 1 else raw
        return np.tile(log_softmax(logits).astype(np.float32), (X.shape[0], 1))


def _stacked(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    """One row for each tree, filled up with -1."""
    table: np.ndarray = np.full((len(parts), max(map(len, parts))), -1, dtype=dtype)
    for row, part in zip(table, parts, strict=True):
        row[: len(part)] = part
    return table
