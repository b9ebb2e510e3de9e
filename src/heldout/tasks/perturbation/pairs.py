"""Perturbations in contexts: what is measured, asked for and predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from heldout.splitting._perturbations import Targets


class Pair(NamedTuple):
    """One perturbation in one context.

    Parameters
    ----------
    targets
        Sorted targets.
    context
        Number of the context.
    dose
        Dose, > 0, or None if the screen has no doses.
    """

    targets: Targets
    context: int
    dose: float | None = None


@dataclass(frozen=True)
class Pairs:
    """Perturbations in contexts, one in each row. Iterating yields each row as a :class:`Pair`.

    Parameters
    ----------
    targets
        Sorted targets of each row, (m,).
    context
        Number of the context of each row, (m,).
    dose
        Dose of each row, float64, (m,), or None if the screen has no doses.
    """

    targets: Sequence[Targets]
    context: np.ndarray
    dose: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> Pair:
        dose = None if self.dose is None else float(self.dose[i])
        return Pair(self.targets[i], int(self.context[i]), dose)

    def __iter__(self) -> Iterator[Pair]:
        return (self[i] for i in range(len(self)))

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Pairs:
        """Rows from single perturbations in contexts. Either all of them have a dose, or none."""
        doses = [pair.dose for pair in pairs if pair.dose is not None]
        context = np.array([pair.context for pair in pairs], dtype=np.int64)
        return cls([pair.targets for pair in pairs], context, np.array(doses) if doses else None)

    def rows_of(self) -> dict[Pair, int]:
        """Row of each perturbation and context."""
        return {pair: i for i, pair in enumerate(self)}

    def at_doses(self, doses: np.ndarray) -> Pairs:
        """Return each perturbation and context once, at each of these doses, (k,)."""
        distinct = list(dict.fromkeys((pair.targets, pair.context) for pair in self))
        return Pairs.of([Pair(targets, context, float(dose)) for targets, context in distinct for dose in doses])

    def only(self, rows: np.ndarray) -> Pairs:
        """Return some of the rows."""
        dose = None if self.dose is None else self.dose[rows]
        return Pairs([self.targets[i] for i in np.arange(len(self))[rows]], self.context[rows], dose)
