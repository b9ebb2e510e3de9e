"""Record what a fit started from.

A fit that starts from another fit, or reads vectors of a model that others trained, has indirectly seen the cells and
perturbations of its parents. The record is in ``info["parents"]`` of the fit. The cells of a parent are known from
its split, whose assignment is kept as long as a fit refers to it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heldout._core.plain_json import DAMAGED, read_json

if TYPE_CHECKING:
    from collections.abc import Iterable

PARENTS = "parents"
"""Name in ``info`` of a fit under which its parents are recorded."""

Perturbed = tuple[tuple[str, ...], tuple[str, ...]]
"""A perturbation in a context: its sorted targets, and the values of the covariates."""


@dataclass(frozen=True)
class Parent:
    """A fit, or a model that others trained, from which a fit started.

    Parameters
    ----------
    name
        Key of the fit or of the embedding.
    method
        Method of the fit, or format of the embedding.
    fit, split
        Hashes of the fit and of its split; the split is empty where it is not known.
    seen
        Perturbations and contexts of its train and val cells; None where this is not known.
    """

    name: str
    method: str
    fit: str
    split: str = ""
    seen: frozenset[Perturbed] | None = None

    @property
    def known(self) -> bool:
        """Whether it is recorded which cells and perturbations the parent has seen."""
        return bool(self.split) and self.seen is not None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        seen = None if self.seen is None else [[list(t), list(c)] for t, c in sorted(self.seen)]
        return {"name": self.name, "method": self.method, "fit": self.fit, "split": self.split, "seen": seen}

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> Parent:
        """Inverse of :meth:`to_json`."""
        seen = stored["seen"]
        pairs = None if seen is None else frozenset((tuple(targets), tuple(context)) for targets, context in seen)
        return cls(stored["name"], stored["method"], stored["fit"], stored["split"], pairs)


def parents_of(info: Mapping[str, Any]) -> list[Parent]:
    """Parents that are recorded in the ``info`` of a fit; none for fits that started from nothing."""
    return [Parent.load(stored) for stored in info.get(PARENTS, ())]


def unique_parents(parents: Iterable[Parent]) -> list[Parent]:
    """Each parent once, in the order given; the hash of its fit identifies a parent."""
    return list({parent.fit: parent for parent in parents}.values())


def parent_splits(fits: Iterable[Mapping[str, Any]]) -> set[str]:
    """Hashes of the splits to which the parents of stored fits refer."""
    texts = [str(stored.get("json", "")) for stored in fits if isinstance(stored, Mapping)]
    found = set()
    for text in texts:
        if f'"{PARENTS}"' in text:
            with contextlib.suppress(*DAMAGED):  # reading an altered fit is an error, keeping others is not
                found |= {parent.split for parent in parents_of(read_json(text)["info"]) if parent.split}
    return found
