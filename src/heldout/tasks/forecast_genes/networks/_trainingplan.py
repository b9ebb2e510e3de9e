"""Training of the gene forecasts: AdamW, and the loss of the ensemble's mean on the val genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from scvi.train import TrainingPlan

if TYPE_CHECKING:
    from heldout._core.training import Batch
    from heldout.tasks.forecast_genes.config import GeneNetworkConfig
    from heldout.tasks.forecast_genes.networks._module import ForecastModule


class ForecastTrainingPlan(TrainingPlan):
    """One optimiser step a batch; the losses are means over all trajectories of an epoch, of the ensemble's mean.

    scvi-tools' own plan monitors an ELBO, which a regression does not have, and logs each step.
    """

    def __init__(self, module: ForecastModule, config: GeneNetworkConfig) -> None:
        super().__init__(module, lr=config.lr, eps=1e-8, weight_decay=0.0)
        self.config = config
        self.automatic_optimization = False  # a block holds many batches
        self._train: list[tuple[torch.Tensor, int]] = []
        self._val: list[tuple[torch.Tensor, int]] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; without weight decay it is Adam."""
        return torch.optim.AdamW(
            self.module.parameters(), lr=self.config.lr, weight_decay=self.config.weight_decay, fused=True
        )

    def training_step(self, block: list[Batch], batch_idx: int) -> None:
        """One optimiser step for each batch of a block."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        for batch in block:
            optimizer.zero_grad()
            _, _, losses = self.module(batch)
            self.manual_backward(losses.loss)
            optimizer.step()
            self._train.append((losses.extra_metrics["together"], len(batch["y"])))

    def validation_step(self, block: list[Batch], batch_idx: int) -> None:
        """Collect losses; the epoch's end averages them."""
        for batch in block:
            _, _, losses = self.module(batch)
            self._val.append((losses.extra_metrics["together"], len(batch["y"])))

    def on_train_epoch_start(self) -> None:
        """Begin an epoch."""
        self._train = []

    def on_train_epoch_end(self) -> None:
        """Log the train loss."""
        self.log("train_loss", _mean(self._train))

    def on_validation_epoch_start(self) -> None:
        """Begin a validation."""
        self._val = []

    def on_validation_epoch_end(self) -> None:
        """Log the validation loss."""
        self.log("val_loss", _mean(self._val))


def _mean(parts: list[tuple[torch.Tensor, int]]) -> float:
    return sum(float(value) * n for value, n in parts) / sum(n for _, n in parts)
