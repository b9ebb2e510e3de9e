"""The networks: an ensemble of LSTMs or feed-forward networks over the times of the history of a gene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data
from torch import nn

if TYPE_CHECKING:
    from heldout.tasks.forecast_genes.config import GeneNetworkConfig

Architecture = Literal["lstm", "feedforward"]


class MemberLinear(nn.Module):
    """One linear layer for each member, (members × batch × n_in) to (members × batch × n_out)."""

    def __init__(self, n_members: int, n_in: int, n_out: int) -> None:
        super().__init__()
        bound = n_in**-0.5
        self.weight = nn.Parameter(torch.empty(n_members, n_in, n_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(n_members, 1, n_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply."""
        return torch.baddbmm(self.bias, x, self.weight)


class MemberLSTM(nn.Module):
    """One LSTM layer for each member, (members × batch × time × n_in) to (members × batch × time × n_out).

    The LSTM of torch runs one member at a time. Histories have few times, so the loop over times is short.
    """

    def __init__(self, n_members: int, n_in: int, n_out: int) -> None:
        super().__init__()
        self.n_out = n_out
        self.of_input = MemberLinear(n_members, n_in, 4 * n_out)
        self.of_state = MemberLinear(n_members, n_out, 4 * n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run through the times. The forget gate starts open."""
        members, batch, n_times, n_in = x.shape
        gates = self.of_input(x.reshape(members, batch * n_times, n_in)).reshape(members, batch, n_times, -1)
        hidden = cell = x.new_zeros(members, batch, self.n_out)
        states = []
        for time in range(n_times):
            enter, keep, leave, new = (gates[:, :, time] + self.of_state(hidden)).chunk(4, dim=-1)
            cell = torch.sigmoid(keep + 1) * cell + torch.sigmoid(enter) * torch.tanh(new)
            hidden = torch.sigmoid(leave) * torch.tanh(cell)
            states.append(hidden)
        return torch.stack(states, dim=2)


class SingleLSTM(nn.Module):
    """The LSTM of torch with the interface of :class:`MemberLSTM`, for a single member. It is several times faster."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_in, n_out, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run through the times."""
        states, _ = self.lstm(x[0])
        return states[None]


class ForecastModule(BaseModuleClass):
    """Predict from the standardised history of a gene its change, or the error of a linear forecast of it.

    A batch holds trajectories, (batch × n_times · n_inputs). The loss is the squared error of each member, weighted by
    the weights of the genes, which differ between members.
    """

    def __init__(self, architecture: Architecture, n_times: int, n_inputs: int, config: GeneNetworkConfig) -> None:
        super().__init__()
        self.architecture, self.shape, self.n_members = architecture, (n_times, n_inputs), config.n_members
        widths = config.n_hidden
        layers: list[nn.Module] = []
        if architecture == "lstm":
            for n_in, n_out in zip((n_inputs, *widths[:-1]), widths, strict=True):
                lstm = SingleLSTM(n_in, n_out) if self.n_members == 1 else MemberLSTM(self.n_members, n_in, n_out)
                layers += [lstm, nn.Dropout(config.dropout)]
        else:
            for n_in, n_out in zip((n_times * n_inputs, *widths[:-1]), widths, strict=True):
                layers += [MemberLinear(self.n_members, n_in, n_out), nn.ReLU(), nn.Dropout(config.dropout)]
        self.trunk = nn.Sequential(*layers)
        self.head = MemberLinear(self.n_members, widths[-1], 1)

    def _get_inference_input(self, tensors: dict[str, torch.Tensor], **kwargs: Any) -> dict[str, torch.Tensor]:
        return {"x": tensors["X"]}

    def _get_generative_input(
        self, tensors: dict[str, torch.Tensor], inference_outputs: dict[str, torch.Tensor], **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        return {"h": inference_outputs["h"]}

    @auto_move_data
    def inference(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Trunk: (batch × n_times · n_inputs) to (members × batch × n_hidden)."""
        every = x.expand(self.n_members, *x.shape)
        if self.architecture == "feedforward":
            return {"h": self.trunk(every)}
        return {"h": self.trunk(every.reshape(self.n_members, len(x), *self.shape))[:, :, -1]}

    @auto_move_data
    def generative(self, h: torch.Tensor) -> dict[str, torch.Tensor]:
        """Head: prediction of each member, (members × batch)."""
        return {"y": self.head(h)[..., 0]}

    def loss(
        self,
        tensors: dict[str, torch.Tensor],
        inference_outputs: dict[str, torch.Tensor],
        generative_outputs: dict[str, torch.Tensor],
    ) -> LossOutput:
        """Weighted squared error, summed over members, so that each member trains independently."""
        y, truth = generative_outputs["y"], tensors["y"]
        squares = (y - truth) ** 2
        loss = (squares * tensors["weights"].T).mean(dim=1).sum()
        ensemble = ((y.mean(dim=0) - truth) ** 2).mean()
        return LossOutput(loss=loss, n_obs_minibatch=len(truth), extra_metrics={"ensemble": ensemble.detach()})

    def forecast(self, x: torch.Tensor) -> torch.Tensor:
        """Mean of the members, (batch,)."""
        return self.generative(**self.inference(x))["y"].mean(dim=0)

    def sample(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Not a generative model."""
        msg = "ForecastModule predicts means of genes. It does not sample cells."
        raise TypeError(msg)
