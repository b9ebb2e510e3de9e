"""Which genes a method reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.store import suggest

if TYPE_CHECKING:
    from anndata import AnnData

DEFAULT = "highly_variable"


def gene_columns(adata: AnnData, mask_var: str | None) -> np.ndarray:
    """Column numbers of the genes in the bool column ``var[mask_var]``; all genes for None or an absent default."""
    if mask_var is None or (mask_var == DEFAULT and mask_var not in adata.var.columns):
        return np.arange(adata.n_vars)
    if mask_var not in adata.var.columns:
        msg = f"mask_var={mask_var!r} is not a column of adata.var. {suggest(mask_var, adata.var.columns)}"
        raise ValueError(msg)
    mask = adata.var[mask_var].to_numpy()
    if mask.dtype != bool or not mask.any():
        msg = f"adata.var[{mask_var!r}] (mask_var) must be bool with at least one True; it is {mask.dtype}."
        raise ValueError(msg)
    return np.flatnonzero(mask)
