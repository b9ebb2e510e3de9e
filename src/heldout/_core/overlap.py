"""Compare what the parents of a fit have seen with what is held out now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.partition import PARTITIONS, digests

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from heldout._core.parents import Parent, Perturbed
    from heldout._core.partition import Assignment


@dataclass(frozen=True)
class Overlap:
    """What a parent has seen of the present test set.

    Parameters
    ----------
    same
        Test perturbations that it has seen in the same context, sorted.
    elsewhere
        Test perturbations that it has seen in another context, and that the present train and val cells have in no
        context.
    n_cells
        Number of test cells whose names are among its train and val cells.
    """

    same: list[Perturbed]
    elsewhere: list[Perturbed]
    n_cells: int

    def __bool__(self) -> bool:
        return bool(self.same or self.elsewhere or self.n_cells)


def overlap(
    parent: Parent,
    test: Collection[Perturbed],
    train: Collection[Perturbed],
    assignment: Assignment | None,
    test_names: Iterable[str],
) -> Overlap:
    """Compare what a parent has seen with the present split.

    Parameters
    ----------
    parent
        The parent; ``seen`` must be known.
    test, train
        Perturbations and contexts of the test cells, and of the train and val cells.
    assignment
        The split of the parent, None if it is not stored.
    test_names
        Names of the test cells.
    """
    seen = parent.seen or frozenset()
    targets_seen = {targets for targets, _ in seen}
    targets_train = {targets for targets, _ in train}
    same = sorted(set(test) & seen)
    elsewhere = sorted(pair for pair in set(test) - seen if pair[0] in targets_seen and pair[0] not in targets_train)
    return Overlap(same, elsewhere, _n_seen(assignment, test_names))


def _n_seen(assignment: Assignment | None, names: Iterable[str]) -> int:
    if assignment is None:
        return 0
    learnt = np.isin(assignment.codes, [PARTITIONS.index("train"), PARTITIONS.index("val")])
    return int(np.isin(digests(names), assignment.members[learnt]).sum())
