"""Identify the cells that clusters of k-means were fitted on, under any column name.

Each cell is in the cluster whose centre is nearest, and each centre is the mean of the fitted cells of its cluster. So
no cell, or almost none, is nearer to another mean if the means are those of the fitted cells. With means over other
cells, cells near the borders of clusters are nearer to another mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core.arrays import as_dense, get_matrix, loaded, row_blocks, take
from heldout._core.store import as_names
from heldout._core.types import is_sparse
from heldout.auditing._coordinates import coordinates, declared, in_obs
from heldout.auditing._trace_batches import means_in_groups
from heldout.auditing._traces import Verdict, in_words, parts, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout._core.types import Matrix, MatrixOrDask
    from heldout.auditing._case import Case

_MOST_CLUSTERS = 200
_FEWEST_CELLS = 10
_N_SCREENED, _SCREENED = 2000, 0.03
_MOST_WRONG = 1e-3
_FEWEST_TELLING, _RATIO = 5, 10
_NEAR_BORDER = 0.15
_LEADING = (5, 10, 15, 20, 30, 40, 50)
_NOT_READ = ("spatial",)


def of_clusters(case: Case) -> Iterator[tuple[str, Verdict, str]]:
    """Column, fitted cells and evidence of each column of ``obs`` that holds clusters of k-means."""
    columns = dict(_columns(case))
    if len(parts(case.codes)) < 2:
        return
    for where, space in _spaces(case) if columns else ():
        for column, labels in list(columns.items()):
            found = of_labels(space, case.codes, labels)
            if found is not None:
                verdict, n_near, n_other, rival = found
                proof = (
                    f"All but {n_near} of {len(labels)} cells are nearest to the mean of their cluster in {where} if "
                    f"means are over these cells. If means are over {rival}, {n_other} cells are nearer to another "
                    "mean"
                )
                yield f"obs[{column!r}]", verdict, proof
                del columns[column]


def of_labels(space: MatrixOrDask, codes: np.ndarray, labels: np.ndarray) -> tuple[Verdict, int, int, str] | None:
    """The fitted cells of clusters in a space (n × k), with the numbers of cells nearer to another mean.

    Parameters
    ----------
    labels
        Number of the cluster of each cell, (n,). Cells with -1 are in no cluster.
    """
    masks = parts(codes)
    names = list(masks)
    group = np.where(labels < 0, labels.max() + 1, labels)
    means, cells = means_in_groups(space, codes, group)
    means = {union: mean[: labels.max() + 1] for union, mean in means.items()}
    smallest = np.min([n[: labels.max() + 1] for (_, n) in _of_fits(cells)], axis=0)
    known = np.append(smallest >= _FEWEST_CELLS, [False])[group]
    if known.sum() < 2 * _FEWEST_CELLS or len(set(labels[known])) < 2:
        return None
    rows = np.flatnonzero(known)
    rows = rows[:: max(1, len(rows) // _N_SCREENED)]
    sample = as_dense(loaded(take(space, rows, None)))
    screened = {u: float((_nearest(sample, mean)[0] != labels[rows]).mean()) for u, mean in means.items()}
    if min(screened.values()) > _SCREENED:
        return None
    wrong, margins = _compare(space, labels, known, means)
    n_wrong = {union: int(each.sum()) for union, each in wrong.items()}
    best = min(n_wrong, key=lambda union: (n_wrong[union], len(union)))
    rivals = {u: n for u, n in n_wrong.items() if status_of(u) != status_of(best)}
    if not rivals or n_wrong[best] > _MOST_WRONG * known.sum():
        return None
    rival = min(rivals, key=lambda union: rivals[union])
    if rivals[rival] < max(_FEWEST_TELLING, _RATIO * n_wrong[best]):
        return None
    # Groups that k-means did not make can be separate. Then cells are wrong because a mean is, far from any border.
    if np.median(margins[best][wrong[rival]]) > _NEAR_BORDER:
        return None
    share = n_wrong[best] / known.sum()
    verdict = Verdict(status_of(best), in_words(best, names), share, "", np.nan)
    return verdict, n_wrong[best], rivals[rival], in_words(rival, names)


def _of_fits(cells: dict[tuple[str, ...], np.ndarray]) -> list[tuple[tuple[str, ...], np.ndarray]]:
    """Sizes of the clusters in the unions that have the train cells, or in all if there are none."""
    return [(u, n) for u, n in cells.items() if "train" in u] or list(cells.items())


def _columns(case: Case) -> Iterator[tuple[str, np.ndarray]]:
    """Columns with few values that the call does not name, and the number of the value of each cell."""
    obs, skip = case.adata.obs, declared(case)
    for column in obs.columns:
        if column in skip or pd.api.types.is_float_dtype(obs[column]) or pd.api.types.is_bool_dtype(obs[column]):
            continue
        missing = obs[column].isna().to_numpy()
        names = as_names(obs[column][~missing])
        levels, number = np.unique(names, return_inverse=True)
        if 2 <= len(levels) <= min(_MOST_CLUSTERS, len(names) // _FEWEST_CELLS):
            labels = np.full(len(obs), -1)
            labels[~missing] = number
            yield str(column), labels


def _spaces(case: Case) -> Iterator[tuple[str, MatrixOrDask]]:
    """Embeddings, their leading columns, and matrices."""
    tables = {f"obsm[{key!r}]": coordinates(case.adata.obsm[key]) for key in case.adata.obsm if key not in _NOT_READ}
    for where, Y in {**tables, **in_obs(case)}.items():
        if Y is None or not np.isfinite(Y).all():
            continue
        yield where, Y
        for k in _LEADING:
            if k < Y.shape[1]:
                yield f"the first {k} columns of {where}", Y[:, :k]
    for layer in [None, *sorted(layer for layer in case.adata.layers if layer is not None)]:
        try:
            yield "X" if layer is None else f"layers[{layer!r}]", get_matrix(case.adata, layer, dask=True)
        except (TypeError, ValueError):
            continue


def _nearest(block: Matrix, means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of the nearest mean of each row, and squared distances without the square of the row, (rows × means)."""
    distance = np.nan_to_num((means**2).sum(axis=1), nan=np.inf) - 2 * np.asarray(block @ np.nan_to_num(means).T)
    return np.argmin(distance, axis=1), distance


def _compare(
    space: MatrixOrDask, labels: np.ndarray, known: np.ndarray, means: dict[tuple[str, ...], np.ndarray]
) -> tuple[dict[tuple[str, ...], np.ndarray], dict[tuple[str, ...], np.ndarray]]:
    """For each union, the cells that are nearer to another mean, (n,), and distances to the next border, (n,).

    A distance is a fraction of the distance between the two means.
    """
    wrong = {union: np.zeros(len(labels), dtype=bool) for union in means}
    margins = {union: np.zeros(len(labels)) for union in means}
    for rows, part in row_blocks(space, 8192):
        here = known[rows]
        if not here.any():
            continue
        labelled, at = labels[rows][here], np.arange(int(here.sum()))
        values = part[here]
        block = values if is_sparse(values) else np.asarray(values, dtype=np.float64)
        for union, mean in means.items():
            nearest, distance = _nearest(block, mean)
            to_own = distance[at, labelled]
            distance[at, labelled] = np.inf
            other = distance.argmin(axis=1)
            between = ((mean[labelled] - mean[other]) ** 2).sum(axis=1)
            finite = np.isfinite(distance[at, other]) & np.isfinite(to_own) & (between > 0)
            inside = np.flatnonzero(here) + rows.start
            wrong[union][inside] = nearest != labelled
            margins[union][inside] = np.inf
            margins[union][inside[finite]] = (distance[at, other] - to_own)[finite] / (2 * between[finite])
    return wrong, margins
