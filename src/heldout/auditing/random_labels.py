"""Measure how well a meaningless random label can be predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.words import counted, first_few
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._folds import dealt_within, shuffled_order
from heldout.auditing._linear import column_aucs, ridge_scores
from heldout.auditing._words import many, singular

if TYPE_CHECKING:
    from heldout.auditing._case import Case

N_LABELS = 20
MATERIAL = 0.55
SD = 3


def random_labels(case: Case) -> list[Finding]:
    """Give each group a random label, and predict the label of the cells. The expected AUC is 0.5.

    A linear discriminant on the components of the sampled cells predicts twenty balanced labellings: under a split of
    cells into halves, under a split of groups into halves, and under the audited split. An AUC above 0.5 is a leak
    through groups that have cells on both sides. If there is no such group, the item passes.
    """
    sample = case.sample
    names, of_cell = np.unique(case.units.groups.astype(str), return_inverse=True)
    of_cell = of_cell[case.units.of_cell[sample.rows]]
    if len(names) < 4:
        msg = f"There are {len(names)} {many(case.unit)}. Random labels need at least 4."
        raise NotRun(msg)
    rng = case.rng("random_labels")
    pcs = sample.pcs.astype(np.float64)
    present = np.unique(of_cell)
    half = np.zeros(len(names), dtype=int)
    half[rng.permutation(present)] = np.arange(len(present)) % 2
    targets = _drawn(half, present, rng)[of_cell]
    cells = dealt_within(of_cell, shuffled_order(case, sample.rows, "random_labels"), 2)
    by_cell = np.mean([_aucs(pcs, targets, cells != side, cells == side) for side in (0, 1)], axis=0)
    sides = half[of_cell]
    by_group = np.mean([_aucs(pcs, targets, sides != side, sides == side) for side in (0, 1)], axis=0)
    train, test = case.mask("train")[sample.rows], case.mask("test")[sample.rows]
    in_train, in_test = (np.isin(np.arange(len(names)), of_cell[mask]) for mask in (train, test))
    audited = _aucs(pcs, _drawn(in_train + 2 * in_test, present, rng)[of_cell], train, test)
    return [_finding(case, by_cell, by_group, audited[np.isfinite(audited)], names[in_train & in_test].tolist())]


def _drawn(strata: np.ndarray, present: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels -1 and 1 of the groups, (G × R). Each stratum has the same number of both, or one more of one label.

    Strata are drawn independently. Given the labels of train, all labels of test and their opposites are therefore
    equally likely, and the expected AUC is exactly 0.5 if no group is on both sides.
    """
    labels = np.zeros((len(strata), N_LABELS))
    for stratum in np.unique(strata[present]):
        members = present[strata[present] == stratum]
        for r in range(N_LABELS):
            signs = (np.arange(len(members)) % 2 * 2 - 1) * rng.choice([-1, 1])
            labels[members, r] = rng.permutation(signs)
    return labels


def _aucs(pcs: np.ndarray, targets: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """AUC over test cells for each labelling, (R,). NaN if test has only one class of it."""
    if not train.any() or not test.any():
        return np.full(targets.shape[1], np.nan)
    return column_aucs(ridge_scores(pcs[train], targets[train], pcs[test]), targets[test])


def _finding(
    case: Case, by_cell: np.ndarray, by_group: np.ndarray, audited: np.ndarray, crossing: list[str]
) -> Finding:
    reference = (
        f"{np.nanmean(by_cell):.2f} under a split of cells and {np.nanmean(by_group):.2f} under a split by {case.unit}"
    )
    what = f"Random labels of the {many(case.unit)} are predicted with a mean AUC of"
    if len(audited) < N_LABELS / 2:
        text = f"{what} {reference}. The test set has too few {many(case.unit)} to have two labels."
        return Finding("pass", text, measure="AUC", threshold=MATERIAL)
    mean, sd = float(audited.mean()), float(audited.std(ddof=1) / np.sqrt(len(audited)))
    options: dict[str, Any] = {"measure": "AUC", "value": mean, "threshold": MATERIAL}
    if not len(crossing) or mean <= MATERIAL or mean - 0.5 <= SD * sd:
        return Finding("pass", f"{what} {mean:.2f} under this split, {reference} (0.5 is chance).", **options)
    text = (
        f"{what} {mean:.2f} under this split, {reference} (0.5 is chance). The reason is that "
        f"{counted(len(crossing), 'group')} {'is' if len(crossing) == 1 else 'are'} on both sides of the split: "
        f"{case.unit} {first_few(crossing)}."
    )
    advice = (
        f"Make the split by {case.unit}. A score on this test set measures in part how well a model recognises the "
        f"{singular(case.unit)}."
    )
    return Finding("fail", text, **options, advice=advice)
