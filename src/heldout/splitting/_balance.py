"""Assign whole groups to partitions so that several shares are met at the same time, with an integer program.

Each row of ``weights`` is a quantity whose total is divided among the partitions: all cells, the cells of one class, or
the groups of one day. The deviation of an assignment is a sum over rows and partitions. Each term is
``|share of the row in the partition - wanted share|`` times the importance of the row. Groups that are alike in every
row and in their class are one integer variable. This removes symmetries from the program; a random draw decides between
such groups afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from heldout._core.store import factorize, logger
from heldout.splitting._allocate import allocate, draw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heldout.splitting._groups import Groups

EXACT_LIMIT = 20
"""Largest number of groups for which the search runs until the optimum is proven."""

TOLERANCE = 1e-2
"""With more groups, the search ends when the deviation is within ``TOLERANCE * (1 + deviation)`` of the lower bound."""

MAX_NODES = 2000
"""With more groups, the search also ends after this number of nodes. This limit does not depend on the machine."""

SEARCH_SECONDS = 120
"""Time limit of every search. The best assignment found until then is used, and a warning is logged."""

PROVEN = 1e-6
"""A difference between deviation and bound up to this value counts as zero. It is the precision of the solver."""


@dataclass(frozen=True)
class Balanced:
    """An assignment of groups to partitions.

    ``parts`` is the partition number of each group, (G,). ``deviation`` is the deviation of this assignment, and
    ``bound`` is a lower bound of the deviation of any assignment.
    """

    parts: np.ndarray
    deviation: float
    bound: float

    @property
    def proven(self) -> bool:
        """Whether it is proven that no assignment is better."""
        return self.deviation - self.bound <= PROVEN


def balance_rows(
    groups: Groups, covariates: Sequence[np.ndarray] = (), *, by_cells: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to balance, (R × G), and their importance, (R,).

    The rows are the total, then each class, then each value of each covariate. The total, the classes and each
    covariate have the same importance; it is divided equally among the rows of each of them. The rows count groups, or
    cells if ``by_cells`` is True. A covariate, (n,) text, is also counted in cells if it differs within a group.
    """
    n_groups = len(groups.names)
    size = np.bincount(groups.of_cell, minlength=n_groups) if by_cells else np.ones(n_groups, dtype=int)
    blocks = [size[None, :]]
    if groups.labels is not None:
        classes, of_group = factorize(groups.labels)
        blocks.append(size * (of_group == np.arange(len(classes))[:, None]))
    for covariate in covariates:
        values, of_cell = factorize(covariate)
        cells = np.bincount(of_cell * n_groups + groups.of_cell, minlength=len(values) * n_groups)
        cells = cells.reshape(len(values), n_groups)
        whole = ((cells > 0).sum(axis=0) == 1).all()
        blocks.append((cells > 0).astype(int) if whole and not by_cells else cells)
    return np.vstack(blocks), np.concatenate([np.full(len(block), 1 / len(block)) for block in blocks])


def deviation(weights: np.ndarray, importance: np.ndarray, shares: np.ndarray, parts: np.ndarray) -> float:
    """Return the deviation of the assignment ``parts``, (G,). The other arguments are those of :func:`balance`."""
    reached = weights @ (parts[:, None] == np.arange(len(shares)))
    return float(importance @ np.abs(reached / weights.sum(axis=1, keepdims=True) - shares).sum(axis=1))


def balance(
    weights: np.ndarray,
    importance: np.ndarray,
    classes: np.ndarray,
    shares: np.ndarray,
    rng: np.random.Generator,
) -> Balanced:
    """Assign the groups with the smallest deviation, with every class in every partition.

    Parameters
    ----------
    weights
        Rows to balance, (R × G). Values are not negative, and no row is all zero. The order of the groups must not
        depend on the rows of the data.
    importance
        Importance of each row, (R,), positive.
    classes
        Class number of each group, (G,). Each class has at least P groups.
    shares
        Wanted share of each partition, (P,). The shares are positive and sum to 1.
    rng
        Decides between assignments that are equally good.
    """
    kinds, kind = np.unique(np.vstack([classes, weights]), axis=1, return_inverse=True)
    kind = kind.reshape(-1)
    order = rng.permutation(kinds.shape[1])
    sizes = np.bincount(kind)[order]
    totals = weights.sum(axis=1)
    table, bound, in_time = _solve(kinds[1:, order] / totals[:, None], importance, kinds[0, order], sizes, shares)
    if table is None:
        parts = draw(classes, allocate(np.bincount(classes), shares), rng)
    else:
        parts = draw(np.argsort(order)[kind], table, rng)
    found = Balanced(parts, deviation(weights, importance, shares, parts), bound)
    proof = "no assignment is better" if found.proven else f"the lower bound is {found.bound:.4f}"
    logger.info("The total deviation of the shares is %.4f; %s.", found.deviation, proof)
    if not in_time:
        logger.warning(
            "The search for the best balance of %d groups was stopped after %d s. Another machine may find another "
            "split. Publish this split with heldout.get.split_table.",
            len(classes),
            SEARCH_SECONDS,
        )
    return found


def _solve(
    weights: np.ndarray, importance: np.ndarray, classes: np.ndarray, sizes: np.ndarray, shares: np.ndarray
) -> tuple[np.ndarray | None, float, bool]:
    """Return the count of each kind of group in each partition, (K × P), the lower bound, and if it ended in time.

    The counts are None if no assignment was found. The program minimizes twice the excess over the wanted shares,
    because an excess in one partition is a deficit in the others.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    (n_rows, n_kinds), n_parts = weights.shape, len(shares)
    each_part = sparse.eye_array(n_parts)
    n_counts, n_above = n_kinds * n_parts, n_rows * n_parts
    in_class = classes == np.unique(classes)[:, None]
    once = sparse.kron(sparse.eye_array(n_kinds), np.ones((1, n_parts)))
    cover = sparse.kron(sparse.csr_array(in_class.astype(float)), each_part)
    above = sparse.hstack([sparse.kron(sparse.csr_array(weights), each_part), -sparse.eye_array(n_above)])
    # The last variable is fixed at 1. It turns the relative gap of the solver into an absolute gap.
    once, cover, above = (_padded(once, n_above + 1), _padded(cover, n_above + 1), _padded(above, 1))
    exact = sizes.sum() <= EXACT_LIMIT
    effort = {"mip_rel_gap": 0} if exact else {"mip_rel_gap": TOLERANCE, "node_limit": MAX_NODES}
    result = milp(
        np.concatenate([np.zeros(n_counts), np.repeat(2 * importance, n_parts), [1]]),
        integrality=np.concatenate([np.ones(n_counts), np.zeros(n_above + 1)]),
        bounds=Bounds(
            np.append(np.zeros(n_counts + n_above), 1),
            np.concatenate([np.repeat(sizes, n_parts), np.full(n_above, np.inf), [1]]),
        ),
        constraints=[
            LinearConstraint(once, sizes, sizes),
            LinearConstraint(cover, 1, np.inf),
            LinearConstraint(above, -np.inf, np.tile(shares, n_rows)),
        ],
        options={"time_limit": SEARCH_SECONDS, **effort},
    )
    bound = 0.0 if result.mip_dual_bound is None else max(float(result.mip_dual_bound) - 1, 0.0)
    in_time = result.status == 0 or (not exact and (result.mip_node_count or 0) >= MAX_NODES)
    table = None if result.x is None else np.round(result.x[:n_counts]).astype(int).reshape(n_kinds, n_parts)
    return table, bound, in_time


def _padded(block: sparse.sparray, more: int) -> sparse.csr_array:
    return sparse.hstack([block, sparse.csr_array((block.shape[0], more))], format="csr")
