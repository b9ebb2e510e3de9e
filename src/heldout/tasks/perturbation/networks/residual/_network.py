"""The flow of residuals of one question: training, and the moves that it predicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from heldout._core.blocks import BatchBlocks, SplitDataModule
from heldout._core.model import set_weights, weights_of
from heldout._core.training import local_seed, run_trainer
from heldout.tasks.perturbation.config_networks import PerturbationFlowConfig
from heldout.tasks.perturbation.networks._network import n_epochs
from heldout.tasks.perturbation.networks._trainingplan import NetworkTrainingPlan
from heldout.tasks.perturbation.networks.flow._module import ConditionalFlow
from heldout.tasks.perturbation.networks.flow._space import Space
from heldout.tasks.perturbation.networks.residual._examples import coupled_rows
from heldout.tasks.perturbation.networks.residual._frames import N_FEATURES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from heldout._core.blocks import Batch
    from heldout.tasks.perturbation.config_networks import ResidualFlowConfig
    from heldout.tasks.perturbation.networks.residual._examples import Example
    from heldout.tasks.perturbation.networks.residual._frames import Frame

_FEATURES = "features"
"""Name of the centre and the spread of the features among the arrays of a network, (2 × 3)."""


class Features(nn.Module):
    """The condition of the flow: features of the perturbation, as they are."""

    def forward(self, batch: Batch, drop: torch.Tensor | None = None) -> torch.Tensor:
        """Features of the rows of a batch, (batch × 3)."""
        return batch["features"]


@dataclass(frozen=True)
class ResidualNetwork:
    """A trained flow from composed to measured cells, in the coordinates of their perturbation.

    Parameters
    ----------
    module
        The flow.
    scaling
        Centre and spread of the features of the perturbations that it was trained on, (2 × 3).
    """

    module: ConditionalFlow
    scaling: np.ndarray

    @classmethod
    def trained(
        cls, examples: Sequence[Example], config: ResidualFlowConfig, *, seed: int, quiet: bool = False
    ) -> tuple[ResidualNetwork, Any]:
        """Train on some held-out perturbations; also returns the history. ``quiet`` shows no progress."""
        rng = np.random.default_rng(seed)
        begin, end, number = coupled_rows(examples, rng)
        features = np.stack([example.frame.features for example in examples])
        scaling = np.stack([features.mean(axis=0), features.std(axis=0)]).astype(np.float32)
        of_rows = _scaled(features, scaling)[number]
        rows, columns = np.arange(len(end)), {"source": begin, "features": of_rows}
        options = {"enable_progress_bar": False} if quiet else None
        with local_seed(seed):
            module = _module(config, end.shape[1])
            blocks = BatchBlocks(end, rows, columns, config.batch_size, seed=seed)
            batches = SplitDataModule(end, rows, rows[:0], {}, config.batch_size, seed=seed, train_blocks=blocks)
            history = run_trainer(
                NetworkTrainingPlan(module, config),
                batches,
                max_epochs=n_epochs(config, len(rows)),
                patience=None,
                options=options,
            )
        return cls(module.eval(), scaling), history

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays for :meth:`load`."""
        return {_FEATURES: self.scaling, **weights_of(self.module)}

    @classmethod
    def load(cls, arrays: Mapping[str, np.ndarray], config: ResidualFlowConfig, n_dims: int) -> ResidualNetwork:
        """Inverse of :meth:`arrays`."""
        with local_seed(0):  # a new module draws initial weights
            module = _module(config, n_dims)
        set_weights(module, {name: values for name, values in arrays.items() if name != _FEATURES})
        return cls(module.eval(), arrays[_FEATURES])

    def residuals(self, frame: Frame, composed: np.ndarray) -> np.ndarray:
        """Changes of composed cells that the flow predicts, (n × G)."""
        begin = torch.from_numpy(frame.encode(composed).astype(np.float32))
        condition = {"features": torch.from_numpy(_scaled(frame.features[None], self.scaling))}
        end = self.module.sample(condition, begin)
        return frame.decode((end - begin).numpy())


def _scaled(features: np.ndarray, scaling: np.ndarray) -> np.ndarray:
    """Centred features with a spread of 1, (m × 3) float32; what never varied is 0."""
    centred = features - scaling[0]
    return np.divide(centred, scaling[1], out=np.zeros_like(centred), where=scaling[1] > 1e-6).astype(np.float32)


def _module(config: ResidualFlowConfig, n_dims: int) -> ConditionalFlow:
    """The flow with initial weights; it begins with no move."""
    options = PerturbationFlowConfig(
        source="composed",
        width=config.width,
        n_layers=config.n_layers,
        n_condition=N_FEATURES,
        condition_dropout=0.0,
        n_steps=config.n_steps,
    )
    return ConditionalFlow(options, Features(), Space.unscaled(n_dims))
