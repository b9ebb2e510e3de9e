"""Perturbations in contexts: what is measured, asked for and predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from heldout.splitting._perturbations import Targets


@dataclass(frozen=True)
class Pairs:
    """Perturbations in contexts, one in each row.

    Parameters
    ----------
    targets
        Sorted targets of each row, (m,).
    context
        Number of the context of each row, (m,).
    """

    targets: Sequence[Targets]
    context: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    def rows_of(self) -> dict[tuple[Targets, int], int]:
        """Row of each perturbation and context."""
        return {(t, int(c)): i for i, (t, c) in enumerate(zip(self.targets, self.context, strict=True))}
