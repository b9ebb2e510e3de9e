"""Held-out perturbations of train: their composed cells, and the measured cells that these should become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from heldout._core.progress import progress
from heldout.tasks.perturbation.methods.composed_cells import CellComposer, ComposedCells
from heldout.tasks.perturbation.methods.questions import folds, train_controls
from heldout.tasks.perturbation.networks.residual._frames import frame_of
from heldout.tasks.perturbation.predictions import drawn_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from heldout.tasks.perturbation.config import ComposedCellsConfig
    from heldout.tasks.perturbation.interface import Data
    from heldout.tasks.perturbation.methods.questions import Question
    from heldout.tasks.perturbation.networks.residual._frames import Frame, Geometry
    from heldout.tasks.perturbation.pairs import Pair

MOST = 100
"""Held-out perturbations that are learnt from, for each question."""

_N_COUPLINGS = 2
"""Times that cells are drawn and paired."""


@dataclass(frozen=True)
class Example:
    """A train perturbation whose cells were composed by a fit that had not seen it.

    Parameters
    ----------
    pair
        The perturbation.
    frame
        Its coordinates, from the same fit.
    composed
        Composed cells, (n × G) float32.
    measured
        Coordinates of measured cells, (m × k) float32.
    components
        Measured cells in the components in which distances are taken, (m × K).
    mean
        Mean of the measured cells, (G,).
    """

    pair: Pair
    frame: Frame
    composed: np.ndarray
    measured: np.ndarray
    components: np.ndarray
    mean: np.ndarray


def held_out_cells(
    data: Data,
    question: Question,
    config: ComposedCellsConfig,
    responses: Mapping[Pair, np.ndarray],
    geometry: Geometry,
    *,
    seed: int,
) -> list[Example]:
    """Hold out train perturbations as a question does, and compose their cells; none if train has too few.

    ``responses`` are those of the fit to all of train.
    """
    rng = np.random.default_rng(seed)
    parts = list(folds(data, question, rng))
    every = np.concatenate([part.held_out for part in parts]) if len(parts) > 1 else np.array([], dtype=np.int64)
    chosen = set(rng.permutation(every)[:MOST].tolist())
    rows = dict(data.cells().train_groups(rng, config.max_cells)) if chosen else {}
    found = []
    for part in progress(parts if chosen else [], f"composed cells of held-out folds, {question}"):
        fitted = ComposedCells().fit(part.data, config, seed=seed, responses=responses)
        composer = CellComposer(fitted, train_controls(part.data, with_cells=True), seed)
        for row in sorted(chosen & set(part.held_out.tolist())):
            pair = data.profiles.pairs[row]
            composed = composer.cells(pair)
            measured = data.cells().measured.dense(rows[pair])
            if min(len(composed), len(measured)) < 2 or not np.isfinite(composed).all():
                continue
            frame = frame_of(composer, pair, geometry.precision, geometry.coordinates)
            encoded = frame.encode(measured).astype(np.float32)
            of_measured = (encoded, measured @ geometry.directions.T, measured.mean(axis=0))
            found.append(Example(pair, frame, composed.astype(np.float32), *of_measured))
    return found


def coupled_rows(examples: Sequence[Example], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts and ends of paths, (n × k) each, and the number of the example, (n,).

    Each perturbation has equally many paths. Within a perturbation, optimal transport pairs composed with measured
    cells, so that the paths are short.
    """
    n = max(max(len(example.composed), len(example.measured)) for example in examples)
    begins, ends, numbers = [], [], []
    for number, example in enumerate(examples):
        composed = example.frame.encode(example.composed)
        for _ in range(_N_COUPLINGS):
            begin = composed[drawn_rows(len(composed), n, rng)]
            end = example.measured[drawn_rows(len(example.measured), n, rng)]
            begins.append(begin)
            ends.append(end[linear_sum_assignment(cdist(begin, end, "sqeuclidean"))[1]])
            numbers.append(np.full(n, number))
    return np.concatenate(begins).astype(np.float32), np.concatenate(ends), np.concatenate(numbers)
