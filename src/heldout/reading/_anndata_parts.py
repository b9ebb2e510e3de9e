"""Where an AnnData file has its counts and the names of its genes, in new and in old layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout.reading._library import GENE_EXPRESSION, Genes

if TYPE_CHECKING:
    from collections.abc import Sequence

PLACES = (("X", "var"), ("layers/counts", "var"), ("raw/X", "raw/var"), ("raw.X", "raw.var"))
"""Where counts may be, and the genes of that matrix. Before anndata 0.7, raw was stored as ``raw.X``."""

_SYMBOLS = ("gene_symbols", "feature_name", "gene_symbol", "gene_name", "gene_names", "symbol", "gene_short_name")
_IDS = ("gene_ids", "gene_id", "ensembl_id", "ensembl_ids", "feature_id", "ensembl")
_ENSEMBL = r"ENS[A-Z]*G\d{6,}"
_SAMPLE = 10_000


def place_of_counts(root: Any) -> tuple[str, str]:
    """Return the place of the counts and of their genes. It is ``X``, unless only another matrix has counts."""
    present = [(X, var) for X, var in PLACES if X in root and var in root]
    return next((place for place in present if _whole(root[place[0]])), PLACES[0])


def _whole(stored: Any) -> bool:
    """Return whether the first values are counts."""
    values = stored.get("data") if hasattr(stored, "keys") else stored
    if values is None or not values.shape or values.dtype.kind not in "iufb":
        return False
    rows = _SAMPLE if values.ndim == 1 else max(1, _SAMPLE // max(values.shape[1], 1))
    found = np.asarray(values[:rows], dtype=np.float64)
    return bool(((found >= 0) & (found == np.rint(found))).all())


def table_of(root: Any, name: str) -> pd.DataFrame:
    """Return ``obs`` or ``var``. Before anndata 0.7 it was an array of records, with categories in ``uns``."""
    from anndata.io import read_elem

    stored = root[name]
    fields = getattr(getattr(stored, "dtype", None), "names", None)
    if not fields:
        return read_elem(stored)
    records, columns = stored[:], {}
    for field in fields:
        values = records[field]
        if values.dtype.kind in "SO":
            values = np.array([v.decode() if isinstance(v, bytes) else str(v) for v in values], dtype=object)
        categories = root.get(f"uns/{field}_categories")
        if categories is not None and values.dtype.kind in "iu":
            words = [v.decode() if isinstance(v, bytes) else str(v) for v in np.atleast_1d(categories[()])]
            values = pd.Categorical.from_codes(values, words)
        columns[field] = values
    return pd.DataFrame(columns).set_index(fields[0])


def genes_of(table: pd.DataFrame) -> Genes:
    """Return ids and symbols from the names and the usual columns of ``var``.

    If the names are Ensembl ids, symbols are taken from a column such as ``feature_name`` (CELLxGENE).
    """
    names = table.index.to_numpy(dtype=str).astype(object)
    ids, symbols = _column(table, _IDS[:1]), None
    if _are_ensembl(names):
        symbols = _column(table, _SYMBOLS)
    elif ids is None:
        found = _column(table, _IDS[1:])
        ids = found if found is not None and _are_ensembl(found) and not pd.Index(found).duplicated().any() else None
    types = _column(table, ("feature_types",))
    ids, symbols = names if ids is None else ids, names if symbols is None else symbols
    return Genes(ids, symbols, np.full(len(names), GENE_EXPRESSION, dtype=object) if types is None else types)


def _column(table: pd.DataFrame, options: Sequence[str]) -> np.ndarray | None:
    name = next((name for name in options if name in table.columns), None)
    if name is None:
        return None
    values = table[name].astype(object)
    return values.where(values.notna(), table.index).astype(str).to_numpy(dtype=object)


def _are_ensembl(names: np.ndarray) -> bool:
    return bool(pd.Series(names, dtype=object).str.match(_ENSEMBL).mean() > 0.5)
