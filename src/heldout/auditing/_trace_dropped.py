"""Identify the cells that principal components were fitted on, if some of these cells were dropped later.

If cells are dropped at random, the means of the coordinates over the other fitted cells are not exactly 0, but nearer
to 0 than means of a random sample: the mean square is f / (1 - f) standard errors, if the share f was dropped.
Covariances behave in the same way. Over cells that are only a part of the fitted cells, or that were not all fitted,
donors differ and the means are far from 0.
"""

from __future__ import annotations

import numpy as np

from heldout.auditing._traces import Verdict, best_and_rival, in_words, parts, status_of, unions

_MOST_MEAN, _MOST_COVARIANCE = 0.25, 0.4
_FEWEST_RIVAL, _RATIO, _LEVEL = 0.75, 5.0, 1e-4
_N_PAIRED = 10
_PROOF = (
    "Means and covariances of the coordinates over these cells are nearer to 0 than those of a random sample, as if a "
    "few of the fitted cells had been dropped"
)


def of_dropped(Y: np.ndarray, codes: np.ndarray) -> tuple[Verdict, str] | None:
    """The cells that coordinates (n × k) were fitted on if at most a fifth of them was dropped at random, or None."""
    from scipy.stats import f

    masks, Y = parts(codes), np.asarray(Y, dtype=np.float64)
    if Y.shape[1] < 5 or not np.isfinite(Y).all() or not (Y.std(axis=0) > 0).all():
        return None
    found = {u: _from_zero(Y[np.logical_or.reduce([masks[name] for name in u])]) for u in unions(masks)}
    best, rival = best_and_rival({union: mean for union, (mean, _) in found.items()})
    mean, covariance = found[best]
    if rival is None or not (mean <= _MOST_MEAN and covariance <= _MOST_COVARIANCE):
        return None
    ratio = max(_RATIO, float(f.isf(_LEVEL, Y.shape[1], Y.shape[1])))
    if found[rival][0] < max(_FEWEST_RIVAL, ratio * mean):
        return None
    verdict = Verdict(status_of(best), in_words(best, masks), mean, in_words(rival, masks), found[rival][0])
    return verdict, _PROOF


def _from_zero(Y: np.ndarray) -> tuple[float, float]:
    """Mean squares of the means and of the covariances of coordinates, in squared standard errors of a sample."""
    n, middle, spread = len(Y), Y.mean(axis=0), Y.std(axis=0)
    if n < 10 or not (spread > 0).all():
        return np.inf, np.inf
    Z = ((Y - middle) / spread)[:, :_N_PAIRED]
    pairs = ~np.eye(Z.shape[1], dtype=bool)
    covariance, error = Z.T @ Z / n, (Z**2).T @ (Z**2) / n
    return float(n * np.mean((middle / spread) ** 2)), float(np.mean(n * covariance[pairs] ** 2 / error[pairs]))
