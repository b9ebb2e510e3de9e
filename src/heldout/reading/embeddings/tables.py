"""Read vectors from a DataFrame, an AnnData, or a table in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from heldout._core.store import some
from heldout._core.text_tables import pandas_options
from heldout._core.types import is_sparse
from heldout.reading.embeddings.files import find, numpy_file, recorded
from heldout.reading.embeddings.source import EmbeddingSource


def read_table(source: Any) -> EmbeddingSource:
    """Read one row per name from a DataFrame (names in its index), an AnnData (``obs_names``), a csv or a tsv file."""
    from anndata import AnnData

    if isinstance(source, AnnData):
        X = source.X
        if X is None:
            msg = "source is an AnnData without X. Put the vectors of the observations into X."
            raise ValueError(msg)
        return EmbeddingSource.of(
            source.obs_names, X.toarray() if is_sparse(X) else np.asarray(X), where="source.X", files=[]
        )
    if isinstance(source, pd.DataFrame):
        return _framed(source, "source", [])
    path = find(source, "*.csv", "*.tsv", what="a table (.csv or .tsv)")
    table = pd.read_csv(
        path,
        index_col=0,
        keep_default_na=False,
        na_values=["", "NaN", "nan"],
        **pandas_options(path),
    )
    return _framed(table, str(path), recorded(path))


def read_npz(source: Any, names: Any) -> EmbeddingSource:
    """Read the arrays ``names`` (n, text) and ``values`` (n × d) of an npz file."""
    path = find(source, "*.npz", what="an npz file")
    arrays = numpy_file(path)
    if not isinstance(arrays, dict) or "values" not in arrays or ("names" not in arrays and names is None):
        has = some(arrays) if isinstance(arrays, dict) else "one array"
        msg = f"{path} must hold the arrays 'names' (text) and 'values' (one row per name); it has {has}."
        raise ValueError(msg)
    return EmbeddingSource.of(
        arrays["names"] if names is None else names, arrays["values"], where=str(path), files=recorded(path)
    )


def _framed(table: pd.DataFrame, where: str, files: list[dict[str, str]]) -> EmbeddingSource:
    wrong = [column for column, dtype in table.dtypes.items() if not pd.api.types.is_numeric_dtype(dtype)]
    if wrong:
        msg = (
            f"{where} has {len(wrong)} columns that are not numbers (e.g. {some(wrong)}). Put the names into the "
            "index: "
            "table.set_index('gene')."
        )
        raise ValueError(msg)
    if table.index.isna().any():
        msg = f"{where} has rows without a name in its index."
        raise ValueError(msg)
    return EmbeddingSource.of(table.index, table.to_numpy(dtype=np.float64), where=where, files=files)


def looks_like_table(source: Any) -> bool:
    """Whether a source without a given format is a table."""
    from anndata import AnnData

    if isinstance(source, AnnData | pd.DataFrame):
        return True
    suffixes = Path(source).suffixes
    return ".csv" in suffixes or ".tsv" in suffixes
