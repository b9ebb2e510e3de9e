"""Predicted cells of other times as a new AnnData."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import keys
from heldout._core.rng import Rng, generator
from heldout.tasks.forecast.task import (
    check_at,
    check_prepared,
    coordinates,
    kept_cells,
    predict,
    space_of,
    start_cells,
)

if TYPE_CHECKING:
    from anndata import AnnData

    from heldout._core.fits import Fit


def predicted_cells(
    adata: AnnData, fit: Fit, *, key: str, at: Any, reference: AnnData | None, layer: str | None, rng: Rng = 0
) -> AnnData:
    """Predict cells at one or several times from the latest known cells; see :func:`heldout.tl.predict_cells`."""
    from anndata import AnnData, concat

    times = [check_at(fit, time) for time in (at if isinstance(at, Sequence | np.ndarray) else [at])]
    layer = fit.info["layer"] if layer is None else layer
    check_prepared(fit, adata, key=key, layer=layer)
    parts = []
    for time in times:
        rows, start_time = start_cells(adata, fit, time, train_only=reference is None)
        space, columns = space_of(fit), fit.columns(adata.var_names, key=key)
        start = coordinates(adata, rows, columns, space, layer)
        moved = predict(fit, start, start_time, time, rng=generator(rng))
        kept = kept_cells(fit, start, time)
        obs = pd.DataFrame(
            {
                fit.info["time_key"]: time,
                "start_time": start_time,
                "start_cell": np.where(kept, adata.obs_names[rows].astype(object), ""),
            },
            index=[f"{time:g}_{i}" for i in range(len(moved))],
        )
        part = AnnData(
            space.decode(moved).astype(np.float32), obs=obs, var=pd.DataFrame(index=pd.Index(fit.genes.astype(str)))
        )
        part.obsm[fit.info["use_rep"] or "X_pca"] = moved.astype(np.float32)
        parts.append(part)
    predicted = parts[0] if len(parts) == 1 else concat(parts)
    predicted.uns[keys.UNS] = {
        "predicted": {"key": key, "method": fit.method, "fit": fit.hash, "split": fit.split_hash}
    }
    return predicted
