"""The networks themselves: a velocity field, and two that predict the next time of a history."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    import numpy as np


class Velocity(nn.Module):
    """Velocity of cells (batch × k) at times (batch × 1): linear in the cell, plus a network of cell and time.

    A negative time means that the time is not known. The velocity then depends on the cell only.
    """

    def __init__(self, k: int, n_hidden: int, n_layers: int) -> None:
        super().__init__()
        widths = [k + 3, *[n_hidden] * n_layers]
        layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.SiLU())]
        self.network = nn.Sequential(*layers, _zero(nn.Linear(widths[-1], k)))
        self.linear = _zero(nn.Linear(k, k)).requires_grad_(requires_grad=False)

    def set_linear(self, slope: np.ndarray, intercept: np.ndarray) -> None:
        """Set the linear part, x @ slope + intercept. The network learns the rest."""
        self.linear.weight.copy_(torch.as_tensor(slope.T, dtype=torch.float32))
        self.linear.bias.copy_(torch.as_tensor(intercept, dtype=torch.float32))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Velocity."""
        known = (t >= 0).to(t.dtype)
        time = known * torch.cat([t, torch.sin(torch.pi * t), torch.ones_like(t)], dim=1)
        return self.linear(x) + self.network(torch.cat([x, time], dim=1))


class Recurrent(nn.Module):
    """Stacked LSTM over a history. With ``skip`` it also sees the gaps between times, and predicts a change."""

    def __init__(self, k: int, n_hidden: tuple[int, ...], dropout: float, *, skip: bool) -> None:
        super().__init__()
        self.skip = skip
        widths = [k + 1 if skip else k, *n_hidden]
        self.layers = nn.ModuleList([nn.LSTM(a, b, batch_first=True) for a, b in pairwise(widths)])
        self.dropout = nn.Dropout(dropout)
        head = nn.Linear(widths[-1], k)
        self.head = _zero(head) if skip else head

    def forward(self, history: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
        """Cell after each time, (batch × L × k), from the history (batch × L × k) and the gaps after each time (L,)."""
        h = history
        if self.skip:
            gap = torch.log1p(gaps).expand(len(history), -1)[..., None]
            h = torch.cat([history, gap], dim=2)
        for layer in self.layers:
            h = self.dropout(layer(h)[0])
        out = self.head(h)
        return history + out if self.skip else out


class Window(nn.Module):
    """Feed-forward network over the last ``window`` times. Times before the first are filled with the first cell."""

    def __init__(self, k: int, window: int, n_hidden: tuple[int, ...], dropout: float, *, skip: bool) -> None:
        super().__init__()
        self.window, self.skip = window, skip
        widths = [window * (k + 1) if skip else window * k, *n_hidden]
        layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout))]
        head = nn.Linear(widths[-1], k)
        self.network = nn.Sequential(*layers, _zero(head) if skip else head)

    def forward(self, history: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
        """As :meth:`Recurrent.forward`."""
        length = history.shape[1]
        at = torch.arange(length, device=history.device)
        seen = at[:, None] + torch.arange(1 - self.window, 1, device=history.device)  # (L × window)
        windows = history[:, seen.clamp(min=0)]
        if self.skip:
            gap = torch.where(seen >= 0, torch.log1p(gaps)[seen.clamp(min=0)], 0.0)
            windows = torch.cat([windows, gap.expand(len(history), -1, -1)[..., None]], dim=3)
        out = self.network(windows.flatten(2))
        return history + out if self.skip else out


def energy(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Energy distance of two batches, less the part that does not depend on the prediction."""
    n = len(predicted)
    between = _distances(predicted, truth).mean()
    within = _distances(predicted, predicted).sum() / max(n * (n - 1), 1)
    return 2 * between - within


def _distances(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Euclidean distances by one product, with a gradient where cells coincide too."""
    squared = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1) - 2 * x @ y.T
    return (squared.clamp(min=0) + 1e-6).sqrt()


def _zero(layer: nn.Linear) -> nn.Linear:
    """Start from no change at all."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
