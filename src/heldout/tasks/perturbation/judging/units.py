"""The units of an evaluation: perturbations, or contexts where test has too few perturbations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.store import suggest
from heldout._core.verdict import FEWEST
from heldout._core.words import counted

if TYPE_CHECKING:
    from heldout.splitting._read_screen import ScreenNames
    from heldout.tasks.perturbation.observed import Observed

PERTURBATION = "perturbation"
CONTEXT = "context"


@dataclass(frozen=True)
class Units:
    """The unit of each judged perturbation and context. Scores are averaged within a unit, and units are drawn.

    Parameters
    ----------
    name
        Noun for the unit, for the column ``level`` of the table.
    of_row
        Number of the unit of each row, (m,), from 0.
    note
        What a reader must know about the unit; empty for perturbations.
    """

    name: str
    of_row: np.ndarray
    note: str = ""

    @property
    def n(self) -> int:
        """Number of units."""
        return int(self.of_row.max()) + 1

    @classmethod
    def of(cls, truth: Observed, names: ScreenNames, unit_key: str | None = None) -> Units:
        """Take perturbations as units, or contexts if there are too few perturbations for an interval.

        Raises
        ------
        ValueError
            If ``unit_key`` is neither the column of the perturbation nor a covariate.
        """
        n, n_contexts = len(np.unique(truth.number)), len(np.unique(truth.pairs.context))
        if unit_key is None and n < FEWEST and n_contexts > n:
            note = (
                f"the units are contexts, because there {'is' if n == 1 else 'are'} only {counted(n, PERTURBATION)}; "
                f"the intervals do not hold for other {PERTURBATION}s"
            )
            return cls(CONTEXT, _numbered(truth.pairs.context), note)
        if unit_key in (None, names.perturbation_key):
            return cls(PERTURBATION, _numbered(truth.number))
        if unit_key not in names.covariate_keys:
            allowed = [names.perturbation_key, *names.covariate_keys]
            msg = f"unit_key={unit_key!r} must be one of {allowed}. {suggest(str(unit_key), allowed)}".strip()
            raise ValueError(msg)
        place = names.covariate_keys.index(str(unit_key))
        values = np.array([names.contexts[c][place] for c in truth.pairs.context.tolist()], dtype=object)
        note = f"the unit is {unit_key}; the intervals do not hold for other {PERTURBATION}s"
        return cls(str(unit_key), _numbered(values.astype(str)), note)


def _numbered(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.unique(values, return_inverse=True)[1])
