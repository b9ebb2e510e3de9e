"""Whether the test units differ from train more than train units differ from each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.words import first_few
from heldout.auditing._exchange import labellings, p_value, smallest_of
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._sums import gene_symbols, unit_sums
from heldout.auditing._words import units_in_words

if TYPE_CHECKING:
    from heldout.auditing._case import Case

ALPHA = 0.05
N_DRAWS = 5000
DETECTED = 0.05
N_TOP = 5
ASKED = {
    "matched": "match_key",
    "leave_one_match_out": "match_key",
    "time": "time_key",
    "perturbations": "perturbation_key",
}


def shift(case: Case) -> list[Finding]:
    """Compare the mean profiles of test and train units by a permutation test of which units are test.

    The statistic is the share of the variance between units of one label that lies between train and test (that of
    PERMANOVA on Euclidean distances of standardised genes). A shift is no leak: it says that the score is one on other samples than train's.
    """
    units = case.units
    if (units.within("train") & units.within("test")).any():
        msg = f"{units_in_words(case)} stand on both sides of the split"
        raise NotRun(msg)
    train, test = units.within("train"), units.within("test") & ~units.within("train")
    if test.sum() < 2 or train.sum() < 3:
        msg = f"it takes 3 train and 2 test {units_in_words(case)}, there are {int(train.sum())} and {int(test.sum())}"
        raise NotRun(msg)
    used = train | test
    sums = unit_sums(case, "train", "test")
    kept = sums.rate[used].mean(axis=0) >= DETECTED
    if not kept.any():
        msg = f"no gene is detected in {DETECTED:.0%} of the cells"
        raise NotRun(msg)
    means, is_test = sums.mean[used][:, kept], test[used].astype(int)
    strata = np.zeros(len(means), dtype=int)
    if units.labels is not None:
        strata = np.unique(units.labels[used].astype(str), return_inverse=True)[1]
    residual = _within(means, strata)
    sd = residual.std(axis=0)
    scaled = residual / (sd + np.median(sd) + 1e-12)  # so that no gene speaks for all
    kernel = scaled @ scaled.T
    others, _ = labellings(is_test, strata, case.rng("shift"), limit=N_DRAWS)
    null = explained(kernel, others, strata)
    seen = float(explained(kernel, is_test[None], strata)[0])
    p, reachable = p_value(seen, null), smallest_of(null)
    top = _top(residual, is_test, strata)
    genes = first_few(gene_symbols(case)[np.flatnonzero(kept)][top[:N_TOP]], N_TOP)
    return [_finding(case, seen, float(null.mean()), p, reachable, genes)]


def _finding(case: Case, share: float, expected: float, p: float, reachable: float, genes: str) -> Finding:
    within = f" of one class of {case.label_key}" if case.label_key else ""
    text = (
        f"train or test explains {share:.0%} of the variance between {units_in_words(case)}{within} ({expected:.0%} expected by "
        f"chance, p = {p:.2g}), most in {genes}"
    )
    options: dict[str, Any] = {"measure": "p over units", "value": p, "threshold": ALPHA}
    asked = _asked(case)
    if asked:
        return Finding("pass", f"{text}; the split holds out {asked}, so a shift is what was asked for", **options)
    if reachable > ALPHA:
        return Finding(
            "unidentifiable", f"{text}; with so few {units_in_words(case)} p cannot be below {reachable:.2g}", **options
        )
    if p > ALPHA:
        return Finding("pass", text, **options)
    advice = (
        "The score will be one on samples unlike train's. Look for what sets the test samples apart (site, kit, day); "
        "draw the split anew, or say that it tests transfer."
    )
    return Finding(
        "warn", f"the test {units_in_words(case)} are not like those of train: {text}", **options, advice=advice
    )


def _asked(case: Case) -> str:
    """What the split was made to hold out, if that is known."""
    if case.scheme in ASKED:
        return getattr(case, ASKED[case.scheme]) or f"by the scheme {case.scheme!r}"
    for key in (case.match_key, case.time_key):
        if key is not None:
            values = case.adata.obs[key].astype(object).to_numpy()
            if not set(values[case.mask("test")]) & set(values[case.mask("train")]):
                return str(key)
    return ""


def _within(values: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Values (U × p) minus the mean of their stratum."""
    centred = values.astype(np.float64)
    for stratum in np.unique(strata):
        centred[strata == stratum] -= centred[strata == stratum].mean(axis=0)
    return centred


def explained(kernel: np.ndarray, tests: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Share of the variance within strata that lies between test and train, (B,), for masks of test units (B × U).

    Parameters
    ----------
    kernel
        Products of the profiles of the units after their stratum's mean was taken off, (U × U).
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
    """Genes in the order of their shift over its noise between units, which is kept from being tiny."""
    contrast = _within(is_test[:, None], strata)[:, 0]
    size = (contrast**2).sum()
    slope = contrast @ residual / size if size else np.zeros(residual.shape[1])
    noise = np.sqrt(((residual - np.outer(contrast, slope)) ** 2).mean(axis=0))
    return np.argsort(-np.abs(slope) / (noise + np.median(noise) + 1e-12), kind="stable")
