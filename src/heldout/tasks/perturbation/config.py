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
class DoseLinearConfig(Config):
    """Options of ``dose_linear``, whose changes are linear in log1p(dose / dose_scale).

    Parameters
    ----------
    dose_scale
        Dose from which changes grow with the logarithm of the dose instead of with the dose, a number > 0 in the unit
        of the doses. If None, it is chosen on train.
    n_comps
        Largest number of components of the train changes. If None, all are kept: noisy slopes are shrunk in any case.
    """

    dose_scale: float | None = option(None, above=0)
    n_comps: int | None = option(None, at_least=1)


@dataclass(frozen=True)
class DoseIsotonicConfig(Config):
    """Options of ``dose_isotonic``.

    Parameters
    ----------
    shrink
        Whether to shrink the measured changes by their noise before the monotone fit.
    """

    shrink: bool = True


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


@dataclass(frozen=True)
class PooledTransferConfig(Config):
    """Options of ``pooled_transfer``.

    Parameters
    ----------
    matched_spread
        Whether predicted deviations from the mean of the context vary as much as the true deviations (constrained
        empirical Bayes :cite:p:`ghosh1992`). If False, they are posterior means, which have the smallest squared error,
        but large effects are too small.
    similarity
        Whether contexts with similar controls have a higher weight, if this helps on left-out contexts of train.
    """

    matched_spread: bool = True
    similarity: bool = True


@dataclass(frozen=True)
class VectorKnnConfig(Config):
    """Options of ``vector_knn``.

    Parameters
    ----------
    perturbation_embedding
        Key of an embedding (:func:`heldout.pp.embedding`) with vectors of the targets. If None, targets that are genes
        of the data get the principal components of the train pseudobulks, with genes as observations.
    n_comps
        Number of these components.
    n_neighbors
        Number of train targets that are averaged. If None, leaving out train targets chooses it.
    """

    perturbation_embedding: str | None = None
    n_comps: int = option(30, at_least=1)
    n_neighbors: int | None = option(None, at_least=1)


@dataclass(frozen=True)
class VectorLassoConfig(Config):
    """Options of ``vector_lasso``.

    Parameters
    ----------
    perturbation_embedding
        Key of an embedding (:func:`heldout.pp.embedding`) with vectors of the targets. If None, targets that are genes
        of the data get the principal components of the train pseudobulks, with genes as observations.
    n_comps
        Number of these components.
    penalty
        Penalty of the lasso. If None, leaving out folds of train targets chooses it.
    """

    perturbation_embedding: str | None = None
    n_comps: int = option(30, at_least=1)
    penalty: float | None = option(None, above=0)


@dataclass(frozen=True)
class StackedConfig(Config):
    """Options of ``stacked``.

    Parameters
    ----------
    members
        Names of the methods that are weighted, with their default options. If None, the simple methods that fit the
        data: those of contexts only with several contexts, those of vectors only with an embedding. A network can be
        named too; it is then trained once for each fold of train.
    perturbation_embedding
        Key of an embedding (:func:`heldout.pp.embedding`) with vectors of the targets, for the members that use them.
    n_modules
        Number of gene modules, which have weights of their own. If None, 1 to 5, by the number of train perturbations.
    """

    members: tuple[str, ...] | None = None
    perturbation_embedding: str | None = None
    n_modules: int | None = option(None, at_least=1)
