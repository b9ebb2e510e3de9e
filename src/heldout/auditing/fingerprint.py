"""Measure how well cells identify the unit that they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.words import first_few
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._folds import dealt_within, shuffled_order
from heldout.auditing._words import unit_in_words, units_in_words

if TYPE_CHECKING:
    from heldout.auditing._case import Case

MIN_CELLS = 20
MAX_STRATA = 10
MATERIAL = 0.15
SD = 3


def fingerprint(case: Case) -> list[Finding]:
    """Predict the unit of one half of the train cells from the other half.

    Units are compared within a label and a value of ``match_key`` if there are at least two of them, so that the
    prediction cannot use the label. A fingerprint is not an error. It is a leak if units are on both sides of the
    split.
    """
    case.need_sides()
    sample = case.sample
    train = case.mask("train")[sample.rows]
    of_cell = case.units.of_cell[sample.rows]
    sizes = np.bincount(of_cell[train], minlength=len(case.units.names))
    strata = _strata(case, np.flatnonzero(sizes >= MIN_CELLS), sizes)
    half = dealt_within(of_cell, shuffled_order(case, sample.rows, "fingerprint"), 2) == 0
    results = []
    for units in strata[:MAX_STRATA]:
        rows = np.flatnonzero(train & np.isin(of_cell, units))
        first, second = rows[half[rows]], rows[~half[rows]]
        accuracy = (
            _accuracy(sample.pcs[first], of_cell[first], sample.pcs[second], of_cell[second])
            + _accuracy(sample.pcs[second], of_cell[second], sample.pcs[first], of_cell[first])
        ) / 2
        results.append((accuracy, 1 / len(units), len(rows), len(units)))
    accuracies, chances, cells, n_units = (np.array(column, dtype=float) for column in zip(*results, strict=True))
    weights = n_units / n_units.sum()
    accuracy, chance = float(weights @ accuracies), float(weights @ chances)
    noise = float(np.sqrt((weights**2 * chances * (1 - chances) / cells).sum()))
    threshold = max(min(2 * chance, chance + MATERIAL), chance + SD * noise)
    return [_finding(case, accuracy, chance, threshold)]


def _finding(case: Case, accuracy: float, chance: float, threshold: float) -> Finding:
    options: dict[str, Any] = {"measure": "balanced accuracy", "value": accuracy, "threshold": threshold}
    unit, units = unit_in_words(case), units_in_words(case)
    numbers = f"A linear classifier predicts the {unit} of a cell with accuracy {accuracy:.2f} (chance {chance:.2f})."
    if accuracy <= threshold:
        return Finding("pass", f"Little or no fingerprint. {numbers}", **options)
    if not case.crossing.any():
        text = f"{numbers} None of the {units} is on both sides of the split, so this cannot leak."
        return Finding("pass", text, **options)
    crossing = case.units.names[case.crossing]
    text = (
        f"{numbers} {len(crossing)} of {len(case.crossing)} {units} are on both sides of the split "
        f"({first_few(crossing)}). A model that recognises the {unit} knows its label from train."
    )
    advice = f"Make the split by {case.unit}: heldout.pp.split_groups(adata, {case.group_key[0]!r}, ...)."
    return Finding("fail", text, subject=case.unit, **options, advice=advice)


def _strata(case: Case, units: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
    """Sets of at least two train units with the same label and match value, the largest first. Else all train units."""
    if len(units) < 2:
        msg = (
            f"Fewer than two train {units_in_words(case)} have {MIN_CELLS} sampled cells. Increase n_cells if they "
            "have more."
        )
        raise NotRun(msg)
    names = np.zeros(len(case.units.names), dtype=object)
    names[:] = "" if case.units.labels is None else case.units.labels
    match = case.units.values(case.adata.obs[case.match_key]) if case.match_key else None
    if match is not None:
        names = np.array([f"{a}\n{b}" for a, b in zip(names, match, strict=True)], dtype=object)
    sets = [units[names[units] == name] for name in sorted(set(names[units]))]
    sets = sorted((s for s in sets if len(s) > 1), key=lambda s: (-len(s), -sizes[s].sum()))
    return sets or [units]


def _accuracy(train: np.ndarray, named: np.ndarray, test: np.ndarray, true: np.ndarray) -> float:
    """Balanced accuracy of a linear discriminant with equal priors for all units."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    units = np.unique(named)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.01, priors=np.full(len(units), 1 / len(units)))
    right = model.fit(train.astype(np.float64), named).predict(test.astype(np.float64)) == true
    return float(np.mean([right[true == unit].mean() for unit in units]))
