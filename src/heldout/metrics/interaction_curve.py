"""How well predictions find interactions: true positive rate against false discovery proportion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.checks import check_integer
from heldout._core.html import fields_html
from heldout._core.rng import Rng, generator
from heldout._core.verdict import interval
from heldout.metrics._checks import as_numbers
from heldout.metrics.inference import bootstrap_weights
from heldout.metrics.skill import Interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

_SINGLE, _DOUBLE = 2e-6, 1e-11
"""Shares of the largest value. A deviation below the first can be the rounding of single precision and counts as none.
Deviations that differ by less than the second differ by the rounding of double precision and count as equal.
"""


@dataclass(frozen=True)
class InteractionCurve:
    """Number of interactions among the largest predicted deviations, for lists of growing length.

    There is one entry for each distinct size of a predicted deviation, from the largest. Predictions of equal size are
    added together. Between two entries the curve is a straight line, the average over random orders of these
    predictions.

    Parameters
    ----------
    n_predicted
        Number of predictions in the list, (k,).
    n_found
        Number of observed interactions in the list, (k,).

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> curve = ho.metrics.InteractionCurve(n_predicted=np.array([1.0, 2.0, 4.0]), n_found=np.array([1.0, 1.0, 2.0]))
    >>> curve.tpr.tolist(), curve.fdp.tolist()
    ([0.5, 0.5, 1.0], [0.0, 0.5, 0.5])
    """

    n_predicted: np.ndarray
    n_found: np.ndarray

    def _repr_html_(self) -> str:
        return fields_html(self)

    @property
    def n(self) -> float:
        """Number of predictions."""
        return float(self.n_predicted[-1])

    @property
    def n_interactions(self) -> float:
        """Number of observed interactions."""
        return float(self.n_found[-1])

    @property
    def prevalence(self) -> float:
        """Share of the predictions that are interactions. This is the average precision of a random order."""
        return self.n_interactions / self.n

    @property
    def fdp(self) -> np.ndarray:
        """False discovery proportion of each list, (k,)."""
        return 1 - self.n_found / self.n_predicted

    @property
    def tpr(self) -> np.ndarray:
        """True positive rate of each list, (k,); NaN if there is no interaction."""
        return np.divide(
            self.n_found, self.n_interactions, out=np.full(len(self.n_found), np.nan), where=self.n_interactions > 0
        )

    @property
    def average_precision(self) -> float:
        """Precision of the lists, weighted by the number of interactions that each adds.

        It equals ``prevalence`` if all predictions have the same size.
        """
        return float(_average_precision(self.n_predicted[None], self.n_found[None])[0])

    def tpr_at(self, fdp: ArrayLike) -> np.ndarray:
        """Return the highest true positive rate of the lists with at most this false discovery proportion.

        It is 0 if there is no such list.
        """
        limits = np.atleast_1d(np.asarray(fdp, dtype=np.float64)).tolist()
        rates = [_tpr_at(self.n_predicted[None], self.n_found[None], limit)[0] for limit in limits]
        return np.array(rates).reshape(np.shape(fdp))


def interaction_curve(
    observed: ArrayLike, predicted: ArrayLike, additive: ArrayLike, *, cutoffs: tuple[ArrayLike, ArrayLike]
) -> InteractionCurve:
    """Compute true positives against false discoveries for predicted interactions :cite:p:`ahlmanneltze2025`.

    Predictions are sorted by their deviation from additivity, ``|predicted - additive|``, the largest first. A value is
    an interaction if its *observed* deviation is at or beyond a cut-off. For the l largest predictions, the false
    discovery proportion is the share that are not interactions. The true positive rate is the share of all interactions
    that are among them.

    Parameters
    ----------
    observed, predicted, additive
        Observed mean expression of the combinations, predicted mean expression, and the additive expectation. All have
        the same shape, usually (n_pairs × n_genes).
    cutoffs
        Limits below and above which an observed deviation is an interaction, from :meth:`EmpiricalNull.cutoffs`. Pass
        two numbers, or two arrays of the same shape if the limits differ between values.

    Returns
    -------
    The curve. If a method predicts no deviation, its curve has one entry with all predictions, which is the chance
    level. Deviations that can be the rounding of single precision count as none.

    Raises
    ------
    ValueError
        If shapes differ, there are NaN or infinite values, or the lower cut-off is not below the upper one.

    Examples
    --------
    >>> import heldout as ho
    >>> curve = ho.metrics.interaction_curve([0.0, 2.0, 0.0], [0.1, 1.5, 0.0], [0.0, 1.0, 0.0], cutoffs=(-0.5, 0.5))
    >>> curve.average_precision, curve.tpr_at(0.05).tolist()
    (1.0, 1.0)
    """
    truth, score = _truth_and_score(observed, predicted, additive, cutoffs)
    order, ends = _lists(score.ravel())
    found = np.cumsum(truth.ravel()[order], dtype=np.float64)[ends]
    return InteractionCurve(ends + 1.0, found)


def interaction_scores(
    observed: ArrayLike,
    predictions: Mapping[str, ArrayLike],
    additive: ArrayLike,
    *,
    cutoffs: tuple[ArrayLike, ArrayLike],
    fdp: Sequence[float] = (0.05, 0.2, 0.5),
    n_bootstrap: int = 200,
    rng: Rng = 0,
) -> dict[str, dict[str, Interval]]:
    """Compute average precision and true positive rates of several methods, with intervals over combinations.

    Parameters
    ----------
    observed, additive
        Observed mean expression and additive expectation, (n_pairs × n_genes).
    predictions
        Predicted mean expression of each method, (n_pairs × n_genes).
    cutoffs
        Limits below and above which an observed deviation is an interaction.
    fdp
        False discovery proportions at which the true positive rate is reported.
    n_bootstrap
        Number of resamples. Each resample draws combinations with all their genes, because the genes of a profile are
        not independent.
    rng
        Seed or generator. All methods get the same resamples.

    Returns
    -------
    For each method ``average_precision``, ``excess`` and ``tpr_at_<percent>`` for each ``fdp``, as (estimate, low,
    high, number of combinations). ``excess`` is the average precision minus that of the first method of
    ``predictions``, paired by resample. The limits are the 2.5 and 97.5 percentiles, or NaN with fewer than 3
    combinations.

    Raises
    ------
    ValueError
        Same as :func:`interaction_curve`, or if there are no predictions.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> rng = np.random.default_rng(0)
    >>> additive, deviation = rng.normal(2, 1, (20, 50)), rng.normal(0, 0.3, (20, 50))
    >>> methods = {"no_change": np.full((20, 50), 2.0), "half": additive + deviation / 2}
    >>> scores = ho.metrics.interaction_scores(additive + deviation, methods, additive, cutoffs=(-0.5, 0.5))
    >>> scores["half"]["average_precision"].estimate, bool(scores["half"]["excess"].low > 0)
    (1.0, True)
    """
    if not predictions:
        msg = "predictions is empty. Pass a dictionary with the predicted profiles of at least one method."
        raise ValueError(msg)
    check_integer(n_bootstrap, "n_bootstrap", least=1)
    n_pairs = len(np.atleast_2d(np.asarray(observed)))
    weights = np.vstack([np.ones(n_pairs), bootstrap_weights(np.zeros(n_pairs), n_bootstrap, generator(rng))])
    values: dict[str, dict[str, np.ndarray]] = {}
    for name, prediction in predictions.items():
        truth, score = _truth_and_score(observed, prediction, additive, cutoffs)
        values[name] = _resampled(np.atleast_2d(truth), np.atleast_2d(score), weights, fdp)
    first = next(iter(values.values()))["average_precision"]
    result = {}
    for name, of_method in values.items():
        of_method["excess"] = of_method["average_precision"] - first
        result[name] = {
            metric: Interval(float(array[0]), *interval(array, n_pairs, bounds=_bounds(metric)), n_pairs)
            for metric, array in of_method.items()
        }
    return result


def _bounds(metric: str) -> tuple[float, float]:
    """Range of a score: shares, and the difference of two shares."""
    return (-1.0, 1.0) if metric == "excess" else (0.0, 1.0)


def _truth_and_score(
    observed: ArrayLike, predicted: ArrayLike, additive: ArrayLike, cutoffs: tuple[ArrayLike, ArrayLike]
) -> tuple[np.ndarray, np.ndarray]:
    """Return where observed values are interactions, and how far predicted values deviate from additivity."""
    shape = "(n_pairs × n_genes)"
    truth, guess, expected = (
        as_numbers(values, name, shape=shape, ndims=(1, 2))
        for name, values in (("observed", observed), ("predicted", predicted), ("additive", additive))
    )
    for name, array in (("predicted", guess), ("additive", expected)):
        if array.shape != truth.shape:
            msg = f"{name} has shape {array.shape} and observed {truth.shape}; both must have the same pairs and genes."
            raise ValueError(msg)
    low, high = cutoffs
    if not np.all(np.asarray(low) < np.asarray(high)):
        msg = f"cutoffs={cutoffs!r} must be two limits, the lower one first."
        raise ValueError(msg)
    score = np.abs(guess - expected) / (max(np.abs(guess).max(), np.abs(expected).max()) or 1.0)
    score = np.where(score <= _SINGLE, 0.0, np.rint(score / _DOUBLE))
    return is_interaction(truth - expected, cutoffs), score


def is_interaction(deviation: np.ndarray, cutoffs: tuple[ArrayLike, ArrayLike]) -> np.ndarray:
    """Return whether each deviation is at or beyond a cut-off."""
    return (deviation <= np.asarray(cutoffs[0])) | (deviation >= np.asarray(cutoffs[1]))


def _lists(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the order from the largest score, and the last position of each run of equal scores in it."""
    order = np.argsort(-score, kind="stable")
    return order, np.flatnonzero(np.append(np.diff(score[order]) != 0, True))


def _resampled(
    truth: np.ndarray, score: np.ndarray, weights: np.ndarray, fdp: Sequence[float]
) -> dict[str, np.ndarray]:
    """Compute each metric for each row of ``weights`` (B × n_pairs), (B,)."""
    order, ends = _lists(score.ravel())
    pair, is_true = order // truth.shape[1], truth.ravel()[order]
    names = [f"tpr_at_{100 * limit:g}" for limit in fdp]
    values = {name: np.empty(len(weights)) for name in ("average_precision", *names)}
    for row, of_pair in enumerate(weights):  # a loop, because the whole array would be B × n_pairs × n_genes
        weight = of_pair[pair]
        predicted, found = np.cumsum(weight)[ends][None], np.cumsum(weight * is_true)[ends][None]
        values["average_precision"][row] = _average_precision(predicted, found)[0]
        for name, limit in zip(names, fdp, strict=True):
            values[name][row] = _tpr_at(predicted, found, limit)[0]
    return values


def _average_precision(predicted: np.ndarray, found: np.ndarray) -> np.ndarray:
    total = found[:, -1]
    gained = np.diff(found, axis=1, prepend=0)
    precision = np.divide(found, predicted, out=np.zeros_like(found), where=predicted > 0)
    return np.divide((gained * precision).sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0)


def _tpr_at(predicted: np.ndarray, found: np.ndarray, fdp: float) -> np.ndarray:
    """Return the highest share of the interactions in a list with at most this false discovery proportion.

    Among equal scores both counts grow in proportion, so the last list that qualifies can end between two entries.
    """
    room = fdp * predicted - (predicted - found)  # number of false discoveries that can still be added
    started = np.concatenate([np.zeros((len(room), 1)), room[:, :-1]], axis=1)
    gained = np.diff(found, axis=1, prepend=0)
    leaves = (started > 0) & (room < 0)
    share = np.divide(started, started - room, out=np.zeros_like(room), where=leaves)
    reached = np.where(room >= -1e-9, found, np.where(leaves, found - (1 - share) * gained, 0.0)).max(axis=1)
    total = found[:, -1]
    return np.divide(reached, total, out=np.full(len(total), np.nan), where=total > 0)
