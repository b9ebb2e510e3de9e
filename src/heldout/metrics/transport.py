"""Wasserstein distances between two sets of cells."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal

import numpy as np

from heldout._core.checks import check_choice, check_integer, check_number
from heldout.metrics._checks import as_pair
from heldout.metrics._pairs import draw_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_TOLERANCE = 1e-6


def wasserstein(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    p: Literal[1, 2] = 1,
    method: Literal["exact", "sinkhorn"] = "exact",
    regularisation: float = 0.05,
    n_max: int = 2000,
    rng: int | np.random.Generator = 0,
) -> float:
    """Return the Wasserstein distance W_p, (min over couplings of E‖x - y‖^p)^(1/p); lower is better.

    The unit is that of the values.

    Parameters
    ----------
    X
        Cells, (n × d), n at least 2.
    Y
        Cells in the same space, (m × d), m at least 2.
    p
        1 (mean distance moved) or 2 (root mean squared distance moved).
    method
        ``exact`` solves the linear programme. ``sinkhorn`` returns the cost of the plan with entropic regularisation
        :cite:p:`cuturi2013`, which is at least the exact cost. POT computes both :cite:p:`flamary2021`.
    regularisation
        Regularisation of ``sinkhorn``, as a share of the mean of ‖x - y‖^p, so it has no unit. Smaller values are
        closer to the exact distance and slower.
    n_max
        If a set has more rows, this many rows are drawn. Memory use grows with the square of ``n_max``, and the time of
        ``exact`` grows faster.
    rng
        Seed or generator of that draw. The draw does not depend on the order of the rows.

    Returns
    -------
    W_p: the root is taken, the entropy is not included, and no bias is subtracted.

    Raises
    ------
    ValueError
        If there are fewer than 2 rows, NaN, different numbers of columns, or an option is out of range.
    RuntimeError
        If the linear programme was not solved.

    Warns
    -----
    UserWarning
        If Sinkhorn's iterations did not converge.

    Notes
    -----
    This distance can reward a collapsed prediction. In many dimensions two samples of one distribution are far apart,
    and their mean is nearer to both. Against 500 cells of a normal distribution in 50 dimensions, 500 new cells have W1
    7.7 (W2 7.8), and the mean repeated 500 times has 7.0 (7.0). Use it in at most about 10 dimensions, with equal
    numbers of cells, as :func:`skill` over a :func:`split_half` floor with the same numbers of cells, and never alone.
    The debiased Sinkhorn divergence does not solve this at small regularisation, where the terms that it subtracts
    vanish.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> ho.metrics.wasserstein(np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]]), p=2)
    2.0
    """
    from scipy.spatial.distance import cdist  # slow to import

    check_choice(p, "p", (1, 2))
    check_choice(method, "method", ("exact", "sinkhorn"))
    check_integer(n_max, "n_max", least=2)
    check_number(regularisation, "regularisation", above=0)
    generator = np.random.default_rng(rng)
    first, second = (draw_rows(cells, n_max, generator) for cells in as_pair(X, Y))
    cost = cdist(first, second, "euclidean" if p == 1 else "sqeuclidean")
    moved = _exact(cost) if method == "exact" else _sinkhorn(cost, regularisation)
    return max(moved, 0.0) ** (1 / p)


def _exact(cost: np.ndarray) -> float:
    if cost.shape[0] == cost.shape[1]:  # then an optimal plan is an assignment
        from scipy.optimize import linear_sum_assignment

        return float(cost[linear_sum_assignment(cost)].mean())
    import ot  # imports torch

    moved, log = ot.emd2([], [], cost, numItermax=100_000_000, log=True)
    if log["warning"]:
        n, m = cost.shape
        msg = f"The linear programme of {n} × {m} cells was not solved: {log['warning']}. Use method='sinkhorn'."
        raise RuntimeError(msg)
    return float(moved)


def _sinkhorn(cost: np.ndarray, regularisation: float) -> float:
    import ot  # imports torch

    mean = float(cost.mean())
    if mean == 0:
        return 0.0
    share = [np.full(n, 1 / n) for n in cost.shape]
    # The logarithmic form keeps small kernels. Before convergence the exponential of a plan can overflow.
    with np.errstate(over="ignore"):
        plan, log = ot.bregman.sinkhorn_log(
            *share, cost / mean, regularisation, numItermax=10_000, stopThr=_TOLERANCE / 10, warn=False, log=True
        )
    off = float(log["err"][-1]) if log["err"] else 0.0
    if not off <= _TOLERANCE:
        msg = (
            f"Sinkhorn did not converge at regularisation={regularisation!r}: marginals are off by {off:.1e}. "
            "Use a larger regularisation, or method='exact'."
        )
        warnings.warn(msg, UserWarning, stacklevel=3)
    return float(np.sum(plan * cost))
