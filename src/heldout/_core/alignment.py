"""Find names of one source in another: exactly, or else ignoring case and the version of an Ensembl id."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_VERSIONED = re.compile(r"(ENS[A-Z]*\d{11})\.\d+")

_NONE, _SEVERAL = -1, -2


def fold(name: str) -> str:
    """Return the name in upper case, and an Ensembl id without its version: ``"Tp53"`` and ``"TP53"`` are equal."""
    upper = name.upper()
    versioned = _VERSIONED.fullmatch(upper)
    return versioned[1] if versioned else upper


@dataclass(frozen=True)
class Matches:
    """Row of each name that was looked up, and how it was found; each array is (n,)."""

    rows: np.ndarray
    """Row number, -1 where the name was not found."""
    folded: np.ndarray
    """Whether the name was found only by ignoring case or version."""
    ambiguous: np.ndarray
    """Whether the name has no exact match and several inexact ones, so that no row is taken."""

    @property
    def exact(self) -> np.ndarray:
        """Whether the name was found exactly, (n,)."""
        return (self.rows >= 0) & ~self.folded


@dataclass(frozen=True)
class NameIndex:
    """Index of the unique names of rows, and of further names of the same rows (``aliases``: ``{other: name}``)."""

    names: np.ndarray
    aliases: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _exact(self) -> dict[str, int]:
        rows = {name: row for row, name in enumerate(self.names)}
        return {**{other: rows[name] for other, name in self.aliases.items()}, **rows}

    @cached_property
    def _folded(self) -> dict[str, int]:
        rows = {name: row for row, name in enumerate(self.names)}
        of_aliases = _unambiguous((other, rows[name]) for other, name in self.aliases.items())
        return {**of_aliases, **_unambiguous(rows.items())}

    def match(self, names: Iterable[str]) -> Matches:
        """Look up names. Exact matches take precedence over inexact ones, and the name of a row over its aliases."""
        names = [str(name) for name in names]
        exact = np.array([self._exact.get(name, _NONE) for name in names], dtype=np.int64)
        folded = np.array([self._folded.get(fold(name), _NONE) for name in names], dtype=np.int64)
        rows = np.where(exact >= 0, exact, np.maximum(folded, _NONE))
        return Matches(rows, folded=(exact < 0) & (folded >= 0), ambiguous=(exact < 0) & (folded == _SEVERAL))


def _unambiguous(entries: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Map each folded name to its row, or to -2 if names of several rows fold to it."""
    found: dict[str, int] = {}
    for name, row in entries:
        folded = fold(name)
        found[folded] = row if found.setdefault(folded, row) == row else _SEVERAL
    return found
