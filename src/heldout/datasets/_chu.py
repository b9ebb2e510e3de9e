"""The time course of Chu et al. 2016: human embryonic stem cells that become definitive endoderm."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from heldout.datasets._download import DELETE, fetched, sha256_of

if TYPE_CHECKING:
    import os
    from pathlib import Path

URL = "https://ftp.ncbi.nlm.nih.gov/geo/series/GSE75nnn/GSE75748/suppl/GSE75748_sc_time_course_ec.csv.gz"

CELLS: dict[float, int] = {0: 92, 12: 102, 24: 66, 36: 172, 72: 138, 96: 188}
"""Published number of cells at each hour."""

N_GENES = 19189
"""Number of genes in the file."""

_NAME = re.compile(r"H9\.(\d+)h(?:b4s)?_\d+")


def chu16(*, folder: str | os.PathLike[str] | None = None) -> AnnData:
    """Load single cells from embryonic stem cell to definitive endoderm, at 0, 12, 24, 36, 72 and 96 hours.

    The file of all genes of GSE75748 :cite:p:`chu2016` is downloaded once and kept. No checksum is published for it.
    The file is checked by its known content: 19,189 genes, and 92, 102, 66, 172, 138 and 188 cells at these times.

    Parameters
    ----------
    folder
        Folder that contains the file, or to which it is downloaded. If None, ``HELDOUT_CACHE_DIR`` or else
        ``~/.cache/heldout``.

    Returns
    -------
    A new :class:`~anndata.AnnData` (758 × 19,189) with

    `X` : :class:`scipy.sparse.csr_matrix` (dtype `float32`)
        Expected counts (RSEM), which are not always integers.
    `obs['time_h']` : :class:`pandas.Series` (dtype `float64`)
        Hours of differentiation, read from the names of the cells.
    `uns['chu16']` : :class:`dict`
        ``url`` and ``sha256`` of the file.

    Raises
    ------
    OSError
        If the file is not in ``folder`` and cannot be downloaded. The message names the path to copy it to.
    ValueError
        If the file does not have the content described above.

    Notes
    -----
    The data are one run of one cell line (H9). There are no independent replicates, so they cannot show whether a
    result holds for other donors.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.chu16()  # doctest: +SKIP
    >>> ho.pp.split_time(adata, "time_h", test=96)  # doctest: +SKIP
    """
    path = fetched(URL, folder, sha256=None)
    adata = read_time_course(path)
    found = adata.obs["time_h"].value_counts().to_dict()
    if found != CELLS or adata.n_vars != N_GENES:
        msg = (
            f"{path} is not the published time course: it has {adata.n_vars} genes, "
            f"and cells by hour {dict(sorted(found.items()))}; expected are {N_GENES} and {CELLS}. {DELETE}"
        )
        raise ValueError(msg)
    return adata


def read_time_course(path: Path) -> AnnData:
    """Read a file in the layout of GSE75748: rows are genes, and columns are cells with names such as ``H9.12h_001``.

    Raises
    ------
    ValueError
        If the file cannot be read, a cell has no time in its name, or values are negative or missing.
    """
    try:
        table = pd.read_csv(path, index_col=0)
    except (OSError, EOFError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as problem:
        msg = f"{path} cannot be read ({problem}). The download may be incomplete. {DELETE}"
        raise ValueError(msg) from problem
    named = [_NAME.fullmatch(str(name)) for name in table.columns]
    unnamed = [str(name) for name, match in zip(table.columns, named, strict=True) if match is None]
    if unnamed or not len(table.columns):
        msg = (
            f"{path} has {len(unnamed)} columns (e.g. {unnamed[:3]}) that are not named like the cells of GSE75748, "
            "e.g. 'H9.12h_001'."
        )
        raise ValueError(msg)
    if any(dtype.kind not in "iuf" for dtype in table.dtypes):
        msg = f"{path} has entries that are not numbers."
        raise ValueError(msg)
    X = np.ascontiguousarray(table.to_numpy(dtype=np.float32).T)
    if not np.isfinite(X).all() or (X < 0).any():
        msg = f"{path} has missing or negative values, but expected counts must be >= 0."
        raise ValueError(msg)
    hours = [float(match[1]) for match in named if match is not None]
    obs = pd.DataFrame({"time_h": hours}, index=[str(name) for name in table.columns])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # anndata warns about duplicate names, which are made unique next
        adata = AnnData(sparse.csr_matrix(X), obs=obs, var=pd.DataFrame(index=[str(name) for name in table.index]))
        adata.var_names_make_unique()
    adata.uns["chu16"] = {"url": URL, "sha256": sha256_of(path)}
    return adata
