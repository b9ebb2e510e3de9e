"""Interface of the genotype methods: they fit on arrays and predict log-probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np

    from heldout._core.method import Fitted
    from heldout._core.options import Config
    from heldout._core.types import Matrix, MatrixOrDask


@dataclass(frozen=True)
class Data:
    """What a method may see.

    Parameters
    ----------
    X
        Features of all cells, (n_obs × n_features).
    labels
        Class number of each cell, (n_obs,). -1 if it is unknown.
    n_classes
        Number of classes.
    train, val
        Row numbers. Fitting sees train, and stopping sees val. Other rows are not used.
    groups
        Group number of each cell, (n_obs,). None if groups are not known.
    auxiliary
        Number of the auxiliary class of each cell, (n_obs,). -1 for a class that train does not contain.
    n_auxiliary
        Number of auxiliary classes.
    genes
        Name of each column of ``X``, (n_features,), if the columns are genes.
    cell_types
        Number of the cell type of each cell, (n_obs,). -1 for a type that train does not contain. None if cell types
        are not known.
    n_cell_types
        Number of cell types.
    """

    X: MatrixOrDask
    labels: np.ndarray
    n_classes: int
    train: np.ndarray
    val: np.ndarray
    groups: np.ndarray | None = None
    auxiliary: np.ndarray | None = None
    n_auxiliary: int = 0
    genes: np.ndarray | None = None
    cell_types: np.ndarray | None = None
    n_cell_types: int = 0


class GenotypeMethod(Protocol):
    """The two verbs of a genotype method."""

    features: ClassVar[Literal["genes", "genes_and_types", "qc", "covariates", "cell_types"]]
    """Kind of the columns of ``Data.X``. With ``genes_and_types`` the columns are genes, and ``predict`` has a third
    argument: the number of the cell type of each row, or None if cell types are not known."""

    by_group: ClassVar[bool]
    """Whether it predicts whole groups. ``predict`` then gets the cells of one group and repeats its prediction."""

    stochastic: ClassVar[bool]
    """Whether another seed gives another fit."""

    default_config: ClassVar[Config]
    """Options if the user gives none. Those given must be of the same class."""

    def fit(self, data: Data, config: Any, *, seed: int) -> Fitted:
        """Fit on train (and stop on val)."""

    def predict(self, fitted: Fitted, X: Matrix) -> np.ndarray:
        """Log-probabilities, (n × n_classes) float32."""
