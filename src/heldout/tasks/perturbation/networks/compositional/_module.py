"""An autoencoder of cells in which vectors of targets and contexts are added to the latent coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout.tasks.perturbation.networks.latent_additive._module import LatentAdditiveModule

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import torch

    from heldout._core.blocks import Batch
    from heldout.tasks.perturbation.config_networks import CompositionalConfig
    from heldout.tasks.perturbation.networks._condition import Conditions


class CompositionalModule(LatentAdditiveModule):
    """Rebuild each cell from its own latent coordinates, which should not tell the perturbation, and its condition.

    In training a cell is rebuilt from itself. Else it is predicted from a control cell, so that training stops by what
    the network is used for.

    Parameters
    ----------
    config
        Widths and dropout.
    conditions
        Targets and contexts.
    arrays
        Coordinates of the genes.
    n_classes
        Number of perturbations that the adversary tells apart, with the controls.
    """

    def __init__(
        self, config: CompositionalConfig, conditions: Conditions, arrays: Mapping[str, np.ndarray], n_classes: int
    ) -> None:
        super().__init__(config, conditions, arrays)
        self.n_classes, self.nothing = n_classes, len(conditions.targets)

    def predicted(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Latent coordinates of the cells, (batch × n_latent), and the rebuilt cells, (batch × G)."""
        latent = self.encode(self.standardised(batch["X" if self.training else "controls"]))
        return {"latent": latent, "cells": self.expression(self.decode(latent + self.encoder(batch)))}

    def without_targets(self, condition: Batch) -> Batch:
        """The condition of the controls in the same context."""
        nothing = {name: values.clone().zero_() for name, values in condition.items() if name != "context"}
        return {**nothing, "context": condition["context"], "targets": condition["targets"] * 0 + self.nothing}
