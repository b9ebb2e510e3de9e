"""Vectors of genes or perturbations from other sources, and how they are stored in the AnnData."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import keys
from heldout._core.alignment import Matches, NameIndex
from heldout._core.plain_json import DAMAGED, read_json
from heldout._core.rng import Rng, generator
from heldout._core.store import section, suggest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anndata import AnnData

SCHEMA = 1
"""Version of the stored form. A newer version is refused, an older version must stay readable."""

_RENAMED = {"n_components": "n_comps"}
"""Old names of entries of ``info`` in stored embeddings, and their names now."""


@dataclass(frozen=True)
class Embedding:
    """One vector for each name.

    Parameters
    ----------
    names
        Names as in the source, (n,), unique.
    values
        The vectors, (n × d), float32.
    info
        Origin of the vectors, JSON values only. ``info["aliases"]`` maps other names to names.
    """

    names: np.ndarray
    values: np.ndarray
    info: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def hash(self) -> str:
        """Sha256 over names, vectors and origin."""
        state = hashlib.sha256(json.dumps(self.info, sort_keys=True).encode())
        state.update(json.dumps([str(name) for name in self.names]).encode())
        values = np.ascontiguousarray(self.values, dtype=np.float32)
        state.update(f"{values.shape}".encode())
        state.update(values.tobytes())
        return state.hexdigest()

    @cached_property
    def _index(self) -> NameIndex:
        return NameIndex(self.names, self.info.get("aliases", {}))

    def match(self, names: Iterable[str]) -> Matches:
        """Return row numbers and how each name was found, see :class:`heldout._core.alignment.NameIndex`."""
        return self._index.match(names)

    def lookup(self, names: Iterable[str]) -> np.ndarray:
        """Return the row number of each name, -1 for a name without a vector.

        A name is matched exactly, else by its aliases, else ignoring case and the version of an Ensembl id. If several
        rows match, none is taken.
        """
        return self.match(names).rows

    def shuffled(self, rng: Rng, *, among: Iterable[str] | None = None) -> Embedding:
        """Return a control: the same vectors, shuffled among the names at random.

        Only the vectors of the names in ``among`` are shuffled. If None, all vectors are.
        """
        rows = np.arange(len(self.names)) if among is None else np.unique(self.lookup(among))
        rows = rows[rows >= 0]
        values = self.values.copy()
        values[rows] = self.values[generator(rng).permutation(rows)]
        return Embedding(self.names, values, {**self.info, "control": "shuffled"})

    def random(self, rng: Rng) -> Embedding:
        """Return a control: standard normal numbers of the same shape."""
        values = generator(rng).standard_normal(self.values.shape, dtype=np.float32)
        return Embedding(self.names, values, {**self.info, "control": "random"})

    def stored(self) -> dict[str, Any]:
        """Plain values for ``uns``."""
        return {
            "schema": SCHEMA,
            "json": json.dumps(self.info, sort_keys=True),
            "hash": self.hash,
            "names": np.array([str(name) for name in self.names]),
            "values": np.ascontiguousarray(self.values, dtype=np.float32),
        }

    @classmethod
    def load(cls, stored: Mapping[str, Any], *, key: str) -> Embedding:
        """Inverse of :meth:`stored`; refuses a newer schema and altered content."""
        altered = f"The embedding {key!r} was altered after it was stored: its hash does not match. Add it again."
        try:
            schema = int(stored["schema"])
        except DAMAGED as error:
            raise ValueError(altered) from error
        if schema > SCHEMA:
            msg = (
                f"The embedding {key!r} was stored by a newer heldout (schema {schema}, this version reads up to "
                f"{SCHEMA}). Update heldout: pip install -U heldout"
            )
            raise ValueError(msg)
        try:
            info = read_json(str(stored["json"]))
            values = np.asarray(stored["values"]).astype(np.float32, copy=False)
            names = np.array([str(name) for name in stored["names"]], dtype=object)
            embedding = cls(names, values, info)
            same = isinstance(info, dict) and embedding.hash == str(stored["hash"])
        except DAMAGED as error:
            raise ValueError(altered) from error
        if not same:
            raise ValueError(altered)
        renamed = {_RENAMED.get(name, name): value for name, value in info.items()}
        return cls(names, values, renamed) if renamed.keys() != info.keys() else embedding


def read_embedding(adata: AnnData, key: str) -> Embedding:
    """Read the embedding ``key`` from ``uns["heldout"]["embeddings"]``.

    Raises
    ------
    ValueError
        If there is no embedding of this name, or it was altered.
    """
    stored = section(adata, keys.EMBEDDINGS)
    if key not in stored:
        have = suggest(key, stored) if stored else "No embedding was added yet."
        msg = f"There is no embedding {key!r} in this AnnData. {have} Add one with heldout.pp.embedding."
        raise ValueError(msg)
    return Embedding.load(stored[key], key=key)


def embedding_sections(adata: AnnData, key: str, embedding: Embedding) -> dict[str, Any]:
    """Return the section of ``uns["heldout"]`` with this embedding, for :func:`heldout._core.store.commit`."""
    return {keys.EMBEDDINGS: {**section(adata, keys.EMBEDDINGS), key: embedding.stored()}}
