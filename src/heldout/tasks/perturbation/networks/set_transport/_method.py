"""``set_transport`` behind the two verbs of a perturbation method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from heldout.tasks.perturbation.config_networks import SetTransportConfig
from heldout.tasks.perturbation.networks._control_cells import ControlCellsMethod
from heldout.tasks.perturbation.networks.set_transport._batches import SetBlocks
from heldout.tasks.perturbation.networks.set_transport._module import SetTransportModule

if TYPE_CHECKING:
    from heldout._core.blocks import Batch, BatchBlocks
    from heldout.tasks.perturbation.networks._network import Blueprint
    from heldout.tasks.perturbation.observed import Cells


class SetTransport(ControlCellsMethod):
    """Move a set of control cells to a set of perturbed cells with attention between the cells of the set.

    The loss is a distance between the predicted and a measured set of cells, so no cell needs a partner, and the
    spread of the cells is learnt. It is the idea of State :cite:p:`adduri2025` in small.
    """

    default_config: ClassVar[Any] = SetTransportConfig()
    gene_axes: ClassVar[dict[str, int]] = {
        **dict.fromkeys(("centre", "spread", "net.decode.4.weight", "net.decode.4.bias", "net.effect.weight"), 0),
        **dict.fromkeys(("control", "net.encode.weight"), 1),
    }

    def build(self, blueprint: Blueprint) -> SetTransportModule:
        """The module with initial weights."""
        return SetTransportModule(blueprint.config, blueprint.conditions, blueprint.arrays)

    def blocks(
        self, cells: Cells, blueprint: Blueprint, rows: np.ndarray, *, batch_size: int, seed: int | None
    ) -> BatchBlocks:
        """Batches of whole sets."""
        return SetBlocks(
            cells,
            rows,
            blueprint.conditions,
            batch_size,
            blueprint.config.set_size,
            blueprint.config.max_cells,
            seed=seed,
        )

    def cells_of(
        self, module: SetTransportModule, x: torch.Tensor, mean: torch.Tensor, condition: Batch
    ) -> torch.Tensor:
        """Move the cells in sets of at most the size of training, all of nearly the same size."""
        sets = torch.from_numpy(np.arange(len(x))).tensor_split(-(-len(x) // module.set_size))
        parts = []
        for rows in sets:
            repeated = {name: values.expand(len(rows), *values.shape[1:]) for name, values in condition.items()}
            parts.append(module.moved(x[rows][None], repeated)[0])
        return torch.cat(parts)
