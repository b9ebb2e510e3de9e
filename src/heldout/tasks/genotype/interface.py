"""What a genotype method is: it fits on arrays and predicts log-probabilities. Baselines and networks alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import pandas as pd

if TYPE_CHECKING:
    import numpy as np

    from heldout._core.types import Matrix, MatrixOrDask


@dataclass(frozen=True)
class Data:
    """What a method may see.

    Parameters
    ----------
    X
        Features of all cells, (n_obs × n_features).
    labels
        Class number of each cell, (n_obs,); -1 where it is unknown.
    n_classes
        Number of classes.
    train, val
        Row numbers. Fitting sees train, stopping sees val, nothing sees the rest.
    groups
        Group number of each cell, (n_obs,), where groups are known.
    auxiliary
        Number of the auxiliary class of each cell, (n_obs,); -1 for a class that train does not contain.
    n_auxiliary
        Number of auxiliary classes.
    """

    X: MatrixOrDask
    labels: np.ndarray
    n_classes: int
    train: np.ndarray
    val: np.ndarray
    groups: np.ndarray | None = None
    auxiliary: np.ndarray | None = None
    n_auxiliary: int = 0


@dataclass(frozen=True)
class Fitted:
    """Result of a fit: numbers, JSON values, and a table with one row an epoch."""

    arrays: dict[str, np.ndarray]
    info: dict[str, Any] = field(default_factory=dict)
    history: pd.DataFrame = field(default_factory=pd.DataFrame)


class GenotypeMethod(Protocol):
    """The two verbs of a genotype method."""

    features: ClassVar[Literal["genes", "qc", "covariates", "cell_types"]]
    """What the columns of ``Data.X`` are."""

    by_group: ClassVar[bool]
    """Whether a prediction is of a whole group: ``predict`` then gets the cells of one, and repeats its answer."""

    config_class: ClassVar[type]
    """Dataclass of its options."""

    def fit(self, data: Data, config: Any, *, seed: int) -> Fitted:
        """Fit on train (and stop on val)."""

    def predict(self, fitted: Fitted, X: Matrix) -> np.ndarray:
        """Log-probabilities, (n × n_classes) float32."""
