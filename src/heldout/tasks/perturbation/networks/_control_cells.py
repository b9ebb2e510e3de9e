"""Networks that turn control cells into perturbed cells."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse

from heldout._core.threads import network_policy
from heldout.tasks.perturbation.kept import arrays_of, matrix_of
from heldout.tasks.perturbation.networks._network import NetworkMethod, coordinates
from heldout.tasks.perturbation.pairs import Pairs
from heldout.tasks.perturbation.predictions import Controls, Generated, dense_rows, drawn_rows

if TYPE_CHECKING:
    from heldout._core.blocks import Batch
    from heldout._core.method import Fitted
    from heldout._core.types import Matrix
    from heldout.tasks.perturbation.interface import Data
    from heldout.tasks.perturbation.observed import Cells
    from heldout.tasks.perturbation.pairs import Pair

_KEPT = "control_"
"""Prefix of the arrays of the kept control cells."""


class ControlCellsMethod(NetworkMethod):
    """Base of the networks that turn control cells of a context into cells of a perturbation.

    The map is deterministic: two predicted cells differ because they start from different control cells. The fit keeps
    some train controls, for predictions without an AnnData that has control cells.
    """

    @abstractmethod
    def cells_of(self, module: Any, x: torch.Tensor, mean: torch.Tensor, condition: Batch) -> torch.Tensor:
        """Predicted cells, (n × G), from control cells, (n × G), the mean of the controls, (G,), and a condition."""

    def prepare(
        self, data: Data, config: Any, *, seed: int, start: Fitted | None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Coordinates, and some control cells of each context with their mean."""
        cells = data.cells()
        arrays = {**coordinates(cells, start), **kept_controls(cells, config.max_controls, seed)}
        return {**arrays, "control": data.profiles.control}, {}

    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Generated:
        """Draw control cells of the context and map them; rows that lack a vector use a fallback."""
        module, conditions, source = self.module(fitted), self.conditions(fitted), ControlCells(fitted, controls)
        _, fallback = conditions.encode(pairs)

        def sample(pair: Pair, n: int, rng: np.random.Generator) -> np.ndarray:
            condition, _ = conditions.encode(Pairs.of([pair]))
            x, mean = source.draw(pair.context, n, rng), controls.mean[pair.context]
            with torch.inference_mode(), network_policy(module, n):
                found = self.cells_of(module, _float(x), _float(mean), condition)
            return np.asarray(found.numpy(), dtype=np.float64)

        return Generated(sample, fallback, pairs, controls, seed, n_distinct=lambda pair: source.n_cells(pair.context))


def kept_controls(cells: Cells, most: int, seed: int) -> dict[str, np.ndarray]:
    """Random train controls of each context, at most ``most``, as arrays; they do not depend on the order of rows."""
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(cells.in_order(cells.controls(context)))[:most] for context in range(cells.n_contexts)]
    kept = sparse.csr_matrix(cells.fetch(np.concatenate(rows)), dtype=np.float32)
    return {**arrays_of(kept, _KEPT), f"{_KEPT}groups": np.cumsum([0, *map(len, rows)])}


@dataclass(frozen=True)
class ControlCells:
    """Control cells to start from: those that are at hand, or else those that the fit keeps.

    A context without control cells has those of all contexts, moved to the mean of its controls.
    """

    fitted: Fitted
    controls: Controls

    def draw(self, context: int, n: int, rng: np.random.Generator) -> np.ndarray:
        """Random control cells of a context, dense, (n × G); each is drawn equally often, up to one."""
        if self._at_hand(context):
            return self.controls.draw(context, n, rng)
        rows, contexts = self._rows(context)
        chosen = drawn_rows(len(rows), n, rng)
        shift = self.controls.mean[context] - self.fitted.arrays["control"][contexts[chosen]]
        return dense_rows(self._kept, rows[chosen]) + shift

    def as_controls(self) -> Controls:
        """The controls, with cells in every context."""

        def pool(context: int) -> Matrix:
            if self._at_hand(context):
                return self.controls.pool(context)
            return self.draw(context, self.n_cells(context), np.random.default_rng(0))

        return Controls(self.controls.mean, cache(pool))

    def n_cells(self, context: int) -> int:
        """Number of different control cells of a context."""
        if self._at_hand(context):
            return int(self.controls.pool(context).shape[0])
        return len(self._rows(context)[0])

    def _at_hand(self, context: int) -> bool:
        return self.controls.has_cells and self.controls.pool(context).shape[0] > 0

    def _rows(self, context: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the kept cells of a context, or of all contexts if it has none, and their contexts."""
        of_row = np.repeat(np.arange(len(self._groups) - 1), np.diff(self._groups))
        rows = np.flatnonzero(of_row == context)
        rows = rows if len(rows) else np.arange(len(of_row))
        return rows, of_row[rows]

    @property
    def _groups(self) -> np.ndarray:
        return self.fitted.arrays[f"{_KEPT}groups"]

    @cached_property
    def _kept(self) -> Matrix:
        return matrix_of(self.fitted.arrays, self.fitted.arrays["control"].shape[1], _KEPT)


def _float(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
