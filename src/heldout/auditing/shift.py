"""Test whether test units differ from train units more than train units differ from each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.words import first_few
from heldout.auditing._exchange import p_value, smallest_of
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._sums import gene_symbols, unit_sums
from heldout.auditing._words import units_in_words
from heldout.metrics.labellings import labellings

if TYPE_CHECKING:
    from heldout.auditing._case import Case

ALPHA = 0.05
N_DRAWS = 5000
DETECTED = 0.05
N_TOP = 5


def shift(case: Case) -> list[Finding]:
    """Compare the mean profiles of test and train units. The permutation test permutes which units are test.

    The statistic is the share of the variance between units of one label that lies between train and test. It equals
    that of PERMANOVA on Euclidean distances of standardised genes. A shift is not a leak. It means that the score is
    for samples that differ from those of train.
    """
    units = case.units
    if (units.within("train") & units.within("test")).any():
        msg = f"Some {units_in_words(case)} are on both sides of the split."
        raise NotRun(msg)
    train, test = units.within("train"), units.within("test") & ~units.within("train")
    if test.sum() < 2 or train.sum() < 3:
        msg = (
            f"This item needs at least 3 train and 2 test {units_in_words(case)}. There are {int(train.sum())} and "
            f"{int(test.sum())}."
        )
        raise NotRun(msg)
    used = train | test
    sums = unit_sums(case, "train", "test")
    kept = sums.rate[used].mean(axis=0) >= DETECTED
    if not kept.any():
        msg = f"No gene is detected in {DETECTED:.0%} of the cells."
        raise NotRun(msg)
    means, is_test = sums.mean[used][:, kept], test[used].astype(int)
    strata = np.zeros(len(means), dtype=int)
    if units.labels is not None:
        strata = np.unique(units.labels[used].astype(str), return_inverse=True)[1]
    residual = _within(means, strata)
    sd = residual.std(axis=0)
    scaled = residual / (sd + np.median(sd) + 1e-12)  # so that no single gene dominates
    kernel = scaled @ scaled.T
    permuted, _ = labellings(is_test, strata, case.rng("shift"), limit=N_DRAWS)
    null = explained(kernel, permuted, strata)
    share = float(explained(kernel, is_test[None], strata)[0])
    p, reachable = p_value(share, null), smallest_of(null)
    top = _top(residual, is_test, strata)
    genes = first_few(gene_symbols(case)[np.flatnonzero(kept)][top[:N_TOP]], N_TOP)
    return [_finding(case, share, float(null.mean()), p, reachable, genes)]


def _finding(case: Case, share: float, expected: float, p: float, reachable: float, genes: str) -> Finding:
    within = f" of one class of {case.label_key}" if case.label_key else ""
    text = (
        f"The difference between train and test explains {share:.0%} of the variance between "
        f"{units_in_words(case)}{within} ({expected:.0%} expected by chance, p = {p:.2g}). It is largest in {genes}."
    )
    options: dict[str, Any] = {"measure": "p over units", "value": p, "threshold": ALPHA}
    if case.held_out:
        return Finding("pass", f"{text} The split holds out {case.held_out}, so a shift is expected.", **options)
    if reachable > ALPHA:
        few = f"With so few {units_in_words(case)}, p cannot be below {reachable:.2g}."
        return Finding("unidentifiable", f"{text} {few}", **options)
    if p > ALPHA:
        return Finding("pass", text, **options)
    advice = (
        "Find the cause, e.g. the site, the kit or the day. Make a new split, or report that the score is for samples "
        "that differ from those of train."
    )
    text = f"The test {units_in_words(case)} differ from those of train. {text}"
    return Finding("warn", text, **options, advice=advice)


def _within(values: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Values (U × p) minus the mean of each stratum."""
    centred = values.astype(np.float64)
    for stratum in np.unique(strata):
        centred[strata == stratum] -= centred[strata == stratum].mean(axis=0)
    return centred


def explained(kernel: np.ndarray, tests: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Share of the variance within strata that lies between test and train, (B,), for each mask of test units.

    Parameters
    ----------
    kernel
        Products of the profiles of the units after the mean of each stratum was subtracted, (U × U).
    tests
        1 for a test unit, (B × U).
    strata
        Stratum of each unit, (U,).
    """
    contrast = _within(tests.T, strata).T
    size = (contrast**2).sum(axis=1)
    along = ((contrast @ kernel) * contrast).sum(axis=1)
    share = np.divide(along, size, out=np.zeros(len(size)), where=size > 0)
    return np.asarray(np.round(share / max(float(np.trace(kernel)), 1e-300), 12))


def _top(residual: np.ndarray, is_test: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Genes in the order of their shift divided by the noise between units. A constant is added to small noise."""
    contrast = _within(is_test[:, None], strata)[:, 0]
    size = (contrast**2).sum()
    slope = contrast @ residual / size if size else np.zeros(residual.shape[1])
    noise = np.sqrt(((residual - np.outer(contrast, slope)) ** 2).mean(axis=0))
    return np.argsort(-np.abs(slope) / (noise + np.median(noise) + 1e-12), kind="stable")
