"""Number of independent cells that carry as much information as the cells of grouped data."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from heldout._core.html import fields_html
from heldout.metrics._checks import as_numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class EffectiveSize(NamedTuple):
    """Effective number of cells in grouped data.

    Parameters
    ----------
    n_eff
        Number of independent cells whose mean would have the same variance.
    icc
        Intraclass correlation: share of the variance that lies between groups of one class.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.metrics.EffectiveSize(n_eff=20.0, icc=0.05).n_eff
    20.0
    """

    n_eff: float
    icc: float

    def _repr_html_(self) -> str:
        return fields_html(self)


def effective_size(values: ArrayLike, groups: ArrayLike, labels: ArrayLike | None = None) -> EffectiveSize:
    """Compute the effective number of cells, n / (1 + (m - 1) · icc), with m cells in a group.

    Parameters
    ----------
    values
        A score of each cell, (n,), e.g. its log-odds.
    groups
        Library or donor of each cell, (n,).
    labels
        Class of each cell, (n,), the same for all cells of a group. The correlation is then computed within classes.

    Returns
    -------
    :class:`EffectiveSize`. NaN if no class has two groups, or if every group has only one cell.

    Examples
    --------
    If all cells of a library are equal, they count as one cell:

    >>> import heldout as ho
    >>> ho.metrics.effective_size([0, 0, 1, 1, 5, 5, 6, 6], [0, 0, 1, 1, 2, 2, 3, 3], [0] * 4 + [1] * 4)
    EffectiveSize(n_eff=4.0, icc=1.0)
    """
    score = as_numbers(values, "values", shape="(n,)", ndims=(1,))
    _, number = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    n_groups = int(number.max()) + 1
    classes = np.zeros(n_groups, dtype=int)
    if labels is not None:
        classes[number] = np.unique(np.asarray(labels).astype(str), return_inverse=True)[1]
    n = np.bincount(number).astype(float)
    if n_groups <= len(np.unique(classes)) or len(score) <= n_groups:
        return EffectiveSize(float("nan"), float("nan"))
    score = score - score.mean()
    total, squares = np.bincount(number, score), np.bincount(number, score**2)
    icc = float(intraclass_correlation(n, total[:, None], squares[:, None], classes)[0])
    return EffectiveSize(worth(n, icc), icc)


def intraclass_correlation(n: np.ndarray, total: np.ndarray, squares: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Compute the intraclass correlation of each gene, by unit within class, (p,).

    It is at least 0, or NaN for a constant gene.

    Parameters
    ----------
    n
        Number of cells of each unit, (U,).
    total, squares
        Sum and sum of squares over the cells of each unit, (U × p).
    classes
        Class number of each unit, (U,).
    """
    numbers = np.unique(classes)
    df = len(n) - len(numbers)
    between = ((total**2) / n[:, None]).sum(axis=0)
    within = squares.sum(axis=0) - between
    unequal = 0.0
    for number in numbers:
        inside = classes == number
        between = between - total[inside].sum(axis=0) ** 2 / n[inside].sum()
        unequal += (n[inside] ** 2).sum() / n[inside].sum()
    size = (n.sum() - unequal) / df
    msb, msw = between / df, np.maximum(within, 0) / (n.sum() - len(n))
    spread = msb + (size - 1) * msw
    tiny = 1e-12 * squares.sum(axis=0)
    return np.clip(np.divide(msb - msw, spread, out=np.full(len(spread), np.nan), where=spread > tiny), 0, 1)


def worth(sizes: np.ndarray, icc: float) -> float:
    """Return the number of independent cells whose mean has the same variance as cells in units of these sizes."""
    n = sizes.sum()
    return float(n / (1 + ((sizes**2).sum() / n - 1) * icc))
