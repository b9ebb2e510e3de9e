"""Predictions of another tool as AnnData: from an AnnData, from a table, or from a file with one of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core import store
from heldout._core.compressed import check_matrix
from heldout._core.text_tables import pandas_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from heldout.splitting._read_screen import ScreenNames

_ALLOWED = "an AnnData, a DataFrame, or the path of a .h5ad, .csv, .tsv or .parquet file"


def as_anndata(name: str, predicted: object, names: ScreenNames) -> AnnData:
    """Return predictions as AnnData, with the perturbation and the covariates in ``obs``.

    Parameters
    ----------
    name
        Name of the tool, for error messages.
    predicted
        An AnnData, a table, or a path.
    names
        Columns of the perturbation and the covariates.

    Raises
    ------
    TypeError
        If it is something else.
    ValueError
        If the file has another format, or the table has columns without numbers.
    FileNotFoundError
        If there is no such file.
    """
    from anndata import AnnData

    if isinstance(predicted, str | os.PathLike):
        predicted = _read(name, Path(predicted), names)
    if isinstance(predicted, pd.DataFrame):
        return _of_table(name, predicted, names)
    if not isinstance(predicted, AnnData):
        msg = f"{name!r} must be {_ALLOWED}, got {type(predicted).__name__}."
        raise TypeError(msg)
    return predicted


def _read(name: str, path: Path, names: ScreenNames) -> AnnData | pd.DataFrame:
    if not path.exists():
        msg = f"{name!r} is the path {str(path)!r}, which does not exist. Check the path."
        raise FileNotFoundError(msg)
    kinds = [suffix for suffix in path.suffixes if suffix not in (".gz", ".bz2", ".xz")]
    kind = kinds[-1].lower() if kinds else ""
    if kind == ".h5ad":
        from anndata import read_h5ad

        read = read_h5ad(path)
        check_matrix(read.X, f"X of {str(path)!r}")
        return read
    if kind == ".parquet":
        return pd.read_parquet(path)
    if kind not in (".csv", ".tsv"):
        msg = f"{name!r} is the path {str(path)!r}, but must be {_ALLOWED}."
        raise ValueError(msg)
    options = pandas_options(path)
    header = pd.read_csv(path, nrows=0, **options).columns
    labels = [key for key in (names.perturbation_key, *names.covariate_keys) if key in header]
    text = labels if names.perturbation_key in labels else [header[0], *labels]
    missing = {column: [""] if column in text else ["", "NA", "N/A", "NaN", "nan", "None", "null"] for column in header}
    table = pd.read_csv(path, dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=missing, **options)
    return table if names.perturbation_key in labels else table.set_index(header[0])


def _of_table(name: str, table: pd.DataFrame, names: ScreenNames) -> AnnData:
    """A table with a row for each perturbation and context, and a column for each gene."""
    from anndata import AnnData

    wanted = [names.perturbation_key, *names.covariate_keys, *([] if names.dose_key is None else [names.dose_key])]
    levels = {level: table.index.get_level_values(i) for i, level in enumerate(table.index.names) if level in wanted}
    if not levels and names.perturbation_key not in table.columns:  # the perturbation comes first, then the covariates
        levels = {key: table.index.get_level_values(i) for i, key in enumerate(wanted[: table.index.nlevels])}
    found = {key: table[key] if key in table.columns else levels.get(key) for key in wanted}
    obs = {
        key: np.asarray(values) if key == names.dose_key else store.as_names(pd.Series(values))
        for key, values in found.items()
        if values is not None
    }
    genes = table.drop(columns=[key for key in wanted if key in table.columns])
    types = zip(genes.columns, genes.dtypes, strict=True)
    text = [column for column, dtype in types if not pd.api.types.is_numeric_dtype(dtype)]
    if text:
        msg = (
            f"{name!r} has columns without numbers (e.g. {store.some(text)}). Each column must be a gene, or one of "
            f"{wanted}. Drop the other columns."
        )
        raise ValueError(msg)
    _check_rows(name, obs, names)
    rows = pd.Index([str(i) for i in range(len(table))], dtype=object)
    var = pd.DataFrame(index=pd.Index(genes.columns.astype(str), dtype=object))
    return AnnData(genes.to_numpy(dtype=np.float32), obs=pd.DataFrame(obs, index=rows), var=var)


def _check_rows(name: str, obs: Mapping[str, np.ndarray], names: ScreenNames) -> None:
    """Refuse a table with two rows for a perturbation; they would be scored as its cells."""
    if names.perturbation_key not in obs:
        return
    targets = names.parse(obs[names.perturbation_key].tolist())
    others = [values.tolist() for key, values in obs.items() if key != names.perturbation_key]
    seen = set()
    for row in zip(targets, *others, strict=True):
        if row in seen and row[0]:
            msg = (
                f"{name!r} is a table with several rows for {names.joined(row[0])!r}. A table has a row for each "
                "perturbation, context and dose. Add the columns that tell the rows apart, or pass cells as an AnnData."
            )
            raise ValueError(msg)
        seen.add(row)
