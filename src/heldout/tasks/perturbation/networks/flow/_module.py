"""The flow: what it is trained on, and how cells are generated from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data
from torch import nn

from heldout._core.threads import network_policy
from heldout.tasks.perturbation.networks.flow._nets import Latents, PlainMLP, SkipMLP
from heldout.tasks.perturbation.networks.flow._solvers import solve
from heldout.tasks.perturbation.networks.flow._unet import UNet

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout._core.blocks import Batch
    from heldout.tasks.perturbation.config_networks import PerturbationFlowConfig
    from heldout.tasks.perturbation.networks.flow._space import Space

SHORTEST = 0.05
"""Smallest 1 - t by which a predicted displacement is divided."""


def build_net(config: PerturbationFlowConfig, n_dims: int) -> nn.Module:
    """The network that the options name, for a number of genes or components."""
    hidden = {"width": config.width, "n_layers": config.n_layers}
    match config.network:
        case "mlp":
            return PlainMLP(n_dims, config.n_condition, **hidden)
        case "unet":
            identity = config.gene_identity
            return UNet(n_dims, config.n_condition, n_channels=config.width, gene_identity=identity)
        case "latents":
            tokens = {"n_latents": config.n_latents, "patch": config.patch}
            return Latents(n_dims, config.n_condition, **hidden, **tokens)
        case _:
            return SkipMLP(n_dims, config.n_condition, **hidden)


class ConditionalFlow(BaseModuleClass):
    """Conditional flow matching: the velocity at points on straight paths from source cells to perturbed cells.

    Parameters
    ----------
    config
        Options, see :class:`heldout.model.PerturbationFlowConfig`.
    encoder
        Function of a batch, and of the rows whose perturbation is hidden, to conditions, (batch × n_condition).
    space
        The coordinates.
    """

    def __init__(self, config: PerturbationFlowConfig, encoder: nn.Module, space: Space) -> None:
        super().__init__()
        self.config, self.space, self.encoder = config, space, encoder
        self.net = build_net(config, space.n_dims)
        positions = {"unet": space.n_dims, "latents": -(-space.n_dims // config.patch)}
        self.n_positions = positions.get(config.network, 1)  # for the number of threads

    def velocity(self, x: torch.Tensor, t: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """Velocity at points ``x`` (n × k), at times ``t`` (n × 1), under conditions ``c`` (n × W)."""
        predicted: torch.Tensor = self.net(x, t, c)
        if self.config.prediction == "v":
            return predicted
        return (predicted - x) / (1 - t).clamp(min=SHORTEST)

    def begin(self, batch: Batch, generator: torch.Generator | None = None) -> torch.Tensor:
        """Points where the paths of a batch begin, (batch × k)."""
        source, space = self.config.source, self.space.to(batch["X"].device)
        if source in ("control", "composed"):
            return space.encode(batch["controls" if source == "control" else "source"])
        n = len(batch["X"])
        noise = torch.randn(n, space.n_dims, generator=generator, device=batch["X"].device)
        return noise if source == "noise" else noise * space.spread

    def _get_inference_input(self, tensors: Batch, **kwargs: Any) -> dict[str, Any]:
        end = self.space.to(tensors["X"].device).encode(tensors["X"])
        n, device = len(end), end.device
        if self.training:
            begin, t = self.begin(tensors), torch.rand(n, 1, device=device)
            drop = torch.rand(n, device=device) < self.config.condition_dropout
        else:  # the same points in each epoch, or stopping would follow chance
            begin = self.begin(tensors, torch.Generator(device).manual_seed(0))
            t, drop = torch.linspace(0, 1, n, device=device)[:, None], torch.zeros(n, dtype=torch.bool, device=device)
        if self.config.coupling == "transport":
            begin = begin[coupled(begin, end, torch.stack([tensors["number"], tensors["context"]], dim=1))]
        return {"batch": tensors, "begin": begin, "end": end, "t": t, "drop": drop}

    def _get_generative_input(self, tensors: Batch, inference_outputs: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return inference_outputs

    @auto_move_data
    def inference(
        self, batch: Batch, begin: torch.Tensor, end: torch.Tensor, t: torch.Tensor, drop: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Points on the paths, their times and conditions, and the velocities of the paths."""
        x = (1 - t) * begin + t * end
        wanted = end - begin if self.config.prediction == "v" else (end - x) / (1 - t).clamp(min=SHORTEST)
        return {"x": x, "t": t, "c": self.encoder(batch, drop), "wanted": wanted}

    @auto_move_data
    def generative(
        self, x: torch.Tensor, t: torch.Tensor, c: torch.Tensor, wanted: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Predicted velocity, (batch × k)."""
        return {"velocity": self.velocity(x, t, c)}

    def loss(
        self,
        tensors: Batch,
        inference_outputs: dict[str, torch.Tensor],
        generative_outputs: dict[str, torch.Tensor],
    ) -> LossOutput:
        """Squared error of the velocity, averaged over coordinates."""
        off = (generative_outputs["velocity"] - inference_outputs["wanted"]).square().mean(dim=1)
        return LossOutput(loss=off.mean(), n_obs_minibatch=len(off))

    @torch.inference_mode()
    def sample(self, condition: Batch, begin: torch.Tensor) -> torch.Tensor:
        """Expression of generated cells, (n × G), not thresholded.

        Parameters
        ----------
        condition
            Tensors of :meth:`Conditions.encode`, one row, or one row for each cell.
        begin
            Coordinates where the paths begin, (n × k).
        """
        device = next(self.parameters()).device
        condition, begin = {name: tensor.to(device) for name, tensor in condition.items()}, begin.to(device)
        with network_policy(self, len(begin)):
            field = self.field(condition, len(begin))
            end = solve(field, begin, self.config.solver, self.config.n_steps, self.config.tolerance)
            return self.space.to(device).decode(end)

    def field(self, condition: Batch, n: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Function from a time and points, (n × k), to the velocity with guidance; the condition is encoded once."""
        c = self.encoder(condition).expand(n, -1)
        weight = self.config.guidance

        def conditional(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            return self.velocity(x, t.expand(n, 1), c)

        if weight == 1:
            return conditional
        rows = len(condition["context"])
        hidden = self.encoder(condition, drop=torch.ones(rows, dtype=torch.bool, device=c.device)).expand(n, -1)

        def guided(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            without = self.velocity(x, t.expand(n, 1), hidden)
            return without + weight * (conditional(t, x) - without)

        return guided


def coupled(begin: torch.Tensor, end: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """Order of the source points, (n,), that pairs them with the cells by optimal transport within each group.

    Between equally many points, optimal transport is an assignment. Points are exchanged within groups only: across
    perturbations, the pairing would make the source depend on the perturbation.
    """
    order = torch.arange(len(begin), device=begin.device)
    _, number = torch.unique(groups, dim=0, return_inverse=True)
    for group in range(int(number.max()) + 1):
        rows = torch.nonzero(number == group)[:, 0]
        if len(rows) > 1:
            costs = torch.cdist(end[rows].float(), begin[rows].float()).square()
            _, chosen = linear_sum_assignment(costs.cpu().numpy())
            order[rows] = rows[torch.from_numpy(np.asarray(chosen)).to(rows.device)]
    return order
