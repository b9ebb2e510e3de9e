"""Train perturbations that are left out for a while, to see how well a method predicts them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heldout.splitting._perturbations import Targets
    from heldout.tasks.perturbation.interface import Data
    from heldout.tasks.perturbation.pairs import Pair, Pairs

Kind = Literal["context", "combination", "single"]
"""Question that a row asks: the same perturbation in another context, a combination, or an unseen single target."""

N_FOLDS = 5
MOST_ALONE = 8
"""With at most so many combinations, each is a fold of its own."""


def contexts_of(pairs: Pairs) -> dict[Targets, set[int]]:
    """Contexts in which each perturbation is measured."""
    found: dict[Targets, set[int]] = defaultdict(set)
    for pair in pairs:
        found[pair.targets].add(pair.context)
    return dict(found)


def kind_of(pair: Pair, contexts: Mapping[Targets, set[int]]) -> Kind:
    """Question that a perturbation in a context asks, given the contexts of the train perturbations."""
    if contexts.get(pair.targets, set()) - {pair.context}:
        return "context"
    return "combination" if len(pair.targets) > 1 else "single"


def folds(pairs: Pairs, kind: Kind, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows of train that ask a question of one kind if they are left out, in folds.

    A combination is left out in all contexts at once. A perturbation that is left out in one context stays in another
    one. There are no folds of single targets. The folds do not depend on the order of the rows.
    """
    fold_of: dict[int, list[int]] = defaultdict(list)
    rows = sorted(range(len(pairs)), key=lambda row: (pairs[row].targets, pairs[row].context, pairs[row].dose or 0))
    contexts = contexts_of(pairs)
    if kind == "combination":
        combinations = sorted(targets for targets in contexts if len(targets) > 1)
        n = len(combinations) if len(combinations) <= MOST_ALONE else N_FOLDS
        number = dict(zip(combinations, (rng.permutation(len(combinations)) % max(n, 1)).tolist(), strict=True))
        for row in rows:
            if len(pairs.targets[row]) > 1:
                fold_of[number[pairs.targets[row]]].append(row)
    elif kind == "context":
        first = {targets: int(rng.integers(N_FOLDS)) for targets in sorted(contexts)}
        for row in rows:
            targets, context, _ = pairs[row]
            if len(contexts[targets]) > 1:
                place = sorted(contexts[targets]).index(context)
                fold_of[(first[targets] + place) % min(N_FOLDS, len(contexts[targets]))].append(row)
    return [np.array(fold_of[number]) for number in sorted(fold_of)]


def without(data: Data, rows: np.ndarray) -> Data:
    """The data without some rows of the profiles; the cells remain."""
    profiles = data.profiles
    kept = np.setdiff1d(np.arange(len(profiles.pairs)), rows)
    left = replace(
        profiles,
        pairs=profiles.pairs.only(kept),
        change=profiles.change[kept],
        n_cells=profiles.n_cells[kept],
        half_difference=lambda: profiles.half_difference()[kept],
    )
    return replace(data, profiles=left)
