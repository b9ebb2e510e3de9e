"""Whole groups to partitions, so that several shares are met at once: an integer program.

Each row of ``weights`` is something whose total is to be shared out as wanted: all cells, the cells of one class, the
groups of one day. The deviation of an assignment is the sum over rows, each with its importance, and partitions of
``|share of the row in the partition − wanted share|``. Groups that are alike in every row and class are one integer
variable, so the program knows no symmetry that a draw can settle afterwards.
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
"""Number of groups up to which the search goes on until the optimum is proven."""

TOLERANCE = 1e-2
"""With more groups the search ends when the deviation is within this of the lower bound, times one plus itself."""

MAX_NODES = 2000
"""With more groups the search also ends after so many nodes of its tree, which no speed of a machine changes."""

SEARCH_SECONDS = 120
"""Where any search is cut off; what was found until then is used, with a warning."""

PROVEN = 1e-6
"""Difference of deviation and bound that counts as none; the precision of the solver."""


@dataclass(frozen=True)
class Balanced:
    """Partition number of each group, (G,); its deviation; a lower bound of the deviation of any assignment."""

    parts: np.ndarray
    deviation: float
    bound: float

    @property
    def proven(self) -> bool:
        """Whether no assignment can be better."""
        return self.deviation - self.bound <= PROVEN


def balance_rows(
    groups: Groups, covariates: Sequence[np.ndarray] = (), *, by_cells: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to balance, (R × G), and their importance, (R,): all, then each class, then each value of each covariate.

    What is all, the classes, and each covariate count alike; within one of them its values count alike. Counted are
    groups, or cells ``by_cells``; cells also for a covariate, (n,) text, that is not the same in a whole group.
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
    """Deviation of the assignment ``parts``, (G,); the other arguments as in :func:`balance`."""
    reached = weights @ (parts[:, None] == np.arange(len(shares)))
    return float(importance @ np.abs(reached / weights.sum(axis=1, keepdims=True) - shares).sum(axis=1))


def balance(
    weights: np.ndarray,
    importance: np.ndarray,
    classes: np.ndarray,
    shares: np.ndarray,
    rng: np.random.Generator,
) -> Balanced:
    """Assignment of the groups with the smallest deviation, every class in every partition.

    Parameters
    ----------
    weights
        (R × G), not negative, no row of zeros; groups in an order that does not depend on the rows of the data.
    importance
        Of each row, (R,), positive.
    classes
        Class number of each group, (G,); each class has at least P groups.
    shares
        Wanted share of each partition, (P,), positive, summing to 1.
    rng
        Decides among assignments that are equally good.
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
    words = "no assignment is better" if found.proven else f"none can be below {found.bound:.4f}"
    logger.info("The shares deviate by %.4f in all; %s.", found.deviation, words)
    if not in_time:
        logger.warning(
            "The search for the best balance of %d groups was cut off after %d s, and another machine may find another "
            "split: publish this one with heldout.get.split_table.",
            len(classes),
            SEARCH_SECONDS,
        )
    return found


def _solve(
    weights: np.ndarray, importance: np.ndarray, classes: np.ndarray, sizes: np.ndarray, shares: np.ndarray
) -> tuple[np.ndarray | None, float, bool]:
    """Count of each kind of group in each partition, (K × P), None if none was found; the lower bound; if in time.

    Minimised is twice the sum of what is above the wanted share: what is above in one partition is below in the others.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    (n_rows, n_kinds), n_parts = weights.shape, len(shares)
    each_part = sparse.eye_array(n_parts)
    n_counts, n_above = n_kinds * n_parts, n_rows * n_parts
    stands_in = classes == np.unique(classes)[:, None]
    once = sparse.kron(sparse.eye_array(n_kinds), np.ones((1, n_parts)))
    cover = sparse.kron(sparse.csr_array(stands_in.astype(float)), each_part)
    above = sparse.hstack([sparse.kron(sparse.csr_array(weights), each_part), -sparse.eye_array(n_above)])
    # The last variable is 1, which makes the relative gap an absolute one.
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
