"""Model classes in the style of scvi-tools, and the options of all methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heldout.tasks.forecast.config import (
    DampingConfig,
    FlowConfig,
    PublishedConfig,
    SequenceConfig,
)
from heldout.tasks.forecast_genes.config import GeneNetworkConfig
from heldout.tasks.genotype.config import AttentionConfig, BoostingConfig, LogisticConfig, MLPConfig, RidgeConfig
from heldout.tasks.perturbation.config import (
    InformedAdditiveConfig,
    LatentAdditiveConfig,
    LinearConfig,
    ComposedCellsConfig,
    MovedCellsConfig,
    NearestConfig,
)

if TYPE_CHECKING:
    from heldout.tasks.forecast.networks._model import CellForecaster
    from heldout.tasks.forecast_genes.networks._model import GeneForecaster
    from heldout.tasks.genotype.networks._model import GenotypeClassifier

__all__ = [
    "AttentionConfig",
    "BoostingConfig",
    "CellForecaster",
    "DampingConfig",
    "FlowConfig",
    "GeneForecaster",
    "GeneNetworkConfig",
    "GenotypeClassifier",
    "InformedAdditiveConfig",
    "LatentAdditiveConfig",
    "LinearConfig",
    "LogisticConfig",
    "MLPConfig",
    "ComposedCellsConfig",
    "MovedCellsConfig",
    "NearestConfig",
    "PublishedConfig",
    "RidgeConfig",
    "SequenceConfig",
]

_NETWORKS = {
    "CellForecaster": "heldout.tasks.forecast.networks._model",
    "GeneForecaster": "heldout.tasks.forecast_genes.networks._model",
    "GenotypeClassifier": "heldout.tasks.genotype.networks._model",
}


def __getattr__(name: str) -> Any:
    """Import a network, and with it torch and scvi-tools, when it is first asked for."""
    if name in _NETWORKS:
        from importlib import import_module

        return getattr(import_module(_NETWORKS[name]), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
