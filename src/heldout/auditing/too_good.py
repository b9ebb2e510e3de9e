"""Find a test set that was chosen by results: easy units, or cells that were dropped because a model got them wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout.auditing._exchange import p_value
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._margins import margins
from heldout.auditing._words import units_in_words
from heldout.metrics.labellings import count_labellings, labellings, observed_row

if TYPE_CHECKING:
    from heldout.auditing._case import Case

LEVEL = 0.01
"""Level of both statistics together."""
N_CELLS, N_LABELLINGS = 10_000, 5000
NEAR = 0.75
"""Cells are near the decision if their margin is below this many standard deviations of the cells of a unit."""
SHARED = (1.0, 0.5)
"""Share of the variance of both statistics that comes from models that share their train units."""
_MEASURE = "p over units"
_ADVICE = (
    "Make the split, and filter cells without the label, before any model is fitted. Report the scores of all splits "
    "that were tried, or a cross-validated score (ho.pp.folds)."
)


@dataclass(frozen=True)
class Comparison:
    """Test units against train units.

    Parameters
    ----------
    p_easy, p_cut
        P-values of the margins of the test units, and of the lack of cells just beyond the decision.
    right, near_right
        Share of right cells, and share of right cells near the decision, in train and in test.
    """

    p_easy: float
    p_cut: float
    right: tuple[float, float]
    near_right: tuple[float, float]

    @property
    def p(self) -> float:
        """P-value of the smaller of both, corrected for two statistics."""
        return min(1.0, 2 * min(self.p_easy, self.p_cut))


def too_good(case: Case) -> list[Finding]:
    """Compare how well test units and left-out train units are predicted. Better test units were perhaps chosen.

    Linear models of the train units predict each test unit, and each train unit is predicted by the models of the other
    train units. Null hypothesis: the test units are a random sample of the units of their class. Under it, test and
    train units of a class can be exchanged. Two statistics are compared, each as the largest of three models: the mean
    margin of a unit, and the ratio of right to wrong cells near the decision. The second tells whether the cells of a
    unit are cut where a model is wrong. The tests are one-sided. Their null distributions are widened, because train
    units predict each other. The item warns if the smaller p-value is at most 0.005.
    """
    test, codes = _comparable(case)
    exchanged = test | case.units.within("train")
    n = count_labellings(test[exchanged].astype(int), codes[exchanged])
    if 2 / n > LEVEL:
        few = f"With so few {units_in_words(case)} of a class in train and test, p cannot be below {min(1, 2 / n):.2g}."
        return [Finding("unidentifiable", few, measure=_MEASURE, threshold=LEVEL)]
    rows = case.drawn(case.mask("train", "test"), N_CELLS, "too good")
    unit = case.units.of_cell[rows]
    found = margins(case.lognormalised(rows), codes[unit], unit, case.mask("train")[rows])
    return [_finding(case, compared(found, unit, codes, test, case.rng("too good labels")))]


def _comparable(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Mask of the test units, (U,), and class of each unit, (U,).

    Raises
    ------
    NotRun
        If the design does not let test and train units be exchanged.
    """
    labels = case.need_labels()
    reason = ""
    train, test = case.units.within("train"), case.units.within("test")
    if not train.any() or not test.any():
        reason = "There are no cells in test, or none in train, so there are no two sides to compare."
    elif (train & test).any():
        reason = f"Some {units_in_words(case)} are on both sides of the split."
    elif case.units.paired:
        reason = f"The {case.unit} of a cell has several labels. Such paired designs are not compared."
    elif case.held_out:
        reason = f"The split holds out {case.held_out}, so test need not be as difficult as train."
    elif (key := _covariate(case, train, test)) is not None:
        reason = f"Train has none of the values of {key} of test, so test need not be as difficult as train."
    codes = np.unique(labels.astype(str), return_inverse=True)[1]
    if not reason and np.bincount(codes[train], minlength=codes.max() + 1).min() < 2:
        reason = f"Train has fewer than two {units_in_words(case)} of a class of {case.label_key}."
    if reason:
        raise NotRun(reason)
    return test, codes


def _covariate(case: Case, train: np.ndarray, test: np.ndarray) -> str | None:
    """First covariate of which train has no value of test."""
    for key in case.covariate_keys:
        values = case.units.values(case.covariate(key))
        if values is not None and not set(values[train]) & set(values[test]):
            return key
    return None


def compared(
    found: np.ndarray, unit: np.ndarray, codes: np.ndarray, test: np.ndarray, rng: np.random.Generator
) -> Comparison:
    """Compare test units with train units, by permutation of both within classes.

    Parameters
    ----------
    found
        Both margins of each model, (M × 2 × m), see :func:`heldout.auditing._margins.margins`.
    unit
        Unit number of each cell, (m,).
    codes, test
        Class number of each unit, and mask of the test units, (U,).
    rng
        Random generator of the permutations.
    """
    present, unit = np.unique(unit, return_inverse=True)
    codes, test = codes[present], test[present]
    drawn, _ = labellings(test.astype(int), codes, rng, limit=N_LABELLINGS)
    at = observed_row(drawn, test)
    contrast = _contrast(drawn, codes)
    of_units = [_of_units(lead, margin, unit) for lead, margin in found]
    p, shares = [], []
    for i, shared in enumerate(SHARED):
        null = np.array([contrast @ statistics[i] for statistics in of_units])
        null = (null - null.mean(axis=1, keepdims=True)) / np.maximum(null.std(axis=1, keepdims=True), 1e-12)
        largest = null.max(axis=0)
        largest[np.arange(len(drawn)) != at] *= _wider(test, codes, shared)
        p.append(p_value(largest[at], largest))
        right = of_units[int(null[:, at].argmax())][2 + i]
        shares.append((_mean(right[~test]), _mean(right[test])))
    return Comparison(p[0], p[1], shares[0], shares[1])


def _of_units(lead: np.ndarray, margin: np.ndarray, unit: np.ndarray) -> tuple[np.ndarray, ...]:
    """Mean margin, log ratio of right to wrong cells near the decision, and shares of right cells, (U,) each.

    ``lead`` is the margin to the mean of the other classes, ``margin`` that to the best other class. The first share is
    that of all cells, the second that of the cells near the decision.
    """
    n = np.bincount(unit)
    mean, centre = np.bincount(unit, lead) / n, np.bincount(unit, margin) / n
    spread = float(np.median(np.sqrt(np.bincount(unit, (margin - centre[unit]) ** 2) / n)))
    near = np.abs(margin) <= NEAR * spread
    right = margin > 0
    n_right, n_wrong = (np.bincount(unit[near & side], minlength=len(n)) for side in (right, ~right))
    near_right = np.divide(n_right, n_right + n_wrong, out=np.full(len(n), np.nan), where=n_right + n_wrong > 0)
    ratio = np.log((n_right + 0.5) / (n_wrong + 0.5))
    return mean / max(spread, 1e-12), ratio, np.bincount(unit, right) / n, near_right


def _contrast(drawn: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Weights (B × U) of the mean of the test units minus that of the train units, averaged over classes."""
    found = np.zeros(drawn.shape)
    for c in np.unique(codes):
        inside = codes == c
        is_test = drawn[:, inside]
        n_test, n_train = is_test.sum(axis=1, keepdims=True), (1 - is_test).sum(axis=1, keepdims=True)
        if n_test[0, 0] and n_train[0, 0]:
            found[:, inside] = is_test / n_test - (1 - is_test) / n_train
    return found


def _wider(test: np.ndarray, codes: np.ndarray, shared: float) -> float:
    """How much wider the null distribution is than that of the permutations, as a ratio of standard deviations.

    Each pair of train units is used twice, because each predicts the other. Without an effect of the label, the mean of
    the margins of the train units therefore has twice the variance of a mean of independent units. ``shared`` is the
    share of the variance for which this is true. It is not true for the sampling of the cells of a unit.
    """
    n = np.array([[np.sum(side & (codes == c)) for side in (test, ~test)] for c in np.unique(codes)], dtype=float)
    of_test, of_train = (1 / n[n.min(axis=1) > 0]).sum(axis=0)
    return float(np.sqrt((of_test + (1 + shared) * of_train) / (of_test + of_train)))


def _mean(shares: np.ndarray) -> float:
    """Mean without missing values. NaN if all are missing."""
    known = shares[np.isfinite(shares)]
    return float(known.mean()) if len(known) else np.nan


def _finding(case: Case, found: Comparison) -> Finding:
    units = units_in_words(case)
    result = Finding.about("", _MEASURE, found.p, LEVEL)
    easy = (
        f"A linear model is right on {found.right[1]:.0%} of the cells of test {units}, and on {found.right[0]:.0%} of "
        f"those of train {units} that it had not seen (p = {found.p_easy:.2g})."
    )
    cut = (
        f"Near the decision of the model, {found.near_right[1]:.0%} of the test cells are right, and "
        f"{found.near_right[0]:.0%} of the train cells (p = {found.p_cut:.2g})."
    )
    if found.p > LEVEL:
        return result.says("pass", f"Test is not easier than train. {easy} {cut}")
    causes = []
    if 2 * found.p_cut <= LEVEL:
        causes.append("cells that a model got wrong may have been removed from test")
    if 2 * found.p_easy <= LEVEL:
        causes.append(f"easy {units} may have been chosen for test")
    text = f"Test is easier than chance allows: {', or '.join(causes)}. {cut} {easy}"
    return result.says("warn", text, _ADVICE)
