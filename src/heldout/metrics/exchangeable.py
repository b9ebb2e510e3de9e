"""The interval of one more value, from known values that could as well have come in another order."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from heldout._core.checks import check_number
from heldout._core.html import fields_html
from heldout.metrics._checks import as_numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class NextValue(NamedTuple):
    """Range of one more value.

    Parameters
    ----------
    low, high
        Limits of the range. NaN with fewer than 2 known values.
    coverage
        Probability that an exchangeable value is in the range. 0 with fewer than 2 known values.
    n_units
        Number of known values.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.metrics.NextValue(low=0.1, high=0.3, coverage=0.6, n_units=4).coverage
    0.6
    """

    low: float
    high: float
    coverage: float
    n_units: int

    def _repr_html_(self) -> str:
        return fields_html(self)


def next_value(known: ArrayLike, *, coverage: float = 0.8) -> NextValue:
    """Compute the range in which one more value lies, from known values :cite:p:`lei2018`.

    If n known values and the next one are exchangeable, each rank of the next one is equally likely. So it lies between
    the k-th smallest and the k-th largest known value with a probability of (n + 1 − 2k) / (n + 1), whatever the
    distribution. With ties this probability is higher.

    Parameters
    ----------
    known
        Known values, (n,). They may depend on each other, as long as their order says nothing.
    coverage
        Wanted probability, in (0, 1). The range is the narrowest that has it. If none has it, the range is from the
        smallest to the largest known value.

    Returns
    -------
    :class:`NextValue`, whose ``coverage`` is the probability that this range has: 1/3 with 2 values, 1/2 with 3, 3/5
    with 4, 4/5 with 9.

    Raises
    ------
    ValueError
        If a value is not finite, or ``coverage`` is not in (0, 1).

    Examples
    --------
    >>> import heldout as ho
    >>> ho.metrics.next_value([0.1, 0.4, 0.3, 0.2])
    NextValue(low=0.1, high=0.4, coverage=0.6, n_units=4)
    """
    check_number(coverage, "coverage", above=0, below=1)
    values = np.sort(as_numbers(known, "known", shape="(n,)", ndims=(1,)))
    n = len(values)
    if n < 2:
        return NextValue(float("nan"), float("nan"), 0.0, n)
    k = min(max(int(np.floor((n + 1) * (1 - coverage) / 2 + 1e-9)), 1), n // 2)  # a single value is no range
    return NextValue(float(values[k - 1]), float(values[-k]), (n + 1 - 2 * k) / (n + 1), n)
