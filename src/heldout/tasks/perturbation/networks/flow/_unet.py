"""U-Net along the axis of the genes, as in the published flow in gene space."""

from __future__ import annotations

import torch
from torch import nn

from heldout.tasks.perturbation.networks.flow._nets import Joint, zeroed


class UNet(nn.Module):
    """One-dimensional U-Net along the genes.

    The convolutions mix genes that are neighbours in the data. The order of the genes has no meaning.

    Parameters
    ----------
    n_genes, n_condition
        Number of genes, and length of the condition.
    n_channels
        Channels of the first level. Each further level has half of the positions.
    multipliers
        Channels of each level, in multiples of ``n_channels``.
    gene_identity
        Whether each gene has a learned embedding as further input channels. A convolution does not know otherwise
        which gene it reads.
    n_identity
        Length of this embedding.
    """

    def __init__(
        self,
        n_genes: int,
        n_condition: int,
        *,
        n_channels: int = 32,
        multipliers: tuple[int, ...] = (1, 2, 4),
        gene_identity: bool = False,
        n_identity: int = 16,
    ) -> None:
        super().__init__()
        self.n_genes, self.multiple = n_genes, 2 ** (len(multipliers) - 1)
        width = 4 * n_channels
        self.joint = Joint(n_condition, width)
        self.identity = nn.Parameter(torch.randn(n_identity, n_genes) * 0.5) if gene_identity else None
        channels = [n_channels * each for each in multipliers]
        self.into = nn.Conv1d(1 + (n_identity if gene_identity else 0), n_channels, 3, padding=1)
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        n = n_channels
        for level, each in enumerate(channels):
            self.down.append(ConvolutionLayer(n, each, width))
            n = each
            if level < len(channels) - 1:
                self.shrink.append(nn.Conv1d(n, n, 3, stride=2, padding=1))
        self.middle = ConvolutionLayer(n, n, width)
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for level, each in reversed(list(enumerate(channels))):
            self.up.append(ConvolutionLayer(n + each, each, width))
            n = each
            if level:
                self.grow.append(nn.Conv1d(n, n, 3, padding=1))
        self.out = nn.Sequential(nn.GroupNorm(_n_groups(n), n), nn.SiLU(), zeroed(nn.Conv1d(n, 1, 3, padding=1)))

    def forward(self, x: torch.Tensor, t: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """One value for each gene, (batch × G)."""
        joint = self.joint(t, c)
        h = x[:, None]
        if self.identity is not None:
            h = torch.cat([h, self.identity.expand(len(x), -1, -1)], dim=1)
        h = self.into(nn.functional.pad(h, (0, -self.n_genes % self.multiple)))
        kept = []
        for level, layer in enumerate(self.down):
            h = layer(h, joint)
            kept.append(h)
            if level < len(self.shrink):
                h = self.shrink[level](h)
        h = self.middle(h, joint)
        for level, layer in enumerate(self.up):
            h = layer(torch.cat([h, kept.pop()], dim=1), joint)
            if level < len(self.grow):
                h = self.grow[level](nn.functional.interpolate(h, scale_factor=2.0))
        values: torch.Tensor = self.out(h)[:, 0, : self.n_genes]
        return values


class ConvolutionLayer(nn.Module):
    """Two convolutions that are added to their input; time and condition scale and shift the channels between them."""

    def __init__(self, n_in: int, n_out: int, n_joint: int) -> None:
        super().__init__()
        self.norm_in, self.norm = nn.GroupNorm(_n_groups(n_in), n_in), nn.GroupNorm(_n_groups(n_out), n_out)
        self.first = nn.Conv1d(n_in, n_out, 3, padding=1)
        self.film = nn.Linear(n_joint, 2 * n_out)
        self.second = zeroed(nn.Conv1d(n_out, n_out, 3, padding=1))
        self.same = nn.Identity() if n_in == n_out else nn.Conv1d(n_in, n_out, 1)

    def forward(self, h: torch.Tensor, joint: torch.Tensor) -> torch.Tensor:
        """From (batch × n_in × positions) to (batch × n_out × positions)."""
        scale, shift = self.film(joint)[:, :, None].chunk(2, dim=1)
        inner = self.first(nn.functional.silu(self.norm_in(h)))
        inner = self.norm(inner) * (1 + scale) + shift
        added: torch.Tensor = self.same(h) + self.second(nn.functional.silu(inner))
        return added


def _n_groups(n_channels: int) -> int:
    """Largest number of groups up to 8 that divides the channels."""
    return next(n for n in (8, 4, 2, 1) if n_channels % n == 0)
