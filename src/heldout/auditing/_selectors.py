"""Rank genes by their association with a label in many ways, from sums over units, for many labellings at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.stats import rankdata

from heldout._core.types import is_sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout._core.types import Matrix
    from heldout.auditing._sums import UnitSums

_TINY = 1e-9
_AT_ONCE = 2**22


@dataclass(frozen=True)
class ClassMoments:
    """Moments of each gene in each class and in its complement, for B labellings, K classes and p genes.

    ``n`` (B × K × 1) is the number of cells, ``mean`` and ``var`` (B × K × p) are over cells, ``rate`` is the share of
    cells that detect the gene. The fields that begin with ``other`` are of all other classes.
    """

    n: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    rate: np.ndarray
    other_n: np.ndarray
    other_mean: np.ndarray
    other_var: np.ndarray
    other_rate: np.ndarray

    @classmethod
    def of(cls, sums: UnitSums, members: np.ndarray) -> ClassMoments:
        """Compute the moments from sums over units and the membership of units in classes, (B × K × U)."""
        n = (members @ sums.n)[..., None].astype(float)
        whole = (sums.n.sum(), *(part.sum(axis=0) for part in (sums.total, sums.squares, sums.detected)))
        parts = (n, *(members @ part for part in (sums.total, sums.squares, sums.detected)))
        inside = _moments(*parts)
        outside = _moments(*(everything - part for everything, part in zip(whole, parts, strict=True)))
        return cls(*inside, *outside)


def _moments(
    n: np.ndarray, total: np.ndarray, squares: np.ndarray, detected: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n
        var = np.maximum(squares - n * mean**2, 0) / np.maximum(n - 1, 1)
        return n, mean, var, detected / n


def scores(sums: UnitSums, members: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name of each selector and its scores of every class against the others, (B × K × p).

    Parameters
    ----------
    sums
        Sums over the cells of each unit.
    members
        Membership of the units in the classes, (B × K × U), 0 or 1.
    """
    m = ClassMoments.of(sums, members)
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = m.mean - m.other_mean
        yield "t test", difference / np.sqrt(m.var / m.n + m.other_var / m.other_n)
        pooled = ((m.n - 1) * m.var + (m.other_n - 1) * m.other_var) / (m.n + m.other_n - 2)
        yield "F test", difference / np.sqrt(pooled * (1 / m.n + 1 / m.other_n))
        yield "difference of means", difference
        fold = (np.expm1(m.mean) + _TINY) / (np.expm1(m.other_mean) + _TINY)
        yield "log fold change", np.log2(np.maximum(fold, _TINY))
        yield "detection rate", m.rate - m.other_rate
        yield "pseudobulk t test", _of_units(sums, members)


def _of_units(sums: UnitSums, members: np.ndarray) -> np.ndarray:
    """Welch's t over the means of the units."""
    present = (sums.n > 0).astype(float)
    means = sums.mean * present[:, None]
    totals = type(sums)(present, present[:, None] * np.ones_like(means), means, means**2)
    m = ClassMoments.of(totals, members)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((m.mean - m.other_mean) / np.sqrt(m.var / m.n + m.other_var / m.other_n))


def rank_sums(X: Matrix, unit_of_cell: np.ndarray, n_units: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the centred ranks of the cells of each unit, (U × p), and the standard deviation of the ranks, (p,)."""
    n, p = X.shape
    columns = sparse.csc_array(X) if is_sparse(X) else None
    dense = np.empty((n, 0)) if is_sparse(X) else np.asarray(X)
    of_unit = np.bincount(unit_of_cell, minlength=n_units).astype(float)
    found, spread = np.zeros((n_units, p)), np.zeros(p)
    for g in range(p):
        if columns is not None:
            at = slice(columns.indptr[g], columns.indptr[g + 1])
            rows, values = columns.indices[at], np.asarray(columns.data[at], dtype=float)
        else:
            rows, values = np.arange(n), np.asarray(dense[:, g], dtype=float)
        n_zero = n - len(rows)
        ranks, zero = rankdata(values), 0.0
        if n_zero:  # stored values may be zero too, and then have the rank of all zeros
            below, ties = int((values < 0).sum()), n_zero + int((values == 0).sum())
            zero = below + (ties + 1) / 2
            ranks = np.where(values > 0, ranks + n_zero, np.where(values < 0, ranks, zero))
        middle = (n + 1) / 2
        found[:, g] = np.bincount(unit_of_cell[rows], ranks - zero, minlength=n_units) + of_unit * (zero - middle)
        spread[g] = np.sqrt((((ranks - middle) ** 2).sum() + n_zero * (zero - middle) ** 2) / n)
    return found, spread


def chosen_like(score: np.ndarray, n: int) -> Iterator[np.ndarray]:
    """Yield sets of about ``n`` genes that a selector would choose, (B × p) boolean.

    The sets are the genes with the largest score of any sign, those with the largest scores of each class together, and
    those with the largest scores of one class.

    Parameters
    ----------
    score
        Scores of every class against the others, (B × K × p).
    n
        Number of genes to choose.
    """
    _, k, _ = score.shape
    score = np.nan_to_num(score, nan=0.0, posinf=np.finfo(float).max, neginf=np.finfo(float).min)
    yield _top(np.abs(score).max(axis=1), n)
    if n >= k:
        yield np.logical_or.reduce([_top(score[:, c], n // k) for c in range(k)])
    for c in range(k):
        yield _top(score[:, c], n)


def _top(score: np.ndarray, n: int) -> np.ndarray:
    found = np.zeros(score.shape, dtype=bool)
    np.put_along_axis(found, np.argpartition(-score, n - 1, axis=1)[:, :n], values=True, axis=1)
    return found


def memberships(codes: np.ndarray, n_classes: int, p: int) -> Iterator[np.ndarray]:
    """Yield the membership of units in classes (b × K × U) for parts of the labellings (B × U) that fit in memory."""
    step = max(1, _AT_ONCE // (n_classes * max(p, 1)))
    for first in range(0, len(codes), step):
        part = codes[first : first + step]
        yield (part[:, None, :] == np.arange(n_classes)[None, :, None]).astype(float)


def agreement(
    sums: UnitSums, codes: np.ndarray, n_classes: int, chosen: np.ndarray, ranks: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, str]:
    """Largest Jaccard index of the chosen genes with any selector, for each labelling (B,), and the best selector.

    Parameters
    ----------
    sums
        Sums over the cells of each unit.
    codes
        Class number of each unit, (B × U). The selector that is named is that of the first labelling.
    n_classes
        Number of classes, K.
    chosen
        The genes whose choice is explained, (p,) boolean.
    ranks
        From :func:`rank_sums`, or None to leave out the Wilcoxon test.
    """
    n = int(chosen.sum())
    found: list[np.ndarray] = []
    named = ""
    for members in memberships(codes, n_classes, len(chosen)):
        best = np.full(len(members), -1.0)
        for name, score in _all_scores(sums, members, ranks):
            for like in chosen_like(score, n):
                both = (like & chosen).sum(axis=1)
                jaccard = both / (like.sum(axis=1) + n - both)
                if not found and jaccard[0] > best[0]:
                    named = name
                best = np.maximum(best, jaccard)
        found.append(best)
    return np.concatenate(found), named


def _all_scores(
    sums: UnitSums, members: np.ndarray, ranks: tuple[np.ndarray, np.ndarray] | None
) -> Iterator[tuple[str, np.ndarray]]:
    yield from scores(sums, members)
    if ranks is not None:
        of_class = members @ ranks[0]
        n = (members @ sums.n)[..., None]
        z = of_class / np.sqrt(np.maximum(n * (sums.n.sum() - n), 1))
        yield "Wilcoxon test", z / np.where(ranks[1] > 0, ranks[1], np.inf)
        yield "Wilcoxon test without ties", z
