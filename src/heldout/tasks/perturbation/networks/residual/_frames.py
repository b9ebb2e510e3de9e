"""Coordinates of the cells of a perturbation in which their residuals are learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from heldout.tasks.perturbation.pairs import Pairs

if TYPE_CHECKING:
    from heldout.tasks.perturbation.kept import StoredCells
    from heldout.tasks.perturbation.methods.composed_cells import CellComposer
    from heldout.tasks.perturbation.pairs import Pair

N_FEATURES = 3

_RIDGE = 0.1
"""Share of the mean variance that is added to the variance of a gene."""

_SHORTEST = 0.05
"""Least length of the contrast, as a share of the length of the change. A shorter one is noise and is not used."""

_TINY = np.finfo(np.float64).tiny


class Frame(Protocol):
    """Coordinates of the cells of one perturbation."""

    @property
    def features(self) -> np.ndarray:
        """What the network knows of the perturbation, (3,): see :func:`frame_of`."""

    def encode(self, cells: np.ndarray) -> np.ndarray:
        """Coordinates of cells, (n × k)."""

    def decode(self, moves: np.ndarray) -> np.ndarray:
        """Changes of the expression, (n × G), from changes of the coordinates, (n × k)."""


@dataclass(frozen=True)
class ResponseFrame:
    """How far a cell went along each direction of its perturbation; the control is 0.

    Parameters
    ----------
    features
        What the network knows of the perturbation.
    start
        Mean of the controls, (G,).
    directions
        Directions, (k × G); one of length 0 is not used.
    precision
        Weights of the genes in projections, (G,).
    """

    features: np.ndarray
    start: np.ndarray
    directions: np.ndarray
    precision: np.ndarray

    def encode(self, cells: np.ndarray) -> np.ndarray:
        """Projections of the cells on the directions, divided by their lengths, (n × k)."""
        weighted = self.directions * self.precision
        lengths = np.einsum("kg,kg->k", weighted, self.directions)
        projected = (cells - self.start) @ weighted.T
        return np.divide(projected, lengths, out=np.zeros_like(projected), where=lengths > 0)

    def decode(self, moves: np.ndarray) -> np.ndarray:
        """Moves along the directions, (n × G)."""
        return np.asarray(moves, dtype=np.float64) @ self.directions


@dataclass(frozen=True)
class GeneFrame:
    """The genes themselves, divided by one scale.

    Parameters
    ----------
    features
        What the network knows of the perturbation.
    start
        Mean of the controls, (G,).
    scale
        The scale of all genes.
    """

    features: np.ndarray
    start: np.ndarray
    scale: float

    def encode(self, cells: np.ndarray) -> np.ndarray:
        """Distances from the mean of the controls, (n × G)."""
        return (cells - self.start) / self.scale

    def decode(self, moves: np.ndarray) -> np.ndarray:
        """Changes of the genes, (n × G)."""
        return np.asarray(moves, dtype=np.float64) * self.scale


@dataclass(frozen=True)
class Geometry:
    """How cells are projected and compared.

    Parameters
    ----------
    precision
        Weights of the genes in projections on the changes of a perturbation, (G,).
    directions
        Components in which distances between cells are taken, (K × G).
    coordinates
        ``"responses"`` or ``"genes"``, see :class:`heldout.model.ResidualFlowConfig`.
    """

    precision: np.ndarray
    directions: np.ndarray
    coordinates: str


def frame_of(composer: CellComposer, pair: Pair, precision: np.ndarray, coordinates: str) -> Frame:
    """Coordinates of a perturbation, from mean changes that the closed form predicts.

    The first direction is the change of the perturbation. The second one is the contrast between the change of the
    cells that are moved and the change that moves them, without the part along the first. Controls that are moved have
    no contrast.

    The features are the logarithms of the squared lengths of both directions, and the cosine between the two changes of
    the contrast.
    """
    base, missing = composer.base(pair)
    start = composer.controls.mean[pair.context]
    change = composer.changes(Pairs.of([pair]))[0][0]
    contrast, cosine = np.zeros_like(change), 0.0
    if base is not None and missing:
        has = composer.changes(Pairs.of([composer.kept.pairs[base]]))[0][0]
        lacks = composer.changes(Pairs.of(missing))[0].sum(axis=0)
        both = _dot(has, has, precision) * _dot(lacks, lacks, precision)
        cosine = _dot(has, lacks, precision) / np.sqrt(max(both, _TINY))
        contrast = _without(has - lacks, change, precision)
    lengths = _dot(change, change, precision), _dot(contrast, contrast, precision)
    if lengths[1] <= _SHORTEST * lengths[0]:
        contrast, lengths = np.zeros_like(change), (lengths[0], 0.0)
    features = np.array([*(np.log(length) if length > _TINY else 0.0 for length in lengths), cosine])
    if coordinates == "genes":
        return GeneFrame(features, start, float(1 / np.sqrt(precision.mean())))
    return ResponseFrame(features, start, np.stack([change, contrast]), precision)


def precision_of(kept: StoredCells) -> np.ndarray:
    """One over the mean variance within the train perturbations, (G,); genes of low variance do not dominate."""
    variances = [kept.dense(group).var(axis=0) for group in range(len(kept.pairs))]
    variance = np.mean(variances, axis=0)
    return np.asarray(1 / (variance + _RIDGE * variance.mean() + _TINY))


def _dot(a: np.ndarray, b: np.ndarray, precision: np.ndarray) -> float:
    return float(np.sum(a * precision * b))


def _without(a: np.ndarray, b: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """The part of ``a`` that is orthogonal to ``b``."""
    return a - _dot(a, b, precision) / max(_dot(b, b, precision), _TINY) * b
