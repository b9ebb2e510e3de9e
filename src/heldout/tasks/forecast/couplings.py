"""Who becomes whom: entropic optimal transport between two snapshots, and chains of cells drawn from it.

Each cell is measured once and destroyed, so no cell is seen at two times. A coupling says for each cell of the earlier
snapshot how likely each cell of the later one is to be its descendant.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from heldout._core.rng import generator
from heldout._core.threads import thread_policy
from heldout.tasks.forecast.shared import remembered
from heldout.tasks.forecast.sinkhorn import TOLERANCE, shares, sinkhorn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from heldout._core.rng import Rng

BATCH = 2048
"""Cells of one snapshot in a problem that is solved at once; its matrices then take 200 MB."""

_DRAWS = 4
_KEPT = 16  # entries of a row that stay of each problem when there are several
_NEGLIGIBLE = 1e-9  # share of a row


@dataclass(frozen=True)
class Coupling:
    """A transition between two snapshots.

    Parameters
    ----------
    transition
        Probability (n0 × n1) that a cell becomes another one; each row sums to 1.
    mass
        Descendants of each cell of the first snapshot, relative to their mean, (n0,).
    source_error, target_error
        Share of the mass that does not lie where the marginals of the first and of the second snapshot want it. With
        ``unbalanced`` the first is free, and ``source_error`` is how much it still moves.
    n_iterations
        Iterations of the longest problem.
    n_problems
        1, or the number of minibatches.
    """

    transition: sparse.csr_array
    mass: np.ndarray
    source_error: float
    target_error: float
    n_iterations: int
    n_problems: int

    @property
    def converged(self) -> bool:
        """Whether all problems were solved to the tolerance of 1e-4 of the mass."""
        return bool(np.maximum(self.source_error, self.target_error) <= 2 * TOLERANCE)  # not if one is NaN


@remembered(BATCH)
@thread_policy(0)  # Sinkhorn multiplies at most 2048 × 2048 by a vector: threads cost more than they save
def coupling(
    X0: np.ndarray,
    X1: np.ndarray,
    *,
    epsilon: float = 0.05,
    unbalanced: float | None = None,
    growth: np.ndarray | None = None,
    batch_size: int = BATCH,
    rng: Rng = 0,
) -> Coupling:
    """Compute entropic optimal transport from one snapshot to the next, by Sinkhorn's algorithm and steps of Newton.

    The cost is the squared Euclidean distance. With ``unbalanced``, the iterations are those of POT
    :cite:p:`flamary2021`.

    Snapshots of more than ``batch_size`` cells are cut at random into batches of that size. Each batch is solved
    against one batch of the other snapshot. This is done four times and averaged. Each row of a batch keeps 16 entries,
    which are drawn so that they equal the row on average. Memory is then at most six matrices of ``batch_size²``
    float64, and about 1 kB for each cell of the larger snapshot. Each cell is compared with a sample of the cells of
    the other snapshot, so the transition is somewhat more diffuse than that of the whole problem.

    Parameters
    ----------
    X0, X1
        Coordinates of the cells of the earlier (n0 × d) and of the later snapshot (n1 × d).
    epsilon
        Strength of the entropy as a share of the median cost. A larger value gives a more diffuse plan.
    unbalanced
        Strength, as a share of the median cost, that keeps the number of descendants of a cell close to ``growth``.
        Cells may then grow or die. Every cell of the later snapshot still has ancestors. None keeps exactly to
        ``growth``.
    growth
        Expected number of descendants of each cell of the earlier snapshot, (n0,), up to a factor. None gives all cells
        the same number.
    batch_size
        Largest number of cells of a snapshot that is solved at once.
    rng
        Seed of the batches.

    Raises
    ------
    ValueError
        If shapes, values or options are not as above, all cells are at one point, or the plan of a cell underflows.

    Warns
    -----
    UserWarning
        If a problem has not converged after 5000 iterations.
    """
    X0, X1, weights = _checked(X0, X1, growth, epsilon=epsilon, unbalanced=unbalanced, batch_size=batch_size)
    random = generator(rng)
    scale = _median_cost(X0, X1, batch_size, random)
    options = (epsilon * scale, np.inf if unbalanced is None else unbalanced * scale)
    if max(len(X0), len(X1)) <= batch_size:
        plan, source_error, target_error, n_iterations = sinkhorn(_cost(X0, X1), shares(weights), *options)
        rows = plan.sum(axis=1)
        found = Coupling(_sparse(plan / rows[:, None]), rows / rows.mean(), source_error, target_error, n_iterations, 1)
    else:
        found = _in_batches(X0, X1, weights, options, batch_size, random)
    if not found.converged:
        off = np.maximum(found.source_error, found.target_error)
        msg = (
            f"Sinkhorn has not converged after {found.n_iterations} iterations: {off:.1%} of the mass is not "
            f"where it should be. Raise epsilon={epsilon:g}."
        )
        warnings.warn(msg, stacklevel=4)  # the caller of the decorated function
    return found


def sample_chains(couplings: Sequence[Coupling], n_chains: int, rng: Rng = 0) -> np.ndarray:
    """Draw chains of cells through T snapshots from T − 1 couplings: row numbers, (n_chains × T) int32.

    A cell with twice as many descendants starts twice as many chains. Chains are drawn in proportion to the mass that
    flows along them, so that they reach the cells of the last snapshot evenly. With equal masses the first cell is
    drawn evenly, and each next cell from its row of the transition.

    Raises
    ------
    ValueError
        If there is no coupling, they do not fit together, or ``n_chains`` is below 1.
    """
    shapes = [c.transition.shape for c in couplings]
    if not shapes or any(first[1] != second[0] for first, second in zip(shapes, shapes[1:], strict=False)):
        msg = f"couplings of shapes {shapes} do not fit: each needs as many rows as the coupling before it has columns."
        raise ValueError(msg)
    if n_chains < 1:
        msg = f"n_chains={n_chains!r} must be an integer >= 1."
        raise ValueError(msg)
    random = generator(rng)
    ahead = [np.ones(shapes[-1][1])]  # mass that flows on from each cell, up to a factor
    for pair in reversed(couplings):
        flow = pair.mass * (pair.transition @ ahead[-1])
        ahead.append(flow / flow.max())
    ahead.reverse()
    chains = np.empty((n_chains, len(shapes) + 1), dtype=np.int32)
    chains[:, 0] = _systematic(ahead[0], n_chains, random)
    for step, pair in enumerate(couplings):
        chains[:, step + 1] = _next(pair.transition, ahead[step + 1], chains[:, step], random)
    return random.permutation(chains)


def _checked(
    X0: np.ndarray,
    X1: np.ndarray,
    growth: np.ndarray | None,
    *,
    epsilon: float,
    unbalanced: float | None,
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    X0, X1 = np.asarray(X0, dtype=np.float64), np.asarray(X1, dtype=np.float64)
    if X0.ndim != 2 or X1.ndim != 2 or X0.shape[1] != X1.shape[1] or not len(X0) or not len(X1):
        msg = f"X0 and X1 must be (n0 × d) and (n1 × d) with cells in both; they are {X0.shape} and {X1.shape}."
        raise ValueError(msg)
    if not (np.isfinite(X0).all() and np.isfinite(X1).all()):
        msg = "X0 or X1 has NaN or infinite values. Drop those cells first."
        raise ValueError(msg)
    weights = np.ones(len(X0)) if growth is None else np.asarray(growth, dtype=np.float64)
    if weights.shape != (len(X0),) or not np.isfinite(weights).all() or (weights <= 0).any():
        msg = f"growth must be {len(X0)} finite numbers > 0, one for each cell of X0."
        raise ValueError(msg)
    for name, value in (("epsilon", epsilon), ("unbalanced", unbalanced)):
        if value is not None and not (np.isfinite(value) and value > 0):
            msg = f"{name}={value!r} must be a number > 0, a share of the median cost."
            raise ValueError(msg)
    if batch_size < 2:
        msg = f"batch_size={batch_size!r} must be an integer >= 2."
        raise ValueError(msg)
    return X0, X1, weights


def _cost(X0: np.ndarray, X1: np.ndarray) -> np.ndarray:
    """Squared distances, (n0 × n1)."""
    centre = X0.mean(axis=0)
    X0, X1 = X0 - centre, X1 - centre
    cost = X0 @ (-2 * X1.T)
    cost += (X0**2).sum(axis=1)[:, None]
    cost += (X1**2).sum(axis=1)
    return np.asarray(np.maximum(cost, 0, out=cost))


def _median_cost(X0: np.ndarray, X1: np.ndarray, batch_size: int, random: np.random.Generator) -> float:
    """Median cost between the snapshots, or between samples of large ones. All batches have the same scale."""
    X0, X1 = (X if len(X) <= batch_size else X[random.permutation(len(X))[:batch_size]] for X in (X0, X1))
    median = float(np.median(_cost(X0, X1)))
    if median <= 0:
        msg = (
            "At least half of the cells of X0 and X1 are at one point, so no cell is nearer than another. Use other "
            "coordinates."
        )
        raise ValueError(msg)
    return median


def _in_batches(
    X0: np.ndarray,
    X1: np.ndarray,
    weights: np.ndarray,
    options: tuple[float, float],
    batch_size: int,
    random: np.random.Generator,
) -> Coupling:
    total = sparse.csr_array((len(X0), len(X1)))
    mass, met = np.zeros(len(X0)), np.zeros(len(X0))
    errors, longest, n_problems = np.zeros(2), 0, 0
    for batches in _batches(len(X0), len(X1), batch_size, random):
        parts = []
        for rows, columns in batches:
            plan, *error, n_iterations = sinkhorn(_cost(X0[rows], X1[columns]), shares(weights[rows]), *options)
            sums = plan.sum(axis=1)
            chosen = _thinned(plan, sums, random)
            parts.append((np.repeat(rows, _KEPT), columns[chosen]))
            mass[rows] += sums * weights[rows].sum()
            met[rows] += 1
            errors, longest, n_problems = np.maximum(errors, error), max(longest, n_iterations), n_problems + 1
        i, j = (np.concatenate(ends) for ends in zip(*parts, strict=True))
        total = total + sparse.csr_array((np.ones(len(i)), (i, j)), shape=total.shape)  # sums what occurs twice
    total = sparse.csr_array(sparse.diags_array(1 / total.sum(axis=1)) @ total)
    mass = mass / met
    return Coupling(total, mass / mass.mean(), float(errors[0]), float(errors[1]), longest, n_problems)


def _batches(
    n0: int, n1: int, batch_size: int, random: np.random.Generator
) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
    """For each draw, pairs of row numbers of both snapshots, in which each cell occurs equally often."""
    few, many = sorted(-(-n // batch_size) for n in (n0, n1))
    many = -(-many // few) * few
    for _ in range(_DRAWS):
        first, second = (np.array_split(random.permutation(n), many if n == max(n0, n1) else few) for n in (n0, n1))
        yield [(first[b % len(first)], second[b % len(second)]) for b in range(max(len(first), len(second)))]


def _thinned(plan: np.ndarray, sums: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Column numbers (n0 · 16,) drawn from each row, at equal steps of its cumulated mass, which gives little noise."""
    steps = (np.arange(_KEPT) + random.random((len(plan), 1))) / _KEPT
    chosen = np.empty(steps.shape, dtype=np.int64)
    for row, (cumulated, at) in enumerate(zip(np.cumsum(plan / sums[:, None], axis=1), steps, strict=True)):
        chosen[row] = np.searchsorted(cumulated, at * cumulated[-1])
    return chosen.ravel()


def _sparse(rows: np.ndarray) -> sparse.csr_array:
    """Rows that sum to 1 without their negligible entries."""
    rows[rows < _NEGLIGIBLE] = 0
    rows /= rows.sum(axis=1, keepdims=True)
    return sparse.csr_array(rows)


def _systematic(weights: np.ndarray, n: int, random: np.random.Generator) -> np.ndarray:
    """Draw ``n`` numbers in proportion to weights. The count of each is within 1 of its expected count."""
    cumulated = np.cumsum(weights)
    at = (np.arange(n) + random.random()) / n * cumulated[-1]
    return np.minimum(np.searchsorted(cumulated, at, side="right"), np.flatnonzero(weights)[-1])


def _next(transition: sparse.csr_array, ahead: np.ndarray, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The column that follows each row, drawn in proportion to its transition times the mass that flows on."""
    chosen = np.empty(len(rows), dtype=np.int32)
    for at, (row, draw) in enumerate(zip(rows, random.random(len(rows)), strict=True)):
        entries = slice(transition.indptr[row], transition.indptr[row + 1])
        columns = transition.indices[entries]
        cumulated = np.cumsum(transition.data[entries] * ahead[columns])
        chosen[at] = columns[np.searchsorted(cumulated, draw * cumulated[-1], side="right").clip(max=len(columns) - 1)]
    return chosen
