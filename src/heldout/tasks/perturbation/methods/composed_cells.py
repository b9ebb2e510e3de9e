"""Composed cells: measured cells, moved by their responses to what is missing, around the best closed form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np

from heldout._core.method import Fitted, with_prefix, without_prefix
from heldout._core.progress import progress
from heldout.tasks.perturbation.composition.compose import Part, composed
from heldout.tasks.perturbation.composition.means import fit_means, mean_change
from heldout.tasks.perturbation.composition.responses import response_weights
from heldout.tasks.perturbation.config import ComposedCellsConfig
from heldout.tasks.perturbation.kept import StoredCells
from heldout.tasks.perturbation.pairs import Pair, Pairs
from heldout.tasks.perturbation.predictions import Generated, drawn_rows, rng_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from heldout.tasks.perturbation.interface import Data
    from heldout.tasks.perturbation.observed import Cells
    from heldout.tasks.perturbation.predictions import Controls

MEAN = "mean."
"""Prefix of the arrays of the closed forms."""

N_OTHERS = 100
"""Train cells of all perturbations; each gene can take their values."""

MOST_CONTROLS = 200
"""Controls that are compared with the cells of a perturbation, or that are moved."""

_COMPOSING = 1
"""Stream of the generator of composed cells."""


class ComposedCells:
    """Compose the cells of a perturbation of measured cells, with the mean change of a closed form.

    The cells are measured cells of the target with the largest change, or controls. They are moved by what they lack.
    Not each cell is moved by the same amount: the distribution of the response to a target is learnt from its measured
    cells, so if half of the cells respond to a target, half of the composed cells do. Where values cannot be negative,
    the distribution of each gene is tilted to its new mean, so that zeros have a realistic share. The mean over the
    composed cells is exactly that of the closed form. If the closed form is below zero, the mean is zero.

    The closed form is ``informed_additive``. For combinations, held-out combinations of train decide whether a weighted
    mean with ``latent_additive`` is better. A perturbation that train has in other contexts uses ``pooled_transfer``.
    """

    default_config: ClassVar[ComposedCellsConfig] = ComposedCellsConfig()
    stochastic: ClassVar[bool] = True
    reads: ClassVar[Literal["profiles", "cells"]] = "cells"

    def fit(
        self,
        data: Data,
        config: ComposedCellsConfig,
        *,
        seed: int,
        start: Fitted | None = None,
        responses: Mapping[Pair, np.ndarray] | None = None,
    ) -> Fitted:
        """Keep some cells of each train perturbation, estimate responses, and fit the closed forms.

        ``responses`` are those of a fit with the same seed, whose train perturbations include these.
        """
        cells, control = data.cells(), data.profiles.control
        kept = StoredCells.of(cells, np.random.default_rng(seed), config.max_cells)
        mean = fit_means(data, seed=seed)
        references = {context: _some_controls(cells, context) for context in {pair.context for pair in kept.pairs}}
        known = responses or {}
        estimated = [
            known[pair]
            if pair in known
            else response_weights(kept.dense(group), references[pair.context], rng_of(seed, pair))
            for group, pair in enumerate(kept.pairs if known else progress(kept.pairs, "responses"))
        ]
        least = min([float(kept.X.min()), *(float(reference.min()) for reference in references.values())])
        arrays = {**kept.arrays(), "responses": np.stack(estimated), "control": control}
        info = {"pairs": kept.to_json(), "mean": mean.info, "non_negative": least >= 0}
        return Fitted({**arrays, **with_prefix(mean.arrays, MEAN)}, info)

    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Composed:
        """Compose cells; a row whose mean change uses a fallback is flagged."""
        return Composed.of(CellComposer(fitted, controls, seed), pairs)


class CellSource(Protocol):
    """Composes cells from a fit and from the controls of each context."""

    controls: Controls
    seed: int

    @property
    def cells(self) -> Callable[[Pair], np.ndarray]:
        """Function from a perturbation to all of its composed cells, (n × G), which are different cells."""

    def changes(self, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """Mean change of each perturbation, (m × G), and whether a row is a fallback, (m,)."""


@dataclass(frozen=True)
class Composed(Generated):
    """A prediction of composed cells. Its change is that of the closed form, which is the mean over the cells.

    Parameters
    ----------
    means
        Change of each row, (m × G).
    """

    means: np.ndarray | None = None

    @cached_property
    def change(self) -> np.ndarray:
        """Change of the closed form, (m × G)."""
        assert self.means is not None
        return self.means

    @classmethod
    def of(cls, composer: CellSource, pairs: Pairs) -> Composed:
        """Predict some perturbations."""
        means, fallback = composer.changes(pairs)

        def sample(pair: Pair, n: int, rng: np.random.Generator) -> np.ndarray:
            cells = composer.cells(pair)
            return cells[drawn_rows(len(cells), n, rng)]

        def n_distinct(pair: Pair) -> int:
            return len(composer.cells(pair))

        return cls(sample, fallback, pairs, composer.controls, composer.seed, n_distinct=n_distinct, means=means)


class CellComposer:
    """Composes cells from a fit and from the controls of each context."""

    def __init__(self, fitted: Fitted, controls: Controls, seed: int) -> None:
        arrays = fitted.arrays
        self.controls, self.seed = controls, seed
        self.mean = Fitted(without_prefix(arrays, MEAN), fitted.info["mean"])
        self.responses = arrays["responses"]
        self.non_negative = bool(fitted.info["non_negative"])
        self.kept = StoredCells.load(arrays, fitted.info["pairs"], arrays["control"].shape[1])
        self.group = {pair: group for group, pair in enumerate(self.kept.pairs)}
        self.others = self.kept.some(N_OTHERS)
        self.cells = lru_cache(maxsize=16)(self._cells)

    def changes(self, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """Mean change of each perturbation, (m × G), and whether a row is a fallback, (m,)."""
        change, fallback = mean_change(self.mean, pairs, self.controls.mean)
        start = self.controls.mean[pairs.context]
        return (np.maximum(start + change, 0) - start if self.non_negative else change), fallback

    def _cells(self, pair: Pair) -> np.ndarray:
        """All composed cells of a perturbation, (n × G), which are different cells; their mean is that predicted."""
        change = self.changes(Pairs.of([pair]))[0][0]
        mean = self.controls.mean[pair.context] + change
        rng = rng_of(self.seed, pair, stream=_COMPOSING)
        base, missing = self.base(pair)
        cells = self._controls(pair.context, rng) if base is None else self.kept.dense(base)
        if not np.isfinite(mean).all() or not np.isfinite(cells).all():
            return np.full((len(cells), len(mean)), np.nan)
        return composed(cells, self.parts(missing), mean, self.others, rng, non_negative=self.non_negative)

    def base(self, pair: Pair) -> tuple[int | None, list[Pair]]:
        """Group of the cells that are moved, or None for controls, and the parts of the perturbation that they lack."""
        if pair in self.group:
            return self.group[pair], []
        if self._groups(pair):
            return None, [pair]
        members = [Pair((target,), pair.context, pair.dose) for target in pair.targets]
        measured = [member for member in members if member in self.group]
        if len(members) == 1 or not measured:
            return None, members
        sizes = np.linalg.norm(self.changes(Pairs.of(measured))[0], axis=1)
        chosen = measured[int(np.argmax(sizes))]
        return self.group[chosen], [member for member in members if member != chosen]

    def parts(self, missing: list[Pair]) -> list[Part]:
        """Mean change and responses of each part that the base cells lack."""
        if not missing:
            return []
        changes, _ = self.changes(Pairs.of(missing))
        return [Part(of_part, self.response(pair)) for pair, of_part in zip(missing, changes, strict=True)]

    def response(self, pair: Pair) -> np.ndarray:
        """Distribution of the response, (K,): measured in this context, in other contexts, or of all perturbations."""
        groups = self._groups(pair)
        here = [group for group in groups if self.kept.pairs[group].context == pair.context]
        return np.asarray(self.responses[here or groups or slice(None)].mean(axis=0))

    def _groups(self, pair: Pair) -> list[int]:
        """Groups of the same targets in any context and at any dose."""
        return [group for group, kept in enumerate(self.kept.pairs) if kept.targets == pair.targets]

    def _controls(self, context: int, rng: np.random.Generator) -> np.ndarray:
        n = min(self.controls.pool(context).shape[0], MOST_CONTROLS)
        return self.controls.draw(context, max(n, 1), rng)


def _some_controls(cells: Cells, context: int) -> np.ndarray:
    """Some train controls of a context, dense, (k × G); which ones does not depend on the order of the rows."""
    return cells.measured.dense(cells.in_order(cells.controls(context))[:MOST_CONTROLS])
