"""Training of the gene forecasts: the losses that are logged are those of the mean of the ensemble."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core.training_plan import BlockTrainingPlan

if TYPE_CHECKING:
    import torch

    from heldout._core.blocks import Batch


class ForecastTrainingPlan(BlockTrainingPlan):
    """AdamW on the sum of the losses of the members. The logged loss is that of the mean of the members."""

    def step(self, batch: Batch, partition: str) -> torch.Tensor:
        """Sum of the losses of the members."""
        _, _, losses = self.module(batch)
        n = len(batch["y"])
        self.add(partition, "loss", float(losses.extra_metrics["ensemble"]) * n, n)
        loss: torch.Tensor = losses.loss
        return loss
