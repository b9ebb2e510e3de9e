"""Coordinates of the cells: tables in ``obsm``, and numbered columns of ``obs`` such as PC1, PC2, PC3."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from heldout.auditing._case import Case

_NUMBERED = re.compile(r"(.*?)0*(\d+)")


def coordinates(values: Any) -> np.ndarray | None:
    """Floats (n × k) with at least two columns, or None if the values are anything else."""
    if isinstance(values, pd.DataFrame):
        values = values.to_numpy()
    is_table = isinstance(values, np.ndarray) and values.ndim == 2 and np.issubdtype(values.dtype, np.floating)
    return values if is_table and values.shape[1] >= 2 else None


def declared(case: Case) -> set[str]:
    """Columns of ``obs`` that the call, or the record of the split, names."""
    single = (case.label_key, case.match_key, case.time_key, case.perturbation_key, case.split_key)
    return {key for key in (*case.group_key, *case.covariate_keys, *single) if key is not None}


def numbered_columns(case: Case) -> dict[str, np.ndarray]:
    """Tables (n × k) of the columns of ``obs`` that have one stem and consecutive numbers from 0 or 1."""
    obs, skip = case.adata.obs, declared(case)
    stems: dict[str, dict[int, str]] = {}
    for column in obs.columns:
        match = _NUMBERED.fullmatch(str(column))
        if match and column not in skip and pd.api.types.is_float_dtype(obs[column]):
            stems.setdefault(match[1], {})[int(match[2])] = column
    tables = {}
    for columns in stems.values():
        first = min(columns)
        numbers = list(range(first, first + len(columns)))
        if first > 1 or len(columns) < 2 or sorted(columns) != numbers:
            continue
        values = obs[[columns[i] for i in numbers]].to_numpy(dtype=np.float64)
        if np.isfinite(values).all():
            tables[f"obs[{columns[first]!r}] to obs[{columns[numbers[-1]]!r}]"] = values
    return tables
