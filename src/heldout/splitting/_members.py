"""Compare the groups, times and perturbations that a split records with those of the cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core.partition import PARTITIONS
from heldout._core.store import as_names, factorize
from heldout.splitting._components import components

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Read = Callable[[str], pd.Series | None]
    """Column of obs by name, or None if there is no such column."""


@dataclass(frozen=True)
class Members:
    """What the record says about the cells, compared with the columns of obs.

    Parameters
    ----------
    what
        The columns, e.g. ``donor``. Empty if the record names no column, or if obs does not have it.
    names
        Name of each cell in these columns, (n,) text.
    recorded
        Partitions of each name in the record.
    n_known
        Number of cells whose name is in the record.
    moved
        Mask (n,) of the cells in a partition that the record does not give to their name.
    """

    what: str
    names: np.ndarray
    recorded: Mapping[str, set[int]]
    n_known: int
    moved: np.ndarray

    def example(self, codes: np.ndarray) -> str:
        """One moved cell in words: its name, the partition of the record and the partition of the cell."""
        row = int(np.flatnonzero(self.moved)[0])
        name = self.names[row]
        wanted = " or ".join(PARTITIONS[code] for code in sorted(self.recorded[name]))
        return f"{name!r} is {wanted} in the record, but has cells in {PARTITIONS[codes[row]]}"


def members_of(read: Read, params: Mapping[str, Any], codes: np.ndarray, exempt: np.ndarray) -> Members:
    """Compare the record with the columns. ``codes`` and ``exempt``, (n,): partitions, and cells not to compare."""
    what, names, recorded = _recorded(read, params)
    if not what:
        return Members("", names, {}, 0, np.zeros(len(codes), dtype=bool))
    unique, of_cell = factorize(names)
    allowed = np.ones((len(unique), len(PARTITIONS)), dtype=bool)
    known = np.isin(unique, list(recorded))
    for number in np.flatnonzero(known):
        allowed[number] = [code in recorded[str(unique[number])] for code in range(len(PARTITIONS))]
    compared = known[of_cell] & (codes >= 0) & ~exempt
    moved = compared & ~allowed[of_cell, codes.clip(min=0)]
    return Members(what, names, recorded, int(compared.sum()), moved)


def _recorded(read: Read, params: Mapping[str, Any]) -> tuple[str, np.ndarray, dict[str, set[int]]]:
    """Columns in words, name of each cell, and the partitions of each name."""
    groups = params.get("groups")
    if isinstance(groups, dict) and params.get("group_key"):
        keys = params["group_key"]
        columns = _columns(read, [keys] if isinstance(keys, str) else list(keys))
        if columns:
            return _joined(columns), components(*columns.values()), _by_name(groups)
    times = params.get("times")
    if isinstance(times, dict) and isinstance(params.get("time_key"), str):
        columns = _columns(read, [params["time_key"]])
        if columns:
            shown = {name: as_names(list(map(float, values))) for name, values in times.items()}
            values = pd.to_numeric(pd.Series(columns[params["time_key"]]), errors="coerce").to_numpy(dtype=float)
            return _joined(columns), as_names(pd.Series(values)), _by_name(shown)
    pairs = params.get("pairs")
    if isinstance(pairs, dict) and isinstance(params.get("perturbation_key"), str):
        contexts = list(params.get("covariate_keys") or [])
        columns = _columns(read, [params["perturbation_key"], *contexts])
        if columns:
            return _joined(columns), _pairs_of_cells(columns), _of_pairs(params, pairs)
    return "", np.array([], dtype=object), {}


def _columns(read: Read, keys: list[str]) -> dict[str, np.ndarray]:
    """Columns as text, or nothing if one of them is absent."""
    columns = {key: read(key) for key in keys}
    found = {key: as_names(column) for key, column in columns.items() if column is not None}
    return found if len(found) == len(keys) else {}


def _joined(columns: Mapping[str, np.ndarray]) -> str:
    return " and ".join(columns)


def _by_name(lists: Mapping[str, Any]) -> dict[str, set[int]]:
    recorded: dict[str, set[int]] = {}
    for partition, names in lists.items():
        if partition in PARTITIONS:
            for name in names:
                recorded.setdefault(str(name), set()).add(PARTITIONS.index(partition))
    return recorded


def _pairs_of_cells(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Name of the perturbation and the context of each cell, (n,)."""
    if len(columns) == 1:
        return next(iter(columns.values()))
    return np.array([_pair(*values) for values in zip(*columns.values(), strict=True)], dtype=object)


def _of_pairs(params: Mapping[str, Any], pairs: Mapping[str, Any]) -> dict[str, set[int]]:
    names: dict[int, list[str]] = {}
    for name, number in params.get("names", {}).items():
        names.setdefault(int(number), []).append(str(name))
    recorded: dict[str, set[int]] = {}
    for number, context, code in zip(pairs["perturbation"], pairs["context"], pairs["partition"], strict=True):
        for name in names.get(int(number), []):
            key = _pair(name, *params["contexts"][context])
            recorded.setdefault(key, set()).add(int(code))
    return recorded


def _pair(name: str, *context: str) -> str:
    return " in ".join([str(name), *map(str, context)])
