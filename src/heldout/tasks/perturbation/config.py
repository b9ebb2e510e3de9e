"""Options of the perturbation methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from heldout._core.options import Config, option


@dataclass(frozen=True)
class LinearConfig(Config):
    """Options of ``linear``, Y ≈ G W Pᵀ + b :cite:p:`ahlmanneltze2025`.

    Parameters
    ----------
    n_comps
        Number of components of the genes, if they are computed from the train perturbations.
    penalty
        Ridge penalty on both sides.
    gene_embedding
        Key of an embedding (:func:`heldout.pp.embedding`) for G. Genes without a vector get a row of zeros. If None, G
        has the principal components of the train pseudobulks, with genes as observations.
    perturbation_embedding
        Key of an embedding for P. If None, P has the rows of G of the perturbed genes. A combination without a vector
        of its own gets the sum of the vectors of its targets.
    """

    renamed: ClassVar[dict[str, str]] = {"n_components": "n_comps"}

    n_comps: int = option(10, at_least=1)
    penalty: float = option(0.1, above=0)
    gene_embedding: str | None = None
    perturbation_embedding: str | None = None


@dataclass(frozen=True)
class LatentAdditiveConfig(Config):
    """Options of ``latent_additive``.

    Parameters
    ----------
    n_comps
        Largest number of components of the train changes. If None, all are kept: noisy components are shrunk in any
        case.
    penalty
        Ridge penalty on the difference of a target from the mean target, in cells: an effect measured in so many cells
        is halved. If None, it is the variance of a cell divided by the variance of the effects, for each component.
    """

    renamed: ClassVar[dict[str, str]] = {"n_components": "n_comps"}

    n_comps: int | None = option(None, at_least=1)
    penalty: float | None = option(None, above=0)


@dataclass(frozen=True)
class InformedAdditiveConfig(Config):
    """Options of ``informed_additive``.

    Parameters
    ----------
    n_comps
        Largest number of components of the train changes. If None, all are kept: noisy components are shrunk in any
        case.
    penalty
        Ridge penalty on the difference of a target from its predicted effect, in cells; see
        :class:`LatentAdditiveConfig`.
    perturbation_embedding
        Key of an embedding (:func:`heldout.pp.embedding`) with vectors of the targets. If None, targets that are genes
        of the data get the principal components of the train pseudobulks, with genes as observations.
    n_vector_comps
        Number of these components.
    """

    renamed: ClassVar[dict[str, str]] = {"n_components": "n_comps", "n_vector_components": "n_vector_comps"}

    n_comps: int | None = option(None, at_least=1)
    penalty: float | None = option(None, above=0)
    perturbation_embedding: str | None = None
    n_vector_comps: int = option(30, at_least=1)


@dataclass(frozen=True)
class NearestConfig(Config):
    """Options of ``nearest``.

    Parameters
    ----------
    perturbation_embedding
        Key of an embedding (:func:`heldout.pp.embedding`) in which perturbations are compared by cosine. If None,
        targets that are genes of the data get the principal components of the train pseudobulks, with genes as
        observations.
    n_comps
        Number of these components.
    n_neighbors
        Number of train perturbations that are averaged.
    """

    renamed: ClassVar[dict[str, str]] = {"n_components": "n_comps"}

    perturbation_embedding: str | None = None
    n_comps: int = option(10, at_least=1)
    n_neighbors: int = option(1, at_least=1)


@dataclass(frozen=True)
class MovedCellsConfig(Config):
    """Options of ``moved_cells``.

    Parameters
    ----------
    max_cells
        Largest number of cells that are kept of each perturbation in each context. The fit stores these cells.
    """

    max_cells: int = option(200, at_least=2)


@dataclass(frozen=True)
class ComposedCellsConfig(Config):
    """Options of ``composed_cells``.

    Parameters
    ----------
    max_cells
        Largest number of cells that are kept of each perturbation in each context. The fit stores these cells.
    perturbation_embedding
        Key of an embedding (:func:`heldout.pp.embedding`) with vectors of the targets, which ``informed_additive``
        uses for the mean changes.
    """

    max_cells: int = option(200, at_least=2)
    perturbation_embedding: str | None = None
