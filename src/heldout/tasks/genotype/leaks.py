"""Find groups that are judged and were also in train, declared or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core import store
from heldout._core.leaks import leak_of_group, leak_of_undeclared, leak_of_units

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from anndata import AnnData

    from heldout._core.partition import Partition
    from heldout.tasks.genotype.task import Task


def leak_of_groups(
    adata: AnnData, split: Partition, task: Task, of_cell: np.ndarray, partition: str, *, declared: Sequence[str] = ()
) -> str:
    """Say which units are on both sides: judged groups, groups of the split, or units that nobody declared.

    Parameters
    ----------
    adata, split, task
        The cells, their split, and the question.
    of_cell
        Judged group of each cell, (n,) text.
    partition
        The partition that is scored.
    declared
        Columns that were declared as coarser units, about which the evaluation makes separate claims.
    """
    group_key = list(task.group_key or ())
    leak = leak_of_units(split, partition, [("+".join(group_key), of_cell)]) or leak_of_group(adata, split, partition)
    if leak:
        return leak
    design = [split.params.get(name) for name in ("label_key", "match_key", "time_key", "perturbation_key")]
    known = {*group_key, *(split.group_key or []), *declared, *design, task.label_key, split.key}
    n_units = len(set(of_cell[task.labels >= 0]))
    return leak_of_undeclared(adata, split, partition, labels=task.labels, n_units=n_units, known=known)


def declared_levels(adata: AnnData, claim_keys: str | Sequence[str]) -> list[str]:
    """Names of the columns of units above the group; a missing column or value raises a ValueError."""
    names = [claim_keys] if isinstance(claim_keys, str) else list(claim_keys)
    for name in names:
        store.column(adata, name, argument="claim_keys")
    return names
