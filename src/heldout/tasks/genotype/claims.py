"""What a design can support: a claim for each declared level, and the sentence that says no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core.store import factorize
from heldout.metrics.inference import smallest_p
from heldout.metrics.permutation import auc_permutation
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
    """One row a level: whether the AUC at that level can be told from chance on the units at hand.

    Returns
    -------
    Columns ``level``, ``n`` (units), ``units`` (in words), ``p_value``, ``p_smallest``, ``status`` (supported, not
    supported, not tested or unidentifiable), ``reason``.
    """
    rows = []
    for i, (name, units, seen) in enumerate(zip(hierarchy.names, hierarchy.units, hierarchy.seen, strict=True)):
        pooled = _pooled(units, labels, log_odds, blocks if i == 0 else None)
        p = pooled.p_value if len(classes) == 2 else np.nan
        status, reason = _status(name, pooled, p, classes, seen=bool(seen.any()))
        rows.append(
            {
                "level": name,
                "n": len(np.unique(units)),
                "units": pooled.in_words(name, classes),
                "p_value": np.nan if status == "not tested" else p,
                "p_smallest": pooled.smallest,
                "status": status,
                "reason": reason,
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class _Pooled:
    """The judged groups pooled to one level: a row for each unit and class it has."""

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
        return auc_permutation(self.labels, self.odds, blocks=self.blocks, within=self.paired).p_value

    def counts(self, n_classes: int) -> np.ndarray:
        return np.bincount(self.labels, minlength=n_classes)

    def in_words(self, name: str, classes: Sequence[str]) -> str:
        if self.paired:
            return f"{plural(self.n_units, name)} with cells of {' and '.join(classes)}"
        counted = ", ".join(f"{n} {c}" for n, c in zip(self.counts(len(classes)), classes, strict=True))
        return f"{plural(self.n_units, name)} ({counted})"


def _pooled(units: np.ndarray, labels: np.ndarray, log_odds: np.ndarray, blocks: np.ndarray | None) -> _Pooled:
    _, unit_of = factorize(units)
    pairs, row_of = np.unique(np.stack([unit_of, labels]), axis=1, return_inverse=True)
    row_of = row_of.ravel()
    odds = np.bincount(row_of, log_odds) / np.bincount(row_of)
    n_units = int(unit_of.max()) + 1
    paired = pairs.shape[1] > n_units
    own = pairs[0] if paired else None
    if blocks is not None:
        own = np.zeros(pairs.shape[1], dtype=int)
        own[row_of] = blocks
    return _Pooled(pairs[1], own, odds, n_units, paired)


def _status(name: str, pooled: _Pooled, p: float, classes: Sequence[str], *, seen: bool) -> tuple[str, str]:
    counts = pooled.counts(len(classes))
    if counts.min() < 1:
        return "unidentifiable", f"no {name} of {classes[int(counts.argmin())]}"
    if counts.min() < 2:
        single = classes[int(counts.argmin())]
        return "unidentifiable", f"one {name} of {single}: what differs may be that {name} and not the label"
    if pooled.smallest > ALPHA:
        return "unidentifiable", f"no result on so few could have a p below {pooled.smallest:.2g}"
    if seen:
        return "not tested", f"cells of the same {name} were in train"
    if np.isnan(p):
        return "not tested", "there is no exact test of more than two classes"
    if p <= ALPHA:
        return "supported", f"p = {p:.2g}"
    return "not supported", f"p = {p:.2g}"


def summary(claims: pd.DataFrame, row: pd.Series, classes: Sequence[str], *, unit: str, where: str) -> str:
    """The sentence that an evaluation says: the AUC of groups, and no claim above what the levels support.

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
    said: dict[str, list[str]] = {"supported": [], "not supported": [], "not tested": [], "unidentifiable": []}
    for i, claim in enumerate(claims.itertuples()):
        above = claims.iloc[i + 1 :].query("status != 'supported'")["level"].tolist()
        same = f" of the same {_several(above[0])}" if claim.status == "supported" and above else ""
        said[claim.status].append(f"{claim.level}{same} ({claim.reason})")
    among = " and ".join(classes)
    if said["supported"]:
        parts.append(f"It tells {among} apart beyond chance, of a new {' and a new '.join(said['supported'])}.")
    if said["not supported"]:
        parts.append(f"Chance is not excluded for a new {' or a new '.join(said['not supported'])}.")
    if said["not tested"]:
        parts.append(f"Not tested for a new {' or a new '.join(said['not tested'])}.")
    if said["unidentifiable"]:
        parts.append(f"Unidentifiable for a new {' and a new '.join(said['unidentifiable'])}.")
    if len(claims) == 1 and unit.lower() not in _PEOPLE:
        parts.append("Levels above it, such as the donor, were not declared (claim_keys), so nothing is said of them.")
    return " ".join([*parts, *_against_baseline(row)])


_PEOPLE = {"donor", "patient", "individual", "subject", "person"}


def _against_baseline(row: pd.Series) -> list[str]:
    if not row["baseline"]:
        return ["No baseline stands beside it."]
    words = {
        "better": "better than",
        "not better": "not better than",
        "undecided": "not shown to be better than",
        "unidentifiable": "on so few not comparable with",
    }
    return [f"It is {words[row['verdict']]} the best baseline, {row['baseline']}."]


def plural(n: int, name: str) -> str:
    """A number and a noun."""
    if n == 1:
        return f"1 {name}"
    return f"{n} {_several(name)}"


def _several(name: str) -> str:
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"
