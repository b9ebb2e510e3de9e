"""How much of a residual is used: as much as helps on held-out perturbations of train, down to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.progress import progress
from heldout._core.stacking import helps
from heldout.metrics import energy_distance
from heldout.metrics._pairs import draw_rows
from heldout.tasks.perturbation.composition.marginals import with_mean, with_zeros_of
from heldout.tasks.perturbation.networks.residual._network import ResidualNetwork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heldout.tasks.perturbation.config_networks import ResidualFlowConfig
    from heldout.tasks.perturbation.networks.residual._examples import Example

STRENGTHS = (0.0, 0.5, 1.0)
"""Strengths of a residual that are compared."""

N_FOLDS = 3


@dataclass(frozen=True)
class Gate:
    """Strengths of the two parts of a residual.

    Parameters
    ----------
    shape
        Strength of the residuals around their mean over the cells, which change the distribution and not the mean.
    mean
        Strength of the mean of the residuals.
    """

    shape: float = 0.0
    mean: float = 0.0

    @property
    def closed(self) -> bool:
        """Whether no residual is used."""
        return self.shape == self.mean == 0

    def applied(self, cells: np.ndarray, residuals: np.ndarray, *, non_negative: bool) -> np.ndarray:
        """Composed cells with their residuals, (n × G).

        Their mean is exactly the mean of the cells, plus the used part of the mean of the residuals. Where values
        cannot be negative, each gene keeps its number of zeros, and a mean below 0 becomes 0.
        """
        if self.closed:
            return cells
        part = residuals.mean(axis=0)
        mean = cells.mean(axis=0) + self.mean * part
        moved = cells + self.shape * (residuals - part) + self.mean * part
        if not non_negative:
            return moved + (mean - moved.mean(axis=0))
        return with_mean(with_zeros_of(moved, cells), np.maximum(mean, 0))


def gate_of(
    examples: Sequence[Example], config: ResidualFlowConfig, directions: np.ndarray, *, non_negative: bool, seed: int
) -> Gate:
    """Choose the strengths by networks that have not seen the perturbations they are judged on.

    The shape is judged by the energy distance in the components ``directions`` (K × G), and then the mean by the L2
    distance. A strength is used if the lower end of the one-sided 95 % interval of its gain, over perturbations, is
    above 0.
    """
    fold = _folds(examples, np.random.default_rng([seed, 2]))
    distances = np.empty((len(examples), len(STRENGTHS)))
    errors = np.empty_like(distances)
    for number in progress(range(int(fold.max()) + 1), "gates of the residuals"):
        seen = [example for example, of_example in zip(examples, fold, strict=True) if of_example != number]
        network, _ = ResidualNetwork.trained(seen, config, seed=seed, quiet=True)
        for i in np.flatnonzero(fold == number).tolist():
            distances[i], errors[i] = _losses(network, examples[i], directions, non_negative=non_negative)
    return Gate(_strength(distances), _strength(errors))


def _losses(
    network: ResidualNetwork, example: Example, directions: np.ndarray, *, non_negative: bool
) -> tuple[list[float], list[float]]:
    """Energy distance at each strength of the shape, and L2 distance at each strength of the mean."""
    cells = example.composed.astype(np.float64)
    residuals = network.residuals(example.frame, cells)
    n = min(len(cells), len(example.components))
    distances, errors = [], []
    for strength in STRENGTHS:
        moved = Gate(shape=strength).applied(cells, residuals, non_negative=non_negative) @ directions.T
        drawn = (draw_rows(x, n, np.random.default_rng(0)) for x in (example.components, moved))
        distances.append(energy_distance(*drawn))
        mean = cells.mean(axis=0) + strength * residuals.mean(axis=0)
        errors.append(float(np.linalg.norm((np.maximum(mean, 0) if non_negative else mean) - example.mean)))
    return distances, errors


def _strength(losses: np.ndarray) -> float:
    """The strength of the least mean loss among those that help, or 0."""
    gains = losses[:, :1] - losses
    helping = [j for j in range(1, len(STRENGTHS)) if helps(gains[:, j])]
    return STRENGTHS[max(helping, key=lambda j: float(gains[:, j].mean()))] if helping else 0.0


def _folds(examples: Sequence[Example], rng: np.random.Generator) -> np.ndarray:
    """Fold of each example, (h,): all contexts of a perturbation in one fold; of one perturbation, its contexts."""
    names = [example.pair.targets for example in examples]
    keys = names if len(set(names)) > 1 else [example.pair[1:] for example in examples]
    distinct = {key: i for i, key in enumerate(sorted(set(keys)))}
    of_key = rng.permutation(len(distinct)) % N_FOLDS
    return np.array([of_key[distinct[key]] for key in keys])
