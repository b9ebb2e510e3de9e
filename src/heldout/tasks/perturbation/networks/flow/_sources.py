"""Composed sources: measured cells of a part of a perturbation, moved by the mean change of the other parts.

The cells of the perturbation itself are never used, so that sources of train perturbations are like those of held-out
ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from heldout.tasks.perturbation.networks._batches import PairedBlocks
from heldout.tasks.perturbation.pairs import Pair
from heldout.tasks.perturbation.predictions import drawn_rows

if TYPE_CHECKING:
    from heldout._core.blocks import Batch
    from heldout.tasks.perturbation.methods.moved_cells import KeptCells
    from heldout.tasks.perturbation.networks._condition import Conditions
    from heldout.tasks.perturbation.observed import Cells
    from heldout.tasks.perturbation.predictions import Controls


class Base(NamedTuple):
    """Groups of kept cells, or none for controls of the context, and the change that moves them, (G,)."""

    groups: list[int]
    shift: np.ndarray


class Composer:
    """Composes the source cells of a perturbation from kept train cells."""

    def __init__(self, kept: KeptCells) -> None:
        self.kept = kept
        self._bases: dict[Pair, Base] = {}

    def base(self, pair: Pair) -> Base:
        """Cells to start from, and their shift.

        They are, in this order: cells of the same perturbation in other contexts; cells of the target of a combination
        with the largest change, moved by the measured changes of the other targets; controls.
        """
        if pair not in self._bases:
            self._bases[pair] = self._base(pair)
        return self._bases[pair]

    def _base(self, pair: Pair) -> Base:
        kept, targets = self.kept, pair.targets
        nothing = np.zeros(kept.arrays["control"].shape[1])
        elsewhere = [group for group in kept.groups(*pair) if kept.arrays["context"][group] != pair.context]
        if elsewhere:
            return Base(elsewhere, nothing)
        single = {target: kept.groups((target,), pair.context, pair.dose) for target in targets if len(targets) > 1}
        changes = {target: kept.arrays["change"][groups].mean(axis=0) for target, groups in single.items() if groups}
        if not changes:
            return Base([], nothing)
        chosen = max(changes, key=lambda target: float(np.linalg.norm(changes[target])))
        return Base(single[chosen], sum((change for t, change in changes.items() if t != chosen), nothing))

    def draw(self, pair: Pair, controls: Controls, n: int, rng: np.random.Generator) -> np.ndarray:
        """Composed cells of a perturbation, (n × G)."""
        base = self.base(pair)
        if not base.groups:
            return controls.draw(pair.context, n, rng) + base.shift
        return self.kept.draw(base.groups, controls.mean[pair.context], n, rng) + base.shift


class ComposedBlocks(PairedBlocks):
    """Batches with the composed source of each cell, ``source``, (batch × G) float32.

    Parameters
    ----------
    cells, rows, conditions, batch_size, seed
        As in :class:`heldout.tasks.perturbation.networks._batches.PairedBlocks`.
    composer
        The kept train cells.
    """

    def __init__(
        self,
        cells: Cells,
        rows: np.ndarray,
        conditions: Conditions,
        batch_size: int,
        composer: Composer,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(cells, rows, conditions, batch_size, seed=seed)
        self.composer, self.targets, self.dose = composer, cells.targets, cells.dose

    def more(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Compose the source of each cell; that of a control is another control."""
        kept, source = self.composer.kept, batch["controls"].clone()
        number, context = batch["number"].numpy(), batch["in"].numpy()
        dose = np.zeros(len(number)) if self.dose is None else self.dose[batch["row"].numpy()]
        keys = np.stack([number, context, dose], axis=1)
        for key in np.unique(keys[number >= 0], axis=0):
            rows = np.flatnonzero((keys == key).all(axis=1))
            of_row = None if self.dose is None else float(key[2])
            pair = Pair(self.targets[int(key[0])], int(key[1]), of_row)
            base = self.composer.base(pair)
            if base.groups:
                here = kept.arrays["control"][pair.context]
                source[rows] = torch.from_numpy(kept.draw(base.groups, here, len(rows), rng)).to(source.dtype)
            source[rows] += torch.from_numpy(base.shift).to(source.dtype)
        return {"source": source}


def shuffled(n: int, rng: np.random.Generator, most: int) -> np.ndarray:
    """Numbers of up to ``most`` random rows of ``n``."""
    return drawn_rows(n, min(n, most), rng)
