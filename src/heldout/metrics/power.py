"""How many groups a study needs: power of the test of an AUC, and width of its interval, before data exist."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from heldout._core.checks import check_integer, check_number
from heldout._core.html import fields_html
from heldout.metrics.binormal import auc_variance

_MOST = 20_000


class GroupsNeeded(NamedTuple):
    """Numbers of test groups of a planned study.

    Parameters
    ----------
    n_positive, n_negative
        Number of groups of class 1 and of class 0.
    power
        Power of the test with these numbers.
    width
        Expected width of the 95 % interval with these numbers.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.metrics.GroupsNeeded(n_positive=12, n_negative=12, power=0.81, width=0.4).n_positive
    12
    """

    n_positive: int
    n_negative: int
    power: float
    width: float

    def _repr_html_(self) -> str:
        return fields_html(self)


def auc_power(auc: float, n_positive: int, n_negative: int, *, spread: float = 1.0, level: float = 0.05) -> float:
    """Compute the power of the one-sided test that an AUC over groups is above 0.5.

    The AUC is taken as normal, with the exact variance of normal scores. In simulated studies with at least 5 groups
    per class, the share of significant permutation tests is within 8 points of this power.

    Parameters
    ----------
    auc
        The true AUC over groups, above 0.5 and below 1.
    n_positive, n_negative
        Number of test groups of class 1 and of class 0.
    spread
        Standard deviation of the scores of class 1 divided by that of class 0.
    level
        Level of the test.

    Returns
    -------
    Power, 0 to 1. It is 0 if no labelling of so few groups can reach the level.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> import heldout as ho
    >>> round(ho.metrics.auc_power(0.75, 10, 10), 2), ho.metrics.auc_power(0.75, 2, 2)
    (0.62, 0.0)
    """
    _check_plan(auc, spread, level)
    check_integer(n_positive, "n_positive", least=1)
    check_integer(n_negative, "n_negative", least=1)
    return float(_power(auc, np.array([n_positive]), np.array([n_negative]), spread, level)[0])


def groups_needed(
    auc: float,
    *,
    power: float | None = 0.8,
    width: float | None = None,
    share: float = 0.5,
    spread: float = 1.0,
    level: float = 0.05,
) -> GroupsNeeded:
    """Find the smallest number of test groups with a wanted power, a wanted width of the interval, or both.

    Parameters
    ----------
    auc
        The AUC over groups that is expected, above 0.5 and below 1.
    power
        Wanted power of the one-sided test; see :func:`auc_power`. None for any.
    width
        Wanted width of the 95 % interval, high minus low. None for any.
    share
        Share of the groups that are of class 1.
    spread
        Standard deviation of the scores of class 1 divided by that of class 0.
    level
        Level of the test.

    Returns
    -------
    :class:`GroupsNeeded`.

    Raises
    ------
    ValueError
        If an argument is out of range, neither ``power`` nor ``width`` is given, or 20,000 groups are too few.

    Examples
    --------
    How many donors of each class show an AUC of 0.75, and how many of 20 % patients?

    >>> import heldout as ho
    >>> ho.metrics.groups_needed(0.75)[:2], ho.metrics.groups_needed(0.75, share=0.2)[:2]
    ((16, 15), (10, 38))
    """
    _check_plan(auc, spread, level)
    check_number(share, "share", above=0, below=1)
    if power is None and width is None:
        msg = "power=None and width=None: give the wanted power, the wanted width of the interval, or both."
        raise ValueError(msg)
    if power is not None:
        check_number(power, "power", above=0, below=1)
    if width is not None:
        check_number(width, "width", above=0, below=1)
    total = np.arange(2, _MOST + 1)
    m = np.clip(np.round(total * share).astype(int), 1, total - 1)
    enough = np.ones(len(total), dtype=bool)
    if power is not None:
        enough &= _power(auc, m, total - m, spread, level) >= power
    if width is not None:
        enough &= _width(auc, m, total - m, spread) <= width
    if not enough.any():
        msg = f"{_MOST:,} groups are too few for power={power} and width={width} at auc={auc}. Ask for less."
        raise ValueError(msg)
    best = np.flatnonzero(enough)[:1]
    n_positive, n_negative = m[best], (total - m)[best]
    return GroupsNeeded(
        int(n_positive[0]),
        int(n_negative[0]),
        float(_power(auc, n_positive, n_negative, spread, level)[0]),
        float(_width(auc, n_positive, n_negative, spread)[0]),
    )


def _check_plan(auc: float, spread: float, level: float) -> None:
    check_number(auc, "auc", above=0.5, below=1)
    check_number(spread, "spread", above=0)
    check_number(level, "level", above=0, below=1)


def _power(auc: float, m: np.ndarray, n: np.ndarray, spread: float, level: float) -> np.ndarray:
    """Power by the normal approximation; 0 where no labelling can reach the level."""
    from scipy.special import gammaln
    from scipy.stats import norm  # slow to import

    log_labellings = gammaln(m + n + 1) - gammaln(m + 1) - gammaln(n + 1)
    limit = norm.isf(level) * np.sqrt(auc_variance(0.5, m, n, spread))
    found = norm.sf((limit - (auc - 0.5)) / np.sqrt(auc_variance(auc, m, n, spread)))
    return np.where(log_labellings < -np.log(level) - 1e-9, 0.0, found)


def _width(auc: float, m: np.ndarray, n: np.ndarray, spread: float) -> np.ndarray:
    """Expected width of the 95 % interval, at most 1."""
    return np.minimum(2 * 1.96 * np.sqrt(auc_variance(auc, m, n, spread)), 1.0)
