"""Align predicted profiles of any origin with measured combinations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core import store
from heldout._core.arrays import get_matrix
from heldout._core.grouped import group_moments
from heldout._core.store import some

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from heldout.tasks.interactions.measured import Interactions


def common(
    found: Interactions, predictions: Mapping[str, AnnData], perturbation_key: str
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, float]]:
    """Find combinations that every method predicts, (m,), the profiles, (m × G), and the share that each predicts.

    Raises
    ------
    ValueError
        If a prediction lacks genes or columns, or no combination is predicted by all methods.
    """
    aligned = {name: _aligned(found, predicted, name, perturbation_key) for name, predicted in predictions.items()}
    predicted = {name: np.isfinite(values).all(axis=1) for name, values in aligned.items()}
    rows = np.flatnonzero(np.all(list(predicted.values()), axis=0))
    if not len(rows):
        msg = (
            f"No combination is predicted by all of {some(predictions)}. Measured combinations are "
            f"{some(found.labels)}. Check "
            f"obs[{perturbation_key!r}] of the predictions."
        )
        raise ValueError(msg)
    coverage = {name: float(mask.mean()) for name, mask in predicted.items()}
    return rows, {name: values[rows] for name, values in aligned.items()}, coverage


def _aligned(found: Interactions, predicted: AnnData, name: str, key: str) -> np.ndarray:
    """Return the profile of each combination, (P × G): NaN without a prediction, the mean of several rows."""
    store.check_adata(predicted)
    genes = predicted.var_names.get_indexer(found.genes)
    if (genes < 0).any():
        msg = (
            f"predictions[{name!r}] lacks {int((genes < 0).sum())} of the {len(genes)} genes of the interactions (e.g. "
            f"{some(found.genes[genes < 0])}). Predict these genes too, or measure the interactions on the predicted "
            "genes."
        )
        raise ValueError(msg)
    columns = [
        store.column(predicted, column, argument=f"predictions[{name!r}]")
        for column in (key, *found.names.covariate_keys)
    ]
    texts = [store.as_names(column) for column in columns]
    distinct, codes = store.factorize(texts[0])
    targets = found.names.parse(distinct.tolist())
    number = {
        (t, found.names.contexts[c]): i for i, (t, c) in enumerate(zip(found.targets, found.context, strict=True))
    }
    contexts = list(zip(*texts[1:], strict=True)) if texts[1:] else [()] * predicted.n_obs
    rows = (number.get((targets[c], context), -1) for c, context in zip(codes, contexts, strict=True))
    row = np.fromiter(rows, dtype=np.int64, count=predicted.n_obs)
    return group_moments(get_matrix(predicted, dask=True), row, len(found.targets), columns=genes, var=False).mean
