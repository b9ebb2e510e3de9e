"""Read an h5ad file, and write what was added to it into a complete copy."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pandas.api.extensions import ExtensionDtype

from heldout._core import keys
from heldout._core.files import check_target, written_at_once

if TYPE_CHECKING:
    from pathlib import Path

    import h5py
    import pandas as pd
    from anndata import AnnData


@dataclass(frozen=True)
class ReadFile:
    """An AnnData, the file that it is from, and its tables as they were in the file."""

    adata: AnnData
    path: Path
    obs: pd.DataFrame
    var: pd.DataFrame
    obsm: dict[str, Any]


def check_output(path: Path, out: Path | None, *, in_place: bool, overwrite: bool, needed: str = "") -> Path | None:
    """The file to write; None if nothing is written.

    Parameters
    ----------
    path
        The file that is read.
    out, in_place, overwrite
        What the user passed.
    needed
        Why the result must be written; empty if it does not have to be.

    Raises
    ------
    ValueError
        If both or, where the result must be written, none of ``out`` and ``in_place`` are given.
    OSError
        If the file cannot be written, or is there and ``overwrite`` is False.
    """
    if out is not None and in_place:
        msg = "--out and --in-place were both given. Pass one of them."
        raise ValueError(msg)
    if out is not None and path.exists() and out.exists() and out.samefile(path):
        msg = f"--out is the file that is read, {str(path)!r}. Pass --in-place to change this file."
        raise ValueError(msg)
    if in_place:
        return check_target(path, "FILE", overwrite=True, instead="")
    if out is not None:
        return check_target(out, "--out", overwrite=overwrite, instead="pass --overwrite")
    if needed:
        msg = f"{needed} Pass --out FILE to write a new file, or --in-place to change {str(path)!r}."
        raise ValueError(msg)
    return None


def read(path: Path, *, backed: bool = False) -> ReadFile:
    """Read an h5ad file. With ``backed``, the matrix stays on disk.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not an h5ad file.
    """
    import h5py
    from anndata import read_h5ad

    if not path.is_file():
        msg = f"FILE={str(path)!r} is not a file. Pass the path of an .h5ad file."
        raise FileNotFoundError(msg)
    if not h5py.is_hdf5(path) or not _has_cells(path):
        msg = f"FILE={str(path)!r} is not an .h5ad file. Write one with adata.write_h5ad(...)."
        raise ValueError(msg)
    try:
        adata = read_h5ad(path, backed="r" if backed else None)
    except (KeyError, OSError, TypeError, AttributeError) as error:
        msg = f"FILE={str(path)!r} cannot be read as an AnnData ({error}). Write it with adata.write_h5ad(...)."
        raise ValueError(msg) from error
    return ReadFile(adata, path, adata.obs.copy(), adata.var.copy(), dict(adata.obsm))


def _has_cells(path: Path) -> bool:
    import h5py

    with h5py.File(path) as file:
        return {"obs", "var"} <= set(file)


def save(source: ReadFile, target: Path) -> None:
    """Write a copy of the file with what was added. The matrix and everything else are copied as they are.

    The target is either complete or as it was before.
    """
    import h5py
    from anndata.io import write_elem

    adata = source.adata
    with written_at_once(target) as part:
        shutil.copyfile(source.path, part)
        with h5py.File(part, "r+") as file:
            for name, before, after in (("obs", source.obs, adata.obs), ("var", source.var, adata.var)):
                _write_columns(file, name, before, after)
            for name, values in adata.obsm.items():
                if source.obsm.get(name) is not values:
                    write_elem(file["obsm"], name, values)
            if "uns" not in file:
                write_elem(file, "uns", {})
            if keys.UNS in adata.uns:
                write_elem(file["uns"], keys.UNS, dict(adata.uns[keys.UNS]))
        if adata.isbacked:
            adata.file.close()


def _write_columns(file: h5py.File, name: str, before: pd.DataFrame, after: pd.DataFrame) -> None:
    """Write the columns that are new or have other values. The other columns stay as they are stored."""
    from anndata.io import write_elem

    new = [key for key in after.columns if key not in before or not before[key].equals(after[key])]
    if not new:
        return
    stored = file[name]
    if stored.attrs.get("encoding-type") != "dataframe" or len(after.columns) < len(before.columns):
        write_elem(file, name, after)  # an old layout, or columns were dropped
        return
    for key in new:
        column = after[key]
        write_elem(stored, key, column.array if isinstance(column.dtype, ExtensionDtype) else column.to_numpy())
    stored.attrs["column-order"] = [str(key) for key in after.columns]
