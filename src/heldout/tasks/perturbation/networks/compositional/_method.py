"""``compositional`` behind the two verbs of a perturbation method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from heldout.tasks.perturbation.config_networks import CompositionalConfig
from heldout.tasks.perturbation.networks._batches import PairedBlocks
from heldout.tasks.perturbation.networks.compositional._module import CompositionalModule
from heldout.tasks.perturbation.networks.compositional._trainingplan import CompositionalTrainingPlan
from heldout.tasks.perturbation.networks.latent_additive._method import LatentAdditiveNetwork

if TYPE_CHECKING:
    from heldout._core.blocks import Batch
    from heldout._core.method import Fitted
    from heldout.tasks.perturbation.interface import Data
    from heldout.tasks.perturbation.networks._condition import Conditions
    from heldout.tasks.perturbation.networks._network import Blueprint
    from heldout.tasks.perturbation.networks._trainingplan import NetworkTrainingPlan
    from heldout.tasks.perturbation.observed import Cells


class Compositional(LatentAdditiveNetwork):
    """Rebuild cells from latent coordinates plus vectors of targets and contexts :cite:p:`lotfollahi2023`.

    A perturbed cell is predicted from the latent coordinates of a control cell. This is right only if these coordinates
    do not tell the perturbation. By default an adversary sees to that.
    """

    default_config: ClassVar[Any] = CompositionalConfig()
    plan: ClassVar[type[NetworkTrainingPlan]] = CompositionalTrainingPlan

    def prepare(
        self, data: Data, config: Any, *, seed: int, start: Fitted | None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Coordinates, control cells, and the number of train perturbations, with the controls."""
        arrays, info = super().prepare(data, config, seed=seed, start=start)
        return arrays, {**info, "n_classes": len(_classes(data.cells()))}

    def build(self, blueprint: Blueprint) -> CompositionalModule:
        """The module with initial weights."""
        return CompositionalModule(
            blueprint.config, blueprint.conditions, blueprint.arrays, blueprint.info["n_classes"]
        )

    def cells_of(
        self, module: CompositionalModule, x: torch.Tensor, mean: torch.Tensor, condition: Batch
    ) -> torch.Tensor:
        """Decoded cells, or control cells that are moved by the difference from the same cells, rebuilt."""
        decoded = module.decoded(x, condition)
        return decoded if module.as_decoded else x + decoded - module.decoded(x, module.without_targets(condition))

    def blocks(
        self, cells: Cells, blueprint: Blueprint, rows: np.ndarray, *, batch_size: int, seed: int | None
    ) -> PairedBlocks:
        """Cells with control cells and their class."""
        return ClassBlocks(cells, rows, blueprint.conditions, batch_size, seed=seed)


class ClassBlocks(PairedBlocks):
    """Paired batches with ``class``, the number of the perturbation among those of train, (batch,) int64."""

    def __init__(
        self, cells: Cells, rows: np.ndarray, conditions: Conditions, batch_size: int, *, seed: int | None
    ) -> None:
        super().__init__(cells, rows, conditions, batch_size, seed=seed)
        classes = _classes(cells)
        found = np.searchsorted(classes, cells.perturbation).clip(max=len(classes) - 1)
        self.classes = torch.from_numpy(found.astype(np.int64))

    def more(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Class of each row. That of a val perturbation has no meaning and is not used."""
        return {"class": self.classes[batch["row"]]}


def _classes(cells: Cells) -> np.ndarray:
    """Numbers of the perturbations in train, -1 for controls, sorted."""
    return np.unique(cells.perturbation[cells.train])
