"""Model classes in the style of scvi-tools, and the options of all methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heldout.tasks.forecast.config import (
    AutoConfig,
    BlendConfig,
    DampingConfig,
    FlowConfig,
    InterpolationConfig,
    PublishedConfig,
    SequenceConfig,
    StatesConfig,
)
from heldout.tasks.forecast_genes.config import GeneNetworkConfig
from heldout.tasks.genotype.config import (
    AttentionConfig,
    AutoGroupsConfig,
    BoostingConfig,
    CellTypeConfig,
    EmbeddingConfig,
    LogisticConfig,
    MLPConfig,
    PathwayConfig,
    RidgeConfig,
    ShrunkenConfig,
    StackedGroupsConfig,
    TabPFNConfig,
)
from heldout.tasks.genotype.estimators.estimator import Estimator
from heldout.tasks.perturbation.config import (
    ComposedCellsConfig,
    DoseIsotonicConfig,
    DoseLinearConfig,
    InformedAdditiveConfig,
    LatentAdditiveConfig,
    LinearConfig,
    MovedCellsConfig,
    NearestConfig,
    PooledTransferConfig,
    StackedConfig,
    VectorKnnConfig,
    VectorLassoConfig,
)
from heldout.tasks.perturbation.config_networks import (
    CompositionalConfig,
    GraphConfig,
    LatentAdditiveNetworkConfig,
    PerturbationFlowConfig,
    ResidualFlowConfig,
    SetTransportConfig,
    TrainedConfig,
)

if TYPE_CHECKING:
    from heldout.tasks.forecast.networks._model import CellForecaster
    from heldout.tasks.forecast_genes.networks._model import GeneForecaster
    from heldout.tasks.genotype.networks._model import GenotypeClassifier
    from heldout.tasks.perturbation.networks.flow._model import PerturbationFlow

__all__ = [
    "AttentionConfig",
    "AutoConfig",
    "AutoGroupsConfig",
    "BlendConfig",
    "BoostingConfig",
    "CellForecaster",
    "CellTypeConfig",
    "ComposedCellsConfig",
    "CompositionalConfig",
    "DampingConfig",
    "DoseIsotonicConfig",
    "DoseLinearConfig",
    "EmbeddingConfig",
    "Estimator",
    "FlowConfig",
    "GeneForecaster",
    "GeneNetworkConfig",
    "GenotypeClassifier",
    "GraphConfig",
    "InformedAdditiveConfig",
    "InterpolationConfig",
    "LatentAdditiveConfig",
    "LatentAdditiveNetworkConfig",
    "LinearConfig",
    "LogisticConfig",
    "MLPConfig",
    "MovedCellsConfig",
    "NearestConfig",
    "PathwayConfig",
    "PerturbationFlow",
    "PerturbationFlowConfig",
    "PooledTransferConfig",
    "PublishedConfig",
    "ResidualFlowConfig",
    "RidgeConfig",
    "SequenceConfig",
    "SetTransportConfig",
    "ShrunkenConfig",
    "StackedConfig",
    "StackedGroupsConfig",
    "StatesConfig",
    "TabPFNConfig",
    "TrainedConfig",
    "VectorKnnConfig",
    "VectorLassoConfig",
]

_NETWORKS = {
    "CellForecaster": "heldout.tasks.forecast.networks._model",
    "GeneForecaster": "heldout.tasks.forecast_genes.networks._model",
    "GenotypeClassifier": "heldout.tasks.genotype.networks._model",
    "PerturbationFlow": "heldout.tasks.perturbation.networks.flow._model",
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
