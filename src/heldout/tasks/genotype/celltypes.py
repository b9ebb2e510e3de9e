"""Logistic regression on the mean profile of each cell type of each group, shrunk towards the mean of the group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from heldout._core.arrays import row_blocks, take
from heldout._core.grouped import group_moments
from heldout._core.method import with_prefix, without_prefix
from heldout.tasks.genotype.config import CellTypeConfig
from heldout.tasks.genotype.group_rows import rows_of_train
from heldout.tasks.genotype.linear import linear_log_probability
from heldout.tasks.genotype.ridge import fit_averaged
from heldout.tasks.genotype.train_axes import scores_of, train_axes, train_sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout._core.method import Fitted
    from heldout._core.types import Matrix, MatrixOrDask
    from heldout.tasks.genotype.interface import Data

_METHOD = "celltype_pseudobulk"
_FLOOR = 1e-6
"""A variance below this share of the total variance between groups counts as none."""
_TRUSTED = 5.0
"""Cells of a type for half of the full weight in the estimates of means and variances between groups."""
_CLUSTERS = "clusters."
_TYPES = "types."


class CellTypePseudobulk:
    """Logistic regression on the mean profile of each cell type of each group.

    For each gene, the deviation of a group in one cell type from the mean of this type is the sum of an effect of the
    group on all its types, an effect on this type, and the noise of n cells. Empirical Bayes estimates the variances of
    the three. The features are the expected effects given the data, in units of their standard deviations. So a type
    with few cells is shrunk towards the mean of its group, and a type without cells is at this mean. The mean of a
    group is adjusted for its composition. Cell types are those of ``cell_type_key``. Without it, they are clusters:
    k-means in principal components of the train cells. The fit is an average over penalties.
    """

    features: ClassVar[Any] = "genes_and_types"
    by_group: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    default_config: ClassVar[Any] = CellTypeConfig()

    def fit(self, data: Data, config: CellTypeConfig, *, seed: int) -> Fitted:
        """Find clusters if there are no types, and estimate effects and their variances; then fit."""
        rows, row_of = rows_of_train(data, _METHOD, balanced=config.balanced)
        clusters = {} if data.cell_types is not None else _clusters(data, config, seed)
        if data.cell_types is not None:
            types = data.cell_types[data.train]
        else:
            types = _nearest(clusters, take(data.X, data.train, None))
        n_types = data.n_cell_types or len(clusters["centres"])
        codes = np.full(data.X.shape[0], -1)
        codes[data.train] = np.where(types < 0, -1, row_of * n_types + types)
        shape = (len(rows.labels), n_types, data.X.shape[1])
        moments = group_moments(data.X, codes, shape[0] * shape[1])
        assert moments.var is not None
        n, mean = moments.n.reshape(shape[:2]), np.nan_to_num(moments.mean).reshape(shape)
        var = np.nan_to_num(moments.var).reshape(shape)

        def represent(known: np.ndarray) -> tuple[dict[str, np.ndarray], Callable[[np.ndarray], np.ndarray]]:
            prior = _prior(n[known], mean[known], var[known])
            return with_prefix(prior, _TYPES), lambda wanted: _effects(prior, n[wanted], mean[wanted])

        fitted = fit_averaged(represent, rows, config.Cs, max_iter=config.max_iter, calibrated=config.calibrated)
        fitted.arrays.update(with_prefix(clusters, _CLUSTERS))
        return fitted

    def predict(self, fitted: Fitted, X: Matrix, cell_types: np.ndarray | None = None) -> np.ndarray:
        """Log-probabilities of the group that the rows form, repeated for each row."""
        clusters = without_prefix(fitted.arrays, _CLUSTERS)
        prior = without_prefix(fitted.arrays, _TYPES)
        types = _nearest(clusters, X) if clusters else cell_types
        assert types is not None
        n_types = len(prior["mean"])
        moments = group_moments(X, types, n_types, var=False)
        features = _effects(prior, moments.n[None], np.nan_to_num(moments.mean)[None])
        return np.repeat(linear_log_probability(fitted.arrays, features), X.shape[0], axis=0)


def _clusters(data: Data, config: CellTypeConfig, seed: int) -> dict[str, np.ndarray]:
    """Axes of the train cells, and centres of k-means along them."""
    from sklearn.cluster import KMeans

    sample = train_sample(data, seed)
    axes = train_axes(sample, config.n_comps, seed)
    scores = scores_of(axes, sample)
    n_clusters = min(config.n_clusters, len(np.unique(scores, axis=0)))
    centres = KMeans(n_clusters, n_init=3, random_state=seed).fit(scores).cluster_centers_
    return {**axes, "centres": np.asarray(centres, dtype=np.float64)}


def _nearest(clusters: dict[str, np.ndarray], X: MatrixOrDask) -> np.ndarray:
    """Number of the nearest centre of each row."""
    centres, found = clusters["centres"], []
    for _, block in row_blocks(X):
        scores = scores_of(clusters, block)
        found.append(((scores[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1))
    return np.concatenate(found)


def _prior(n: np.ndarray, mean: np.ndarray, var: np.ndarray) -> dict[str, np.ndarray]:
    """Mean of each type, variance between groups (of all types, and of each type), and variance within groups.

    Parameters
    ----------
    n
        Number of cells, (R × T).
    mean, var
        Mean and variance of genes, (R × T × p), 0 where there are no cells.
    """
    trust = (n / (n + _TRUSTED))[:, :, None]
    centre = (trust * mean).sum(axis=0) / np.maximum(trust.sum(axis=0), _FLOOR)
    df = np.maximum(n - 1, 0)
    pooled = np.einsum("rt,rtp->p", df, var) / max(int(df.sum()), 1)
    within = (np.einsum("rt,rtp->tp", df, var) + _TRUSTED * pooled) / (df.sum(axis=0) + _TRUSTED)[:, None]
    deviation = trust * (mean - centre)
    bessel = len(n) / max(len(n) - 1, 1)
    pairs = float((trust.sum(axis=1) ** 2 - (trust**2).sum(axis=1)).sum())
    shared = (deviation.sum(axis=1) ** 2 - (deviation**2).sum(axis=1)).sum(axis=0) * bessel / max(pairs, _FLOOR)
    squares = np.maximum((trust**2).sum(axis=0), _FLOOR)
    noise = (trust**2 / np.maximum(n, 1)[:, :, None]).sum(axis=0) / squares * within
    total = (deviation**2).sum(axis=0) * bessel / squares
    shared = np.where(shared > _FLOOR * total.mean(axis=0), shared, 0.0)
    of_type = total - noise - shared
    of_type = np.where(of_type > _FLOOR * total, of_type, 0.0)
    return {"mean": centre, "within": within, "between": of_type, "shared": shared}


def _effects(prior: dict[str, np.ndarray], n: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Expected effect of each group on all types, then on each type, in units of their SD, (R × (T + 1) p)."""
    cells = n[:, :, None]
    of_type, shared = prior["between"], prior["shared"]
    variance = of_type + prior["within"] / np.maximum(cells, 1)
    known = (cells > 0) & (variance > 0)
    precision = np.divide(1.0, variance, out=np.zeros_like(variance), where=known)
    deviation = mean - prior["mean"]
    total = shared * precision.sum(axis=1) + 1
    on_all = shared * (precision * deviation).sum(axis=1) / total
    on_type = of_type * precision * (deviation - on_all[:, None])
    rows = len(n)
    blocks = [_in_units(on_all, shared).reshape(rows, -1), _in_units(on_type, of_type).reshape(rows, -1)]
    return np.concatenate(blocks, axis=1)


def _in_units(effect: np.ndarray, variance: np.ndarray) -> np.ndarray:
    sd = np.broadcast_to(np.sqrt(variance), effect.shape)
    return np.divide(effect, sd, out=np.zeros_like(effect), where=sd > 0)
