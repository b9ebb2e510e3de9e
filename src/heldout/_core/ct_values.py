"""Recognise Ct values of qPCR, where a lower value means higher expression."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.types import is_sparse

if TYPE_CHECKING:
    from heldout._core.types import Matrix

logger = logging.getLogger("heldout")

CEILING_SHARE = 0.05
"""Values look like Ct values if a larger share of them is at the maximum, where genes that are not detected are."""


def warn_if_ct(X: Matrix) -> bool:
    """Warn if many values are exactly the maximum, as Ct values are where nothing was detected.

    Parameters
    ----------
    X
        Values of some cells, (n × n_genes), dense or sparse.

    Returns
    -------
    Whether the values look like Ct values.
    """
    size, stored = X.shape[0] * X.shape[1], X.data if is_sparse(X) else np.asarray(X)
    if not stored.size:
        return False
    n_zeros = size - stored.size  # those that a sparse matrix does not store
    high, low = float(stored.max()), float(stored.min())
    if n_zeros:
        high, low = max(high, 0.0), min(low, 0.0)
    at_high, at_low = ((int((stored == value).sum()) + (n_zeros if value == 0 else 0)) / size for value in (high, low))
    if high <= low or at_high <= CEILING_SHARE or at_high <= at_low:
        return False
    logger.warning(
        "%.0f %% of the values are exactly the maximum, %g. They look like Ct values, where lower values mean higher "
        "expression. If they are, use adata.X = %g - adata.X instead, so that genes that were not detected are 0.",
        100 * at_high,
        high,
        high,
    )
    return True
