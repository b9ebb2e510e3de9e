"""What a design can support: a claim for each declared level, and the sentence that says no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core.report import unit_name
from heldout._core.store import factorize
from heldout._core.words import counted, plural
from heldout.metrics.inference import smallest_p
from heldout.metrics.paired import complete_pairs, sign_flip_interval, sign_flip_test
from heldout.metrics.permutation import auc_permutation
from heldout.metrics.power import groups_needed
from heldout.metrics.several_classes import class_auc_permutation, pairs_of_classes
from heldout.tasks.genotype.levels import ALPHA

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Hierarchy:
    """Levels of independence above the cell, finest first: e.g. library, line, donor.

    Parameters
    ----------
    names
        Name of each level.
    units
        Unit of each judged group at each level, (n_levels × G) text; the first are the groups themselves.
    seen
        Whether that unit also has cells in train, (n_levels × G).
    """

    names: list[str]
    units: list[np.ndarray]
    seen: list[np.ndarray]


def claims_table(
    hierarchy: Hierarchy,
    labels: np.ndarray,
    log_odds: np.ndarray,
    classes: Sequence[str],
    blocks: np.ndarray | None,
) -> pd.DataFrame:
    """One row for each level: whether the AUC at that level can be told from chance on the units at hand.

    Parameters
    ----------
    hierarchy
        The declared levels.
    labels
        Class number of each group, (G,).
    log_odds
        Log-odds of each class against the others, (G × n_classes).
    classes
        Names of the classes.
    blocks
        Block number of each group, (G,), within which labels could have been exchanged, or None.

    Returns
    -------
    Columns ``level``, ``n`` (units), ``units`` (in words), ``p_value``, ``p_smallest``, ``status`` (supported, not
    supported, not tested or unidentifiable), ``reason``.
    """
    rows = []
    for i, (name, units, seen) in enumerate(zip(hierarchy.names, hierarchy.units, hierarchy.seen, strict=True)):
        pooled = _pooled(units, labels, log_odds, blocks if i == 0 else None)
        p = pooled.p_value
        status, reason = _status(name, pooled, p, classes, seen=bool(seen.any()))
        rows.append(
            {
                "level": name,
                "n": len(np.unique(units)),
                "units": pooled.in_words(name, classes),
                "p_value": np.nan if status == "not tested" else p,
                "p_smallest": pooled.smallest,
                **_within_pairs(pooled, tested=status != "not tested"),
                "status": status,
                "reason": reason,
            }
        )
    return pd.DataFrame(rows)


def pairs_table(
    labels: np.ndarray, log_probability: np.ndarray, classes: Sequence[str], blocks: np.ndarray | None
) -> pd.DataFrame:
    """One row for each pair of classes: the AUC of their groups, and a p adjusted for the number of pairs.

    Parameters
    ----------
    labels
        Class number of each group, (G,).
    log_probability
        Log-probabilities of each group, (G × n_classes).
    classes
        Names of the classes.
    blocks
        Block number of each group, (G,), or None.
    """
    pairs = pairs_of_classes(labels, log_probability, blocks=blocks)
    counts = np.bincount(labels, minlength=len(classes))
    return pd.DataFrame(
        {
            "first": [classes[pair.first] for pair in pairs],
            "second": [classes[pair.second] for pair in pairs],
            "n_first": [int(counts[pair.first]) for pair in pairs],
            "n_second": [int(counts[pair.second]) for pair in pairs],
            "auc": [pair.interval.estimate for pair in pairs],
            "ci_low": [pair.interval.low for pair in pairs],
            "ci_high": [pair.interval.high for pair in pairs],
            "p_value": [pair.p_value for pair in pairs],
            "p_adjusted": [pair.p_adjusted for pair in pairs],
        }
    )


@dataclass(frozen=True)
class _Pooled:
    """The evaluated groups pooled to one level, with one row for each unit and class."""

    labels: np.ndarray
    blocks: np.ndarray | None
    odds: np.ndarray
    n_units: int
    paired: bool

    @property
    def smallest(self) -> float:
        return float(smallest_p(self.labels, self.blocks))

    @property
    def p_value(self) -> float:
        if len(np.unique(self.labels)) < 2:
            return np.nan
        if self.odds.shape[1] > 2:
            return class_auc_permutation(self.labels, self.odds, blocks=self.blocks).p_value
        return auc_permutation(
            self.labels, self.odds[:, 1], blocks=self.blocks, within=self.paired, statistic="studentised"
        ).p_value

    @property
    def differences(self) -> np.ndarray:
        """Log-odds of class 1 minus that of class 0 within each complete pair, (P,). Empty if there are none."""
        rows = complete_pairs(self.labels, self.blocks)
        return np.empty(0) if rows is None or self.odds.shape[1] > 2 else np.diff(self.odds[rows, 1])[:, 0]

    def counts(self, n_classes: int) -> np.ndarray:
        return np.bincount(self.labels, minlength=n_classes)

    def in_words(self, name: str, classes: Sequence[str]) -> str:
        if self.paired:
            return f"{counted(self.n_units, unit_name(name))} with cells of {' and '.join(classes)}"
        by_class = ", ".join(f"{n} {c}" for n, c in zip(self.counts(len(classes)), classes, strict=True))
        return f"{counted(self.n_units, unit_name(name))} ({by_class})"


def _pooled(units: np.ndarray, labels: np.ndarray, log_odds: np.ndarray, blocks: np.ndarray | None) -> _Pooled:
    _, unit_of = factorize(units)
    pairs, row_of = np.unique(np.stack([unit_of, labels]), axis=1, return_inverse=True)
    row_of = row_of.ravel()
    odds = np.zeros((pairs.shape[1], log_odds.shape[1]))
    np.add.at(odds, row_of, log_odds)
    odds /= np.bincount(row_of)[:, None]
    n_units = int(unit_of.max()) + 1
    paired = pairs.shape[1] > n_units
    block_of = pairs[0] if paired else None
    if blocks is not None:
        block_of = np.zeros(pairs.shape[1], dtype=int)
        block_of[row_of] = blocks
    return _Pooled(pairs[1], block_of, odds, n_units, paired)


def _within_pairs(pooled: _Pooled, *, tested: bool) -> dict[str, object]:
    """Mean difference of the log-odds within pairs, with the interval and the p-value of sign flips."""
    values = pooled.differences
    if not tested or not len(values) or not np.isfinite(values).all():
        return {"n_pairs": len(values), **dict.fromkeys(_PAIR_COLUMNS, np.nan)}
    found = sign_flip_interval(values)
    numbers = (found.estimate, found.low, found.high, sign_flip_test(values))
    return {"n_pairs": len(values), **dict(zip(_PAIR_COLUMNS, numbers, strict=True))}


_PAIR_COLUMNS = ("pair_difference", "pair_low", "pair_high", "pair_p")


def _status(name: str, pooled: _Pooled, p: float, classes: Sequence[str], *, seen: bool) -> tuple[str, str]:
    counts = pooled.counts(len(classes))
    if counts.min() < 1:
        return "unidentifiable", f"there is no {name} of {classes[int(counts.argmin())]}"
    if counts.min() < 2:
        single = classes[int(counts.argmin())]
        return "unidentifiable", f"with one {name} of {single}, the {name} and the label cannot be told apart"
    if pooled.smallest > ALPHA:
        units = counted(pooled.n_units, unit_name(name))
        return "unidentifiable", f"with {units} even a perfect result has p = {pooled.smallest:.2g}"
    if seen:
        return "not tested", f"cells of the same {name} were in train"
    if np.isnan(p):
        return "not tested", f"no {name} of one class was evaluated"
    if p <= ALPHA:
        return "supported", f"p = {p:.2g}"
    return "not supported", f"p = {p:.2g}"


def summary(claims: pd.DataFrame, row: pd.Series, classes: Sequence[str], *, unit: str, where: str) -> str:
    """The sentences that an evaluation supports: the AUC of groups, and one claim for each level.

    Parameters
    ----------
    claims
        From :func:`claims_table`.
    row
        Row of the judged method, level of groups, metric ``auc``.
    classes
        Names of the classes.
    unit
        Name of the group level.
    where
        The partition.
    """
    span = f" (95 % interval {row['ci_low']:.2f} to {row['ci_high']:.2f})" if np.isfinite(row["ci_low"]) else ""
    parts = [f"{row['method']} on {where}: AUC {row['estimate']:.2f}{span} over {claims['units'].iloc[0]}."]
    found: dict[str, list[str]] = {"supported": [], "not supported": [], "not tested": [], "unidentifiable": []}
    for i, claim in enumerate(claims.itertuples()):
        above = claims.iloc[i + 1 :].query("status != 'supported'")["level"].tolist()
        same = f" of the same {plural(above[0])}" if claim.status == "supported" and above else ""
        new = f"a new {claim.level}{same}"
        found[claim.status].append(
            f"{new} ({claim.reason})" if "supported" in claim.status else f"{new}: {claim.reason}"
        )
    among = " and ".join(classes)
    if found["supported"]:
        parts.append(f"It tells {among} apart better than chance for {' and for '.join(found['supported'])}.")
    if found["not supported"]:
        parts.append(f"The result may be chance for {' and for '.join(found['not supported'])}.")
    parts += [f"Not tested for {reason}." for reason in found["not tested"]]
    parts += [f"Cannot be decided for {reason}." for reason in found["unidentifiable"]]
    parts += [_pair_sentence(claim, classes) for _, claim in claims.iterrows() if np.isfinite(claim["pair_difference"])]
    if len(claims) == 1 and unit.lower() not in _PEOPLE:
        parts.append(
            "Levels above it, such as the donor, were not declared with claim_keys, so this result makes no claim "
            "about them."
        )
    return " ".join([*parts, _against_baseline(row, unit)])


def _pair_sentence(claim: pd.Series, classes: Sequence[str]) -> str:
    """The mean difference within pairs, in words."""
    span = "95 % need 6 pairs"
    if np.isfinite(claim["pair_low"]):
        span = f"95 % {claim['pair_low']:.2g} to {claim['pair_high']:.2g}"
    pairs = counted(int(claim["n_pairs"]), "pair")
    return (
        f"Within {pairs} the predicted log-odds of {classes[1]} are {claim['pair_difference']:+.2g} for {classes[1]} "
        f"minus {classes[0]} ({span}; sign flips, p = {claim['pair_p']:.2g})."
    )


def answer(claims: pd.DataFrame, row: pd.Series, classes: Sequence[str], *, unit: str, counts: np.ndarray) -> str:
    """The verdict in one sentence: what holds for a new group, and whether the best baseline is as good.

    Parameters are those of :func:`summary`; ``counts`` is the number of evaluated groups of each class.
    """
    claim = claims.iloc[0]
    among = " and ".join(classes)
    if claim["status"] == "unidentifiable":
        return f"Cannot be decided: {claim['reason']}."
    if claim["status"] == "not tested":
        return f"Not tested: {claim['reason']}."
    if claim["status"] == "not supported":
        units = counted(int(row["n"]), unit_name(unit))
        return f"The result may be chance ({claim['reason']} over {units}).{_more_groups(row, counts, unit)}"
    link = "and" if row["verdict"] == "better" else "but"
    span = [f"95 % {row['ci_low']:.2f} to {row['ci_high']:.2f}"] if np.isfinite(row["ci_low"]) else []
    units = counted(int(row["n"]), unit_name(unit))
    facts = ", ".join([f"AUC {row['estimate']:.2f}", *span, units, str(claim["reason"])])
    told = f"{row['method']} tells {among} apart for a new {unit_name(unit)} ({facts})"
    return (
        f"{told}, {link} {_BASELINE_WORDS[row['verdict']]} the best baseline, {row['baseline']}."
        if row["baseline"]
        else f"{told}; no baseline was scored."
    )


def _more_groups(row: pd.Series, counts: np.ndarray, unit: str) -> str:
    """How many groups would show an AUC such as the measured one, in one sentence. Empty if there is no such number."""
    auc = float(row["estimate"])
    if len(counts) != 2 or counts.min() < 1 or not _LEAST_AUC <= auc < 1:
        return ""
    n_negative, n_positive = counts.tolist()
    needed = groups_needed(auc, share=n_positive / (n_positive + n_negative))
    total = needed.n_positive + needed.n_negative
    if total <= n_positive + n_negative:
        return ""
    return (
        f" If the true AUC is {auc:.2f}, about {total} test {plural(unit_name(unit))} are needed to show it (power "
        "80 %). With folds (heldout.pp.folds), each group is held out once."
    )


_LEAST_AUC = 0.55
_PEOPLE = {"donor", "patient", "individual", "subject", "person"}

_BASELINE_WORDS = {
    "better": "is better than",
    "not better": "is not better than",
    "undecided": "is not shown to be better than",
    "unidentifiable": "cannot be compared with",
}


def _against_baseline(row: pd.Series, unit: str) -> str:
    if not row["baseline"]:
        return "No baseline was scored."
    if row["verdict"] == "unidentifiable":
        few = counted(int(row["n"]), unit_name(unit))
        return f"There are too few groups ({few}) to compare it with the best baseline, {row['baseline']}."
    return f"It {_BASELINE_WORDS[row['verdict']]} the best baseline, {row['baseline']}."
