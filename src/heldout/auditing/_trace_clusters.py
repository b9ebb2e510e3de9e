"""Identify the cells that clusters of k-means were fitted on, under any column name.

Each cell is in the cluster whose centre is nearest, and each centre is the mean of the fitted cells of its cluster. So
no cell, or almost none, is nearer to another mean if the means are those of the fitted cells. With means over other
cells, cells near the borders of clusters are nearer to another mean.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from heldout._core.arrays import loaded, row_blocks, take
from heldout._core.types import is_sparse
from heldout.auditing._columns import few_values
from heldout.auditing._coordinates import coordinates, declared, numbered_columns
from heldout.auditing._trace_batches import means_in_groups
from heldout.auditing._traces import Verdict, best_and_rival, in_words, parts, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout._core.types import Matrix, MatrixOrDask
    from heldout.auditing._case import Case
    from heldout.auditing._traces import Union

_MOST_CLUSTERS = 200
_FEWEST_CELLS = 10
_N_SCREENED, _SCREENED = 2000, 0.03
_MOST_WRONG = 1e-3
_FEWEST_TELLING, _RATIO = 5, 10
_MOST_EXPLAINED = 4
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
            found = of_labels(space, case.codes, labels, where)
            if found is not None:
                yield f"obs[{column!r}]", *found
                del columns[column]


def of_labels(space: MatrixOrDask, codes: np.ndarray, labels: np.ndarray, where: str) -> tuple[Verdict, str] | None:
    """The fitted cells of clusters in a space (n × k), and the evidence. None if they cannot be told.

    Parameters
    ----------
    labels
        Number of the cluster of each cell, (n,). Cells with -1 are in no cluster.
    where
        Name of the space in the evidence.
    """
    masks = parts(codes)
    n_clusters = int(labels.max()) + 1
    group = np.where(labels < 0, n_clusters, labels)
    means, cells = means_in_groups(space, codes, group)
    centres = {union: _Centres(mean[:n_clusters], cells[union][:n_clusters]) for union, mean in means.items()}
    smallest = np.min([each.n_cells for each in _of_fits(centres)], axis=0)
    known = np.append(smallest >= _FEWEST_CELLS, [False])[group]
    if known.sum() < 2 * _FEWEST_CELLS or len(set(labels[known])) < 2:
        return None
    rows = np.flatnonzero(known)
    rows = rows[:: max(1, len(rows) // _N_SCREENED)]
    sample = loaded(take(space, rows, None))
    screened = [float((each.distances(sample).argmin(axis=1) != labels[rows]).mean()) for each in centres.values()]
    if min(screened) > _SCREENED:
        return None
    inside = {union: np.logical_or.reduce([masks[name] for name in union]) for union in centres}
    nearer = _nearer(space, labels, known, inside, centres)
    n_wrong = {union: int(each.wrong.sum()) for union, each in nearer.items()}
    best, rival = best_and_rival(n_wrong)
    if rival is None or n_wrong[best] > _MOST_WRONG * known.sum():
        return None
    if n_wrong[rival] < max(_FEWEST_TELLING, _RATIO * n_wrong[best]):
        return None
    # Groups that k-means did not make can be separate. Then cells are wrong because a mean is, far from any border.
    if np.median(nearer[best].margin[nearer[rival].wrong]) > _NEAR_BORDER:
        return None
    if _is_membership(nearer[best], nearer[rival], inside[best], inside[rival]):
        return None
    proof = (
        f"In {where}, with the mean of each cluster over these cells, {n_wrong[best]} of {known.sum()} cells are "
        f"nearer to another cluster than to their own. With means over {in_words(rival, masks)}, {n_wrong[rival]} are"
    )
    return Verdict(status_of(best), in_words(best, masks), n_wrong[best] / known.sum(), "", np.nan), proof


def _of_fits(centres: dict[Union, _Centres]) -> list[_Centres]:
    """Centres over the unions that have the train cells, or over all unions if there are none."""
    return [each for union, each in centres.items() if "train" in union] or list(centres.values())


def _columns(case: Case) -> Iterator[tuple[str, np.ndarray]]:
    """Columns with few values that the call does not name, and the number of the value of each cell."""
    obs = case.adata.obs
    named = declared(case) | {column for column in obs.columns if pd.api.types.is_bool_dtype(obs[column])}
    for column, labels in few_values(obs, named, _MOST_CLUSTERS):
        if labels.max() + 1 <= (labels >= 0).sum() // _FEWEST_CELLS:
            yield column, labels


def _spaces(case: Case) -> Iterator[tuple[str, MatrixOrDask]]:
    """Embeddings, their leading columns, and matrices."""
    tables = {f"obsm[{key!r}]": coordinates(case.adata.obsm[key]) for key in case.adata.obsm if key not in _NOT_READ}
    for where, Y in {**tables, **numbered_columns(case)}.items():
        if Y is None or not np.isfinite(Y).all():
            continue
        yield where, Y
        for k in _LEADING:
            if k < Y.shape[1]:
                yield f"the first {k} columns of {where}", Y[:, :k]
    for stored in case.matrices():
        yield stored.where, stored.X


class _Centres:
    """Means of clusters (clusters × k) over some cells, and the number of these cells in each cluster, (clusters,).

    A cluster without cells has the mean NaN, and is infinitely far from each cell.
    """

    def __init__(self, mean: np.ndarray, n_cells: np.ndarray) -> None:
        self.n_cells = n_cells
        self.squares = np.nan_to_num((mean**2).sum(axis=1), nan=np.inf)
        self.transposed = np.ascontiguousarray(np.nan_to_num(mean).T)

    @cached_property
    def apart(self) -> np.ndarray:
        """Squared distance between each two means, (clusters × clusters). 0 if they differ by rounding."""
        both = self.squares[:, None] + self.squares
        apart = both - 2 * self.transposed.T @ self.transposed
        return np.where(apart > 1e-9 * both, apart, 0.0)

    def distances(self, block: Matrix) -> np.ndarray:
        """Squared distance of each row to each mean, without the square of the row, (rows × clusters)."""
        block = block if is_sparse(block) else np.asarray(block, dtype=np.float64)
        return self.squares - 2 * np.asarray(block @ self.transposed)


class _Nearer(NamedTuple):
    """Cells that are nearer to the mean of another cluster over some cells, (n,), and distances to the border, (n,).

    Parameters
    ----------
    wrong
        Cells that are nearer to another mean.
    wrong_alone
        The same, if a cell is left out of the mean of its cluster.
    margin
        Distance to the next border, as a fraction of the distance between the two means.
    """

    wrong: np.ndarray
    wrong_alone: np.ndarray
    margin: np.ndarray


def _nearer(
    space: MatrixOrDask,
    labels: np.ndarray,
    known: np.ndarray,
    inside: dict[Union, np.ndarray],
    centres: dict[Union, _Centres],
) -> dict[Union, _Nearer]:
    """For the means over each union, the cells that are nearer to another mean. Cells that are not known are not."""
    n = len(labels)
    found = {union: _Nearer(np.zeros(n, bool), np.zeros(n, bool), np.zeros(n)) for union in centres}
    for rows, part in row_blocks(space, 8192 if is_sparse(space) else 1024):
        here = np.flatnonzero(known[rows])
        if not len(here):
            continue
        block, at, where = part[here], np.arange(len(here)), here + rows.start
        labelled, length = labels[where], _squares(block)
        for union, (wrong, wrong_alone, margin) in found.items():
            distance = centres[union].distances(block)
            to_mean = distance[at, labelled].copy()
            distance[at, labelled] = np.inf
            other = distance.argmin(axis=1)
            to_other = distance[at, other]
            wrong[where] = to_other < to_mean
            size = centres[union].n_cells[labelled].astype(float)
            factor = np.where(inside[union][where], size / np.maximum(size - 1, 1e-12), 1.0) ** 2
            wrong_alone[where] = to_other + length < factor * (to_mean + length)
            apart = centres[union].apart[labelled, other]
            finite = np.isfinite(to_other) & np.isfinite(to_mean) & (apart > 0)
            margin[where] = np.inf
            margin[where[finite]] = (to_other - to_mean)[finite] / (2 * apart[finite])
    return found


def _squares(block: Matrix) -> np.ndarray:
    """Sum of squares of each row."""
    if is_sparse(block):
        values = block.astype(np.float64)
        return np.asarray(values.multiply(values).sum(axis=1)).ravel()
    return np.einsum("ij,ij->i", block, block, dtype=np.float64)


def _is_membership(best: _Nearer, rival: _Nearer, in_best: np.ndarray, in_rival: np.ndarray) -> bool:
    """Whether the means over ``best`` may fit better only because they are means of more of the cells.

    A cell is part of the mean of its cluster, so it is nearer to this mean than to one without it. Cells of both unions
    are part of both means. If these do not tell, the cells that only ``best`` has must still fit if each is left out of
    the mean of its cluster.
    """
    if (rival.wrong & in_best & in_rival).sum() >= _FEWEST_TELLING:
        return False
    added = in_best & ~in_rival
    n_rival = int((rival.wrong & added).sum())
    return n_rival > 0 and _MOST_EXPLAINED * int((best.wrong_alone & added).sum()) > n_rival
