"""Apply a recorded preparation to new cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from heldout._core import keys, store
from heldout._core.arrays import describe, get_matrix
from heldout._core.chain import state_from_json, steps
from heldout._core.fits import fit_sections, read_fit
from heldout._core.partition import load_assignment
from heldout._core.types import is_sparse
from heldout.pp._highly_variable_genes import var_columns
from heldout.pp._pca import project
from heldout.pp._scale import apply_scale

if TYPE_CHECKING:
    from anndata import AnnData

    from heldout._core.arrays import MatrixState
    from heldout._core.fits import Fit


def replay(adata: AnnData, reference: AnnData, *, copy: bool = False) -> AnnData | None:
    """Prepare new cells exactly as the cells of another AnnData were prepared.

    Genes are matched to the genes of the reference and put into its order. Raw counts are normalised to the total per
    cell of the reference and log-transformed (by scanpy), before the first step of the chain that used such values.
    Then the selected genes are marked, the matrix is divided by the standard deviations of the reference and clipped,
    and cells are projected onto the principal components of the reference. Nothing is fitted.

    Parameters
    ----------
    adata
        New cells, (n_obs × n_vars): raw counts, or values normalised as the reference was before its first step. It
        must have every gene that the reference had when it was prepared. All other genes are dropped.
    reference
        AnnData that was prepared with :func:`highly_variable_genes`, :func:`scale` or :func:`pca`, in memory or read
        from a file.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. The function writes what the recorded steps write: ``X`` or layers,
    ``var["highly_variable"]``, ``var["highly_variable_rank"]``, ``var["highly_variable_score"]``, and ``obsm`` and
    ``varm`` of each PCA. It copies ``uns["heldout"]["fits"]``, ``uns["heldout"]["chain"]`` and
    ``uns["heldout"]["assignments"]`` from the reference.

    Raises
    ------
    ValueError
        If the reference has no chain, if genes are missing, if ``adata`` was prepared before, or if its values differ
        in kind from those of the reference.

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
    known = _known_genes(chain, reference)
    columns = adata.var_names.get_indexer(known)
    if (columns < 0).any():
        missing = known[columns < 0]
        msg = (
            f"adata lacks {len(missing)} of the {len(known)} genes with which the reference was prepared (e.g. "
            f"{store.some(missing)}). Add them as zeros if they were not measured, or prepare the reference without "
            "them."
        )
        raise ValueError(msg)
    new = adata[:, columns].copy()
    held: dict[str | None, MatrixState | None] = {}
    for key, fit in chain.items():
        genes = _genes_at(fit, reference)
        if genes is not None and len(genes) != new.n_vars:
            new = new[:, genes].copy()
        _prepare_input(new, fit, held, key=key)
        _apply(new, fit)
    kept = new.var_names.get_indexer(reference.var_names)
    if (kept < 0).any():
        msg = (
            f"The reference has {int((kept < 0).sum())} genes that it did not have when it was prepared (e.g. "
            f"{store.some(reference.var_names[kept < 0])}). Prepare the reference again."
        )
        raise ValueError(msg)
    new = new[:, kept].copy()
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
        msg = f"adata was prepared before ({' → '.join(steps(adata))}). Use the cells before preparation."
        raise ValueError(msg)


def _known_genes(chain: dict[str, Fit], reference: AnnData) -> np.ndarray:
    """Return every gene that a step may have used, in the order of the longest list of genes."""
    lists = [fit.genes for fit in chain.values()] + [reference.var_names.to_numpy(dtype=object)]
    lists.sort(key=len, reverse=True)
    return np.array(list(dict.fromkeys(np.concatenate(lists))), dtype=object)


def _genes_at(fit: Fit, reference: AnnData) -> np.ndarray | None:
    """Return the genes that existed at this step. None for a PCA of some genes if other genes were dropped since."""
    if fit.method != "pp.pca":
        return fit.genes
    return reference.var_names.to_numpy(dtype=object) if fit.info["n_vars"] == reference.n_vars else None


def _prepare_input(adata: AnnData, fit: Fit, held: dict[str | None, MatrixState | None], *, key: str) -> None:
    """Turn the matrix into the input of the step.

    ``held`` has the state of each layer so far. It is None for a scaled layer.
    """
    layer, target = fit.config["layer"], state_from_json(fit.info["input"])
    if layer in held and held[layer] is None:
        return
    state = held.get(layer) or describe(get_matrix(adata, layer, dask=True), name="adata.X" if layer is None else layer)
    if state.kind == "counts" and target.total is not None:
        if fit.info.get("n_vars", adata.n_vars) != adata.n_vars:
            msg = (
                f"The reference was normalised over {fit.info['n_vars']} genes, of which the step {key!r} recorded "
                f"{len(fit.genes)}. Pass the new cells normalised and log-transformed, with all their genes."
            )
            raise ValueError(msg)
        _normalise(adata, layer, target)
    elif not (_same(state, target) or (layer in held and state.total is not None and target.kind == "other")):
        msg = (
            f"adata has {state} (over the {adata.n_vars} genes of the reference), but the reference had {target} "
            f"before its step {key!r}. Prepare the new cells to the same state first. Raw counts are normalised "
            "automatically if the reference was normalised to a common total."
        )
        raise ValueError(msg)
    held[layer] = None if fit.method == "pp.scale" else target


def _same(state: MatrixState, target: MatrixState) -> bool:
    if state.total is None or target.total is None:
        return state.kind == target.kind
    return state.kind == target.kind and bool(np.isclose(state.total, target.total, rtol=1e-3))


def _normalise(adata: AnnData, layer: str | None, target: MatrixState) -> None:
    import scanpy as sc
    from anndata import AnnData

    X = get_matrix(adata, layer, dask=True)
    matrix_class: Any = type(X)
    part = AnnData(
        getattr(sparse, f"{X.format}_matrix")(X) if is_sparse(X) else X
    )  # scanpy 1.11 accepts no sparse arrays
    sc.pp.normalize_total(part, target_sum=target.total)
    if target.kind == "lognormalised":
        sc.pp.log1p(part)
    store.set_matrix(adata, matrix_class(part.X) if is_sparse(X) else part.X, layer)
    adata.uns.update(part.uns)


def _apply(adata: AnnData, fit: Fit) -> None:
    layer = fit.config["layer"]
    if fit.method == "pp.pca":
        columns = fit.columns(adata.var_names, key=fit.config["key_added"])
        store.commit(adata, **project(adata, fit, get_matrix(adata, layer, dask=True), columns))
        return
    in_fit = {gene: number for number, gene in enumerate(fit.genes)}
    at = np.array([in_fit[gene] for gene in adata.var_names])
    if fit.method == "pp.scale":
        store.set_matrix(adata, apply_scale(get_matrix(adata, layer, dask=True), fit, columns=at), layer)
    else:
        store.commit(adata, var={name: column[at] for name, column in var_columns(fit).items()})
