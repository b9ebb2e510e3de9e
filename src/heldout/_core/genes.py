"""Which genes a method reads."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.chain import steps
from heldout._core.fits import read_fit
from heldout._core.store import suggest

if TYPE_CHECKING:
    from anndata import AnnData

DEFAULT = "highly_variable"

logger = logging.getLogger("heldout")


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
    if mask_var == DEFAULT:
        _check_choice(adata, mask)
    return np.flatnonzero(mask)


def _check_choice(adata: AnnData, mask: np.ndarray) -> None:
    """Refuse a choice of genes that replaced the recorded one; say so if there is no record."""
    if "highly_variable_genes" not in steps(adata):
        logger.warning(
            "adata.var['highly_variable'] was not chosen by heldout.pp.highly_variable_genes; if test cells took part in "
            "the choice, it leaks"
        )
        return
    fit = read_fit(adata, "highly_variable_genes")
    chosen = adata.var_names.isin(fit.genes[fit.arrays["highly_variable"]])
    if not np.array_equal(chosen, mask):
        msg = (
            f"adata.var['highly_variable'] is not what heldout.pp.highly_variable_genes chose on the train cells: "
            f"{int((chosen != mask).sum())} genes differ, as after scanpy's function, which looks at all cells. Choose again, "
            "or put your own genes into another column and name it in mask_var."
        )
        raise ValueError(msg)
