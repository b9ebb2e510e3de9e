"""Find names of one source in another: as they are, then regardless of case and of the version of an Ensembl id."""

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
    """Upper case, and an Ensembl id without its version: ``"Tp53"`` and ``"TP53"`` are one."""
    upper = name.upper()
    versioned = _VERSIONED.fullmatch(upper)
    return versioned[1] if versioned else upper


@dataclass(frozen=True)
class Matches:
    """Row of each name that was looked up, and how it was found; all (n,)."""

    rows: np.ndarray
    """Row number, -1 where there is none."""
    folded: np.ndarray
    """Found only regardless of case or version."""
    ambiguous: np.ndarray
    """Not found as it is, and several rows otherwise: none is taken."""

    @property
    def exact(self) -> np.ndarray:
        """Found as it is, (n,)."""
        return (self.rows >= 0) & ~self.folded


@dataclass(frozen=True)
class Names:
    """Unique names of rows, and other names of the same rows (``{other: name}``)."""

    names: np.ndarray
    aliases: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _exact(self) -> dict[str, int]:
        rows = {name: row for row, name in enumerate(self.names)}
        return {**{other: rows[name] for other, name in self.aliases.items()}, **rows}

    @cached_property
    def _folded(self) -> dict[str, int]:
        rows = {name: row for row, name in enumerate(self.names)}
        own = _unambiguous(rows.items())
        others = _unambiguous((other, rows[name]) for other, name in self.aliases.items())
        return {**others, **own}

    def match(self, names: Iterable[str]) -> Matches:
        """Look names up: a row's own name stands above its other names, and both as they are above both folded."""
        names = [str(name) for name in names]
        exact = np.array([self._exact.get(name, _NONE) for name in names], dtype=np.int64)
        folded = np.array([self._folded.get(fold(name), _NONE) for name in names], dtype=np.int64)
        rows = np.where(exact >= 0, exact, np.maximum(folded, _NONE))
        return Matches(rows, folded=(exact < 0) & (folded >= 0), ambiguous=(exact < 0) & (folded == _SEVERAL))


def _unambiguous(entries: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Row of each folded name, -2 where names of several rows fold to it."""
    found: dict[str, int] = {}
    for name, row in entries:
        folded = fold(name)
        found[folded] = row if found.setdefault(folded, row) == row else _SEVERAL
    return found
