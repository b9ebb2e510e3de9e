"""Train an autoencoder against an adversary that reads the perturbation from the latent coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from heldout.tasks.perturbation.networks._trainingplan import NetworkTrainingPlan

if TYPE_CHECKING:
    from heldout._core.blocks import Batch
    from heldout.tasks.perturbation.config_networks import CompositionalConfig
    from heldout.tasks.perturbation.networks.compositional._module import CompositionalModule

N_STEPS = 3
"""Steps of the adversary for each step of the autoencoder."""

FASTER = 3.0
"""Learning rate of the adversary, as a multiple of that of the autoencoder."""


class CompositionalTrainingPlan(NetworkTrainingPlan):
    """Lower the error of the cells, and raise the cross-entropy of an adversary.

    The adversary classifies the perturbation of a cell from its latent coordinates, standardised within the batch. It
    is not part of the fit. With several processes, each has its own adversary.
    """

    def __init__(self, module: CompositionalModule, config: CompositionalConfig) -> None:
        super().__init__(module, config)
        self.adversary: nn.Module | None = None
        if config.adversary:
            self.adversary = nn.Sequential(
                nn.BatchNorm1d(config.n_latent, affine=False),
                nn.Linear(config.n_latent, config.n_adversary),
                nn.GELU(),
                nn.Linear(config.n_adversary, module.n_classes),
            )

    def on_fit_start(self) -> None:
        """Make the optimiser of the adversary."""
        super().on_fit_start()
        if self.adversary is not None:
            self.of_adversary = torch.optim.Adam(self.adversary.parameters(), lr=FASTER * self.config.lr)

    def step(self, batch: Batch, partition: str) -> torch.Tensor:
        """Loss of a batch; before, the adversary takes its own steps on the same batch."""
        found, _, losses = self.module(batch)
        n = len(batch["X"])
        self.add(partition, "loss", float(losses.loss.detach()) * n, n)
        loss: torch.Tensor = losses.loss
        if self.adversary is None or partition == "val":
            return loss
        latent, classes = found["latent"], batch["class"].to(found["latent"].device)
        for _ in range(N_STEPS):
            self.of_adversary.zero_grad()
            self.manual_backward(nn.functional.cross_entropy(self.adversary(latent.detach()), classes))
            self.of_adversary.step()
        entropy = nn.functional.cross_entropy(self.adversary(latent), classes)
        self.add(partition, "adversary", float(entropy.detach()) * n, n)
        return loss - self.config.adversary * entropy
