"""What can be predicted of a label that means nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.words import first_few
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._folds import dealt_within, shuffled_order
from heldout.auditing._linear import column_aucs, ridge_scores
from heldout.auditing._words import many

if TYPE_CHECKING:
    from heldout.auditing._case import Case

N_LABELS = 20
MATERIAL = 0.55
SD = 3


def random_labels(case: Case) -> list[Finding]:
    """Give each group a label drawn at random, and predict the labels of cells: nothing should be found.

    Twenty balanced labellings are predicted by a linear discriminant on the components of the sampled cells: under a
    split of cells into halves, under a split of the groups into halves, and under the split that is audited. Whatever
    is above 0.5 is what the split lets through by letting cells of one group stand on both sides; where none does, 0.5
    is expected, and the item passes.
    """
    sample = case.sample
    names, of_cell = np.unique(case.units.groups.astype(str), return_inverse=True)
    of_cell = of_cell[case.units.of_cell[sample.rows]]
    if len(names) < 4:
        msg = f"there are {len(names)} {many(case.unit)}; random labels take at least 4"
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
    fit, judged = case.mask("train")[sample.rows], case.mask("test")[sample.rows]
    seen, new = (np.isin(np.arange(len(names)), of_cell[mask]) for mask in (fit, judged))
    declared = _aucs(pcs, _drawn(seen + 2 * new, present, rng)[of_cell], fit, judged)
    return [_finding(case, by_cell, by_group, declared[np.isfinite(declared)], names[seen & new].tolist())]


def _drawn(strata: np.ndarray, present: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels -1 and 1 of the groups, (G × R): in each stratum, as many of one as of the other, give or take one.

    Strata are drawn apart from each other. So, given the labels of train, all labels of test and their opposite are as
    likely, and the expected AUC is exactly 0.5 where no group is on both sides.
    """
    labels = np.zeros((len(strata), N_LABELS))
    for stratum in np.unique(strata[present]):
        members = present[strata[present] == stratum]
        for r in range(N_LABELS):
            signs = (np.arange(len(members)) % 2 * 2 - 1) * rng.choice([-1, 1])
            labels[members, r] = rng.permutation(signs)
    return labels


def _aucs(pcs: np.ndarray, targets: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """AUC over test cells of each labelling, (R,); NaN where it has one class there."""
    if not train.any() or not test.any():
        return np.full(targets.shape[1], np.nan)
    return column_aucs(ridge_scores(pcs[train], targets[train], pcs[test]), targets[test])


def _finding(
    case: Case, by_cell: np.ndarray, by_group: np.ndarray, declared: np.ndarray, crossing: list[str]
) -> Finding:
    reference = (
        f"{np.nanmean(by_cell):.2f} under a split of cells, {np.nanmean(by_group):.2f} under a split by {case.unit}"
    )
    what = f"labels drawn at random for each {case.unit} are predicted with a mean AUC of"
    if len(declared) < N_LABELS / 2:
        where = "; the test set has too few to give it two labels"
        return Finding("pass", f"{what} {reference}{where}", measure="AUC", threshold=MATERIAL)
    mean, sd = float(declared.mean()), float(declared.std(ddof=1) / np.sqrt(len(declared)))
    options: dict[str, Any] = {"measure": "AUC", "value": mean, "threshold": MATERIAL}
    if not len(crossing) or mean <= MATERIAL or mean - 0.5 <= SD * sd:
        return Finding("pass", f"{what} {mean:.2f} under this split ({reference})", **options)
    return Finding(
        "fail",
        f"{what} {mean:.2f} (0.5 is chance) under this split, since {first_few(crossing)} "
        f"{'is' if len(crossing) == 1 else 'are'} on both sides; {reference}",
        **options,
        advice=f"Make the split by {case.unit}; a score on this test set measures how well cells name their {case.unit}.",
    )
