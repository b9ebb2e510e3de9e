"""Select the genes that a method reads."""

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
    """Return the numbers of the genes in ``var[mask_var]`` (bool); of all genes for None or a missing default."""
    if mask_var is None or (mask_var == DEFAULT and mask_var not in adata.var.columns):
        return np.arange(adata.n_vars)
    if mask_var not in adata.var.columns:
        msg = f"mask_var={mask_var!r} is not a column of adata.var. {suggest(mask_var, adata.var.columns)}"
        raise ValueError(msg)
    mask = adata.var[mask_var].to_numpy()
    if mask.dtype != bool or not mask.any():
        msg = f"adata.var[{mask_var!r}] (mask_var) must be bool with at least one True, got dtype {mask.dtype}."
        raise ValueError(msg)
    if mask_var == DEFAULT:
        _check_choice(adata, mask)
    return np.flatnonzero(mask)


def _check_choice(adata: AnnData, mask: np.ndarray) -> None:
    """Refuse genes other than those that were recorded; warn if there is no record."""
    if "highly_variable_genes" not in steps(adata):
        logger.warning(
            "adata.var['highly_variable'] was not made by heldout.pp.highly_variable_genes. If test cells were used to "
            "choose the genes, information leaks from test"
        )
        return
    fit = read_fit(adata, "highly_variable_genes")
    chosen = adata.var_names.isin(fit.genes[fit.arrays["highly_variable"]])
    if not np.array_equal(chosen, mask):
        msg = (
            "adata.var['highly_variable'] no longer matches the genes that heldout.pp.highly_variable_genes chose on "
            f"train cells: {int((chosen != mask).sum())} genes differ. The function of scanpy, which uses all cells, "
            "does this. Choose the genes again, or put your genes into another column and name it in mask_var."
        )
        raise ValueError(msg)
