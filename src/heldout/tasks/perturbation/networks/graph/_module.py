"""Vectors of targets along a graph, and the losses of the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from heldout.tasks.perturbation.networks._condition import AdditiveEncoder
from heldout.tasks.perturbation.networks.latent_additive._module import LatentAdditiveModule

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from heldout._core.blocks import Batch
    from heldout.tasks.perturbation.config_networks import GraphConfig
    from heldout.tasks.perturbation.networks._condition import Conditions

FOCUS = 2.0
"""What is added to the exponent of the error in the loss ``autofocus``."""


class GraphEncoder(AdditiveEncoder):
    """Sum of the vectors of the targets, where a target that was never trained has a vector from the graph.

    A train target has a learned vector. Any other target has a linear map of the weighted mean of the vectors of the
    train targets that it is joined to. In training a share of the learned vectors is hidden and replaced in the same
    way, so that the map, and the vectors, are learnt for that use.

    Parameters
    ----------
    conditions
        Targets, of which the first have a learned vector, and contexts.
    width
        Length of the vectors.
    graph
        Weights of the train targets for each target, (N × T).
    hidden_share
        Share of the vectors that are hidden in training.
    """

    graph: torch.Tensor

    def __init__(self, conditions: Conditions, width: int, graph: np.ndarray, hidden_share: float) -> None:
        super().__init__(conditions, width)
        self.hidden_share, self.n_learned = hidden_share, graph.shape[1]
        self.register_buffer("graph", torch.as_tensor(graph, dtype=torch.float32), persistent=False)
        self.passed_on = nn.Linear(width, width)
        nn.init.eye_(self.passed_on.weight)
        nn.init.zeros_(self.passed_on.bias)

    def targets_of(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Sum of the vectors of the targets, (batch × width)."""
        numbers = batch["targets"]  # (batch × K)
        learned = self.targets.weight[: self.n_learned]
        nothing = len(self.graph)
        trained = self.targets(numbers)
        passed_on = self.passed_on(self.graph[numbers.clamp(max=nothing - 1)] @ learned)
        has_neighbors = self.graph.any(dim=1)[numbers.clamp(max=nothing - 1)]
        from_graph = (numbers >= self.n_learned) & (numbers < nothing)
        if self.training and self.hidden_share:
            hidden = torch.rand(numbers.shape, device=numbers.device) < self.hidden_share
            from_graph = from_graph | (hidden & has_neighbors & (numbers < self.n_learned))
        total = torch.where(from_graph[..., None], passed_on, trained).sum(dim=1)
        return total + batch["unseen"][:, None] * learned.mean(dim=0)


class GraphModule(LatentAdditiveModule):
    """A latent additive network whose vectors of targets come from a graph.

    Parameters
    ----------
    config
        Widths, dropout and the loss.
    conditions
        Targets and contexts.
    arrays
        Coordinates of the genes, and ``graph``, (N × T).
    """

    def __init__(self, config: GraphConfig, conditions: Conditions, arrays: Mapping[str, np.ndarray]) -> None:
        encoder = GraphEncoder(conditions, config.n_latent, arrays["graph"], config.hidden_share)
        super().__init__(config, conditions, arrays, encoder)
        self.exponent = 2.0 + (FOCUS if config.loss == "autofocus" else 0.0)

    def losses(self, batch: Batch, found: dict[str, torch.Tensor]) -> torch.Tensor:
        """Mean over genes of a power of the error in standardised coordinates, (batch,) :cite:p:`roohani2024`."""
        error = (found["cells"] - batch["X"]) / self.scale
        return error.abs().pow(self.exponent).mean(dim=1)
