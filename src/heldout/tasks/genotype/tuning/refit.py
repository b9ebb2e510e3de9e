"""Permutation test with a new fit for each labelling of the groups."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.arrays import loaded, take
from heldout._core.progress import progress
from heldout.metrics.classification import block_auc, roc_auc
from heldout.metrics.permutation import permutation_test
from heldout.tasks.genotype.rows import predict_groups

if TYPE_CHECKING:
    from heldout.metrics.permutation import Permutation
    from heldout.tasks.genotype.interface import Data, GenotypeMethod


def refit_test(
    method: GenotypeMethod,
    config: Any,
    data: Data,
    rows: np.ndarray,
    groups: np.ndarray,
    blocks: np.ndarray | None,
    *,
    within: bool,
    n_labellings: int,
    seed: int,
) -> Permutation:
    """Test the AUC of the evaluated groups by exchanging labels of all groups within partition and block.

    Parameters
    ----------
    method, config, data
        The method, its options and its data.
    rows
        Row numbers of the evaluated cells.
    groups
        Group number of each cell, (n_obs,). Each group has one class. -1 for cells that are in no partition.
    blocks
        Block number of each group, (G,), or None.
    within
        Whether the statistic is the mean AUC within blocks.
    n_labellings
        Maximum number of fits, including the observed labelling.
    seed
        Seed of the fits and of the labellings.
    """
    used = groups >= 0
    of_group = np.zeros(int(groups.max()) + 1, dtype=int)
    of_group[groups[used]] = data.labels[used]
    part = np.zeros_like(of_group)
    for number, members in enumerate((data.train, data.val, rows)):
        part[groups[members]] = number
    names = [f"{p} {b}" for p, b in zip(part, np.zeros_like(part) if blocks is None else blocks, strict=True)]
    judged, group_numbers = np.unique(groups[rows], return_inverse=True)
    X = loaded(take(data.X, rows, None))
    types = None if data.cell_types is None else data.cell_types[rows]

    def statistic(labels: np.ndarray) -> float:
        of_cell = data.labels.copy()
        of_cell[used] = labels[groups[used]]
        fitted = method.fit(replace(data, labels=of_cell), config, seed=seed)
        pooled = predict_groups(method, fitted, X, group_numbers, types)
        if within and blocks is not None:
            return block_auc(labels[judged], pooled, blocks[judged])
        return roc_auc(labels[judged], pooled)

    bar = iter(progress(range(n_labellings), "labellings"))

    def counted(labels: np.ndarray) -> float:
        next(bar, None)
        return statistic(labels)

    return permutation_test(of_group, counted, blocks=names, n_labellings=n_labellings, rng=seed)
