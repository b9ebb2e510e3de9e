"""Attention over the control cells of a set, and distances between sets of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from heldout.tasks.perturbation.networks._condition import AdditiveEncoder
from heldout.tasks.perturbation.networks._module import StandardisedModule, layers

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from heldout._core.blocks import Batch
    from heldout.tasks.perturbation.config_networks import SetTransportConfig
    from heldout.tasks.perturbation.networks._condition import Conditions

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Bandwidths of the kernels of the MMD, as multiples of the mean squared distance of two cells."""


class SetTransportModule(StandardisedModule):
    """Move each control cell of a set by a change that depends on the whole set.

    The change has two parts: one that is the same for all cells of a condition, and one from attention between the
    cells. Both begin at zero, so training begins at no change.

    Parameters
    ----------
    config
        Widths, layers and the loss.
    conditions
        Targets and contexts.
    arrays
        Coordinates of the genes.
    """

    def __init__(self, config: SetTransportConfig, conditions: Conditions, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__(arrays)
        n_genes, width = len(arrays["centre"]), config.n_hidden
        self.set_size = config.set_size
        self.distance = energy if config.loss == "energy" else mmd
        self.encoder = AdditiveEncoder(conditions, width)
        nn.init.normal_(self.encoder.targets.weight[:-1], std=0.1)
        self.encode = nn.Linear(n_genes, width)
        self.attention = nn.ModuleList(
            CellAttention(width, config.n_heads, config.dropout) for _ in range(config.n_layers)
        )
        self.before = nn.LayerNorm(width)
        self.decode = layers(width, 2 * width, n_genes, dropout=config.dropout)
        self.effect = nn.Linear(width, n_genes, bias=False)
        for layer in (self.decode[-1], self.effect):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def moved(self, x: torch.Tensor, condition: Batch) -> torch.Tensor:
        """Cells of a condition, (sets × n × G), from sets of control cells of the same shape.

        Each tensor of the condition has a row for each cell of each set.
        """
        vectors = self.encoder.perturbation(condition)
        hidden = self.encode(self.standardised(x)) + (vectors + self.encoder.context(condition)).unflatten(
            0, x.shape[:2]
        )
        for layer in self.attention:
            hidden = layer(hidden)
        change = self.decode(self.before(hidden)) + self.effect(vectors).unflatten(0, x.shape[:2])
        return x + self.scale * change

    def predicted(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Cells moved from the control cells of the same set."""
        return {"cells": self.moved(batch["controls"].unflatten(0, (-1, self.set_size)), batch)}

    def losses(self, batch: Batch, found: dict[str, torch.Tensor]) -> torch.Tensor:
        """Distance of the predicted to the measured cells of each set, repeated for its cells, (batch,)."""
        truth = self.standardised(batch["X"]).unflatten(0, (-1, self.set_size))
        return self.distance(self.standardised(found["cells"]), truth).repeat_interleave(self.set_size)


class CellAttention(nn.Module):
    """A layer in which the cells of a set attend to each other; the order of the cells has no meaning."""

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend = nn.MultiheadAttention(width, n_heads, dropout=dropout, batch_first=True)
        self.network = layers(width, 2 * width, width, dropout=dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Update the cells, (sets × n × width)."""
        y = self.before(x)
        x = x + self.attend(y, y, y, need_weights=False)[0]
        updated: torch.Tensor = x + self.network(self.between(x))
        return updated


def energy(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Energy distance of sets (sets × n × G) as a U-statistic, without the part that is due to the truth alone.

    This part does not depend on the prediction. Distances are divided by the root of the number of genes.
    """
    between, within = (_squared(predicted, other).add(1e-6).sqrt() for other in (truth, predicted))
    return (2 * between.mean(dim=(1, 2)) - _off_diagonal_mean(within)) / predicted.shape[-1] ** 0.5


def mmd(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Maximum mean discrepancy of sets as a U-statistic, without the part that is due to the truth alone.

    The kernel is the mean of Gaussian kernels with the bandwidths of :data:`BANDWIDTHS`.
    """
    unit = _off_diagonal_mean(_squared(truth, truth)).mean().clamp(min=1e-6)  # all cells of a set can be equal

    def kernel(squared: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.exp(-squared / (width * unit)) for width in BANDWIDTHS]).mean(dim=0)

    within, between = kernel(_squared(predicted, predicted)), kernel(_squared(predicted, truth))
    return _off_diagonal_mean(within) - 2 * between.mean(dim=(1, 2))


def _squared(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Squared distances between the cells of two sets, (sets × n × m)."""
    products = x @ y.transpose(1, 2)
    return (x.square().sum(dim=2)[:, :, None] + y.square().sum(dim=2)[:, None] - 2 * products).clamp(min=0)


def _off_diagonal_mean(values: torch.Tensor) -> torch.Tensor:
    """Mean over pairs of two different cells, (sets,)."""
    n = values.shape[1]
    diagonal = values.diagonal(dim1=1, dim2=2).sum(dim=1)
    return (values.sum(dim=(1, 2)) - diagonal) / (n * (n - 1))
