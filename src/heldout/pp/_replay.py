"""Apply the recorded preparation to cells that were not there when it was fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core import keys, store
from heldout._core.arrays import describe, get_matrix
from heldout._core.chain import state_from_json, steps
from heldout._core.fits import fit_sections, read_fit
from heldout._core.partition import load_assignment
from heldout.pp._highly_variable_genes import var_columns
from heldout.pp._pca import project
from heldout.pp._scale import apply_scale

if TYPE_CHECKING:
    from anndata import AnnData

    from heldout._core.arrays import MatrixState
    from heldout._core.fits import Fit


def replay(adata: AnnData, reference: AnnData, *, copy: bool = False) -> AnnData | None:
    """Prepare new cells exactly as the cells of ``reference`` were prepared.

    Genes are brought to those of the reference and into its order. Raw counts are normalised to the reference's total
    per cell and log-transformed (by scanpy), if that is what the first step of the chain saw. Then the chosen genes
    are marked, the matrix is divided by the reference's standard deviations and clipped, and cells are projected onto
    its principal components. Nothing is fitted.

    Parameters
    ----------
    adata
        New cells, (n_obs × n_vars): raw counts, or values normalised as the reference's were before its first step.
        Every gene that the reference had when it was prepared must be there, genes it did not have are dropped.
    reference
        AnnData that :func:`highly_variable_genes`, :func:`scale` or :func:`pca` were called on, as it is in memory or
        read from a file.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. Written are what the recorded steps write: ``X`` or layers,
    ``var["highly_variable"]``, ``var["highly_variable_rank"]``, ``var["highly_variable_score"]``, ``obsm`` and
    ``varm`` of each PCA; and ``uns["heldout"]["fits"]``, ``uns["heldout"]["chain"]``, ``uns["heldout"]["assignments"]``
    copied from the reference.

    Raises
    ------
    ValueError
        If the reference has no chain, genes are missing, ``adata`` was prepared already, or its values are not what
        the reference's were.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> new = adata[adata.obs["library"] == "GSM8325053"].copy()
    >>> adata = adata[adata.obs["library"] != "GSM8325053"].copy()
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.scale(adata)
    >>> ho.pp.replay(new, adata)
    """
    store.check_adata(adata)
    store.check_adata(reference)
    chain = {key: read_fit(reference, key) for key in steps(reference)}
    _check(adata, chain)
    first = {}
    for key, fit in reversed(chain.items()):
        first[fit.config["layer"]] = (key, fit)
    known = _known_genes(chain)
    columns = adata.var_names.get_indexer(known)
    if (columns < 0).any():
        missing = np.asarray(known)[columns < 0]
        msg = (
            f"adata lacks {len(missing)} of the {len(known)} genes the reference was prepared with (e.g. "
            f"{store.some(missing)}). Add them as zeros if they were not measured, or prepare the reference without them."
        )
        raise ValueError(msg)
    states = {
        layer: _compare(describe(get_matrix(adata, layer)), state_from_json(fit.info["input"]), key=key)
        for layer, (key, fit) in first.items()
    }

    new = adata[:, columns].copy()
    for layer, target in states.items():
        _normalise(new, layer, target)
    kept = new.var_names.get_indexer(reference.var_names)
    if (kept < 0).any():
        msg = (
            f"The reference has {int((kept < 0).sum())} genes it was not prepared with (e.g. "
            f"{store.some(reference.var_names[kept < 0])}). Prepare it again as it is now."
        )
        raise ValueError(msg)
    new = new[:, kept].copy()
    for fit in chain.values():
        _apply(new, fit)
    sections = fit_sections(new, chain)
    used = {fit.split_hash for fit in chain.values()}
    sections[keys.ASSIGNMENTS] |= {h: load_assignment(reference, h).stored() for h in used}
    store.commit(new, heldout={**sections, keys.CHAIN: np.array(list(chain))})
    if copy:
        return new
    store.actual(adata)
    adata._init_as_actual(new)
    return None


def _check(adata: AnnData, chain: dict[str, Fit]) -> None:
    if not chain:
        msg = (
            "The reference has no recorded preparation to replay. Prepare it with heldout.pp.highly_variable_genes, "
            "scale or pca."
        )
        raise ValueError(msg)
    if steps(adata):
        msg = f"adata was prepared already ({' → '.join(steps(adata))}). Replay onto the cells as they were before."
        raise ValueError(msg)


def _known_genes(chain: dict[str, Fit]) -> np.ndarray:
    """Genes of the first step that looked at all genes at hand, in its order."""
    return max((fit.genes for fit in chain.values()), key=len)


def _compare(state: MatrixState, target: MatrixState, *, key: str) -> MatrixState | None:
    """What to turn the matrix into; None when it is that already."""
    if state == target or (state.kind == target.kind and target.total is None):
        return None
    if state.kind == "counts" and target.kind in {"normalised", "lognormalised"}:
        return target
    msg = (
        f"adata holds {state}, but the reference held {target} before its step {key!r}. Bring the new cells to the "
        "same state first; raw counts are normalised for you if the reference was normalised to a common total."
    )
    raise ValueError(msg)


def _normalise(adata: AnnData, layer: str | None, target: MatrixState | None) -> None:
    import scanpy as sc

    if target is not None:
        sc.pp.normalize_total(adata, target_sum=target.total, layer=layer)
        if target.kind == "lognormalised":
            sc.pp.log1p(adata, layer=layer)


def _apply(adata: AnnData, fit: Fit) -> None:
    layer = fit.config["layer"]
    if fit.method == "pp.pca":
        columns = fit.columns(adata.var_names, key=fit.config["key_added"])
        store.commit(adata, **project(adata, fit, get_matrix(adata, layer), columns))
        return
    in_fit = {gene: number for number, gene in enumerate(fit.genes)}
    at = np.array([in_fit[gene] for gene in adata.var_names])
    if fit.method == "pp.scale":
        store.set_matrix(adata, apply_scale(get_matrix(adata, layer), fit, columns=at), layer)
    else:
        store.commit(adata, var={name: column[at] for name, column in var_columns(fit).items()})
