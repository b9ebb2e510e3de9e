"""Coordinates in which a flow moves cells: genes, or principal components of the train cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heldout.tasks.perturbation.observed import Cells

MOST_CELLS = 20_000
"""Train cells that the principal components are computed from."""


@dataclass(frozen=True)
class Space:
    """Maps cells to coordinates and back.

    Parameters
    ----------
    centre
        Mean of each gene, (G,).
    scale
        The number by which coordinates are divided.
    spread
        Standard deviation of each coordinate in train after this division, (k,).
    components
        Principal components, (k × G), or None if the coordinates are genes.
    """

    centre: torch.Tensor
    scale: float
    spread: torch.Tensor
    components: torch.Tensor | None = None

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Space:
        """Space of the arrays of a fit."""
        scale = float(arrays["scale"][0])
        centre, spread = (torch.from_numpy(np.array(arrays[name])) for name in ("centre", "spread"))
        if "components" not in arrays:
            return cls(centre, scale, spread / scale)
        components, of_comps = (torch.from_numpy(np.array(arrays[name])) for name in ("components", "spread_comps"))
        scale = float(of_comps.square().mean().sqrt())
        return cls(centre, scale, of_comps / scale, components)

    @classmethod
    def unscaled(cls, n_dims: int) -> Space:
        """Numbers as they are."""
        return cls(torch.zeros(n_dims), 1.0, torch.ones(n_dims))

    def to(self, device: torch.device | str) -> Space:
        """The same on a device."""
        components = None if self.components is None else self.components.to(device)
        return Space(self.centre.to(device), self.scale, self.spread.to(device), components)

    @property
    def n_dims(self) -> int:
        """Number of coordinates, k."""
        return len(self.spread)

    def encode(self, X: torch.Tensor) -> torch.Tensor:
        """Coordinates of cells, (n × k)."""
        centred = X - self.centre
        return (centred if self.components is None else centred @ self.components.T) / self.scale

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Expression at coordinates, (n × G)."""
        z = z * self.scale
        return (z if self.components is None else z @ self.components) + self.centre


def components_of(cells: Cells, rows: np.ndarray, centre: np.ndarray, n_comps: int) -> dict[str, np.ndarray]:
    """Principal components of train cells, (k × G), and their standard deviations, (k,), float32.

    ``rows`` are in an order that does not depend on the matrix; of very many rows some are used.
    """
    chosen = np.sort(np.random.default_rng(0).permutation(rows)[:MOST_CELLS])
    X = cells.measured.dense(chosen) - centre
    values, vectors = np.linalg.eigh(X.T @ X / max(1, len(X) - 1))
    order = np.argsort(values)[::-1][: min(n_comps, len(values), max(1, len(X) - 1))]
    found = vectors[:, order].T
    signs = np.sign(found[np.arange(len(found)), np.abs(found).argmax(axis=1)])
    spread = np.sqrt(np.maximum(values[order], 1e-12))
    return {"components": (found * signs[:, None]).astype(np.float32), "spread_comps": spread.astype(np.float32)}
