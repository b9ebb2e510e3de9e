"""The fit that a function for one task scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core import store
from heldout._core.fits import Fit, latest_fit, read_fit

if TYPE_CHECKING:
    from anndata import AnnData


def fit_to_evaluate(adata: AnnData, key: str | None, wing: str) -> tuple[str, Fit]:
    """Read the fit ``key`` of a task, or the last one of this task; refuse a fit of another task."""
    store.check_adata(adata)
    key = latest_fit(adata, [wing], purpose="to evaluate") if key is None else key
    fit = read_fit(adata, key)
    other = fit.method.split(".")[0]
    if other == "pp":
        msg = f"Fit {key!r} is a preparation step; it has no predictions to evaluate."
        raise ValueError(msg)
    if other != wing:
        msg = (
            f"Fit {key!r} is a {fit.method!r}, which heldout.tl.evaluate_{wing} cannot score. Call "
            f"heldout.tl.evaluate_{other}(adata, {key!r})."
        )
        raise ValueError(msg)
    return key, fit
