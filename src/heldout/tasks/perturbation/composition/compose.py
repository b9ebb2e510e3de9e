"""Compose cells of a perturbation: measured cells of one part of it, moved by the changes of the other parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout.tasks.perturbation.composition.marginals import Marginals, ranks_of, with_mean
from heldout.tasks.perturbation.composition.responses import drawn_responses

if TYPE_CHECKING:
    from collections.abc import Sequence

_N_BINS = 4
"""Groups of cells of similar response that are moved together, for each part."""


@dataclass(frozen=True)
class Part:
    """A part of a perturbation that the base cells lack.

    Parameters
    ----------
    change
        Its mean change, (G,).
    responses
        Distribution of the response of a cell, see :mod:`heldout.tasks.perturbation.composition.responses`.
    """

    change: np.ndarray
    responses: np.ndarray


def composed(
    base: np.ndarray,
    parts: Sequence[Part],
    mean: np.ndarray,
    others: np.ndarray,
    rng: np.random.Generator,
    *,
    non_negative: bool,
) -> np.ndarray:
    """Move each base cell by its response to each part, (n × G); the mean over the cells is exactly ``mean``.

    What is missing of the mean is added in proportion to the responses.

    Parameters
    ----------
    base
        Measured cells, (n × G).
    parts
        What the base cells lack.
    mean
        Mean of the composed cells, (G,), at least 0 if values are not negative.
    others
        Other train cells; each gene can take their values, too.
    rng
        Generator of the responses.
    non_negative
        Whether values cannot be negative. Then the distribution of each gene is tilted, see :class:`Marginals`.
        Otherwise it is shifted.
    """
    n = len(base)
    drawn = np.array([drawn_responses(part.responses, n, rng) for part in parts]).reshape(len(parts), n)
    if non_negative:
        drawn, group = _binned(drawn)
    weight = np.maximum(drawn, 0).mean(axis=0) if len(parts) else np.ones(n)
    weight = weight / weight.mean() if weight.mean() > 0 else np.ones(n)
    changes = np.array([part.change for part in parts]).reshape(len(parts), base.shape[1])
    level = base.mean(axis=0)
    missing = mean - level - changes.sum(axis=0)
    if not non_negative:
        cells = base + drawn.T @ changes + weight[:, None] * missing
        return cells + (mean - cells.mean(axis=0))
    marginals, ranks, cells = Marginals(base, others), ranks_of(base, rng), np.empty(base.shape)
    for number in range(int(group.max()) + 1):
        rows = np.flatnonzero(group == number)
        wanted = level + drawn[:, rows[0]] @ changes + weight[rows[0]] * missing
        cells[rows] = marginals.moved(ranks, rows, np.maximum(wanted, 0))
    return with_mean(cells, mean)


def _binned(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Responses to each part, (P × n), replaced by the mean of cells of similar response, and the groups, (n,)."""
    result, codes = np.ones(drawn.shape), np.zeros(drawn.shape[1], dtype=np.int64)
    for i, responses in enumerate(drawn):
        edges = np.unique(np.quantile(responses, np.arange(1, _N_BINS) / _N_BINS))
        of_cell = np.searchsorted(edges, responses, side="left")
        sums = np.bincount(of_cell, responses)
        result[i] = (sums / np.maximum(np.bincount(of_cell), 1))[of_cell]
        codes = codes * _N_BINS + of_cell
    return result, np.unique(codes, return_inverse=True)[1]
