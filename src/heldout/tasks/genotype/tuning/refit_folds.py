"""Repeat the fits of one fold for other labels of the groups."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.arrays import loaded, take
from heldout.tasks.genotype import METHODS
from heldout.tasks.genotype.rows import predict_groups

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout.tasks.genotype.tuning.fold import Fold
    from heldout.tasks.genotype.tuning.runs import Entry


def refits(fold: Fold, entry: Entry, names: np.ndarray, tried: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Fit once for each labelling, and predict the held-out groups of the fold.

    Parameters
    ----------
    fold
        The cells prepared for the fold, and the question.
    entry
        What is fitted.
    names
        Name of each group, (G,).
    tried
        Class number of each group in each labelling, (B × G).

    Yields
    ------
    Numbers of the held-out groups, (H,), and their log-probabilities, (H × n_classes), for each labelling.
    """
    implementation = METHODS.implementation(entry.method)
    data = fold.task(entry.auxiliary_key).data(implementation.features)
    number = {name: i for i, name in enumerate(names)}
    of_cell = np.array([number.get(name, -1) for name in fold.groups])
    rows = fold.split.rows("test")
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
