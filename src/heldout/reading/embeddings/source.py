"""Result of a reader: unique names, finite vectors, and their origin."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from heldout._core.checks import check_integer
from heldout._core.store import some


@dataclass(frozen=True)
class EmbeddingSource:
    """Names (n,), vectors (n × d) float32, information on their origin, and other names of the rows."""

    names: np.ndarray
    values: np.ndarray
    info: dict[str, Any] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, names: Any, values: Any, *, where: str, aliases: dict[str, str] | None = None, **info: Any
    ) -> EmbeddingSource:
        """Check and convert. Aliases of missing names, and aliases that are names themselves, are dropped.

        Raises
        ------
        ValueError
            If the shapes differ, names are duplicated or empty, or values are not finite.
        """
        names = np.array([str(name) for name in names], dtype=object)
        values = np.asarray(values)
        if values.ndim != 2 or values.dtype.kind not in "fiub":
            msg = (
                f"{where} must be a matrix of numbers with one row per name, got {values.ndim} dimensions of "
                f"{values.dtype}."
            )
            raise ValueError(msg)
        if len(names) != len(values):
            msg = (
                f"{where} has {len(values)} vectors but {len(names)} names. Check that the names belong to these "
                "vectors."
            )
            raise ValueError(msg)
        if not values.size:
            msg = f"{where} is empty: {values.shape[0]} names × {values.shape[1]} dimensions."
            raise ValueError(msg)
        if "" in names:
            msg = f"{where} has {int((names == '').sum())} rows without a name. Drop them first."
            raise ValueError(msg)
        unique, n_times = np.unique(names.astype(str), return_counts=True)
        if len(unique) < len(names):
            twice = unique[n_times > 1]
            msg = (
                f"{where} has {len(twice)} names more than once (e.g. {some(twice)}). Drop or average those rows first."
            )
            raise ValueError(msg)
        values = np.ascontiguousarray(values, dtype=np.float32)
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            msg = (
                f"{where} has NaN or infinite values in {int(bad.sum())} of {len(names)} rows (e.g. "
                f"{some(names[bad])}). "
                "Drop those rows: a name without a row counts as not covered."
            )
            raise ValueError(msg)
        known = set(names)
        aliases = {a: name for a, name in (aliases or {}).items() if name in known and a not in known}
        return cls(names, values, info, aliases)

    def reduced(self, n_comps: int) -> EmbeddingSource:
        """Reduce the vectors to principal components of the rows. Columns are centred, not scaled.

        Raises
        ------
        ValueError
            If there are fewer components.
        """
        from sklearn.decomposition import PCA

        check_components(n_comps, min(self.values.shape))
        solver = "full" if min(self.values.shape) <= _FULL or n_comps == min(self.values.shape) else "arpack"
        scores = PCA(n_comps, svd_solver=solver, random_state=0).fit_transform(self.values.astype(np.float64))
        info = {**self.info, "n_comps": n_comps, "d_source": self.values.shape[1]}
        return replace(self, values=np.ascontiguousarray(scores, dtype=np.float32), info=info)


_FULL = 2000
"""Smaller side of the matrix up to which all components are computed."""


def check_components(n_comps: Any, most: int) -> None:
    """Refuse a number of components that the vectors or the graph do not have."""
    check_integer(n_comps, "n_comps", least=1, most=most)
