"""Networks of a flow: from a point on the path, its time and a condition to one value for each gene.

All have the same call: ``net(x, t, c)`` with ``x`` (batch × G), ``t`` (batch × 1) from 0 to 1, and ``c`` (batch × W).
"""

from __future__ import annotations

import math

import torch
from torch import nn

N_TIME = 64
"""Length of the embedding of time."""


class TimeEmbedding(nn.Module):
    """Sines and cosines of the time, and a small network of them, (batch × width)."""

    frequencies: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        frequencies = math.pi * torch.exp(torch.linspace(0, math.log(100), N_TIME // 2))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.net = nn.Sequential(nn.Linear(N_TIME, width), nn.SiLU(), nn.Linear(width, width))

    def waves(self, t: torch.Tensor) -> torch.Tensor:
        """Sines and cosines alone, (batch × 64)."""
        angles = t * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        """Embed times, (batch × 1)."""
        embedded: torch.Tensor = self.net(self.waves(t))
        return embedded


class Joint(nn.Module):
    """Time and condition in one vector, (batch × width)."""

    def __init__(self, n_condition: int, width: int) -> None:
        super().__init__()
        self.time, self.condition = TimeEmbedding(width), nn.Linear(n_condition, width)

    def forward(self, t: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """Add the embedding of time to the condition."""
        joint: torch.Tensor = nn.functional.silu(self.time(t) + self.condition(c))
        return joint


def zeroed(layer: nn.Linear | nn.Conv1d) -> nn.Module:
    """Set weights and bias to zero, so that a new network begins with its skip paths alone."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class PlainMLP(nn.Module):
    """Multilayer perceptron. What it knows of ``x`` has to pass layers of ``width`` numbers.

    Parameters
    ----------
    n_genes, n_condition
        Number of genes, and length of the condition.
    width, n_layers
        Width and number of the hidden layers.
    """

    def __init__(self, n_genes: int, n_condition: int, *, width: int = 512, n_layers: int = 4) -> None:
        super().__init__()
        self.joint = Joint(n_condition, width)
        self.into = nn.Linear(n_genes, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(n_layers - 1))
        self.shifts = nn.ModuleList(nn.Linear(width, width) for _ in range(n_layers))
        self.out = nn.Linear(width, n_genes)

    def forward(self, x: torch.Tensor, t: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """One value for each gene, (batch × G)."""
        joint = self.joint(t, c)
        h = nn.functional.silu(self.into(x) + self.shifts[0](joint))
        for layer, shift in zip(self.layers, list(self.shifts)[1:], strict=True):
            h = nn.functional.silu(layer(h) + shift(joint))
        values: torch.Tensor = self.out(h)
        return values


class ResidualLayer(nn.Module):
    """Two linear layers that are added to their input; time and condition scale and shift the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.film = nn.Linear(width, 2 * width)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, h: torch.Tensor, joint: torch.Tensor) -> torch.Tensor:
        """Same shape as ``h``."""
        scale, shift = self.film(joint).chunk(2, dim=-1)
        inner = self.norm(h) * (1 + scale) + shift
        added: torch.Tensor = h + self.second(nn.functional.silu(self.first(inner)))
        return added


class SkipMLP(nn.Module):
    """Residual multilayer perceptron with a skip path from each gene of ``x`` to the same gene of the output.

    The weight of the skip path is a function of time for each gene. So noise in ``x`` need not pass the hidden layers.

    Parameters
    ----------
    n_genes, n_condition
        Number of genes, and length of the condition.
    width, n_layers
        Width and number of the residual layers.
    """

    def __init__(self, n_genes: int, n_condition: int, *, width: int = 512, n_layers: int = 3) -> None:
        super().__init__()
        self.joint = Joint(n_condition, width)
        self.into = nn.Linear(n_genes, width)
        self.layers = nn.ModuleList(ResidualLayer(width) for _ in range(n_layers))
        self.norm = nn.LayerNorm(width)
        self.out = zeroed(nn.Linear(width, n_genes))
        self.gate = zeroed(nn.Linear(N_TIME, n_genes))

    def forward(self, x: torch.Tensor, t: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """One value for each gene, (batch × G)."""
        joint = self.joint(t, c)
        h = self.into(x)
        for layer in self.layers:
            h = layer(h, joint)
        values: torch.Tensor = self.gate(self.joint.time.waves(t)) * x + self.out(self.norm(h))
        return values


class Latents(nn.Module):
    """Order-free network: tokens of genes are mixed by attention to learned latents.

    A token has the values of its genes and a learned identity. The latents attend to the tokens, then to each other.
    The query of a token, which again has its values and its identity, attends to the latents and gives the output.

    Parameters
    ----------
    n_genes, n_condition
        Number of genes, and length of the condition.
    width, n_layers, n_latents, n_heads
        Width of tokens and latents, number of layers of the latents, of latents, and of heads.
    patch
        Genes in a token.
    """

    def __init__(
        self,
        n_genes: int,
        n_condition: int,
        *,
        width: int = 64,
        n_layers: int = 2,
        n_latents: int = 32,
        n_heads: int = 4,
        patch: int = 1,
    ) -> None:
        super().__init__()
        self.n_genes, self.patch = n_genes, patch
        n_tokens = -(-n_genes // patch)
        self.joint = Joint(n_condition, width)
        self.value = nn.Linear(patch, width)
        self.identity = nn.Parameter(torch.randn(n_tokens, width) * 0.5)
        self.latents = nn.Parameter(torch.randn(n_latents, width) * 0.5)
        self.read = Attention(width, n_heads)
        self.mixes = nn.ModuleList(Attention(width, n_heads) for _ in range(n_layers))
        self.layers = nn.ModuleList(ResidualLayer(width) for _ in range(n_layers))
        self.query = nn.Linear(patch, width)
        self.write = Attention(width, n_heads)
        self.last = ResidualLayer(width)
        self.norm = nn.LayerNorm(width)
        self.out = zeroed(nn.Linear(width, patch))

    def forward(self, x: torch.Tensor, t: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """One value for each gene, (batch × G)."""
        joint = self.joint(t, c)[:, None]
        padded = nn.functional.pad(x, (0, len(self.identity) * self.patch - self.n_genes))
        values = padded.unflatten(1, (-1, self.patch))
        tokens = self.value(values) + self.identity
        h = self.read(self.latents.expand(len(x), -1, -1) + joint, tokens)
        for mix, layer in zip(self.mixes, self.layers, strict=True):
            h = layer(mix(h, h), joint)
        queries = self.last(self.write(self.query(values) + self.identity, h), joint)
        return self.out(self.norm(queries)).flatten(1)[:, : self.n_genes]


class Attention(nn.Module):
    """Attention of queries to keys, added to the queries."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm_query, self.norm_key = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Same shape as ``queries``, (batch × n × width)."""
        q = self._heads(self.query(self.norm_query(queries)))
        k, v = (self._heads(part) for part in self.key_value(self.norm_key(keys)).chunk(2, dim=-1))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        added: torch.Tensor = queries + self.out(mixed.transpose(1, 2).flatten(2))
        return added

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
