"""Permute the labels of units, and compare a statistic with its values under all labellings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout.metrics.labellings import share_at_least

if TYPE_CHECKING:
    from heldout.auditing._units import AuditUnits


def blocks_of(units: AuditUnits) -> np.ndarray:
    """Block within which the label of each unit can be permuted, (U,): its group if groups have several labels."""
    if units.paired:
        return np.unique(units.groups.astype(str), return_inverse=True)[1]
    return np.zeros(len(units.names), dtype=int)


def p_value(observed: float, null: np.ndarray) -> float:
    """Share of the labellings whose statistic is at least the observed one. The observed labelling is among them."""
    return share_at_least(observed, null)[0]


def smallest_of(null: np.ndarray) -> float:
    """Smallest p-value that any labelling can reach with this statistic."""
    return p_value(float(null.max()), null)
