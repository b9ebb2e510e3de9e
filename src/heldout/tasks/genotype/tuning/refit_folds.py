"""Repeat the fits of one fold for other labels of the groups."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.arrays import loaded, take
from heldout._core.partition import read_partition
from heldout.tasks.genotype import METHODS
from heldout.tasks.genotype.rows import predict_groups
from heldout.tasks.genotype.task import group_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

    from heldout.tasks.genotype.tuning.runs import Entry, Question


def refits(
    adata: AnnData, question: Question, entry: Entry, names: np.ndarray, tried: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Fit once for each labelling, and predict the held-out groups of the fold.

    Parameters
    ----------
    adata
        Cells prepared for the fold, (n_obs × n_vars).
    question, entry
        What is fitted.
    names
        Name of each group, (G,).
    tried
        Class number of each group in each labelling, (B × G).

    Yields
    ------
    Numbers of the held-out groups, (H,), and their log-probabilities, (H × n_classes), for each labelling.
    """
    split = read_partition(adata, entry.split_key)
    task = question.task(adata, split, entry.auxiliary_key)
    implementation = METHODS.implementation(entry.method)
    data = task.data(implementation.features)
    assert task.group_key is not None
    number = {name: i for i, name in enumerate(names)}
    of_cell = np.array([number.get(name, -1) for name in group_names(adata, task.group_key)])
    rows = split.rows("test")
    held_out, group_of = np.unique(of_cell[rows], return_inverse=True)
    X = loaded(take(data.X, rows, None))
    types = None if data.cell_types is None else data.cell_types[rows]
    known = of_cell >= 0
    for labels in tried:
        of_row = data.labels.copy()
        of_row[known] = labels[of_cell[known]]
        of_row[data.labels < 0] = -1
        fitted = implementation.fit(replace(data, labels=of_row), entry.config, seed=entry.seed)
        yield held_out, predict_groups(implementation, fitted, X, group_of, types)
