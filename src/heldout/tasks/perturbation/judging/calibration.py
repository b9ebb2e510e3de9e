"""Intervals of predicted profiles from the errors on the val perturbations: split conformal prediction.

The perturbation is the unit, because the errors of its genes are correlated. The errors of a new perturbation are
exchangeable with those of the val perturbations with the same number of seen targets. So an interval contains the truth
for the nominal share of (perturbation, gene) pairs on average :cite:p:`lee2023`, but not for every single gene.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.checks import check_choice

if TYPE_CHECKING:
    from heldout.splitting._perturbations import Targets

COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Nominal coverages that are calibrated."""

_FLOOR = 0.05

CALIBRATED, TOO_FEW, NOT_PREDICTED = "calibrated", "too few val perturbations", "not predicted"
"""What a row of predicted profiles says about its interval."""


def seen_targets(targets: list[Targets] | tuple[Targets, ...], seen: set[str]) -> np.ndarray:
    """Number of targets of each perturbation that train has in any perturbation, (m,)."""
    return np.array([len(seen.intersection(of_row)) for of_row in targets], dtype=np.int64)


def stratum(n_targets: np.ndarray, n_seen: np.ndarray) -> np.ndarray:
    """Stratum of each perturbation, (m,): its numbers of targets and of seen targets, as one number."""
    return np.asarray(n_targets * 100 + n_seen)


def scale_of(change: np.ndarray) -> np.ndarray:
    """Unit of the errors of each gene, (G,): root mean square of the train changes about their mean.

    Genes that hardly change get 5 % of the root mean square over genes, because a smaller unit would amplify noise.
    """
    spread = np.sqrt(np.mean((change - change.mean(axis=0)) ** 2, axis=0))
    typical = float(np.sqrt(np.mean(spread**2)))
    return np.maximum(spread, _FLOOR * typical if typical > 0 else 1.0)


def calibrate(
    error: np.ndarray, scale: np.ndarray, strata: np.ndarray, perturbation: np.ndarray
) -> tuple[np.ndarray, dict[str, Any]]:
    """Half-widths in units of ``scale`` for each stratum and coverage, (S × L), and their basis, as JSON values.

    Parameters
    ----------
    error
        Measured minus predicted profile of the val perturbations, (m × G); rows of NaN were not predicted.
    scale
        Unit of each gene, (G,).
    strata
        Stratum of each row, (m,).
    perturbation
        Number of the perturbation of each row, (m,). Rows of the same perturbation in several contexts are one unit.

    Returns
    -------
    Half-widths; infinite where fewer than coverage / (1 - coverage) perturbations are known, which support no interval.
    """
    known = np.isfinite(error).all(axis=1)
    distinct = np.unique(strata[known])
    widths = np.full((len(distinct), len(COVERAGES)), np.inf)
    counts = []
    for i, number in enumerate(distinct):
        rows = np.flatnonzero(known & (strata == number))
        _, unit, of_unit = np.unique(perturbation[rows], return_inverse=True, return_counts=True)
        scores = np.sort(np.abs(error[rows]) / scale, axis=1)
        weights = np.repeat(1 / (of_unit[unit] * scores.shape[1]), scores.shape[1])
        widths[i] = _quantiles(scores.ravel(), weights, len(of_unit))
        counts.append(len(of_unit))
    return widths, {"strata": distinct.tolist(), "n_perturbations": counts}


def _quantiles(scores: np.ndarray, weights: np.ndarray, n: int) -> np.ndarray:
    """Smallest scores with at least coverage × (n + 1) of the weight n at or below them; infinite if that is over n."""
    order = np.argsort(scores, kind="stable")
    below = np.cumsum(weights[order])
    wanted = np.array(COVERAGES) * (n + 1)
    at = np.searchsorted(below, wanted - 1e-9 * n)
    return np.where(wanted > n + 1e-9, np.inf, scores[order][np.minimum(at, len(order) - 1)])


def half_widths(
    widths: np.ndarray, info: dict[str, Any], scale: np.ndarray, strata: np.ndarray, coverage: float
) -> np.ndarray:
    """Half-width of each perturbation and gene at a nominal coverage, (m × G); NaN where val supports none."""
    check_choice(coverage, "coverage", COVERAGES)
    row = {int(number): i for i, number in enumerate(info["strata"])}
    at = np.array([row.get(int(number), -1) for number in strata])
    of_row = np.full(len(strata), np.nan)
    of_row[at >= 0] = widths[at[at >= 0], COVERAGES.index(coverage)]
    of_row[np.isinf(of_row)] = np.nan
    return np.asarray(of_row[:, None] * scale)


def fewest(coverage: float) -> int:
    """Number of val perturbations that an interval of this coverage needs: coverage / (1 - coverage), rounded up."""
    check_choice(coverage, "coverage", COVERAGES)
    return int(np.ceil(coverage / (1 - coverage) - 1e-9))


def n_calibrating(info: dict[str, Any], strata: np.ndarray) -> np.ndarray:
    """Number of val perturbations of the same kind as each row, (m,)."""
    known = dict(zip(info["strata"], info["n_perturbations"], strict=True)) if info else {}
    return np.array([known.get(int(number), 0) for number in strata], dtype=np.int64)


def lacking_intervals(n_val: np.ndarray, strata: np.ndarray, coverage: float) -> list[str]:
    """Why rows have no interval, and what would give one: a sentence for each kind of perturbation."""
    needed, sentences = fewest(coverage), []
    for number in np.unique(strata[n_val < needed]).tolist():
        rows = strata == number
        n = int(n_val[rows][0])
        possible = [level for level in COVERAGES if fewest(level) <= n]
        remedy = f"coverage={possible[-1]} is possible. " if possible else ""
        sentences.append(
            f"{_kind(number)}: the intervals are NaN, because val has {n} such perturbations and coverage={coverage} "
            f"needs {needed}. {remedy}A split with a larger val has more."
        )
    return sentences


def _kind(number: int) -> str:
    """A stratum in words, such as "pairs with 2 of 2 targets in train"."""
    n_targets, n_seen = divmod(number, 100)
    what = {1: "Single perturbations", 2: "Pairs"}.get(n_targets, f"Combinations of {n_targets}")
    return f"{what} with {n_seen} of {n_targets} targets in train"
