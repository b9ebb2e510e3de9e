"""Hold out train perturbations as a question does: combinations, targets, or perturbations in some contexts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from heldout.splitting._read_screen import UNKNOWN
from heldout.tasks.perturbation.predictions import Controls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from heldout.splitting._perturbations import Targets
    from heldout.tasks.perturbation.interface import Data, Profiles
    from heldout.tasks.perturbation.observed import Cells
    from heldout.tasks.perturbation.pairs import Pair, Pairs

Question = Literal["context", "combination", "single"]
QUESTIONS: tuple[Question, ...] = ("context", "combination", "single")
N_FOLDS = 5
FEWEST_ROWS = 4
"""With fewer held-out perturbations, a question is not asked."""


def questions_of(pairs: Pairs, seen: set[Targets]) -> np.ndarray:
    """Question that each row asks, (m,): known perturbation in a new context, known targets, or an unseen target."""
    targets = {target for members in seen for target in members}
    asked: list[Question] = [
        "context" if members in seen else "combination" if targets.issuperset(members) else "single"
        for members in pairs.targets
    ]
    return np.array(asked, dtype=object)


@dataclass(frozen=True)
class Fold:
    """A part of train to fit on, and the rows to predict.

    Parameters
    ----------
    data
        What a method may see of the fold.
    held_out
        Rows of the train profiles that are predicted, (h,).
    """

    data: Data
    held_out: np.ndarray


def folds(data: Data, question: Question, rng: np.random.Generator) -> Iterator[Fold]:
    """Folds of train that ask a question; none if train has too few perturbations for it."""
    pairs = data.profiles.pairs
    fold, removed = fold_codes(pairs, question, rng)
    if (fold >= 0).sum() < FEWEST_ROWS:
        return
    for number in np.unique(fold[fold >= 0]):
        kept = np.flatnonzero(~removed(int(number)))
        if len(kept):
            yield Fold(_part(data, kept), np.flatnonzero(fold == number))


def fold_codes(
    pairs: Pairs, question: Question, rng: np.random.Generator
) -> tuple[np.ndarray, Callable[[int], np.ndarray]]:
    """Fold in which each row is predicted, (m,), or -1; and a function from a fold to the rows that it removes."""
    m = len(pairs)
    fold = np.full(m, -1)
    sizes = np.array([len(members) for members in pairs.targets])
    if question == "context":
        again = Counter(pairs.targets)
        for members, n in sorted(again.items()):
            rows = [i for i in range(m) if pairs.targets[i] == members]
            if n > 1:  # the contexts of a perturbation are in different folds
                fold[rows] = (np.arange(n) + rng.integers(N_FOLDS)) % min(n, N_FOLDS)
        return fold, lambda number: fold == number
    if question == "combination":
        alone = {target for members in pairs.targets if len(members) == 1 for target in members}
        combinations = sorted({t for t in pairs.targets if len(t) > 1 and alone.issuperset(t)})
        if not combinations:
            combinations = sorted({t for t in pairs.targets if len(t) > 1})
        of = dict(zip(combinations, rng.permutation(len(combinations)) % N_FOLDS, strict=True))
        fold[:] = [of.get(members, -1) for members in pairs.targets]
        return fold, lambda number: fold == number
    targets = sorted({members[0] for members in pairs.targets if len(members) == 1})
    of_target = dict(zip(targets, rng.permutation(len(targets)) % N_FOLDS, strict=True))
    fold[sizes == 1] = [of_target[members[0]] for members in pairs.targets if len(members) == 1]

    def removed(number: int) -> np.ndarray:
        return np.array([any(of_target.get(t, -1) == number for t in members) for members in pairs.targets])

    return fold, removed


def _part(data: Data, rows: np.ndarray) -> Data:
    """Some train perturbations, and no val."""
    profiles = data.profiles
    part: Profiles = replace(
        profiles,
        pairs=profiles.pairs.only(rows),
        change=profiles.change[rows],
        n_cells=profiles.n_cells[rows],
        half_difference=lambda: profiles.half_difference()[rows],
    )
    kept = set(part.pairs)
    return replace(data, profiles=part, cells=lambda: _cells_of(data.cells(), kept))


def _cells_of(cells: Cells, kept: set[Pair]) -> Cells:
    """The controls of train, and the train cells of some perturbations; all others are hidden."""
    groups = cells.train_groups(np.random.default_rng(0), len(cells.train))
    controls = cells.train[cells.perturbation[cells.train] < 0]
    train = np.sort(np.concatenate([controls, *(rows for pair, rows in groups if pair in kept)]))
    perturbation = np.full(len(cells.perturbation), UNKNOWN)
    perturbation[train] = cells.perturbation[train]
    return replace(cells, perturbation=perturbation, train=train, val=np.array([], dtype=np.int64))


def train_controls(data: Data, *, with_cells: bool) -> Controls:
    """Controls of train; their cells only if they are needed."""
    if not with_cells:
        return Controls.without_cells(data.profiles.control)
    cells = data.cells()
    return Controls.of(cells.X, cells.columns, data.profiles.control, cells.controls)
