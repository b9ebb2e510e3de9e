"""Measure interactions in a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from heldout._core import keys, store
from heldout._core.arrays import describe, get_matrix
from heldout._core.checks import check_choice, check_integer, check_number
from heldout._core.keys import check_key
from heldout._core.lazy import to_memory
from heldout._core.partition import PARTITIONS, read_partition
from heldout._core.store import logger, some
from heldout._core.types import is_dask
from heldout.splitting._read_screen import read_screen, screen_of
from heldout.tasks.interactions.measured import (
    FEWEST_VALUES,
    Combinations,
    Interactions,
    control_genes,
    find_combinations,
    measure,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from heldout.splitting._read_screen import Screen


_DOUBTFUL = 0.1
"""Share of the calls that noise can explain before a warning is logged."""


def interactions(
    adata: AnnData,
    perturbation_key: str,
    *,
    control: str | Sequence[str] = "control",
    separator: str | None = "+",
    targets: str | Mapping[str, str | Sequence[str]] | None = None,
    covariate_keys: str | Sequence[str] = (),
    split_key: str | None = None,
    partition: str | Sequence[str] = "train",
    layer: str | None = None,
    n_top_genes: int | None = 1000,
    fdr: float = 0.05,
    scale: Literal["se", "none"] = "se",
    min_cells: int = 10,
    df: int = 7,
    key_added: str = "interactions",
    copy: bool = False,
) -> AnnData | None:
    """Find genes for which a combination deviates from the sum of the effects of its members.

    A combination A+B needs cells of A alone, of B alone and of a control in the same context. Its deviation is
    ``y_AB - (y_A + y_B - y_0)``, where ``y`` is the mean of log-normalised expression. For k members it is
    ``y - sum(y_single) + (k - 1) y_0``. An empirical null is fitted to all deviations
    (:func:`heldout.metrics.empirical_null`). Deviations whose local false discovery rate is at most ``fdr`` are called
    and classified (:func:`heldout.metrics.interaction_classes`), as in Ahlmann-Eltze et al.
    :cite:p:`ahlmanneltze2025`. Unlike there, deviations are first divided by their standard errors; ``scale="none"`` is
    the published method.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), log-normalised; dense, csr, csc, or dask.
    perturbation_key
        Column of ``obs`` with the name of the perturbation (or guide). ``"B+A"`` and ``"A+B"`` are the same.
    control
        Name(s) of the controls.
    separator
        Text between the targets of a combination.
    targets
        Targets of each name, if the name does not contain them; see :func:`heldout.pp.split_perturbations`.
    covariate_keys
        Column(s) of ``obs`` that define the context (cell line, treatment). Combinations, members and controls are
        compared within a context. The null is fitted to all contexts together.
    split_key
        A split. If None, all cells are used: interactions are measurements, which methods are scored against. Pass a
        split if the interactions are used to *fit* a method, which must not see test cells.
    partition
        Used with ``split_key``: the partition(s) of the combinations. Their members and controls can also be in train.
        A fit can use ``"train"``; it is scored on ``"test"``.
    layer
        Layer to use instead of ``X``. If None, ``X`` is used.
    n_top_genes
        Number of genes with the highest mean over controls. If None, all genes are used.
    fdr
        Local false discovery rate of the calls.
    scale
        ``"se"`` divides each deviation by its standard error, which is estimated from the variance between cells.
        ``"none"`` uses the deviations, as published. The false discovery rate is then correct only if all genes and
        combinations were measured about equally well.
    min_cells
        Smallest number of cells of the combination, each member and the control; at least 2 for ``scale="se"``. With
        fewer than 10 cells, standard errors are too uncertain for a correct rate, and few interactions are found.
    df
        Degrees of freedom of the density of the deviations.
    key_added
        Name of the result.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. Sets the following field:

    ``uns["heldout"]["interactions"][key_added]``
        Profiles of combinations, members and controls, standard errors and the null, as arrays and JSON. Read it with
        :func:`heldout.get.interactions` and :func:`heldout.get.interaction_pairs`, and plot it with
        :func:`heldout.pl.interactions`.

    Raises
    ------
    ValueError
        If a column or a control is missing, values are raw counts or scaled, no combination has all its members and a
        control, or there are too few values for a null.

    Notes
    -----
    With ``scale="none"``, combinations with few cells and genes with a large variance between cells are called too
    often. A warning is logged if standard errors could explain more than a tenth of the calls, and ``n_doubtful`` of
    :func:`heldout.get.interaction_pairs` counts these calls. Standard errors do not include differences between
    libraries. Noise that the cells of a perturbation share is part of the null only if it is normal. The control is in
    every deviation: with few control cells, its noise in a gene looks like an interaction in all combinations.

    In simulated screens of counts (``benchmarks/bench_interactions.py``: 100 singles, 124 pairs × 500 genes), 7 %, 3 %
    and 0.4 % of the calls at ``fdr=0.05`` were false with 10, 25 and 100 cells per perturbation. With ``scale="none"``
    it was 41 %, 12 % and 4 %.

    Examples
    --------
    >>> import numpy as np, anndata as ad, heldout as ho
    >>> names = np.repeat(["control", "A", "B", "C", "A+B", "B+C"], 40)
    >>> X = np.random.default_rng(0).normal(2, 0.3, (240, 200)).clip(0)
    >>> X[names == "A+B", :4] += 1.5
    >>> adata = ad.AnnData(X, obs={"guide": names})
    >>> ho.tl.interactions(adata, "guide")
    >>> ho.get.interactions(adata).query("called")["gene"].tolist()
    ['0', '1', '2', '3']
    """
    check_key("key_added", key_added)
    adata = store.start(adata, copy=copy)
    _check_numbers(n_top_genes, fdr, scale, min_cells)
    least = max(min_cells, 2 if scale == "se" else 1)
    chosen = [partition] if isinstance(partition, str) else list(partition)
    reading: dict[str, Any] = {"control": control, "separator": separator, "targets": targets}
    screen, found, split_hash = _combinations(
        adata, perturbation_key, split_key, chosen, covariate_keys, least, reading
    )
    X = get_matrix(adata, layer, dask=True)
    _check_values(X, "adata.X" if layer is None else f"adata.layers[{layer!r}]")
    columns = control_genes(X, found, n_top_genes)
    _check_enough(found, len(columns))
    genes = adata.var_names.to_numpy(dtype=object)[columns]
    result = measure(X, found, columns, names=screen.names, genes=genes, level=float(fdr), scale=scale, df=df)
    asked = {
        "layer": layer,
        "n_top_genes": n_top_genes,
        "min_cells": least,
        "df": df,
        "split_key": split_key,
        "partition": chosen if split_key is not None else None,
        "split_hash": split_hash,
    }
    result.info.update(asked)
    _tell(result)
    section = {**store.section(adata, keys.INTERACTIONS), key_added: result.stored()}
    store.commit(adata, heldout={keys.INTERACTIONS: section})
    return store.finish(adata, copy=copy)


def _check_numbers(n_top_genes: int | None, fdr: float, scale: str, min_cells: int) -> None:
    check_choice(scale, "scale", ("se", "none"))
    check_integer(min_cells, "min_cells", least=1)
    if n_top_genes is not None:
        check_integer(n_top_genes, "n_top_genes", least=1)
    check_number(fdr, "fdr", above=0, below=1)


def _combinations(
    adata: AnnData,
    key: str,
    split_key: str | None,
    chosen: Sequence[str],
    covariate_keys: str | Sequence[str],
    min_cells: int,
    reading: Mapping[str, Any],
) -> tuple[Screen, Combinations, str | None]:
    """Return the screen, its complete combinations, and the hash of the split that restricts them."""
    if split_key is None:
        screen = read_screen(adata, key, covariate_keys=covariate_keys, **reading)
        everything = np.ones(adata.n_obs, dtype=bool)
        return screen, _complete(find_combinations(screen, everything, everything, min_cells=min_cells)), None
    unknown = [name for name in chosen if name not in PARTITIONS[:3]]
    if unknown or not chosen:
        msg = f"partition={chosen!r} must name one or more of {', '.join(map(repr, PARTITIONS[:3]))}."
        raise ValueError(msg)
    split = read_partition(adata, split_key)
    screen = screen_of(adata, split, key, covariate_keys=covariate_keys or None, **reading)
    found = find_combinations(screen, split.mask(*chosen), split.mask("train", *chosen), min_cells=min_cells)
    return screen, _complete(found), split.hash


def _complete(found: Combinations) -> Combinations:
    lacking = [f"{name} ({what})" for name, what in found.incomplete.items()]
    if not found.targets:
        have = f"{len(lacking)} are incomplete, e.g. {some(lacking)}" if lacking else "there is no combination at all"
        msg = (
            "No combination has enough cells, together with each of its members alone and a control in its context and "
            f"partition: {have}. Check separator, targets, covariate_keys, split_key and min_cells."
        )
        raise ValueError(msg)
    if lacking:
        logger.warning(
            "%d of %d combinations are left out, because they, a member or the control have too few cells: %s.",
            len(lacking),
            len(lacking) + len(found.targets),
            some(lacking, 8),
        )
    return found


def _check_values(X: Any, name: str) -> None:
    """Refuse values that are not on the log scale, on which effects are expected to add up."""
    if is_dask(X):
        X = to_memory(X[:: max(1, X.shape[0] // 2000)])
    state = describe(X, name=name)
    if state.kind in {"counts", "normalised"}:
        msg = (
            f"{name} holds {state}, but effects add up on the log scale. Pass log-normalised values: "
            "sc.pp.normalize_total(adata, target_sum=1e4); sc.pp.log1p(adata)"
        )
        raise ValueError(msg)
    if state.kind == "centred":
        msg = (
            f"{name} holds {state}, so genes cannot be ranked by expression and each gene has another scale. "
            "Pass the layer with the log-normalised values."
        )
        raise ValueError(msg)


def _check_enough(found: Combinations, n_genes: int) -> None:
    n = len(found.targets) * n_genes
    if n < FEWEST_VALUES:
        msg = (
            f"{len(found.targets)} combinations × {n_genes} genes are {n} deviations, but an empirical null needs at "
            "least "
            f"{FEWEST_VALUES}, most of them noise. Use more genes (n_top_genes)."
        )
        raise ValueError(msg)


def _tell(result: Interactions) -> None:
    without = int(np.isnan(result.se).all(axis=1).sum())
    if without:
        logger.warning(
            "%d of %d combinations have no standard error, because they, a member or the control have one cell (%d "
            "groups).",
            without,
            len(result.targets),
            int((result.n_cells < 2).sum()),
        )
    n_called, n_doubtful = int(result.called.sum()), int(result.doubtful.sum())
    if n_doubtful > _DOUBTFUL * n_called:
        logger.warning(
            "%d of %d calls are within 1.96 standard errors, so noisy genes or small numbers of cells can explain "
            "them. "
            "Compare with scale='se'.",
            n_doubtful,
            n_called,
        )
