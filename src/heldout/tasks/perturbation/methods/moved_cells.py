"""Measured cells, moved: the simple method that every generative method has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from heldout._core.method import Fitted, with_prefix, without_prefix
from heldout.tasks.perturbation.config import LatentAdditiveConfig, MovedCellsConfig
from heldout.tasks.perturbation.kept import StoredCells, matrix_of
from heldout.tasks.perturbation.methods.latent_additive import LatentAdditive, latent_change
from heldout.tasks.perturbation.methods.nearest_dose import at_nearest_dose, stored_doses
from heldout.tasks.perturbation.pairs import Pairs
from heldout.tasks.perturbation.predictions import Controls, Generated, dense_rows, drawn_rows

if TYPE_CHECKING:
    from heldout._core.types import Matrix
    from heldout.splitting._perturbations import Targets
    from heldout.tasks.perturbation.interface import Data
    from heldout.tasks.perturbation.pairs import Pair

_MEAN = "mean."
"""Prefix of the arrays of the method that predicts means."""


class MovedCells:
    """Move measured cells of the nearest perturbation by the mean change that is missing.

    The cells are the first of these that train has: cells of the same perturbation; of the same perturbation in other
    contexts, moved by the difference of the controls; of the target of a combination with the largest change, moved by
    the mean changes of the other targets; control cells, moved by the whole change. Mean changes of targets that train
    has alone are the measured ones; all others come from ``latent_additive``. With doses, cells and mean changes are
    those at the nearest dose that train has of the perturbation or target.
    """

    default_config: ClassVar[MovedCellsConfig] = MovedCellsConfig()
    stochastic: ClassVar[bool] = True
    reads: ClassVar[Literal["profiles", "cells"]] = "cells"

    def fit(self, data: Data, config: MovedCellsConfig, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Keep some cells of each train perturbation, the mean changes, and a fit of ``latent_additive``."""
        kept = keep_cells(data, config.max_cells, seed=seed)
        mean = LatentAdditive().fit(data, LatentAdditiveConfig(), seed=seed)
        return Fitted({**kept.arrays, **with_prefix(mean.arrays, _MEAN)}, {**kept.info, "mean": mean.info})

    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Generated:
        """Draw cells of train and move them; a row that needs the mean effect of an unseen target uses a fallback."""
        kept = KeptCells(fitted)
        sources = [kept.source(pair) for pair in pairs]
        fallback = np.array([source.fallback for source in sources], dtype=bool)

        def sample(pair: Pair, n: int, rng: np.random.Generator) -> np.ndarray:
            source = kept.source(pair)
            if not source.groups:
                return controls.draw(pair.context, n, rng) + source.shift
            return kept.draw(source.groups, controls.mean[pair.context], n, rng) + source.shift

        def n_distinct(pair: Pair) -> int:
            groups = kept.source(pair).groups
            return kept.n_distinct(groups) if groups else controls.pool(pair.context).shape[0]

        return Generated(sample, fallback, pairs, controls, seed, n_distinct=n_distinct)


def keep_cells(data: Data, most: int, *, seed: int) -> Fitted:
    """Up to ``most`` cells of each train perturbation in each context, and their mean changes; see KeptCells."""
    profiles = data.profiles
    kept, row = StoredCells.of(data.cells(), np.random.default_rng(seed), most), profiles.pairs.rows_of()
    arrays = {
        **kept.arrays(),
        "context": np.array([pair.context for pair in kept.pairs]),
        "change": np.stack([profiles.change[row[pair]] for pair in kept.pairs]),
        "control": profiles.control,
        **stored_doses(Pairs.of(kept.pairs)),
    }
    return Fitted(arrays, {"perturbations": [list(pair.targets) for pair in kept.pairs]})


@dataclass(frozen=True)
class Source:
    """Groups of kept cells to draw from, or none for controls, and the change that moves them, (G,)."""

    groups: list[int]
    shift: np.ndarray
    fallback: bool


class KeptCells:
    """The kept cells and mean changes of a fit."""

    def __init__(self, fitted: Fitted) -> None:
        self.arrays = fitted.arrays
        self.mean = Fitted(without_prefix(fitted.arrays, _MEAN), fitted.info.get("mean", {}))
        self.targets = [tuple(targets) for targets in fitted.info["perturbations"]]
        self.groups_of: dict[Targets, list[int]] = {}
        for group, targets in enumerate(self.targets):
            self.groups_of.setdefault(targets, []).append(group)

    @cached_property
    def X(self) -> Matrix:
        """The kept cells, csr, (n × G)."""
        return matrix_of(self.arrays, self.arrays["control"].shape[1])

    def source(self, pair: Pair) -> Source:
        """Where the cells of a perturbation in a context come from."""
        targets, context, dose = pair
        nothing = np.zeros(self.arrays["control"].shape[1])
        groups = self.groups(targets, context, dose)
        if groups:
            return Source(groups, nothing, fallback=False)
        parts = [(self.change((target,), context, dose), target) for target in targets]
        alone = [(change, target) for (change, _), target in parts if self.groups((target,), context, dose)]
        fallback = any(missing for (_, missing), _ in parts)
        if not alone or len(targets) == 1:
            change, fallback = self.change(targets, context, dose)
            return Source([], change, fallback)
        _, chosen = max(alone, key=lambda part: float(np.linalg.norm(part[0])))
        rest = sum((change for (change, _), target in parts if target != chosen), nothing)
        return Source(self.groups((chosen,), context, dose), rest, fallback)

    def groups(self, targets: Targets, context: int, dose: float | None) -> list[int]:
        """Groups of cells of a perturbation at the nearest dose: in this context, or else in all others."""
        groups = self.groups_of.get(targets, [])
        here = [group for group in groups if self.arrays["context"][group] == context]
        return at_nearest_dose(here or groups, self.arrays.get("dose"), dose)

    def change(self, targets: Targets, context: int, dose: float | None) -> tuple[np.ndarray, bool]:
        """Mean change of a perturbation, (G,), measured or from ``latent_additive``, and whether that is a fallback."""
        groups = self.groups(targets, context, dose)
        if groups:
            return np.asarray(self.arrays["change"][groups].mean(axis=0)), False
        change, fallback = latent_change(self.mean, Pairs([targets], np.array([context])))
        return change[0], bool(fallback[0])

    def n_distinct(self, groups: list[int]) -> int:
        """Number of cells that can be drawn, as many from each group, without drawing one twice."""
        return len(groups) * int(np.diff(self.arrays["groups"])[groups].min())

    def draw(self, groups: list[int], control: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        """Random cells of some groups, as many of each, moved from their own controls to ``control``, (n × G)."""
        result = np.empty((n, len(control)))
        for part, group in zip(np.array_split(rng.permutation(n), len(groups)), groups, strict=True):
            first, end = self.arrays["groups"][group : group + 2]
            rows = first + drawn_rows(end - first, len(part), rng)
            result[part] = dense_rows(self.X, rows) + (control - self.arrays["control"][self.arrays["context"][group]])
        return result
