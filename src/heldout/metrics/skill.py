"""What a score is worth: between persistence and the noise floor, with an interval over what is independent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np
import pandas as pd

from heldout._core.checks import check_choice, check_integer
from heldout._core.store import as_names, factorize
from heldout.metrics._checks import as_numbers, as_samples
from heldout.metrics._pairs import in_fixed_order

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike

_MIN_UNITS = 3


class Interval(NamedTuple):
    """A mean with its interval.

    Parameters
    ----------
    estimate
        The mean over units.
    low, high
        Limits of the interval; NaN with fewer than 3 units.
    n_units
        Number of independent units; of several crossed factors, of the one that has fewest.
    n_missing
        Number of rows that had no value and were left out.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.metrics.Interval(estimate=0.2, low=0.1, high=0.3, n_units=8).low
    0.1
    """

    estimate: float
    low: float
    high: float
    n_units: int
    n_missing: int = 0


def skill(score: ArrayLike, reference: ArrayLike, floor: ArrayLike = 0.0) -> float | np.ndarray:
    """Floor-corrected skill, (reference - score) / (reference - floor); no unit, higher is better.

    1 is as good as the truth against itself, 0 as good as the reference (for a forecast: repeating the last time point),
    below 0 worse. For scores of which lower is better.

    Parameters
    ----------
    score
        Error or distance of the prediction, a number or an array.
    reference
        The same of the reference.
    floor
        The same of the truth against itself, from :func:`split_half` or between replicates. 0 gives the plain skill.

    Returns
    -------
    A number, or an array of the common shape. NaN where the reference is not above the floor: there was nothing to gain,
    and the case should be counted, not scored. NaN in, NaN out.

    Notes
    -----
    All three must be of the same estimator, with equal numbers of cells: most distances have a positive bias that shrinks
    with the number, see :func:`split_half`. With little room between reference and floor the ratio explodes; average the
    differences ``reference - score`` rather than the ratios, and see :func:`paired_interval`. It can exceed 1 by chance.

    Examples
    --------
    >>> import heldout as ho
    >>> round(ho.metrics.skill(2.0, reference=4.0, floor=1.0), 3)
    0.667
    >>> ho.metrics.skill([2.0, 2.0], reference=[4.0, 1.0], floor=1.0).round(3).tolist()
    [0.667, nan]
    """
    arrays = (np.asarray(values, dtype=np.float64) for values in (score, reference, floor))
    own, other, least = np.broadcast_arrays(*arrays)
    room = other - least
    result = np.divide(other - own, room, out=np.full(room.shape, np.nan), where=room > 0)
    return result if result.ndim else float(result)


def split_half(
    X: ArrayLike,
    score: Callable[[np.ndarray, np.ndarray], float],
    *,
    n: int = 10,
    groups: ArrayLike | None = None,
    rng: int | np.random.Generator = 0,
) -> np.ndarray:
    """Score one random half of the truth against the other: what no prediction can be expected to beat, (n,).

    For an error it is a floor, for a correlation or R² a ceiling. The unit is that of the score.

    Parameters
    ----------
    X
        Cells of the truth, (n_cells × d). An odd cell is left out.
    score
        Function of two arrays of cells, for example :func:`energy_distance`.
    n
        Number of random halvings.
    groups
        Replicate, library or donor of each cell, (n_cells,): halves are then made of whole groups.
    rng
        Seed or generator.

    Returns
    -------
    The ``n`` scores. They share the cells, so that their spread is no standard error; report the mean.

    Raises
    ------
    ValueError
        If there are fewer than 4 cells, fewer than 2 groups, or ``groups`` has another length.

    Notes
    -----
    Halves of one library hold no variation between libraries: the floor of cells is lower than the floor of
    replicates, and only the latter is the one that a new experiment would meet. Pass ``groups`` where there are any.

    Halves have half the cells. A U-statistic (:func:`energy_distance`, :func:`mmd`) does not mind: its mean is 0 for
    any number. The Wasserstein distance does: score the prediction on halves too. The RMSE or MAE of means over cells
    is √2 times that between two samples of full size, and twice that of an exact prediction. A correlation r of two
    halves becomes 2r / (1 + r) for the whole (Spearman-Brown).

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> X = np.random.default_rng(0).normal(size=(200, 5))
    >>> floor = ho.metrics.split_half(X, lambda a, b: ho.metrics.rmse(a, b, average="of_means"))
    >>> floor.shape, bool(0.05 < floor.mean() < 0.3)
    ((10,), True)
    """
    cells = as_samples(X, "X")
    check_integer(n, "n", least=1)
    if groups is None:
        cells = in_fixed_order(cells)
    units = np.arange(len(cells)) if groups is None else _codes(groups, len(cells), "groups")
    n_units, least = int(units.max()) + 1, 4 if groups is None else 2
    if n_units < least:
        what = "X has {} rows" if groups is None else "groups holds {} group"
        msg = f"{what.format(n_units)}; two halves need at least {least}."
        raise ValueError(msg)
    generator, half = np.random.default_rng(rng), n_units // 2
    scores = np.empty(n)
    for i in range(n):
        order = generator.permutation(n_units)
        halves = order[:half], order[half : 2 * half if groups is None else None]
        scores[i] = score(*(cells[np.isin(units, members)] for members in halves))
    return scores


def paired_interval(
    differences: ArrayLike,
    *,
    units: ArrayLike | Sequence[ArrayLike],
    n: int = 2000,
    level: float = 0.95,
    missing: Literal["refuse", "leave_out"] = "refuse",
    rng: int | np.random.Generator = 0,
) -> Interval:
    """Mean of paired differences with a bootstrap percentile interval over independent units.

    Rows of the same unit (of the same combination of units) are averaged first, so that each counts once. With several
    crossed factors each is drawn on its own and a combination weighs the product: the pigeonhole bootstrap
    :cite:p:`owen2007`, which holds when rows share a target, a seed or a set of chains.

    Parameters
    ----------
    differences
        One value a row, (n_rows,): for example the reference's score less the prediction's on the same cells.
    units
        What is independent: the replicate, target time or donor of each row, (n_rows,); or a list of such arrays for
        crossed factors, for example ``[targets, seeds]``. Of nested factors pass the outer one alone.
    n
        Number of draws.
    level
        Share of the draws inside the interval.
    missing
        ``refuse`` or ``leave_out`` rows of NaN, where one of the pair has no score: a perturbation that a method does not
        predict, a correlation that does not exist. What is left out is counted in the result; say it with the estimate, which
        holds for the rest only.
    rng
        Seed or generator.

    Returns
    -------
    :class:`Interval`, in the unit of the differences. Its limits are NaN if any factor has fewer than 3 units, and all of it
    if no row has a value.

    Raises
    ------
    ValueError
        If there are no rows, a difference is infinite, or NaN and not to be left out, ``units`` has another length, or
        ``level`` or ``n`` is out of range.

    Notes
    -----
    Cells are never units, and seeds of one data set say how a training varies, not whether it holds for other data.
    A percentile interval is too narrow with few units: of nominal 95 % intervals over normal values, 75 % contain the truth
    with 3 units, 86 % with 6, 91 % with 12, 93 % with 20.

    Examples
    --------
    Three targets, two seeds each, all better by about 0.2:

    >>> import heldout as ho
    >>> better = [0.1, 0.2, 0.2, 0.3, 0.2, 0.2]
    >>> interval = ho.metrics.paired_interval(better, units=["48h", "48h", "72h", "72h", "96h", "96h"])
    >>> round(interval.estimate, 3), bool(interval.low > 0), interval.n_units
    (0.2, True, 3)
    """
    check_choice(missing, "missing", ("refuse", "leave_out"))
    given = np.asarray(differences, dtype=np.float64)
    kept = ~np.isnan(given) if missing == "leave_out" else np.ones(given.shape, dtype=bool)
    values = as_numbers(np.where(kept, given, 0), "differences", shape="(n_rows,)", ndims=(1,))
    check_integer(n, "n", least=100)
    if not 0 < level < 1:
        msg = f"level={level!r} is not between 0 and 1, for example 0.95."
        raise ValueError(msg)
    crossed = isinstance(units, list | tuple) and len(units) > 0 and np.ndim(units[0]) == 1
    columns: list[Any] = list(cast("Sequence[Any]", units)) if crossed else [units]
    factors = [_codes(labels, len(values), "units")[kept] for labels in columns]
    values, n_missing = values[kept], int((~kept).sum())
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"), 0, n_missing)
    factors = [np.unique(codes, return_inverse=True)[1] for codes in factors]  # a unit without rows is none
    cells, row_of = np.unique(np.stack(factors, axis=1), axis=0, return_inverse=True)
    row_of = row_of.ravel()
    means = np.bincount(row_of, values) / np.bincount(row_of)
    sizes = cells.max(axis=0) + 1
    estimate, fewest = float(means.mean()), int(sizes.min())
    if fewest < _MIN_UNITS:
        return Interval(estimate, float("nan"), float("nan"), fewest, n_missing)
    generator = np.random.default_rng(rng)
    weights = np.ones((n, len(means)))
    for factor, size in zip(cells.T, sizes.tolist(), strict=True):
        weights *= generator.multinomial(size, np.full(size, 1 / size), size=n)[:, factor]
    total = weights.sum(axis=1)
    drawn = (weights @ means)[total > 0] / total[total > 0]  # a sparse design can draw no combination that exists
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high), fewest, n_missing)


def _codes(labels: ArrayLike, n: int, name: str) -> np.ndarray:
    """Number of each row's unit, by the text of its name."""
    if np.shape(labels) != (n,):
        msg = f"{name} has shape {np.shape(labels)}; it must name the unit of each of the {n} rows."
        raise ValueError(msg)
    names = pd.Series(labels)
    if names.isna().any():
        msg = f"{name} is missing in {int(names.isna().sum())} of {n} rows. Name their unit or leave the rows out."
        raise ValueError(msg)
    return factorize(as_names(names))[1]
