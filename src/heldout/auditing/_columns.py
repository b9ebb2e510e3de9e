"""Read a column of any kind for each unit, as ordered numbers or as categories."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core.store import as_names
from heldout.metrics.several_classes import class_aucs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from heldout.auditing._units import AuditUnits

_DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}|\d{1,2}[ -][A-Za-z]{3}[a-z]*[ -]\d{2,4}|(?:19|20)\d{6}$")


@dataclass(frozen=True)
class UnitColumn:
    """A column that has one value in each unit.

    Parameters
    ----------
    kind
        ``"number"``, ``"date"`` or ``"category"``.
    values
        Number of each unit, (U,): the number itself, the day, or the code of the category. Missing numbers and dates
        are -inf. A missing category is a category.
    """

    kind: str
    values: np.ndarray

    @property
    def n_values(self) -> int:
        """Number of distinct values."""
        return len(np.unique(self.values))


def few_values(obs: pd.DataFrame, named: Collection[Any], most: int) -> Iterator[tuple[str, np.ndarray]]:
    """Columns with 2 to ``most`` values: their name, and the number of the value of each cell, (n,), -1 if missing.

    Columns that are in ``named``, and columns of floats, are left out.
    """
    for column in obs.columns:
        if column in named or pd.api.types.is_float_dtype(obs[column]):
            continue
        known = obs[column].notna().to_numpy()
        levels, number = np.unique(as_names(obs[column][known]), return_inverse=True)
        if 2 <= len(levels) <= most:
            codes = np.full(len(obs), -1)
            codes[known] = number
            yield str(column), codes


def of_units(column: pd.Series, units: AuditUnits) -> UnitColumn | None:
    """The column for each unit, or None if its values vary within a unit."""
    used = units.of_cell >= 0
    codes = pd.factorize(column[used].astype(object), use_na_sentinel=False)[0]
    place = np.zeros(len(units.names), dtype=int)
    place[units.of_cell[used]] = np.arange(int(used.sum()))
    if not np.array_equal(codes[place][units.of_cell[used]], codes):
        return None
    values = column[used].iloc[place]
    kind, numbers = ordered(values)
    if numbers is None:
        return UnitColumn("category", codes[place].astype(float))
    return UnitColumn(kind, np.where(np.isnan(numbers), -np.inf, numbers))


def ordered(values: pd.Series) -> tuple[str, np.ndarray | None]:
    """Numbers or dates of these values, with NaN where they are missing. None if they are categories."""
    if pd.api.types.is_bool_dtype(values.dtype):
        return "category", None
    if pd.api.types.is_datetime64_any_dtype(values.dtype) or pd.api.types.is_timedelta64_dtype(values.dtype):
        days = values.astype("int64").to_numpy(dtype=float)
        return "date", np.where(values.isna(), np.nan, days)
    known = values.dropna().astype(str).str.strip()
    if known.empty:
        return "category", None
    if known.str.contains(_DATE).all():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dates = pd.to_datetime(values.astype(object).astype(str), errors="coerce", format="mixed")
        if dates[known.index].notna().all():
            return "date", np.where(dates.isna(), np.nan, dates.to_numpy(dtype="datetime64[s]").astype(float))
    numbers = pd.to_numeric(values.astype(object), errors="coerce").to_numpy(dtype=float)
    same = np.isnan(numbers) == values.isna().to_numpy()
    return ("number", np.clip(numbers, -1e300, 1e300)) if same.all() else ("category", None)


def association(column: UnitColumn, labellings: np.ndarray, n_classes: int) -> np.ndarray:
    """Association of the column with each labelling (B × U), between 0 and 1, (B,).

    For numbers and dates, it is twice the distance of the AUC from 0.5. For categories, it is Cramér's V.
    """
    if column.kind != "category":
        ranks = np.unique(column.values, return_inverse=True)[1].astype(float)
        return 2 * np.abs(class_aucs(np.tile(ranks, (n_classes, 1)), labellings, n_classes) - 0.5)
    codes = np.unique(column.values, return_inverse=True)[1]
    member = np.eye(codes.max() + 1)[codes]
    total = np.zeros(len(labellings))
    for c in range(n_classes):
        inside = (labellings == c).astype(float)
        total += ((inside @ member) ** 2 / member.sum(axis=0) / inside.sum(axis=1)[:, None]).sum(axis=1)
    return np.sqrt(np.maximum(total - 1, 0) / max(min(n_classes, member.shape[1]) - 1, 1))
