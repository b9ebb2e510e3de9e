"""Options of the perturbation methods."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NoPerturbationConfig:
    """A method without options."""


@dataclass(frozen=True)
class LinearConfig:
    """Options of ``linear``, Y ≈ G W Pᵀ + b :cite:p:`ahlmanneltze2025`.

    Parameters
    ----------
    n_components
        Number of components of the genes, when they come from the train perturbations.
    penalty
        Ridge penalty on both sides.
    gene_embedding
        Key of an embedding (:func:`heldout.pp.embedding`) for G, whose genes without a vector get a row of zeros. None
        takes the principal components of the train pseudobulks, with genes as observations.
    perturbation_embedding
        Key of an embedding for P. None takes the rows of G of the perturbed genes. A combination that has
        no row of its own has the sum of the vectors of its targets.
    """

    n_components: int = 10
    penalty: float = 0.1
    gene_embedding: str | None = None
    perturbation_embedding: str | None = None

    def __post_init__(self) -> None:
        _check_whole("n_components", self.n_components)
        _check_positive("penalty", self.penalty)


@dataclass(frozen=True)
class LatentAdditiveConfig:
    """Options of ``latent_additive``.

    Parameters
    ----------
    n_components
        Most components of the train changes that are kept; None keeps all, as noisy ones are shrunk anyway.
    penalty
        Ridge penalty on what a target does beyond the mean target, in cells: an effect that rests on as many cells is
        halved. None takes the variance of a cell over the variance of the effects, component by component.
    """

    n_components: int | None = None
    penalty: float | None = None

    def __post_init__(self) -> None:
        if self.n_components is not None:
            _check_whole("n_components", self.n_components)
        if self.penalty is not None:
            _check_positive("penalty", self.penalty)


@dataclass(frozen=True)
class InformedAdditiveConfig:
    """Options of ``informed_additive``.

    Parameters
    ----------
    n_components
        Most components of the train changes that are kept; None keeps all, as noisy ones are shrunk anyway.
    penalty
        Ridge penalty on what a target does beyond what is foretold, in cells, see :class:`LatentAdditiveConfig`.
    perturbation_embedding
        Key of an embedding (:func:`heldout.pp.embedding`) with vectors of the targets. None takes the principal components of
        the train pseudobulks, with genes as observations, for targets that are genes at hand.
    n_vector_components
        Number of these components.
    """

    n_components: int | None = None
    penalty: float | None = None
    perturbation_embedding: str | None = None
    n_vector_components: int = 30

    def __post_init__(self) -> None:
        _check_whole("n_vector_components", self.n_vector_components)
        LatentAdditiveConfig(self.n_components, self.penalty)


@dataclass(frozen=True)
class NearestConfig:
    """Options of ``nearest``.

    Parameters
    ----------
    perturbation_embedding
        Key of an embedding (:func:`heldout.pp.embedding`) in which perturbations are compared, by cosine. None takes the
        principal components of the train pseudobulks, with genes as observations: a perturbation is where its genes are.
    n_components
        Number of these components.
    n_neighbors
        Number of train perturbations that are averaged.
    """

    perturbation_embedding: str | None = None
    n_components: int = 10
    n_neighbors: int = 1

    def __post_init__(self) -> None:
        _check_whole("n_components", self.n_components)
        _check_whole("n_neighbors", self.n_neighbors)


def _check_whole(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        msg = f"{name}={value!r} must be a whole number from 1."
        raise ValueError(msg)


def _check_positive(name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        msg = f"{name}={value!r} must be a number above 0."
        raise ValueError(msg)
