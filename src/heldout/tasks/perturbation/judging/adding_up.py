"""Is a method better than adding up single effects? The answer for combinations, in one sentence for each method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.metric import PRIMARY, metric_of
from heldout._core.report import number
from heldout._core.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from heldout.tasks.perturbation.judging.cells import Scored

ADDITIVE = "additive"
"""The baseline that adds up single effects."""

_YES = {"better": "yes", "not better": "no", "undecided": "undecided", "unidentifiable": "not decidable"}


def combinations_of(n_targets: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Whether a unit has only perturbations of several targets, (U,); ``n_targets`` and ``unit`` are by row, (m,)."""
    return np.asarray(np.bincount(unit, n_targets < 2) == 0)


def answers(
    scored: Sequence[Scored],
    combination: np.ndarray,
    compare: Callable[[str, int, int], tuple[Mapping[str, object], int]],
) -> str:
    """Compare each judged method with the sum of single effects, on combinations only.

    Parameters
    ----------
    scored
        All methods.
    combination
        Whether each unit is a combination, (U,).
    compare
        Function from a metric and the numbers of two methods to their difference over the combinations that both
        predict, with its verdict, and the number of these combinations.

    Returns
    -------
    Sentences; empty without combinations, or if the sum was not scored.
    """
    sums = [j for j, method in enumerate(scored) if method.method == ADDITIVE]
    if not sums or not combination.any():
        return ""
    sentences = []
    for i, method in enumerate(scored):
        if method.role != "model" or method.method == ADDITIVE:
            continue
        found = {metric: compare(metric, i, sums[0]) for metric in PRIMARY["perturbation"]}
        n = counted(max(n for _, n in found.values()), "combination")
        parts = [_part(metric, difference) for metric, (difference, _) in found.items()]
        sentences.append(
            f"Is {method.method} better than adding up single effects ({ADDITIVE})? Over {n}: {'; '.join(parts)}."
        )
    return " ".join(sentences)


def _part(metric: str, found: Mapping[str, object]) -> str:
    words = f"by {metric_of(metric).label} {_YES[str(found['verdict'])]}"
    if "difference" not in found:
        return words
    words += f" (difference {_signed(found['difference'])}"
    if "difference_low" in found:
        words += f", 95 % interval {_signed(found['difference_low'])} to {_signed(found['difference_high'])}"
    return f"{words})"


def _signed(value: object) -> str:
    return number(float(str(value))).replace("-", "−")
