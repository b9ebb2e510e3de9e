"""Predicted cells of other times as a new AnnData."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import keys
from heldout._core.rng import Rng, generator
from heldout.tasks.forecast.start import cells_at, space_of
from heldout.tasks.forecast.task import check_at, check_prepared, kept_cells, predict

if TYPE_CHECKING:
    from anndata import AnnData

    from heldout._core.fits import Fit


logger = logging.getLogger("heldout")


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
        rows, start_time, start = cells_at(adata, fit, time, key=key, layer=layer, train_only=reference is None)
        moved = predict(fit, start, start_time, time, rng=generator(rng))
        _warn_if_repeated(fit, start, moved, start_time, time)
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
            space_of(fit).decode(moved).astype(np.float32),
            obs=obs,
            var=pd.DataFrame(index=pd.Index(fit.genes.astype(str))),
        )
        part.obsm[fit.info["use_rep"] or "X_pca"] = moved.astype(np.float32)
        parts.append(part)
    predicted = parts[0] if len(parts) == 1 else concat(parts)
    predicted.uns[keys.UNS] = {
        "predicted": {"key": key, "method": fit.method, "fit": fit.hash, "split": fit.split_hash}
    }
    return predicted


def _warn_if_repeated(fit: Fit, start: np.ndarray, moved: np.ndarray, start_time: float, time: float) -> None:
    """Say that a fit predicts no change, unless the user asked for that."""
    if fit.method == "forecast.persistence" or start.shape != moved.shape:
        return
    if np.allclose(start, moved, rtol=0, atol=1e-9 * np.abs(start).max(initial=1.0)):
        name = fit.info["time_key"]
        logger.warning(
            "this fit predicts no change (persistence), so the cells of %s=%g are copies of those of %s=%g. Do not "
            "show them as a prediction of a change. heldout.get.%s shows what was tried on past times.",
            name,
            time,
            name,
            start_time,
            "backtests" if fit.method == "forecast.auto" else "past_skill",
        )
