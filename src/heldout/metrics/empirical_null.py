"""Efron's empirical null and local false discovery rate, which find values that differ from the bulk of many values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize
from scipy.interpolate import CubicSpline
from scipy.special import logsumexp, xlogy

from heldout._core.checks import check_integer, check_number
from heldout._core.html import fields_html
from heldout.metrics._checks import as_numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_FEWEST = 200
_MANY = 500_000
_LEAST, _HIGHEST = float(np.finfo(np.float64).eps), 300.0
"""Smallest expected count of a bin, and largest logarithm of an expected count."""
_QUARTILE = 0.6744897501960817
"""Upper quartile of the standard normal distribution."""
_FLAT = 10.0
"""Largest standard deviation of a peak, in half-widths of the interval."""
_STEPS, _SETTLED = 100, 1e-13
"""Largest number of Newton steps, and the gain in mean log-likelihood below which they end."""


@dataclass(frozen=True)
class EmpiricalNull:
    """A fitted null distribution: most values are from N(delta, sigma²), and the other values are not.

    Parameters
    ----------
    delta, sigma
        Mean and standard deviation of the null, in the unit of the values.
    p0
        Share of the values that are from the null. It is not clipped. A value slightly above 1 means that all values
        are from the null.
    n
        Number of values used for the fit.
    centres, counts
        Middle of each bin of the histogram, (n_bins,), and number of values in it.
    density
        Expected number of values in each bin under the fitted mixture, (n_bins,).
    fdr
        Local false discovery rate at the middle of each bin, (n_bins,).
    misfit
        Mean squared Pearson residual of the histogram around ``density``. It is about 1 for a good fit.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> rng = np.random.default_rng(0)
    >>> values = np.concatenate([rng.normal(0, 0.05, 9500), rng.normal(0.4, 0.1, 500)])
    >>> null = ho.metrics.empirical_null(values)
    >>> null.local_fdr([0.0, 0.1, 0.4]).round(2).tolist()
    [1.0, 1.0, 0.0]
    """

    delta: float
    sigma: float
    p0: float
    n: int
    centres: np.ndarray
    counts: np.ndarray
    density: np.ndarray
    fdr: np.ndarray
    misfit: float

    def _repr_html_(self) -> str:
        return fields_html(self)

    def local_fdr(self, values: ArrayLike) -> np.ndarray:
        """Return the probability that each value is from the null, by linear interpolation between bins.

        Beyond the outermost bins it is constant.
        """
        return np.interp(np.asarray(values, dtype=np.float64), self.centres, self.fdr)

    def cutoffs(self, fdr: float = 0.05) -> tuple[float, float]:
        """Return the values below and above the null at which the local fdr first falls to ``fdr``.

        A limit is -inf or inf if the local fdr never falls that far on this side. All values on or beyond the limits
        are called. For this reason a value that deviates more than a called value on the same side is called too.
        """
        check_number(fdr, "fdr", above=0, below=1)
        middle = int(np.clip(np.searchsorted(self.centres, self.delta), 1, len(self.centres) - 1))
        above = _first_crossing(self.centres[middle:], self.fdr[middle:], fdr)
        below = _first_crossing(self.centres[:middle][::-1], self.fdr[:middle][::-1], fdr)
        return (-np.inf if below is None else below), (np.inf if above is None else above)


def empirical_null(values: ArrayLike, *, n_bins: int = 119, df: int = 7) -> EmpiricalNull:
    """Fit Efron's empirical null to many values, most of which are noise :cite:p:`efron2004,efron2007`.

    The values are modelled as a mixture ``f = p0 N(delta, sigma²) + (1 - p0) f1``. ``delta`` and ``sigma`` are the
    maximum likelihood estimates of a normal distribution truncated to the middle of the values, which is assumed to be
    null. ``p0`` is the observed share in the middle divided by the share that this normal distribution has there. ``f``
    is a Poisson regression of the counts of a histogram on a natural cubic spline. The local false discovery rate at a
    value is ``p0 N(delta, sigma²) / f``, at most 1. It is set to 1 within ``sigma`` of ``delta``, and between any two
    places around ``delta`` where it reaches 1.

    This is the procedure of the R package locfdr 1.1-8 with its defaults (``nulltype=1``, 120 breaks, 7 degrees of
    freedom).

    Parameters
    ----------
    values
        At least 200 values, in an array of any shape.
    n_bins
        Number of bins of the histogram between the smallest and the largest value.
    df
        Degrees of freedom of the spline, without its intercept. Use more if ``misfit`` is well above 1.

    Returns
    -------
    The fit. Use its methods :meth:`EmpiricalNull.local_fdr` and :meth:`EmpiricalNull.cutoffs`.

    Raises
    ------
    ValueError
        If there are fewer than 200 values, NaN or infinite values, or if the middle of the values has no peak, so that
        the likelihood has no maximum.

    Notes
    -----
    The null is assumed to be normal. If the noise has heavier tails, too many values are called, because the local fdr
    is then too low in the tails. This happens if some values are measured on far fewer cells than others.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> rng = np.random.default_rng(0)
    >>> values = np.concatenate([rng.normal(0, 0.05, 9500), rng.normal(0.4, 0.1, 500)])
    >>> null = ho.metrics.empirical_null(values)
    >>> bool(abs(null.sigma - 0.05) < 0.002), bool(abs(null.p0 - 0.95) < 0.02)
    (True, True)
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    flat = as_numbers(flat, "values", shape="any", ndims=(1,))
    check_integer(n_bins, "n_bins", least=df + 3)
    check_integer(df, "df", least=2)
    if len(flat) < _FEWEST:
        msg = f"values has {len(flat)} entries, but an empirical null needs at least {_FEWEST}, most of them noise."
        raise ValueError(msg)
    delta, sigma, p0 = _null_parameters(flat)
    counts, edges = np.histogram(flat, bins=n_bins)
    centres = (edges[1:] + edges[:-1]) / 2
    density = _smooth(centres, counts, df)
    residuals = (counts - density) / np.sqrt(density + 1)
    misfit = float((residuals[1:-1] ** 2).sum() / (n_bins - 2 - df))
    fdr = _fdr(centres, density, delta, sigma, p0)
    return EmpiricalNull(delta, sigma, p0, len(flat), centres, counts, density, fdr, misfit)


def _null_parameters(values: np.ndarray) -> tuple[float, float, float]:
    """Fit the truncated normal in an interval around the median, and again in an interval around that fit.

    The half-width falls with the number of values: 4.3 exp(-0.26 log10 n) standard deviations, and 1 above 500,000
    values. A wider interval lowers the variance of the estimate, but includes more values that are not null.
    """
    half = 1.0 if len(values) > _MANY else 4.3 * np.exp(-0.26 * np.log10(len(values)))
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    delta, sigma = float(median), float(high - low) / (2 * _QUARTILE)
    if not sigma > 0:
        msg = (
            "At least half of values are equal, so the noise has no width. Leave out genes with very low expression, "
            "for example by using fewer top genes."
        )
        raise ValueError(msg)
    for _ in range(2):
        delta, sigma, p0 = _truncated_normal(values, delta - half * sigma, delta + half * sigma)
    return delta, sigma, p0


def _truncated_normal(values: np.ndarray, low: float, high: float) -> tuple[float, float, float]:
    """Estimate mean and standard deviation from the values in [low, high], and the share p0 that follows from them.

    On an interval, normal densities are ``exp(a u + b u² - A(a, b))``, an exponential family. Its likelihood is concave
    and has one maximum, which Newton's method finds to the last digits. A search for mean and standard deviation would
    run away to infinity where the middle is not peaked, and where it stops would depend on the processor.
    """
    inside = values[(values >= low) & (values <= high)]
    middle, scale = (low + high) / 2, (high - low) / 2
    unit = (inside - middle) / scale
    natural = _natural_parameters(np.array([unit.mean(), (unit**2).mean()]))
    # A standard deviation above 10 half-widths is as flat as a uniform distribution. With b >= 0 there is no peak.
    if natural is None or not natural[1] < -1 / (2 * _FLAT**2):
        msg = (
            "The middle of values is not peaked (its histogram is flat or has two peaks), so no normal null can be "
            "fitted. Look at the histogram; there must be many values, most of them noise."
        )
        raise ValueError(msg)
    variance = -1 / (2 * natural[1])
    mean, sd = float(natural[0] * variance), float(np.sqrt(variance))
    log_mass = _log_integral(natural)[0] - mean**2 / (2 * variance) - np.log(sd * np.sqrt(2 * np.pi))
    p0 = len(inside) / len(values) / float(np.exp(log_mass))
    return float(middle + scale * mean), float(scale * sd), p0


@cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Return u and u² at the nodes of a Gauss rule in 128 equal parts of [-1, 1], (2, 1024), and the log of weights."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    centres = (np.arange(128) + 0.5) / 64 - 1
    u = (centres[:, None] + nodes / 128).ravel()
    return np.stack([u, u**2]), np.log(np.tile(weights / 128, 128))


def _log_integral(natural: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the log of the integral of exp(a u + b u²) over [-1, 1], and the mean and covariance of (u, u²)."""
    powers, log_weights = _quadrature()
    exponents = natural @ powers + log_weights
    total = float(logsumexp(exponents))
    shares = np.exp(exponents - total)
    means = powers @ shares
    apart = powers - means[:, None]
    return total, means, (apart * shares) @ apart.T


def _natural_parameters(moments: np.ndarray) -> np.ndarray | None:
    """Return (a, b) with which u and u² have the means ``moments``, or None if there is no such pair."""
    natural = np.array([0.0, -0.5])
    value, means, covariance = _log_integral(natural)
    loss = value - natural @ moments
    for _ in range(_STEPS):
        if np.linalg.cond(covariance) > 1 / _LEAST:
            return None
        step = np.linalg.solve(covariance, moments - means)
        gain = float(step @ (moments - means))
        if gain <= _SETTLED:
            return natural + step
        length = 1.0
        while length > _SETTLED:
            value, means, covariance = _log_integral(natural + length * step)
            if (new := value - (natural + length * step) @ moments) <= loss - 0.25 * length * gain:
                break
            length /= 2
        else:
            return None
        natural, loss = natural + length * step, new
    return None


def _smooth(centres: np.ndarray, counts: np.ndarray, df: int) -> np.ndarray:
    """Return expected counts from a Poisson regression on natural cubic splines with ``df + 1`` equally spaced knots.

    As in R's glm, expected counts are at least the machine epsilon. The iterations do not settle if one value is so far
    out that the peak is narrower than the distance of the knots. A trust region then maximises the likelihood instead.
    """
    knots = np.quantile(centres, np.linspace(0, 1, df + 1))
    basis = CubicSpline(knots, np.eye(df + 1), bc_type="natural")(centres)
    eta, deviance = np.log(counts + 0.1), np.inf
    for _ in range(100):
        mu = np.maximum(np.exp(eta), _LEAST)
        root = np.sqrt(mu)
        working = root * (eta + (counts - mu) / mu)
        eta = np.minimum(basis @ np.linalg.lstsq(root[:, None] * basis, working, rcond=1e-15)[0], _HIGHEST)
        before, deviance = deviance, _deviance(counts, np.maximum(np.exp(eta), _LEAST))
        if abs(before - deviance) <= 1e-10 * (deviance + 0.1):
            break
    else:
        eta = _maximised(basis, counts)
    return np.maximum(np.exp(eta), _LEAST)


def _maximised(basis: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the log of the expected counts at the maximum of the likelihood, which is concave."""

    def means(beta: np.ndarray) -> np.ndarray:
        return np.exp(np.minimum(basis @ beta, _HIGHEST))

    start = np.linalg.lstsq(basis, np.log(counts + 0.5), rcond=None)[0]
    fit = optimize.minimize(
        lambda beta: float((means(beta) - counts * (basis @ beta)).sum()),
        start,
        jac=lambda beta: basis.T @ (means(beta) - counts),
        hess=lambda beta: (basis.T * means(beta)) @ basis,
        method="trust-exact",
        options={"gtol": 1e-6, "maxiter": 2000},
    )
    return basis @ fit.x


def _deviance(counts: np.ndarray, mu: np.ndarray) -> float:
    return float(2 * (xlogy(counts, counts / mu) - (counts - mu)).sum())


def _fdr(centres: np.ndarray, density: np.ndarray, delta: float, sigma: float, p0: float) -> np.ndarray:
    null = np.exp(-0.5 * ((centres - delta) / sigma) ** 2)
    fdr = np.minimum(p0 * null * (density.sum() / null.sum()) / density, 1)
    full = centres[fdr == 1]
    low, high = delta - sigma, delta + sigma
    low, high = min(low, *full[full <= delta], np.inf), max(high, *full[full >= delta], -np.inf)
    fdr[(centres >= low) & (centres <= high)] = 1
    return fdr


def _first_crossing(at: np.ndarray, fdr: np.ndarray, limit: float) -> float | None:
    reached = np.flatnonzero(fdr <= limit)
    if not len(reached):
        return None
    i = int(reached[0])
    if i == 0:
        return float(at[0])
    return float(np.interp(-limit, -fdr[[i - 1, i]], at[[i - 1, i]]))
