"""Make the table of an evaluation from scores of perturbations: estimates, intervals, ceilings and verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core.metric import metric_of
from heldout._core.verdict import against, few_units, interval
from heldout._core.versus import with_remark, with_versus
from heldout._core.words import plural
from heldout.metrics import variance_ratio
from heldout.tasks.perturbation.judging.adding_up import answers, combinations_of
from heldout.tasks.perturbation.judging.scores import (
    METRICS,
    Reference,
    centroid_correlation,
    score_controls,
    score_rows,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heldout.tasks.perturbation.judging.cells import CellSpace, Scored
    from heldout.tasks.perturbation.judging.units import Units
    from heldout.tasks.perturbation.observed import Observed

COLUMNS = (
    "method", "role", "level", "metric", "estimate", "ci_low", "ci_high", "n", "n_fallback", "share_harmed", "baseline",
    "difference", "difference_low", "difference_high", "chance", "ceiling", "verdict", "note",
)  # fmt: skip
"""Columns of an evaluation, before the partition and the look."""

MOST_MOVED = 100
"""Number of perturbations that are scored again with each draw of the controls."""

_PSEUDOCOUNT = 0.1
"""Pseudocount of ``cosine_logfc``."""

_ROUNDING = 1e-9
"""Two scores with a smaller relative difference are equal."""

_SPREAD = "variance_ratio"
_UNJUDGED = frozenset({_SPREAD, "log_variance_ratio"})
"""Metrics that describe a prediction. They are not compared with baselines."""

_WORDS = {
    "better": "better than {}",
    "not better": "not better than {}",
    "undecided": "undecided whether better than {}",
    "unidentifiable": "too few {units} to compare with {}",
}
"""Note on the comparison with a control, by verdict."""

HARM_METRIC, HARM_BASELINE = "l2", "context_mean"
"""A method harms a unit if its error by this metric is larger than that of this baseline."""

_CORRELATIONS = ("pearson_delta", "pearson_delta_perturbed", "cosine_logfc")


@dataclass(frozen=True)
class Draws:
    """Bootstrap over perturbations, and over the control cells from which true changes are measured.

    Parameters
    ----------
    weights
        How often each perturbation is drawn, (B + 1 × U); ones first.
    controls
        Means of drawn control cells, (R × C × G).
    """

    weights: np.ndarray
    controls: np.ndarray

    @classmethod
    def of(cls, n_units: int, controls: np.ndarray, *, n_bootstrap: int, rng: np.random.Generator) -> Draws:
        """Draw perturbations with replacement."""
        drawn = rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=n_bootstrap)
        return cls(np.vstack([np.ones(n_units), drawn]), controls)

    def means(self, values: np.ndarray, moved: np.ndarray | None, use: np.ndarray) -> np.ndarray:
        """Mean of the values (U,) over the units in ``use``, plain and in each draw, (B + 1,).

        ``moved`` (R × U) are the values under other controls. What these add is taken about its mean, because drawn
        controls are noisier than the measured ones, so that only their spread goes into the interval. Units of which it
        is not known (NaN) are moved as the others are in the mean.
        """
        if not use.any():
            return np.full(len(self.weights), np.nan)
        W = self.weights[:, use]
        sums = W @ values[use]
        if moved is not None and len(moved):
            extra = moved[:, use] - moved[:, use].mean(axis=0)
            known = np.isfinite(extra)
            common = np.where(known, extra, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
            extra = np.where(known, extra, common[:, None])
            for r in range(len(extra)):
                rows = slice(1 + r, None, len(extra))
                sums[rows] += W[rows] @ extra[r]
        total = W.sum(axis=1)
        return np.divide(sums, total, out=np.full(len(total), np.nan), where=total > 0)


@dataclass(frozen=True)
class Rows:
    """Scores of a method for perturbations in contexts, (m,), for units, (U,), and for units in each draw, (R × U)."""

    rows: dict[str, np.ndarray]
    units: dict[str, np.ndarray]
    moved: dict[str, np.ndarray]


def evaluation_table(
    scored: Sequence[Scored],
    truth: Observed,
    reference: Reference,
    halves: Sequence[tuple[Observed, Observed]],
    draws: Draws,
    space: CellSpace,
    units: Units,
) -> tuple[pd.DataFrame, list[dict[str, np.ndarray]]]:
    """One row per method and metric, and the scores of the perturbations and contexts of each method."""
    unit = units.of_row
    of_cells = space.scores(list(scored))
    values = [
        _scores(method, cells, truth, reference, draws.controls, unit)
        for method, cells in zip(scored, of_cells, strict=True)
    ]
    best_possible = {**ceilings(truth, halves, reference), **space.halves()}
    harmed = _shares_harmed(scored, values)
    table, versus = [], []
    for metric in METRICS:
        for i, method in enumerate(scored):
            harm = harmed[i] if metric == HARM_METRIC else np.nan
            row = _row(metric, method, values[i], truth, draws, units, harm) | {"ceiling": best_possible[metric]}
            if method.role == "model" and metric not in _UNJUDGED:
                row |= _judge(metric, i, scored, values, draws, units)
                versus += _versus(metric, i, scored, values, draws, units.name)
            table.append(row)
    empty = {"baseline": "", "verdict": "", "note": ""}
    frame = pd.DataFrame(table, columns=list(COLUMNS)).fillna(empty)
    n_targets = np.array([len(targets) for targets in truth.pairs.targets])
    pairs = combinations_of(n_targets, unit)

    def compare(metric: str, i: int, j: int) -> tuple[dict[str, object], int]:
        n = int((_both(metric, values[i], values[j]) & pairs).sum())
        return _compare(metric, i, j, scored, values, draws, among=pairs), n

    remark = answers(scored, pairs, compare)
    return with_remark(with_versus(frame, versus), remark), [of_method.rows for of_method in values]


def _row(
    metric: str, method: Scored, values: Rows, truth: Observed, draws: Draws, units: Units, harm: float
) -> dict[str, object]:
    """The score of a method by a metric, with its interval and a note."""
    unit = units.of_row
    if metric == _SPREAD:
        use, drawn = _predicted(method, unit), _spread(method, truth, draws, unit)
    else:
        use = np.isfinite(values.units[metric])
        drawn = draws.means(values.units[metric], values.moved.get(metric), use)
    n, record = int(use.sum()), metric_of(metric)
    low, high = interval(drawn, n, bounds=record.bounds)
    return {
        "method": method.method,
        "role": method.role,
        "level": units.name,
        "metric": metric,
        "estimate": float(drawn[0]),
        "ci_low": low,
        "ci_high": high,
        "n": n,
        "n_fallback": len(np.unique(unit[method.fallback])),
        "share_harmed": harm,
        "chance": np.nan if record.chance is None else record.chance,
        "note": _note(n, units, method, harm),
    }


def ceilings(truth: Observed, halves: Sequence[tuple[Observed, Observed]], reference: Reference) -> dict[str, float]:
    """Score that the noise of the truth allows for each metric, from two halves of the cells of each perturbation.

    The difference of the halves, halved, is as large as the noise of the truth. Correlations are those of the halves,
    brought to what the truth has with a profile free of noise by the formula of Spearman and Brown, √(2r / (1 + r)).
    Other metrics are those of the truth with as much noise once more. Predictions are as varied as a half is as the
    other.
    """
    found = []
    for first, second in halves:
        half = Reference(second.control, reference.centroid, reference.top, reference.targets)
        rows = score_controls(first, first.control, second.change, half)
        rows["pearson_delta_perturbed"] = centroid_correlation(first, second.mean, reference)
        r = {name: max(_mean(rows[name]), 0.0) for name in _CORRELATIONS}
        correlations = {name: float(np.sqrt(2 * value / (1 + value))) for name, value in r.items()}
        again, control = _measured_again(truth, first, second)
        rows = score_rows(
            truth,
            again - control[truth.pairs.context],
            Reference(control, reference.centroid, reference.top, reference.targets),
        )
        ratio = float(variance_ratio(first.change, second.change))
        found.append({**{name: _mean(values) for name, values in rows.items()}, **correlations, _SPREAD: ratio})
    return {name: _mean(np.array([values[name] for values in found if name in values])) for name in METRICS}


def _measured_again(truth: Observed, first: Observed, second: Observed) -> tuple[np.ndarray, np.ndarray]:
    """Profiles of the truth, NaN for single cells, and of its controls, each with as much noise as it has once more."""
    again, row = np.full(truth.mean.shape, np.nan), truth.pairs.rows_of()
    at = [row[pair] for pair in first.pairs.rows_of()]
    again[at] = truth.mean[at] + _noise(first.mean - second.mean, first.n_cells, second.n_cells)
    noise = _noise(first.control - second.control, first.control_n, second.control_n)
    control = truth.control + noise
    return again, np.where(
        control <= -_PSEUDOCOUNT, 0.0, control
    )  # no mean of counts is below, and its logarithm fails


def _noise(difference: np.ndarray, n: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Difference of the means of n and m cells, shrunk to the noise of the mean of all of them."""
    return np.asarray(difference * (np.sqrt(n * m) / np.maximum(n + m, 1))[:, None])


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _scores(
    scored: Scored,
    of_cells: dict[str, np.ndarray],
    truth: Observed,
    reference: Reference,
    controls: np.ndarray,
    unit: np.ndarray,
) -> Rows:
    rows = {**score_rows(truth, scored.change, reference), **of_cells}
    moved: dict[str, list[np.ndarray]] = {}
    some = _some_units(unit)
    part = truth.only(some)
    for control in controls:
        for name, values in score_controls(part, control, scored.change[some], reference).items():
            everywhere = np.full(len(unit), np.nan)
            everywhere[some] = values
            moved.setdefault(name, []).append(_by_unit(everywhere, unit))
    units = {name: _by_unit(values, unit) for name, values in rows.items()}
    return Rows(rows, units, {name: np.stack(values) for name, values in moved.items()})


def _some_units(unit: np.ndarray) -> np.ndarray:
    """Rows of at most MOST_MOVED perturbations, in all their contexts; drawn controls move all scores alike."""
    n_units = int(unit.max()) + 1
    chosen = np.linspace(0, n_units - 1, min(n_units, MOST_MOVED)).astype(np.int64)
    return np.flatnonzero(np.isin(unit, chosen))


def _by_unit(values: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Mean over the contexts of each perturbation where it has a score, (U,)."""
    known = np.isfinite(values)
    sums = np.bincount(unit[known], values[known], minlength=int(unit.max()) + 1)
    n = np.bincount(unit[known], minlength=len(sums))
    return np.divide(sums, n, out=np.full(len(sums), np.nan), where=n > 0)


def _predicted(scored: Scored, unit: np.ndarray) -> np.ndarray:
    """Whether a perturbation was predicted in some context, (U,)."""
    return np.bincount(unit, np.isfinite(scored.change).all(axis=1)) > 0


def _spread(scored: Scored, truth: Observed, draws: Draws, unit: np.ndarray) -> np.ndarray:
    """Ratio of variances, as measured and in each draw, (B + 1,)."""
    return np.asarray(variance_ratio(truth.change, scored.change, weights=draws.weights[:, unit]))


def _shares_harmed(scored: Sequence[Scored], values: Sequence[Rows]) -> list[float]:
    """Share of the units for which each method is worse than the mean of the context; NaN if this was not scored."""
    against = [
        of.units[HARM_METRIC] for method, of in zip(scored, values, strict=True) if method.method == HARM_BASELINE
    ]
    if not against:
        return [float("nan")] * len(scored)
    shares = []
    for method, of_method in zip(scored, values, strict=True):
        error, known = of_method.units[HARM_METRIC], np.isfinite(of_method.units[HARM_METRIC] + against[0])
        worse = error[known] > against[0][known] * (1 + 1e-9)
        shares.append(float(worse.mean()) if len(worse) and method.method != HARM_BASELINE else float("nan"))
    return shares


def _judge(
    metric: str, i: int, scored: Sequence[Scored], values: Sequence[Rows], draws: Draws, units: Units
) -> dict[str, object]:
    """Compare a method with the best baseline and with its controls, on the perturbations that both predict.

    The best baseline is the one with the largest lead on these perturbations, so it does not matter how easy they are.
    """
    sign = metric_of(metric).sign
    defined = [np.isfinite(of_method.units[metric]) for of_method in values]
    shared = {j: defined[i] & defined[j] for j, method in enumerate(scored) if method.role == "baseline"}
    most = max((int(both.sum()) for both in shared.values()), default=0)
    if not most:
        return against(None, np.array([np.nan]), sign=sign, n_units=0)
    lead = {
        j: sign * float((values[j].units[metric] - values[i].units[metric])[both].mean())
        for j, both in shared.items()
        if 2 * both.sum() >= most  # a baseline that predicts few perturbations is no fair comparison
    }
    best = max(lead, key=lambda j: lead[j])

    def compare(j: int) -> dict[str, object]:
        return _compare(metric, i, j, scored, values, draws)

    notes = [
        _WORDS[str(compare(j)["verdict"])].format(other.replaced[1], units=plural(units.name))
        for j, other in enumerate(scored)
        if other.replaced is not None and other.replaced[0] == scored[i].method and (defined[i] & defined[j]).any()
    ]
    return {**compare(best), **({"note": "; ".join(notes)} if notes else {})}


def _versus(
    metric: str, i: int, scored: Sequence[Scored], values: Sequence[Rows], draws: Draws, level: str
) -> list[dict[str, object]]:
    """A method against each baseline."""
    return [
        {"method": scored[i].method, "level": level, "metric": metric, **_compare(metric, i, j, scored, values, draws)}
        for j, method in enumerate(scored)
        if method.role == "baseline"
    ]


def _compare(
    metric: str,
    i: int,
    j: int,
    scored: Sequence[Scored],
    values: Sequence[Rows],
    draws: Draws,
    *,
    among: np.ndarray | None = None,
) -> dict[str, object]:
    """Difference of two methods and its verdict, on the perturbations that both predict, ``among`` some (U,)."""
    both = _both(metric, values[i], values[j]) & (True if among is None else among)
    difference = _difference(metric, values[i], values[j], draws, both)
    record = metric_of(metric)
    return against(scored[j].method, difference, sign=record.sign, n_units=int(both.sum()), bounds=record.bounds)


def _both(metric: str, model: Rows, other: Rows) -> np.ndarray:
    """Units that both methods predict, (U,)."""
    return np.asarray(np.isfinite(model.units[metric]) & np.isfinite(other.units[metric]))


def _difference(metric: str, model: Rows, other: Rows, draws: Draws, use: np.ndarray) -> np.ndarray:
    values = model.units[metric] - other.units[metric]
    values[np.abs(values) < _ROUNDING * np.abs(other.units[metric])] = 0  # the same predictions, computed in two ways
    moved = model.moved[metric] - other.moved[metric] if metric in model.moved else None
    return draws.means(values, moved, use)


def _note(n: int, units: Units, scored: Scored, harmed: float) -> str:
    predicted = int(_predicted(scored, units.of_row).sum())
    notes = [] if predicted == units.n else [f"predicts {predicted} of {units.n} {plural(units.name)}"]
    if n < predicted:
        notes.append(f"not defined for {predicted - n}")
    if np.isfinite(harmed):
        notes.append(f"a larger error than {HARM_BASELINE} for {harmed:.0%} of the {plural(units.name)}")
    return "; ".join([*notes, *(note for note in (few_units(n, units.name), units.note) if note)])
