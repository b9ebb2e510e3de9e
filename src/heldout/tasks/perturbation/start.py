"""What a fit starts from, and the record of what its parents have seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.embeddings import read_embedding
from heldout._core.parents import Parent, parents_of
from heldout.tasks.perturbation.side_information import embeddings_of

if TYPE_CHECKING:
    from typing import Any

    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout._core.method import Fitted
    from heldout._core.parents import Perturbed
    from heldout._core.partition import Assignment
    from heldout.splitting._read_screen import Screen

SEEN = "seen_pairs"
"""Name in ``info`` of a fit: perturbations and contexts of its train and val cells."""

_WITHOUT_MODEL = ("graph", "gene2go")
"""Formats of embeddings that do not come from a model trained on cells."""


@dataclass(frozen=True)
class Start:
    """An earlier fit to start from.

    Parameters
    ----------
    fitted
        Its result, with the genes of the new fit.
    parents
        The fit itself, and its own parents.
    assignments
        Splits of the parents, as far as they are stored.
    """

    fitted: Fitted
    parents: list[Parent]
    assignments: list[Assignment]


def seen_pairs(screen: Screen, mask: np.ndarray) -> list[Perturbed]:
    """Perturbations and contexts of the cells in ``mask`` (n,), without controls."""
    number, context, _ = screen.groups(mask)
    return [
        (tuple(screen.perturbations[number[i]]), tuple(screen.names.contexts[context[i]]))
        for i in np.flatnonzero(number >= 0)
    ]


def foreign_parents(adata: AnnData, config: Any) -> list[Parent]:
    """Models outside this package whose vectors the options name. What these models have seen is not known."""
    found = []
    for key in embeddings_of(config):
        embedding = read_embedding(adata, key)
        origin = str(embedding.info.get("format", "table"))
        if origin not in _WITHOUT_MODEL:
            found.append(Parent(key, origin, embedding.hash))
    return found


def pretraining_note(fit: Fit) -> str:
    """Sentence about the parents of a fit, for the table of an evaluation; empty without parents."""
    parents = parents_of(fit.info)
    checked = [repr(parent.name) for parent in parents if parent.known]
    unknown = [f"{parent.name!r} ({parent.method})" for parent in parents if not parent.known]
    notes = []
    if checked:
        notes.append(f"started from {', '.join(checked)}, which has not seen the test cells and test perturbations")
    if unknown:
        notes.append(f"uses {', '.join(unknown)}; seen: unknown")
    return "; ".join(notes)
