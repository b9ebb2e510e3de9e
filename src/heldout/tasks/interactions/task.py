"""From an AnnData to measured interactions: which cells are compared, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.arrays import describe, get_matrix
from heldout._core.lazy import to_memory
from heldout._core.partition import PARTITIONS, read_partition
from heldout._core.store import logger, some
from heldout._core.types import is_dask
from heldout.splitting._read_screen import read_screen, screen_of
from heldout.tasks.interactions.measured import FEWEST_VALUES, control_genes, find_combinations, measure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from heldout._core.types import MatrixOrDask
    from heldout.splitting._read_screen import Screen
    from heldout.tasks.interactions.measured import Combinations, Interactions

_DOUBTFUL = 0.1
"""Share of the calls that noise may explain; above it, a warning is logged."""


def measured_interactions(
    adata: AnnData,
    perturbation_key: str,
    *,
    reading: Mapping[str, Any],
    covariate_keys: str | Sequence[str],
    split_key: str | None,
    partitions: Sequence[str],
    layer: str | None,
    n_top_genes: int | None,
    fdr: float,
    scale: str,
    min_cells: int,
    df: int,
) -> Interactions:
    """Measure the interactions of an AnnData; see :func:`heldout.tl.interactions`."""
    screen, found, split_hash = _combinations(
        adata, perturbation_key, split_key, partitions, covariate_keys, min_cells, reading
    )
    X = get_matrix(adata, layer, dask=True)
    _check_values(X, "adata.X" if layer is None else f"adata.layers[{layer!r}]")
    columns = control_genes(X, found, n_top_genes)
    _check_enough(found, len(columns))
    genes = adata.var_names.to_numpy(dtype=object)[columns]
    result = measure(X, found, columns, names=screen.names, genes=genes, fdr=float(fdr), scale=scale, df=df)
    asked = {
        "layer": layer,
        "n_top_genes": n_top_genes,
        "min_cells": min_cells,
        "df": df,
        "split_key": split_key,
        "partition": list(partitions) if split_key is not None else None,
        "split_hash": split_hash,
    }
    result.info.update(asked)
    _warn(result)
    return result


def _combinations(
    adata: AnnData,
    key: str,
    split_key: str | None,
    chosen: Sequence[str],
    covariate_keys: str | Sequence[str],
    min_cells: int,
    reading: Mapping[str, Any],
) -> tuple[Screen, Combinations, str | None]:
    """The screen, its combinations that can be compared, and the hash of the split that restricts them."""
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
    """Refuse if no combination is complete, and warn of those that are not."""
    lacking = [f"{name} ({what})" for name, what in found.incomplete.items()]
    if not found.targets:
        have = f"there are {len(lacking)}, e.g. {some(lacking)}" if lacking else "there is no combination at all"
        msg = (
            "No combination has enough cells of itself, of each member alone and of a control in the same context and "
            f"partition: {have}. Check separator, targets, covariate_keys, split_key and min_cells."
        )
        raise ValueError(msg)
    if lacking:
        logger.warning(
            "%d of %d combinations are left out, because there are too few cells of the combination, a member or the "
            "control: %s.",
            len(lacking),
            len(lacking) + len(found.targets),
            some(lacking, 8),
        )
    return found


def _check_values(X: MatrixOrDask, name: str) -> None:
    """Refuse values that are not on a log scale, on which effects add up."""
    state = describe(to_memory(X[:: max(1, X.shape[0] // 2000)]) if is_dask(X) else X, name=name)
    if state.kind in {"counts", "normalised"}:
        msg = (
            f"{name} holds {state}, but effects add up on the log scale. Pass log-normalised values: "
            "sc.pp.normalize_total(adata, target_sum=1e4); sc.pp.log1p(adata)"
        )
        raise ValueError(msg)
    if state.kind == "centred":
        msg = (
            f"{name} holds {state}, but interactions need log-normalised values: genes are chosen by their control "
            "expression, and all genes need the same scale. Pass the layer with the log-normalised values."
        )
        raise ValueError(msg)


def _check_enough(found: Combinations, n_genes: int) -> None:
    n = len(found.targets) * n_genes
    if n < FEWEST_VALUES:
        msg = (
            f"{len(found.targets)} combinations × {n_genes} genes are {n} deviations, but an empirical null needs at "
            f"least {FEWEST_VALUES}, most of them noise. Use more genes (n_top_genes)."
        )
        raise ValueError(msg)


def _warn(result: Interactions) -> None:
    """Warn of combinations without standard errors, and of many calls that noise may explain."""
    without = int(np.isnan(result.se).all(axis=1).sum())
    if without:
        logger.warning(
            "%d of %d combinations have no standard error, because the combination, a member or the control has only "
            "one "
            "cell (%d groups).",
            without,
            len(result.targets),
            int((result.n_cells < 2).sum()),
        )
    n_called, n_doubtful = int(result.called.sum()), int(result.doubtful.sum())
    if n_doubtful > _DOUBTFUL * n_called:
        logger.warning(
            "%d of %d calls are within 1.96 of their standard errors, so noisy genes or small numbers of cells may "
            "explain "
            "them. Compare with scale='se'.",
            n_doubtful,
            n_called,
        )
