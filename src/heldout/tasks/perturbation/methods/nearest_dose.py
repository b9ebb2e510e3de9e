"""What a method without a dose response does with doses: look up the nearest measured dose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heldout.tasks.perturbation.pairs import Pairs


def stored_doses(pairs: Pairs, rows: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Array ``dose`` for a fit, (m,), of some rows; nothing if the screen has no doses."""
    if pairs.dose is None:
        return {}
    return {"dose": pairs.dose if rows is None else pairs.dose[rows]}


def at_nearest_dose(rows: Sequence[int], doses: np.ndarray | None, dose: float | None) -> list[int]:
    """Rows at the dose that is nearest by the logarithm, the lower of two equally near ones; all rows without doses."""
    rows = list(rows)
    if doses is None or dose is None or not rows:
        return rows
    of_rows = doses[rows]
    distance = np.abs(np.log(of_rows) - np.log(dose))
    nearest = of_rows[distance <= distance.min() + 1e-9].min()
    return [row for row, of_row in zip(rows, of_rows, strict=True) if of_row == nearest]
