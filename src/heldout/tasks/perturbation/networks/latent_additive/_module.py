"""Encoder, sum in latent coordinates, decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout.tasks.perturbation.networks._condition import AdditiveEncoder
from heldout.tasks.perturbation.networks._module import StandardisedModule, layers

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import torch
    from torch import nn

    from heldout._core.blocks import Batch
    from heldout.tasks.perturbation.config_networks import LatentAdditiveNetworkConfig
    from heldout.tasks.perturbation.networks._condition import Conditions


class LatentAdditiveModule(StandardisedModule):
    """Decode the sum of an encoded control cell and the vector of its condition.

    Parameters
    ----------
    config
        Widths and dropout.
    conditions
        Targets and contexts.
    arrays
        Coordinates of the genes.
    encoder
        Vectors of the conditions. If None, they are the sum of the vectors of targets and context.
    """

    def __init__(
        self,
        config: LatentAdditiveNetworkConfig,
        conditions: Conditions,
        arrays: Mapping[str, np.ndarray],
        encoder: nn.Module | None = None,
    ) -> None:
        super().__init__(arrays)
        n_genes, widths = len(arrays["centre"]), (config.n_hidden, config.n_latent)
        self.as_decoded = config.cells == "decoded"
        self.encoder = AdditiveEncoder(conditions, config.n_latent) if encoder is None else encoder
        self.encode = layers(n_genes, *widths, dropout=config.dropout)
        self.decode = layers(*widths[::-1], n_genes, dropout=config.dropout)

    def decoded(self, x: torch.Tensor, condition: Batch) -> torch.Tensor:
        """Cells (n × G) of a condition, from other cells (n × G)."""
        latent = self.encode(self.standardised(x)) + self.encoder(condition)
        return self.expression(self.decode(latent))

    def predicted(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Cells decoded from the paired control cells."""
        return {"cells": self.decoded(batch["controls"], batch)}

    def losses(self, batch: Batch, found: dict[str, torch.Tensor]) -> torch.Tensor:
        """Mean over genes of the squared error in standardised coordinates, (batch,)."""
        return ((found["cells"] - batch["X"]) / self.scale).square().mean(dim=1)
