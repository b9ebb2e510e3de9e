"""Halves of the judged cells, and means of drawn control cells, which show how much of a score is noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.types import is_sparse

if TYPE_CHECKING:
    from heldout.tasks.perturbation.observed import Measured, Observed

N_HALVINGS = 5
"""Number of random halvings of the judged cells; the ceiling is a mean over them."""

N_CONTROLS = 20
"""Number of draws of the control cells."""


def halves(
    cells: Measured, mask: np.ndarray, rng: np.random.Generator, *, n: int = N_HALVINGS
) -> list[tuple[Observed, Observed]]:
    """Pseudobulks of two random halves of the cells of each perturbation and of the controls, several times.

    Perturbations with a single cell are left out. The list is empty if all perturbations have a single cell, or if a
    context has fewer than two controls.
    """
    pairs = []
    for _ in range(n):
        second = _every_other(cells, mask, rng)
        parts = [cells.observe(mask & half) for half in (~second, second)]
        if (parts[1].control_n[parts[0].pairs.context] == 0).any():
            return []
        pairs.append(_common(parts[0], parts[1]))
    return pairs if len(pairs[0][0].pairs) else []


def half_difference(cells: Measured, mask: np.ndarray, train: Observed) -> np.ndarray:
    """Difference of the means of two random halves of the train cells of each perturbation and context, (m × G)."""
    mask = mask & (cells.screen.of_cell >= 0)
    second = _every_other(cells, mask, np.random.default_rng(0))
    both = _common(*(cells.observe(mask & half) for half in (~second, second)))
    result = np.full(train.mean.shape, np.nan)
    rows = train.pairs.rows_of()
    at = [rows[pair] for pair in both[0].pairs.rows_of()]
    result[at] = both[0].mean - both[1].mean
    return result


def _every_other(cells: Measured, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mask of a random half of the cells of each group, (n,); the smaller half if their number is odd.

    The draw depends on the names of the cells, not on the order of the rows.
    """
    *_, codes = cells.screen.groups_by_dose(mask)
    order = cells.order[rng.permutation(len(codes))]
    order = order[np.argsort(codes[order], kind="stable")]
    first = np.concatenate([[0], np.flatnonzero(np.diff(codes[order])) + 1])
    place = np.arange(len(codes)) - np.repeat(first, np.diff([*first, len(codes)]))
    result = np.zeros(len(codes), dtype=bool)
    result[order] = place % 2 == 1
    return result


def _common(first: Observed, second: Observed) -> tuple[Observed, Observed]:
    """The perturbations and contexts that both have, in the same order."""
    rows, others = first.pairs.rows_of(), second.pairs.rows_of()
    both = [pair for pair in rows if pair in others]
    return first.only(np.array([rows[p] for p in both], dtype=int)), second.only(
        np.array([others[p] for p in both], dtype=int)
    )


def drawn_controls(
    cells: Measured, mask: np.ndarray, control: np.ndarray, rng: np.random.Generator, *, n: int = N_CONTROLS
) -> np.ndarray:
    """Means of control cells drawn with replacement in each context, (n × C × G); ``control`` where it has none."""
    result = np.tile(control, (n, 1, 1))
    number, context, codes = cells.screen.groups(mask)
    for group in np.flatnonzero(number < 0):
        rows = np.flatnonzero(codes == group)
        X = cells.fetch(rows)
        weights = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=n) / len(rows)
        means = X.T @ weights.T  # dense, whatever X is
        result[:, context[group]] = np.asarray(means.toarray() if is_sparse(means) else means).T
    return result
