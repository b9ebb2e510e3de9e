"""Kernel mean embedding of groups: the whole distribution of their cells, not only its mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy import sparse
from scipy.spatial.distance import pdist

from heldout._core.arrays import row_blocks, take
from heldout._core.grouped import GroupMoments
from heldout.tasks.genotype.config import EmbeddingConfig
from heldout.tasks.genotype.group_rows import rows_of_train
from heldout.tasks.genotype.linear import linear_log_probability
from heldout.tasks.genotype.shrunken import fit_shrunken, shrunken
from heldout.tasks.genotype.train_axes import scores_of, train_axes, train_sample

if TYPE_CHECKING:
    from heldout._core.method import Fitted
    from heldout._core.types import Matrix, MatrixOrDask
    from heldout.tasks.genotype.interface import Data

_METHOD = "mean_embedding"
_MOST_PAIRS = 1000
"""Number of cells whose distances give the bandwidth."""


class MeanEmbedding:
    """Logistic regression on the kernel mean embedding of each group :cite:p:`muandet2017`.

    The mean of random Fourier features :cite:p:`rahimi2007` over the cells of a group approximates the embedding of
    their distribution by a Gaussian kernel, in principal components of the train cells. It contains the variance and
    the composition of the cells, which the mean profile does not show. The bandwidths are multiples of the median
    distance between train cells, and their kernels are averaged. The embeddings are shrunk by the number of cells, as
    those of ``pseudobulk_shrunken``. The fit is an average over penalties.
    """

    features: ClassVar[Any] = "genes"
    by_group: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    default_config: ClassVar[Any] = EmbeddingConfig()

    def fit(self, data: Data, config: EmbeddingConfig, *, seed: int) -> Fitted:
        """Find the axes and the bandwidth, draw the frequencies, and fit on the embeddings of the train groups."""
        rows, row_of = rows_of_train(data, _METHOD, balanced=config.balanced)
        space = _space(data, config, seed)
        codes = np.full(data.X.shape[0], -1)
        codes[data.train] = row_of
        moments = _embedded(space, data.X, codes, len(rows.labels))
        fitted = fit_shrunken(moments, rows, config)
        fitted.arrays.update({f"space_{name}": array for name, array in space.items()})
        return fitted

    def predict(self, fitted: Fitted, X: Matrix) -> np.ndarray:
        """Log-probabilities of the group that the rows form, repeated for each row."""
        space = {name.removeprefix("space_"): a for name, a in fitted.arrays.items() if name.startswith("space_")}
        moments = _embedded(space, X, np.zeros(X.shape[0], dtype=np.int64), 1)
        log_probability = linear_log_probability(fitted.arrays, shrunken(fitted.arrays, moments.n, moments.mean))
        return np.repeat(log_probability, X.shape[0], axis=0)


def _space(data: Data, config: EmbeddingConfig, seed: int) -> dict[str, np.ndarray]:
    """Axes of the train cells, and frequencies along them, (k × D)."""
    rng = np.random.default_rng(seed)
    sample = train_sample(data, seed)
    axes = train_axes(sample, config.n_comps, seed)
    scores = scores_of(axes, sample)
    if config.whiten:
        sd = scores.std(axis=0)
        scale = np.divide(1.0, sd, out=np.zeros_like(sd), where=sd > 0)
        axes["components"] = axes["components"] * scale[:, None]
        scores = scores * scale
    few = scores[rng.choice(len(scores), min(len(scores), _MOST_PAIRS), replace=False)]
    width = float(np.median(pdist(few))) if len(few) > 1 else 1.0
    drawn = rng.normal(size=(len(config.bandwidths), scores.shape[1], config.n_features))
    frequencies = drawn / (np.array(config.bandwidths) * (width or 1.0))[:, None, None]
    return {**axes, "frequencies": np.concatenate(frequencies, axis=1)}


def _embedded(space: dict[str, np.ndarray], X: MatrixOrDask, codes: np.ndarray, n_groups: int) -> GroupMoments:
    """Moments of the random features of the cells of each group. A dask array is read once, block by block.

    Features are between -1 and 1, so that sums of squares lose no digits that matter.
    """
    n = np.bincount(codes[codes >= 0], minlength=n_groups)
    width = 2 * space["frequencies"].shape[1]
    sums, squares = np.zeros((n_groups, width)), np.zeros((n_groups, width))
    for at, block in row_blocks(X):
        kept = np.flatnonzero(codes[at] >= 0)
        if not len(kept):
            continue
        angles = scores_of(space, take(block, kept, None)) @ space["frequencies"]
        features = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
        member = sparse.csr_array(
            (np.ones(len(kept)), (codes[at][kept], np.arange(len(kept)))), shape=(n_groups, len(kept))
        )
        sums += member @ features
        squares += member @ features**2
    mean = sums / np.maximum(n, 1)[:, None]
    var = np.maximum(squares / np.maximum(n, 1)[:, None] - mean**2, 0.0) * (n / np.maximum(n - 1, 1))[:, None]
    return GroupMoments(n, mean, var)
