"""Skill of a score between a baseline and the noise floor, and its interval over independent units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np
import pandas as pd

from heldout._core.checks import check_choice, check_integer, check_number
from heldout._core.html import fields_html
from heldout._core.store import as_names, factorize
from heldout._core.verdict import FEWEST
from heldout.metrics._checks import as_numbers, as_samples
from heldout.metrics._pairs import in_fixed_order

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike


class Interval(NamedTuple):
    """A mean with its interval.

    Parameters
    ----------
    estimate
        The mean over units.
    low, high
        Limits of the interval. NaN with fewer than 3 units.
    n_units
        Number of independent units. For several crossed factors, the number of the factor that has fewest.
    n_missing
        Number of rows without a value, which were left out.

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

    def _repr_html_(self) -> str:
        return fields_html(self)


def skill(score: ArrayLike, baseline: ArrayLike, floor: ArrayLike = 0.0) -> float | np.ndarray:
    """Compute the floor-corrected skill, (baseline - score) / (baseline - floor); no unit, higher is better.

    1 is as good as the truth against itself. 0 is as good as the baseline (for a forecast: repeating the last time
    point). Values below 0 are worse than the baseline. It is for scores in which lower is better.

    Parameters
    ----------
    score
        Error or distance of the prediction, a number or an array.
    baseline
        Error or distance of the baseline.
    floor
        Error or distance of the truth against itself, from :func:`split_half` or between replicates. With 0 the skill
        is not corrected.

    Returns
    -------
    A number, or an array of the common shape. NaN where the baseline is not above the floor. In this case nothing can
    be gained; count it, and do not score it. NaN where an input is NaN.

    Notes
    -----
    All three must use the same estimator and equal numbers of cells, because most distances have a positive bias that
    falls with the number of cells; see :func:`split_half`. If baseline and floor are close, the ratio becomes very
    large. Then average the differences ``baseline - score`` and not the ratios; see :func:`paired_interval`. The skill
    can exceed 1 by chance.

    Examples
    --------
    >>> import heldout as ho
    >>> round(ho.metrics.skill(2.0, baseline=4.0, floor=1.0), 3)
    0.667
    >>> ho.metrics.skill([2.0, 2.0], baseline=[4.0, 1.0], floor=1.0).round(3).tolist()
    [0.667, nan]
    """
    arrays = (np.asarray(values, dtype=np.float64) for values in (score, baseline, floor))
    reached, worst, least = np.broadcast_arrays(*arrays)
    room = worst - least
    result = np.divide(worst - reached, room, out=np.full(room.shape, np.nan), where=room > 0)
    return result if result.ndim else float(result)


def split_half(
    X: ArrayLike,
    score: Callable[[np.ndarray, np.ndarray], float],
    *,
    n: int = 10,
    groups: ArrayLike | None = None,
    rng: int | np.random.Generator = 0,
) -> np.ndarray:
    """Score one random half of the truth against the other half, which is the best expected score, (n,).

    For an error it is a floor; for a correlation or R² it is a ceiling. The unit is that of the score.

    Parameters
    ----------
    X
        Cells of the truth, (n_cells × d). If their number is odd, one cell is left out.
    score
        Function of two arrays of cells, for example :func:`energy_distance`.
    n
        Number of random splits into halves.
    groups
        Replicate, library or donor of each cell, (n_cells,). The halves then consist of whole groups.
    rng
        Seed or generator.

    Returns
    -------
    The ``n`` scores. They share cells, so their spread is not a standard error. Report their mean.

    Raises
    ------
    ValueError
        If there are fewer than 4 cells, fewer than 2 groups, or ``groups`` has another length.

    Notes
    -----
    Halves of one library contain no variation between libraries. The floor from cells is lower than the floor from
    replicates, and a new experiment meets the floor from replicates. Pass ``groups`` if there are replicates.

    Halves have half the cells. This does not change the mean of a U-statistic (:func:`energy_distance`, :func:`mmd`),
    which is 0 for any number of cells. It changes the Wasserstein distance; score the prediction on halves too. The
    RMSE or MAE of means over cells is √2 times that between two samples of full size, and twice that of an exact
    prediction. A correlation r between halves becomes 2r / (1 + r) for all cells (Spearman-Brown).

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
        found = f"X has {n_units} rows" if groups is None else f"groups has {n_units} group"
        msg = f"{found}, but two halves need at least {least}."
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
    coverage: float = 0.95,
    missing: Literal["refuse", "leave_out"] = "refuse",
    rng: int | np.random.Generator = 0,
) -> Interval:
    """Compute the mean of paired differences, with a bootstrap percentile interval over independent units.

    Rows of the same unit (or of the same combination of units) are averaged first, so that each unit counts once. With
    several crossed factors, each factor is drawn independently and a combination is weighted by the product. This is
    the pigeonhole bootstrap :cite:p:`owen2007`. It is valid if rows share a target, a seed or a set of chains.

    Parameters
    ----------
    differences
        One value per row, (n_rows,), for example the score of the baseline minus that of the prediction on the same
        cells.
    units
        Independent unit of each row, (n_rows,): replicate, target time or donor. For crossed factors pass a list of
        such arrays, for example ``[targets, seeds]``. For nested factors pass only the outer factor.
    n
        Number of draws.
    coverage
        Nominal coverage of the interval: the share of the draws inside it.
    missing
        ``refuse`` raises an error for NaN; ``leave_out`` leaves out these rows. A row is NaN if one of the pair has no
        score, for example because a method does not predict this perturbation or a correlation is not defined. The
        result counts the rows left out. Report this number with the estimate, which is valid only for the other rows.
    rng
        Seed or generator.

    Returns
    -------
    :class:`Interval`, in the unit of the differences. The limits are NaN if a factor has fewer than 3 units. The
    estimate is NaN too if no row has a value.

    Raises
    ------
    ValueError
        If there are no rows, a difference is infinite, a difference is NaN and ``missing="refuse"``, ``units`` has
        another length, or ``coverage`` or ``n`` is out of range.

    Notes
    -----
    Cells are never units. Seeds on one data set show how much training varies, and not whether a result holds on other
    data. A percentile interval is too narrow with few units. Of nominal 95 % intervals over normal values, 75 % contain
    the truth with 3 units, 86 % with 6, 91 % with 12, and 93 % with 20.

    Examples
    --------
    Three targets with two seeds each, all better by about 0.2:

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
    check_number(coverage, "coverage", above=0, below=1)
    crossed = isinstance(units, list | tuple) and len(units) > 0 and np.ndim(units[0]) == 1
    columns: list[Any] = list(cast("Sequence[Any]", units)) if crossed else [units]
    factors = [_codes(labels, len(values), "units")[kept] for labels in columns]
    values, n_missing = values[kept], int((~kept).sum())
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"), 0, n_missing)
    factors = [np.unique(codes, return_inverse=True)[1] for codes in factors]  # without units that have no row
    cells, row_of = np.unique(np.stack(factors, axis=1), axis=0, return_inverse=True)
    row_of = row_of.ravel()
    means = np.bincount(row_of, values) / np.bincount(row_of)
    sizes = cells.max(axis=0) + 1
    estimate, fewest = float(means.mean()), int(sizes.min())
    if fewest < FEWEST:
        return Interval(estimate, float("nan"), float("nan"), fewest, n_missing)
    generator = np.random.default_rng(rng)
    weights = np.ones((n, len(means)))
    for factor, size in zip(cells.T, sizes.tolist(), strict=True):
        weights *= generator.multinomial(size, np.full(size, 1 / size), size=n)[:, factor]
    total = weights.sum(axis=1)
    drawn = (weights @ means)[total > 0] / total[
        total > 0
    ]  # in a sparse design, a draw can have no existing combination
    low, high = np.quantile(drawn, [(1 - coverage) / 2, (1 + coverage) / 2])
    return Interval(estimate, float(low), float(high), fewest, n_missing)


def _codes(labels: ArrayLike, n: int, name: str) -> np.ndarray:
    """Return the number of each row's unit, by the text of its name."""
    if np.shape(labels) != (n,):
        msg = f"{name} has shape {np.shape(labels)}, but must have the unit of each of the {n} rows."
        raise ValueError(msg)
    names = pd.Series(labels)
    if names.isna().any():
        msg = f"{name} is missing in {int(names.isna().sum())} of {n} rows. Fill in their unit or leave out these rows."
        raise ValueError(msg)
    return factorize(as_names(names))[1]
