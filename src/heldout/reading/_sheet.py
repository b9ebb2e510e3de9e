"""The sample sheet: names, paths and metadata of the libraries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from heldout._core import store
from heldout._core.text_tables import read_text_table

WRITTEN = ("n_genes_by_counts", "total_counts", "pct_counts_mt")
"""Columns of ``obs`` that reading writes. A sheet must not have them."""


def read_sheet(sheet: str | Path | pd.DataFrame | Mapping[str, Any]) -> pd.DataFrame:
    """Return a table with the columns ``library`` (text), ``path`` (:class:`~pathlib.Path`) and the metadata.

    Raises
    ------
    ValueError
        If a column or a value is missing, or if a library or a path is repeated.
    TypeError
        If ``sheet`` is not a path, a DataFrame or a mapping.
    FileNotFoundError
        If the csv file does not exist.
    """
    table, folder = _table(sheet)
    for name in ("library", "path"):
        if name not in table.columns:
            msg = (
                f"sheet has no column {name!r}. {store.suggest(name, table.columns)} It must have 'library' and 'path'."
            )
            raise ValueError(msg)
    if not len(table):
        msg = "sheet has no rows, so there is no library to read. Add a row for each library."
        raise ValueError(msg)
    missing = table[["library", "path"]].isna().any(axis=1)
    if missing.any():
        msg = (
            f"sheet has no library or path in {int(missing.sum())} of {len(table)} rows (e.g. row "
            f"{missing.idxmax()}). Fill them, or drop those rows."
        )
        raise ValueError(msg)
    taken = [name for name in table.columns if name in WRITTEN]
    if taken:
        msg = f"sheet has the column {store.some(taken)}, which reading computes. Rename it."
        raise ValueError(msg)
    table = table.reset_index(drop=True).rename(columns=str)
    table["library"] = store.as_names(table["library"])
    table["path"] = [(folder / str(path)).expanduser() for path in table["path"]]
    _check_once(table["library"], "library")
    _check_once(pd.Series([str(path.resolve()) for path in table["path"]]), "path")
    return table


def _check_once(values: pd.Series, name: str) -> None:
    if values.duplicated().any():
        twice = values[values.duplicated()].unique()
        msg = f"sheet has the same {name} in several rows: {store.some(twice)}. List each library once."
        raise ValueError(msg)


def _table(sheet: str | Path | pd.DataFrame | Mapping[str, Any]) -> tuple[pd.DataFrame, Path]:
    """Return the rows as given, and the folder to which paths are relative."""
    if isinstance(sheet, pd.DataFrame):
        return sheet, Path()
    if isinstance(sheet, Mapping):
        if {"library", "path"} <= set(sheet):
            return pd.DataFrame(dict(sheet)), Path()
        if all(isinstance(path, str | Path) for path in sheet.values()):
            return pd.DataFrame({"library": list(sheet), "path": list(sheet.values())}), Path()
        msg = (
            "sheet must map column names to columns (with 'library' and 'path'), or libraries to paths. This mapping "
            "does neither."
        )
        raise ValueError(msg)
    if not isinstance(sheet, str | Path):
        msg = f"sheet must be the path of a csv file, a DataFrame or a mapping, got {type(sheet).__name__}."
        raise TypeError(msg)
    path = Path(sheet)
    if not path.is_file():
        msg = (
            f"sheet={str(sheet)!r} does not exist. It must be a csv file with the columns 'library', 'path' and any "
            "metadata."
        )
        raise FileNotFoundError(msg)
    return read_text_table(path, "sheet", ("library", "path")), path.parent
