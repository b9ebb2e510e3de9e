"""Learning curve: random subsets of the train units, and the table and sentence of their scores."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core.metric import metric_of
from heldout._core.report import unit_name
from heldout._core.words import counted, plural
from heldout.metrics.inference import group_scores
from heldout.metrics.intervals import fold_interval, jackknife_interval
from heldout.metrics.skill import Interval
from heldout.splitting._folds import kfold
from heldout.tasks.genotype.pooled import Pooled, log_probability

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from heldout.splitting._folds import FoldUnits

METRICS = ("auc", "loss")
N_SIZES = 5
_FLAT = 0.02
"""A curve whose interval of the gain lies within this distance of 0 is called flat."""

_NOTHING = 1e-12


@dataclass(frozen=True)
class Subset:
    """Units that one set of fits is trained on, and units that it predicts. Numbers of units are sorted.

    Parameters
    ----------
    repeat, fold, size
        Number of the repetition and of the inner fold, and number of train units.
    train, held_out
        Numbers of the units.
    """

    repeat: int
    fold: int
    size: int
    train: np.ndarray
    held_out: np.ndarray


@dataclass(frozen=True)
class Scores:
    """Scores of one method, size and repetition: of all groups, and without each unit."""

    method: str
    size: int
    repeat: int
    auc: float
    loss: float
    without: Mapping[str, np.ndarray]


def unit_order(strata: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random order of the units, (U,), whose first n units are a stratified sample of n units for every n.

    The first unit of each stratum comes first. Then the strata take turns in proportion to their sizes.
    """
    key = np.empty(len(strata))
    for stratum in np.unique(strata):
        members = rng.permutation(np.flatnonzero(strata == stratum))
        key[members] = (np.arange(len(members)) + 0.5) / len(members)
        key[members[0]] = 0.0
    return np.lexsort((strata, key))


def sizes_of(units: FoldUnits, sizes: Sequence[int] | None, n_folds: int | None) -> list[int]:
    """Numbers of train units of the curve, ascending.

    Parameters
    ----------
    units
        The units of train.
    sizes
        Numbers of train units. If None, five numbers from two units per stratum to all that are available.
    n_folds
        Number of inner folds, or None if all units can be used.

    Raises
    ------
    ValueError
        If a size is not possible, or there are not two sizes.
    """
    n_strata = len(np.unique(units.strata))
    least, most = n_strata if units.pure else 2, len(units.names)
    if n_folds is not None:
        most -= -(-most // n_folds)
    if sizes is None:
        start = min(2 * least if units.pure else least, most)
        found = np.geomspace(start, most, N_SIZES)
        stepped = np.round(found / n_strata).astype(int) * n_strata if units.pure else np.round(found).astype(int)
        sizes = [*stepped[:-1].clip(start, most).tolist(), most]
    chosen = sorted({int(size) for size in sizes})
    wrong = [size for size in chosen if not least <= size <= most]
    if wrong or len(chosen) < 2:
        where = "" if n_folds is None else f" outside an inner fold (n_folds={n_folds})"
        problem = f"{wrong} cannot be drawn" if wrong else f"{chosen} is one number, but a curve needs two"
        msg = (
            f"sizes: {problem}. Train has {len(units.names)} units, of which {most} are available{where}. Pass numbers "
            f"from {least} to {most}."
        )
        raise ValueError(msg)
    return chosen


def subsets_of(
    units: FoldUnits,
    sizes: Sequence[int],
    *,
    n_repeats: int,
    n_folds: int | None,
    held_out: np.ndarray,
    rng: np.random.Generator,
) -> list[Subset]:
    """Draw nested subsets of the train units in each repetition, and in each inner fold.

    Parameters
    ----------
    units
        The units of train.
    sizes
        Numbers of train units.
    n_repeats
        Number of repetitions.
    n_folds
        Number of inner folds, which are drawn again in each repetition. If None, ``held_out`` is predicted.
    held_out
        Numbers of the held-out units, if there are no inner folds.
    rng
        Source of randomness.
    """
    found = []
    for repeat in range(n_repeats):
        folds = np.full(len(units.names), -1) if n_folds is None else kfold(units, n_folds, rng)
        for fold in range(n_folds or 1):
            available = np.flatnonzero(folds != fold)
            order = available[unit_order(units.strata[available], rng)]
            scored = held_out if n_folds is None else np.flatnonzero(folds == fold)
            found += [Subset(repeat, fold, size, np.sort(order[:size]), scored) for size in sizes]
    return found


def scores_of(frame: pd.DataFrame, units: Mapping[str, int], n_classes: int) -> Scores:
    """Scores of one method, size and repetition.

    Parameters
    ----------
    frame
        One row for each held-out group, with columns of :func:`heldout.tasks.genotype.compare.fold_scores` and
        ``size`` and ``repeat``.
    units
        Number of the unit of each group, by name.
    n_classes
        Number of classes.
    """
    pooled = Pooled.of(frame, None, n_classes)
    assert pooled is not None
    labels, log_p = pooled.labels, log_probability(frame, pooled)
    metric = "block_auc" if pooled.within else "auc"
    collected = group_scores(labels, log_p, np.arange(len(labels)), blocks=pooled.folds)
    of_group = np.array([units[name] for name in pooled.names])
    weights = np.concatenate([np.ones((1, len(labels))), np.unique(of_group)[:, None] != of_group]).astype(float)
    auc, loss = collected.evaluate(metric, weights), collected.evaluate("loss", weights)
    first = frame.iloc[0]
    return Scores(
        method=str(first["method"]),
        size=int(first["size"]),
        repeat=int(first["repeat"]),
        auc=float(auc[0]),
        loss=float(loss[0]),
        without={"auc": auc[1:], "loss": loss[1:]},
    )


def repeats_table(scores: Sequence[Scores]) -> pd.DataFrame:
    """One row for each method, number of train units and repetition."""
    rows = [{"method": s.method, "n_train": s.size, "repeat": s.repeat, "auc": s.auc, "loss": s.loss} for s in scores]
    return pd.DataFrame(rows)


def curve_table(
    scores: Sequence[Scores], roles: Mapping[str, str], words: Mapping[int, str], *, level: str, n_scored: int
) -> pd.DataFrame:
    """One row for each method, metric and number of train units.

    Parameters
    ----------
    scores
        All scores.
    roles
        Whether each method is a baseline or a model.
    words
        The train units of each size, in words.
    level
        Name of the scored groups.
    n_scored
        Number of the scored groups.
    """
    repeats, rows = repeats_table(scores), []
    for method, of_method in repeats.groupby("method", sort=False):
        for metric in METRICS:
            for size, at in of_method.groupby("n_train"):
                values = at[metric].to_numpy(dtype=float)
                found = fold_interval(values, n_train=1, n_test=0)
                varies = len(values) > 1 and np.ptp(values) > _NOTHING
                ends = np.clip([found.low, found.high], *metric_of(metric).bounds) if varies else [np.nan, np.nan]
                rows.append(
                    {
                        "method": method,
                        "role": roles[str(method)],
                        "level": level,
                        "metric": metric,
                        "n_train": int(size),
                        "train": words[int(size)],
                        "estimate": found.estimate,
                        "ci_low": float(ends[0]),
                        "ci_high": float(ends[1]),
                        "sd": float(values.std(ddof=1)) if len(values) > 1 else np.nan,
                        "low": float(np.quantile(values, 0.1)),
                        "high": float(np.quantile(values, 0.9)),
                        "n_repeats": len(values),
                        "n_groups": n_scored,
                    }
                )
    return pd.DataFrame(rows)


def gains_table(
    scores: Sequence[Scores], strata: np.ndarray, words: Mapping[int, str], *, unit: str, where: str
) -> pd.DataFrame:
    """One row for each method and metric: the change from about half of the train units to the most, and a sentence.

    Parameters
    ----------
    scores
        All scores.
    strata
        Stratum of each scored unit, (U,).
    words
        The train units of each size, in words.
    unit
        Name of the train units.
    where
        What was scored, for the sentence.
    """
    rows = []
    for method in dict.fromkeys(s.method for s in scores):
        of_method = [s for s in scores if s.method == method]
        sizes = sorted({s.size for s in of_method})
        most = sizes[-1]
        start = max([size for size in sizes if size <= most / 2], default=sizes[0])
        few, many = ({s.repeat: s for s in of_method if s.size == size} for size in (start, most))
        for metric in METRICS:
            gain = _gain(few, many, metric, strata)
            row: dict[str, object] = {
                "method": method,
                "metric": metric,
                "n_from": start,
                "n_to": most,
                "score_from": float(np.mean([getattr(s, metric) for s in few.values()])),
                "score_to": float(np.mean([getattr(s, metric) for s in many.values()])),
                "gain": gain.estimate,
                "gain_low": gain.low,
                "gain_high": gain.high,
                "trend": _trend(gain, metric_of(metric).sign),
            }
            rows.append({**row, "sentence": _sentence(row, words, unit, where)})
    return pd.DataFrame(rows)


def _gain(few: Mapping[int, Scores], many: Mapping[int, Scores], metric: str, strata: np.ndarray) -> Interval:
    """Mean difference of paired repetitions. Its interval covers new held-out units and the draw of the subsets."""
    differences, without = [], []
    for repeat, start in few.items():
        end = many.get(repeat, many[min(many)])  # all train units are fitted once by methods without randomness
        differences.append(getattr(end, metric) - getattr(start, metric))
        without.append(end.without[metric] - start.without[metric])
    estimate = float(np.mean(differences))
    found = jackknife_interval(estimate, np.mean(without, axis=0), strata)
    drawn = fold_interval(differences, n_train=1, n_test=0)
    half = sqrt((found.high - estimate) ** 2 + (drawn.high - estimate) ** 2)
    return Interval(estimate, estimate - half, estimate + half, found.n_units)


def _trend(gain: Interval, sign: float) -> str:
    low, high = sorted([sign * gain.low, sign * gain.high])
    if not np.isfinite(low):
        return "unknown"
    if low >= -_FLAT and high <= _FLAT:
        return "flat"
    if low > 0:
        return "improves"
    return "worsens" if high < 0 else "unknown"


_TRENDS = {
    "improves": "The curve still improves",
    "worsens": "The curve gets worse",
    "flat": "The curve is flat",
    "unknown": "These {units} cannot tell whether more {units} help",
}


def _sentence(row: Mapping[str, object], words: Mapping[int, str], unit: str, where: str) -> str:
    """What the curve of a method shows, and no more."""
    name = {"auc": "AUC", "loss": "log-loss"}[str(row["metric"])]
    start, end = (words[int(str(row[key]))] for key in ("n_from", "n_to"))
    trend = _TRENDS[str(row["trend"])].format(units=plural(unit))
    change, low, high = (_signed(float(str(row[key]))) for key in ("gain", "gain_low", "gain_high"))
    span = f", 95 % {low} to {high}" if row["trend"] != "unknown" or low != "nan" else ""
    return (
        f"{row['method']}: with {start} in train the {name} is {row['score_from']:.2f}, with {end} it is "
        f"{row['score_to']:.2f}. {trend} (change {change}{span}; {where})."
    )


def _signed(value: float) -> str:
    """A number with its sign and two decimals. Zero has no sign."""
    text = f"{value:+.2f}"
    return text[1:] if float(text) == 0 else text.removeprefix("+") if np.isnan(value) else text


def sizes_in_words(units: FoldUnits, order: np.ndarray, sizes: Sequence[int], key: str) -> dict[int, str]:
    """The train units of each size, e.g. ``8 donors (4 control, 4 patient)``.

    Parameters
    ----------
    units
        The units of train.
    order
        Any order of :func:`unit_order`; the number of units of each stratum is that of every order.
    sizes
        Numbers of train units.
    key
        Name of the units.
    """
    found = {}
    for size in sizes:
        taken = units.has[order[:size]]
        if units.pure:
            by_class = ", ".join(f"{n} {c}" for n, c in zip(taken.sum(axis=0), units.classes, strict=True))
        else:
            by_class = f"{int(taken.all(axis=1).sum())} with {' and '.join(map(str, units.classes))}"
        found[size] = f"{counted(size, unit_name(key))} ({by_class})"
    return found
