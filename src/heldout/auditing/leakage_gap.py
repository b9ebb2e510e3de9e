"""Measure how much higher a score is if cells are held out instead of groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import store
from heldout._core.arrays import moments, take
from heldout._core.verdict import FEW
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._folds import dealt_within, shuffled_order
from heldout.auditing._linear import FoldComponents, logistic
from heldout.auditing._words import many, numbered, units_in_words
from heldout.metrics.classification import one_vs_rest
from heldout.metrics.inference import bootstrap_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout._core.types import Matrix
    from heldout.auditing._case import Case

MAX_GENES = 1000
N_FOLDS = 5
N_COMPS = 50
N_DRAWS = 2000
MAX_MATCHES = 8


@dataclass(frozen=True)
class _Design:
    """Class, group and unit number of each sampled cell, (m,) each, and the number of each of them."""

    y: np.ndarray
    group: np.ndarray
    unit: np.ndarray
    n_classes: int
    n_groups: int
    n_units: int


@dataclass(frozen=True)
class _Step:
    """Result of one way to hold out: wins and pairs of cells between groups, (C × G × G), and the AUC over units."""

    name: str
    wins: np.ndarray
    pairs: np.ndarray
    unit_auc: float

    def auc(self, weights: np.ndarray) -> np.ndarray:
        """AUC over cells within folds for each row of weights on the groups (B × G)."""
        found = []
        for wins, pairs in zip(self.wins, self.pairs, strict=True):
            won, compared = (((weights @ m) * weights).sum(axis=1) for m in (wins, pairs))
            found.append(np.divide(won, compared, out=np.full(len(weights), np.nan), where=compared > 0))
        return np.asarray(np.mean(found, axis=0))


def leakage_gap(case: Case) -> list[Finding]:
    """Cross-validate one classifier in three ways: over cells, over groups, and over values of ``match_key``.

    Principal components and a logistic regression are fitted on the train cells of each fold. Cells are compared with
    cells of the same fold. The gap is the AUC over cells with held-out cells minus the AUC over cells with held-out
    groups. Its bootstrap interval is over groups; both AUCs use the same draws.
    """
    case.need_labels()
    design = _design(case)
    steps = [_step(name, case, design, folds, apart) for name, folds, apart in _ladder(case, design)]
    sets = np.zeros((design.n_groups, design.n_classes), dtype=int)
    sets[design.group, design.y] = 1
    strata = np.unique(sets, axis=0, return_inverse=True)[1].ravel()
    draws = bootstrap_weights(strata, N_DRAWS, case.rng("leakage_gap bootstrap"))
    ones = np.ones((1, design.n_groups))
    cells, groups = steps[0], steps[1]
    gap = float(cells.auc(ones)[0] - groups.auc(ones)[0])
    low, high = np.nanpercentile(cells.auc(draws) - groups.auc(draws), [2.5, 97.5])
    few = int(min((sets[:, c] > 0).sum() for c in range(design.n_classes)))
    findings = [_gap(case, steps, gap, float(low), float(high), few)]
    for step in steps:
        value = float(step.auc(ones)[0])
        text = (
            f"With held-out {step.name}, the AUC is {value:.2f} over cells and {step.unit_auc:.2f} over "
            f"{units_in_words(case)}."
        )
        findings.append(Finding("pass", text, subject=step.name, measure="AUC over cells", value=value))
    return findings


def _gap(case: Case, steps: list[_Step], gap: float, low: float, high: float, few: int) -> Finding:
    aucs = [float(step.auc(np.ones((1, step.wins.shape[1])))[0]) for step in steps]
    ladder = ", ".join(f"{auc:.2f} with held-out {step.name}" for step, auc in zip(steps, aucs, strict=True))
    interval = f"95% interval {low:.2f} to {high:.2f}"
    caution = f" A class has only {few} {many(case.unit)}, so the interval is too narrow." if few < FEW else ""
    crossing = bool(case.crossing.any())
    leak = crossing and low > 0
    verb = "gives" if crossing else "would give"
    change = f"an AUC that is {gap:.2f} higher" if gap > 0 else f"no higher AUC (difference {gap:.2f})"
    text = f"The AUC over cells is {ladder}. A split by cell {verb} {change} ({interval}).{caution}"
    advice = (
        f"{int(case.crossing.sum())} of {numbered(case, len(case.crossing))} are on both sides of this split. Make the "
        f"split by {case.unit}."
    )
    options: dict[str, Any] = {"measure": "AUC of cells minus groups", "value": gap, "threshold": 0.0}
    return Finding("fail" if leak else "pass", text, **options, advice=advice if leak else "")


def _design(case: Case) -> _Design:
    rows, units = case.sample.rows, case.units
    classes, label_of = store.factorize(units.labels)  # type: ignore[arg-type]
    groups, group_of = store.factorize(units.groups)
    here, unit = np.unique(units.of_cell[rows], return_inverse=True)
    named, group = np.unique(group_of[here], return_inverse=True)
    return _Design(label_of[here][unit], group[unit], unit, len(classes), len(named), len(here))


def _ladder(case: Case, design: _Design) -> Iterator[tuple[str, np.ndarray, bool]]:
    """Name of each step, fold of each cell (-1: never tested), and whether train excludes the groups of the fold."""
    from heldout.splitting._folds import FoldUnits, kfold

    rows = case.sample.rows
    n_groups = [len(np.unique(design.group[design.y == c])) for c in range(design.n_classes)]
    if min(n_groups) < 2:
        msg = f"A class of {case.label_key} has fewer than two {many(case.unit)} among the sampled cells."
        raise NotRun(msg)
    rank = shuffled_order(case, rows, "leakage_gap")
    yield "cells", dealt_within(design.unit, rank, N_FOLDS), False
    of_group = FoldUnits.of(design.group, design.y)
    try:
        folds = kfold(of_group, min(N_FOLDS, *n_groups), case.rng("leakage_gap folds"))
    except ValueError as problem:
        raise NotRun(str(problem)) from problem
    yield many(case.unit), folds[of_group.of_row], False
    if case.match_key and case.match_key not in case.group_key:
        match = store.factorize(store.as_names(case.adata.obs[case.match_key].iloc[rows]))[1]
        complete = [m for m in np.unique(match) if len(np.unique(design.y[match == m])) == design.n_classes]
        chosen = sorted(complete, key=lambda m: -(match == m).sum())[:MAX_MATCHES]
        if len(chosen) and len(np.unique(match)) > 1:
            yield f"{many(case.unit)} and {case.match_key}", np.where(np.isin(match, chosen), match, -1), True


def _step(name: str, case: Case, design: _Design, folds: np.ndarray, apart: bool) -> _Step:  # noqa: FBT001
    """Predict each fold from the other folds, and count wins within folds."""
    scored = [1] if design.n_classes == 2 else list(range(design.n_classes))
    wins, pairs = (np.zeros((len(scored), design.n_groups, design.n_groups)) for _ in range(2))
    unit_wins = np.zeros((len(scored), 2))
    components = FoldComponents(_most_variable(case), folds, n_comps=N_COMPS)
    for fold in np.unique(folds[folds >= 0]):
        test = folds == fold
        dropped = np.isin(design.group, design.group[test]) & ~test if apart else np.zeros(len(folds), dtype=bool)
        train = ~test & ~dropped
        if len(np.unique(design.y[train])) < design.n_classes:
            continue
        pcs = components.coordinates(int(fold), dropped)
        odds = one_vs_rest(logistic(pcs[train], design.y[train], pcs[test], design.n_classes))
        for k, number in enumerate(scored):
            positive = design.y[test] == number
            won, compared = _between(
                odds[:, k if design.n_classes > 2 else 1], positive, design.group[test], design.n_groups
            )
            wins[k] += won
            pairs[k] += compared
            unit_wins[k] += _over_units(odds[:, k if design.n_classes > 2 else 1], positive, design.unit[test])
    if (pairs.sum(axis=(1, 2)) == 0).any():
        msg = f"No fold of held-out {name} has each class in train and in test."
        raise NotRun(msg)
    return _Step(name, wins, pairs, float(np.mean(unit_wins[:, 0] / unit_wins[:, 1])))


def _most_variable(case: Case) -> Matrix:
    """The sample with the genes that vary most among its train cells. This bounds the memory of five folds."""
    X = case.sample.X
    variance = moments(X, case.mask("train")[case.sample.rows]).var
    return take(X, None, np.sort(np.argsort(-variance, kind="stable")[:MAX_GENES]))


def _between(
    score: np.ndarray, positive: np.ndarray, group: np.ndarray, n_groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a positive and a negative cell for each pair of groups, and how many of them are ranked correctly."""
    wins = np.zeros((n_groups, n_groups))
    for negative_group in np.unique(group[~positive]):
        ordered = np.sort(score[~positive & (group == negative_group)])
        below, not_above = (np.searchsorted(ordered, score[positive], side=side) for side in ("left", "right"))
        wins[:, negative_group] = np.bincount(group[positive], (below + not_above) / 2, minlength=n_groups)
    counts = [np.bincount(group[side], minlength=n_groups).astype(float) for side in (positive, ~positive)]
    return wins, np.outer(*counts)


def _over_units(score: np.ndarray, positive: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Pairs of units of both classes that their mean score ranks correctly, and the number of all such pairs."""
    named, of_row = np.unique(unit, return_inverse=True)
    mean = np.bincount(of_row, score) / np.bincount(of_row)
    inside = np.bincount(of_row, positive) > 0
    difference = np.sign(mean[inside][:, None] - mean[~inside][None])
    return np.array([((difference + 1) / 2).sum(), difference.size])
