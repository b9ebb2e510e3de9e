"""``latent_additive_network`` behind the two verbs of a perturbation method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from heldout.tasks.perturbation.config_networks import LatentAdditiveNetworkConfig
from heldout.tasks.perturbation.networks._control_cells import ControlCellsMethod
from heldout.tasks.perturbation.networks.latent_additive._module import LatentAdditiveModule

if TYPE_CHECKING:
    import torch

    from heldout._core.blocks import Batch
    from heldout.tasks.perturbation.networks._network import Blueprint

GENE_AXES = {
    **dict.fromkeys(("centre", "spread", "net.decode.4.weight", "net.decode.4.bias"), 0),
    **dict.fromkeys(("control", "net.encode.0.weight"), 1),
}
"""Axis of the genes of the arrays of a fit."""


class LatentAdditiveNetwork(ControlCellsMethod):
    """Decode the sum of an encoded control cell and the vectors of its targets :cite:p:`wu2024perturbench`.

    The squared error to a random cell of the perturbation is lowest for the mean cell. The decoded cells are therefore
    all alike, and by default they only move control cells.
    """

    default_config: ClassVar[Any] = LatentAdditiveNetworkConfig()
    gene_axes: ClassVar[dict[str, int]] = GENE_AXES

    def build(self, blueprint: Blueprint) -> LatentAdditiveModule:
        """The module with initial weights."""
        return LatentAdditiveModule(blueprint.config, blueprint.conditions, blueprint.arrays)

    def cells_of(
        self, module: LatentAdditiveModule, x: torch.Tensor, mean: torch.Tensor, condition: Batch
    ) -> torch.Tensor:
        """Decoded cells, or control cells that are moved by the decoded change."""
        decoded = module.decoded(x, condition)
        return decoded if module.as_decoded else x + decoded - mean
