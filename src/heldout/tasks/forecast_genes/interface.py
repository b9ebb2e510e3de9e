"""Interface of the gene forecasts: they fit on train genes, and predict the change of all genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from heldout.tasks.forecast_genes.features import History, static_features

if TYPE_CHECKING:
    import numpy as np

    from heldout._core.method import Fitted
    from heldout._core.options import Config


@dataclass(frozen=True)
class Data:
    """Data of a method. Values at the target time are NaN except for train and val genes.

    Parameters
    ----------
    history
        Cells and statistics of all genes at the times before the target.
    at
        The target time.
    target
        Mean of each gene at the target time, (G,).
    change
        ``target`` minus the mean at the last time of the history, (G,).
    replicates
        Bootstrap replicates: the statistics of :func:`heldout.tasks.forecast_genes.features.statistics` at each time,
        (R × G × T × S).
    replicate_target
        Mean at the target time in each replicate, (R × G).
    train, val
        Numbers of the genes. Fitting sees train, stopping sees val.
    """

    history: History
    at: float
    target: np.ndarray
    change: np.ndarray
    replicates: np.ndarray
    replicate_target: np.ndarray
    train: np.ndarray
    val: np.ndarray

    @property
    def features(self) -> np.ndarray:
        """Features of each gene, all from the history, (G × P)."""
        return static_features(self.history)


class GeneForecastMethod(Protocol):
    """The two verbs of a gene forecast."""

    stochastic: ClassVar[bool]
    """Whether another seed gives another fit."""

    default_config: ClassVar[Config]
    """Options if the user gives none. Those given must be of the same class."""

    def fit(self, data: Data, config: Any, *, seed: int) -> Fitted:
        """Fit on train genes (and stop on val genes)."""

    def predict(self, fitted: Fitted, history: History) -> np.ndarray:
        """Change of each gene from the last time of the history to the target, (G,) float64."""
