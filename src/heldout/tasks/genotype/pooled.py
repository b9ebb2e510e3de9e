"""Scores of held-out groups pooled over the folds of a comparison: AUC, interval, p-value and sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core.report import unit_name
from heldout._core.words import counted
from heldout.metrics.classification import block_auc, one_vs_rest, roc_auc
from heldout.metrics.labellings import count_labellings, share_at_least
from heldout.metrics.paired import auc_interval_paired, complete_pairs
from heldout.metrics.skill import Interval
from heldout.metrics.unequal import auc_interval_unequal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FEWEST_FOLDS = 2


@dataclass(frozen=True)
class Pooled:
    """Held-out groups of all folds, each predicted once by a fit that has not seen it.

    Parameters
    ----------
    names
        Name of each group, (G,).
    labels
        Class number of each group, (G,).
    folds
        Number of the fold in which each group was held out, (G,).
    blocks
        Block number of each group, (G,), within which labels could have been exchanged.
    n_classes
        Number of classes.
    """

    names: np.ndarray
    labels: np.ndarray
    folds: np.ndarray
    blocks: np.ndarray
    n_classes: int

    @classmethod
    def of(cls, scores: pd.DataFrame, blocks: pd.Series | None, n_classes: int) -> Pooled | None:
        """Collect the groups of all folds. None if a group was held out in several folds."""
        groups = scores.drop_duplicates(["group", "fold"])
        if groups["group"].duplicated().any():
            return None
        groups = groups.sort_values("group")
        names = groups["group"].to_numpy(dtype=object)
        number = np.zeros(len(names), dtype=int) if blocks is None else blocks[names].to_numpy(dtype=int)
        folds = np.unique(groups["fold"].to_numpy(dtype=str), return_inverse=True)[1]
        return cls(names, groups["label"].to_numpy(dtype=int), folds, number, n_classes)

    @property
    def within(self) -> bool:
        """Whether groups are compared only within folds, because every fold holds out every class."""
        return all(len(np.unique(self.labels[self.folds == f])) == self.n_classes for f in np.unique(self.folds))

    @property
    def paired(self) -> bool:
        """Whether each fold holds out one group of each of two classes."""
        return self.within and self.n_classes == 2 and len(self.labels) == 2 * len(np.unique(self.folds))

    @property
    def exchange(self) -> np.ndarray:
        """Block number of each group within which labels are exchanged when fits are repeated, (G,).

        Folds may have been chosen by the labels. So labels stay in their fold, if folds hold out several groups.
        """
        if not self.within:
            return self.blocks
        pairs = np.stack([self.folds, self.blocks])
        return np.asarray(np.unique(pairs, axis=1, return_inverse=True)[1]).ravel()

    def auc(self, log_p: np.ndarray, labels: np.ndarray | None = None) -> float:
        """AUC of the groups: the mean over folds, or of all pairs of groups."""
        codes = self.labels if labels is None else labels
        if self.within:
            return float(block_auc(codes, log_p, self.folds))
        return float(roc_auc(codes, log_p))

    def interval(self, log_p: np.ndarray) -> Interval:
        """Interval of the AUC of two classes. Folds share train groups, so the variance is that of dependent folds.

        If the blocks are pairs, the correlation within pairs is taken into account.
        """
        n_folds = len(np.unique(self.folds))
        if self.n_classes != 2 or n_folds < _FEWEST_FOLDS or len(np.unique(self.labels)) < 2:
            return Interval(self.auc(log_p), np.nan, np.nan, int(np.bincount(self.labels).min()))
        score, blocks, factor = (
            one_vs_rest(log_p)[:, 1],
            self.folds if self.within else None,
            n_folds / (n_folds - 1) + 1,
        )
        if not self.paired and complete_pairs(self.labels, self.blocks) is not None:
            return auc_interval_paired(self.labels, score, pairs=self.blocks, blocks=blocks, variance_factor=factor)
        return auc_interval_unequal(self.labels, score, blocks=blocks, variance_factor=factor)

    def p_value(self, refitted: np.ndarray, tried: np.ndarray) -> float:
        """Share of the labellings, each with fits of its own, whose AUC is at least the observed one.

        Parameters
        ----------
        refitted
            Log-probabilities for each labelling, (B × G × n_classes).
        tried
            The labellings, (B × G).
        """
        null = np.array([self.auc(log_p, labels) for log_p, labels in zip(refitted, tried, strict=True)])
        is_observed = (tried == self.labels).all(axis=1)
        return share_at_least(float(null[is_observed.argmax()]), null)[0]

    @property
    def smallest_p(self) -> float:
        """Smallest p-value that fits repeated for all labellings could have.

        If the two classes can be swapped as a whole, the swapped fits rank as well as the observed ones.
        """
        exchange = self.exchange
        halves = [2 * self.labels[exchange == b].sum() == (exchange == b).sum() for b in np.unique(exchange)]
        return (2 if self.n_classes == 2 and all(halves) else 1) / count_labellings(self.labels, exchange)


def log_probability(scores: pd.DataFrame, pooled: Pooled) -> np.ndarray:
    """Log-probabilities of the pooled groups by one method, averaged over seeds, (G × n_classes)."""
    columns = [name for name in scores if name.startswith("log_probability_")]
    means = scores.groupby("group")[columns].mean().loc[pooled.names].to_numpy(dtype=float)
    return np.asarray(means - np.logaddexp.reduce(means, axis=1, keepdims=True))


def pooled_table(
    scores: pd.DataFrame,
    roles: Mapping[str, str],
    pooled: Pooled,
    classes: Sequence[str],
    *,
    unit: str,
    p_values: Mapping[str, float],
) -> pd.DataFrame:
    """One row for each method, the highest AUC first.

    Parameters
    ----------
    scores
        One row for each evaluated group, method, fold and seed; see :func:`heldout.tasks.genotype.compare.fold_scores`.
    roles
        Whether each method is a baseline or a model.
    pooled
        The held-out groups.
    classes
        Names of the classes.
    unit
        Name of the groups.
    p_values
        P-values of the methods whose fits were repeated.

    Returns
    -------
    Columns ``method``, ``role``, ``level``, ``estimate``, ``ci_low``, ``ci_high``, ``n_groups``, ``n_folds``,
    ``pairs`` (whether groups are compared within folds or all with all), ``p_value``, ``p_smallest``, ``sentence``.
    """
    rows = []
    for method, of_method in scores.groupby("method", sort=False):
        log_p = log_probability(of_method, pooled)
        found = pooled.interval(log_p)
        row: dict[str, object] = {
            "method": method,
            "role": roles[str(method)],
            "level": unit,
            "estimate": found.estimate,
            "ci_low": found.low,
            "ci_high": found.high,
            "n_groups": len(pooled.labels),
            "n_folds": len(np.unique(pooled.folds)),
            "pairs": "within folds" if pooled.within else "all",
            "p_value": p_values.get(str(method), np.nan),
            "p_smallest": pooled.smallest_p,
        }
        rows.append({**row, "sentence": _sentence(row, pooled, log_p, classes)})
    table = pd.DataFrame(rows).sort_values("estimate", ascending=False, kind="stable", na_position="last")
    return table.reset_index(drop=True)


def _sentence(row: Mapping[str, Any], pooled: Pooled, log_p: np.ndarray, classes: Sequence[str]) -> str:
    """What the held-out groups say of one method."""
    unit, method = unit_name(str(row["level"])), row["method"]
    p = ""
    if np.isfinite(row["p_value"]):
        least = ", the smallest possible" if row["p_value"] <= pooled.smallest_p * (1 + 1e-9) else ""
        p = f"p = {row['p_value']:.2g}{least}"
    if pooled.paired:
        odds = one_vs_rest(log_p)[:, 1]
        table = pd.DataFrame({"fold": pooled.folds, "label": pooled.labels, "odds": odds})
        wide = table.pivot_table(index="fold", columns="label", values="odds")
        right = int((wide[1] > wide[0]).sum())
        tail = f" ({p})" if p else ""
        return f"{method}: in {right} of {len(wide)} held-out pairs, {classes[1]} was ranked above {classes[0]}{tail}."
    found = [f"95 % {row['ci_low']:.2f} to {row['ci_high']:.2f}"] if np.isfinite(row["ci_low"]) else []
    found += [counted(len(pooled.labels), unit), *([p] if p else [])]
    return f"{method}: AUC {row['estimate']:.2f} ({', '.join(found)}), pooled over {len(set(pooled.folds))} folds."
