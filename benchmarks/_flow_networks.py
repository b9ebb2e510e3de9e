"""Velocity networks of flow_in_gene_space.py: those of the package without a condition, and two others."""

from __future__ import annotations

from math import ceil, sqrt

import torch
from torch import nn
from torch.nn import functional as F

from heldout.tasks.perturbation.networks.flow._nets import Latents, PlainMLP, SkipMLP
from heldout.tasks.perturbation.networks.flow._unet import UNet

N_LAYERS, MOST_MIXED = 3, 64


class Bottleneck(nn.Module):
    """Linear map to ``width`` numbers, gains that depend on time, and a linear map back."""

    def __init__(self, n_genes: int, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(n_genes, width, bias=False), nn.Linear(width, n_genes, bias=False)
        self.gain = nn.Sequential(nn.Linear(1, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, width))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Velocity, (batch × G)."""
        return self.up(self.gain(t) * self.down(x))


class Patches(nn.Module):
    """Tokens of some genes each, which a mixer lets interact.

    Parameters
    ----------
    n_genes, genes, width
        Number of genes, genes in a token, and width of a token.
    identity
        Whether each token has maps and a vector of its own. Without it, one map serves all tokens, and tokens are told
        apart by nothing but their place in the mixer.
    """

    def __init__(self, n_genes: int, genes: int, width: int, *, identity: bool = True) -> None:
        super().__init__()
        self.n_genes, self.genes, self.n = n_genes, genes, ceil(n_genes / genes)
        own, mixed = self.n if identity else 1, min(MOST_MIXED, self.n)
        self.down = nn.Parameter(torch.randn(own, genes, width) / sqrt(genes))
        self.up = nn.Parameter(torch.randn(own, width, genes) * 0.01 / sqrt(width))
        self.bias = nn.Parameter(torch.zeros(own, genes))
        self.vector = nn.Parameter(0.02 * torch.randn(own, width)) if identity else None
        self.time = nn.Sequential(nn.Linear(1, 64), nn.SiLU(), nn.Linear(64, width))
        self.inside = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
            for _ in range(N_LAYERS)
        )
        self.between = nn.ModuleList(
            nn.Sequential(nn.Linear(self.n, mixed), nn.SiLU(), nn.Linear(mixed, self.n)) if identity else nn.Identity()
            for _ in range(N_LAYERS)
        )

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Velocity, (batch × G)."""
        tokens = F.pad(x, (0, self.n * self.genes - self.n_genes)).view(len(x), self.n, self.genes)
        h = torch.einsum("bng,ngw->bnw", tokens, self.down.expand(self.n, -1, -1))
        h = h if self.vector is None else h + self.vector
        time = self.time(t)[:, None]
        for inside, between in zip(self.inside, self.between, strict=True):
            h = h + inside(h + time)
            if isinstance(between, nn.Identity):
                h = h + h.mean(dim=1, keepdim=True)
            else:
                h = h + between(h.transpose(1, 2)).transpose(1, 2)
        out = torch.einsum("bnw,nwg->bng", h, self.up.expand(self.n, -1, -1)) + self.bias
        return out.flatten(1)[:, : self.n_genes]


class Unconditional(nn.Module):
    """A network of the package, with a condition that is always the same."""

    def __init__(self, name: str, n_genes: int, width: int) -> None:
        super().__init__()
        build = {
            "mlp": lambda: PlainMLP(n_genes, 1, width=width),
            "residual_mlp": lambda: _without_gate(SkipMLP(n_genes, 1, width=width)),
            "skip_mlp": lambda: SkipMLP(n_genes, 1, width=width),
            "unet": lambda: UNet(n_genes, 1, n_channels=width),
            "unet_identity": lambda: UNet(n_genes, 1, n_channels=width, gene_identity=True),
            "latents": lambda: Latents(n_genes, 1, width=width, n_latents=16),
        }
        self.net = build[name]()

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """One value for each gene, (batch × G)."""
        values: torch.Tensor = self.net(x, t, torch.zeros(len(x), 1))
        return values


def _without_gate(net: SkipMLP) -> SkipMLP:
    """A residual network whose path from a gene to itself stays at zero."""
    net.gate.requires_grad_(requires_grad=False)
    return net


def network(name: str, n_genes: int, width: int) -> nn.Module:
    """Build a network by its name in the benchmark."""
    if name.startswith("patches_"):
        return Patches(n_genes, int(name.removeprefix("patches_")), width)
    if name.startswith("shared_"):
        return Patches(n_genes, int(name.removeprefix("shared_")), width, identity=False)
    return Unconditional(name, n_genes, width)
