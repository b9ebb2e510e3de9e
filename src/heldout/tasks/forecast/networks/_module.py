"""Modules of the forecast networks on the base class of scvi-tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data
from torch.nn import functional as F

from heldout.tasks.forecast.networks._nets import Recurrent, Velocity, Window, energy

if TYPE_CHECKING:
    import numpy as np

    from heldout.tasks.forecast.config import FlowConfig, PublishedConfig, SequenceConfig

TIMELESS = 0.5
"""Share of cells whose time is hidden in training, because after the last train time the time is not known."""

UNKNOWN = -1.0
"""A time that is not known."""

PUBLISHED = {"lstm": (128, 64), "feedforward": (128, 64, 32)}
"""Hidden layers of the published study."""


class FlowModule(BaseModuleClass):
    """Flow matching: the velocity of a point on the straight path between two paired cells of neighbouring times.

    Coordinates and times come standardised. The squared error is that of the whole displacement between the two times,
    so that short intervals do not outweigh long ones.
    """

    def __init__(self, k: int, times: np.ndarray, config: FlowConfig) -> None:
        super().__init__()
        self.k, self.noise = k, config.noise
        self.net = Velocity(k, config.n_hidden, config.n_layers)

    def _get_inference_input(self, tensors: dict[str, torch.Tensor], **kwargs: Any) -> dict[str, torch.Tensor]:
        before, after = tensors["X"].split(self.k, dim=1)
        times = tensors["times"]
        if self.training:
            s = torch.rand(len(before), 1, device=before.device)
        else:  # the same points each epoch, or the stopping would watch luck
            s = torch.linspace(0, 1, len(before), device=before.device)[:, None]
        x = before + s * (after - before)
        if self.training:
            x = x + self.noise * torch.randn_like(x)
        t = times[:, :1] + s * (times[:, 1:] - times[:, :1])
        if self.training:  # half of the cells without their time, so that one network learns both
            t = torch.where(torch.rand_like(t) < TIMELESS, UNKNOWN * torch.ones_like(t), t)
        return {"x": x, "t": t}

    def _get_generative_input(
        self, tensors: dict[str, torch.Tensor], inference_outputs: dict[str, torch.Tensor], **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        return inference_outputs

    @auto_move_data
    def inference(self, x: torch.Tensor, t: torch.Tensor) -> dict[str, torch.Tensor]:
        """Points on the paths, (batch × k), and their times, (batch × 1)."""
        return {"x": x, "t": t}

    @auto_move_data
    def generative(self, x: torch.Tensor, t: torch.Tensor) -> dict[str, torch.Tensor]:
        """Velocity there, (batch × k)."""
        return {"velocity": self.net(x, t)}

    def loss(
        self,
        tensors: dict[str, torch.Tensor],
        inference_outputs: dict[str, torch.Tensor],
        generative_outputs: dict[str, torch.Tensor],
    ) -> LossOutput:
        """Squared error of the displacement, summed over coordinates."""
        before, after = tensors["X"].split(self.k, dim=1)
        step = tensors["times"][:, 1:] - tensors["times"][:, :1]
        off = (step * generative_outputs["velocity"] - (after - before)).square().sum(dim=1)
        return LossOutput(loss=off.mean(), n_obs_minibatch=len(off))

    def sample(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Refuse: cells are moved along the velocity, not drawn."""
        msg = "FlowModule is a velocity and does not sample. Use heldout.tl.predict_cells to move cells along it."
        raise TypeError(msg)


class SequenceModule(BaseModuleClass):
    """A network over the chain of a cell through the train times.

    With a skip it predicts every later time of a chain from those before it, and its loss is the energy distance
    between predicted and observed cells of a batch: which descendant a cell had is not known, so that a squared error
    would pull all cells to their mean. As published it predicts the last time only, from all others, by squared error.
    """

    def __init__(
        self, k: int, times: np.ndarray, config: SequenceConfig | PublishedConfig, *, kind: str, skip: bool
    ) -> None:
        super().__init__()
        self.k, self.skip = k, skip
        widths = PUBLISHED[kind] if config.n_hidden is None else config.n_hidden
        window = min(getattr(config, "window", len(times)), len(times) - 1)
        self.register_buffer("times", torch.as_tensor(times, dtype=torch.float32), persistent=False)
        if kind == "lstm":
            self.net: Recurrent | Window = Recurrent(k, widths, config.dropout, skip=skip)
        else:
            self.net = Window(k, window, widths, config.dropout, skip=skip)

    def _get_inference_input(self, tensors: dict[str, torch.Tensor], **kwargs: Any) -> dict[str, torch.Tensor]:
        return {"chains": tensors["X"].unflatten(1, (-1, self.k))}

    def _get_generative_input(
        self, tensors: dict[str, torch.Tensor], inference_outputs: dict[str, torch.Tensor], **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        return inference_outputs

    @auto_move_data
    def inference(self, chains: torch.Tensor) -> dict[str, torch.Tensor]:
        """Chains, (batch × T × k)."""
        return {"chains": chains}

    @auto_move_data
    def generative(self, chains: torch.Tensor) -> dict[str, torch.Tensor]:
        """The cell after each time but the last, (batch × T - 1 × k)."""
        return {"after": self.net(chains[:, :-1], self.times.diff())}

    def loss(
        self,
        tensors: dict[str, torch.Tensor],
        inference_outputs: dict[str, torch.Tensor],
        generative_outputs: dict[str, torch.Tensor],
    ) -> LossOutput:
        """Energy distance, averaged over the later times; or the squared error of the last one."""
        chains, after = inference_outputs["chains"], generative_outputs["after"]
        if self.skip:
            steps = range(after.shape[1])
            loss = torch.stack([energy(after[:, i], chains[:, i + 1]) for i in steps]).mean()
        else:
            loss = F.mse_loss(after[:, -1], chains[:, -1])
        return LossOutput(loss=loss, n_obs_minibatch=len(chains))

    def sample(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Refuse: this is not a generative model."""
        msg = "SequenceModule moves cells. It does not sample them."
        raise TypeError(msg)
