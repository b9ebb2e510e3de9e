"""A split as a small table to publish and to check."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core import cells, store
from heldout._core.partition import PARTITIONS, Axis, digests, read_partition
from heldout._core.split_table import DIGEST, NAMES, SCHEMA
from heldout._core.tables import prints_whole

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


@prints_whole
def split_table(adata: AnnData | MuData, split_key: str = "split", *, axis: Axis = "obs") -> pd.DataFrame:
    """Return a split as a table to publish: the partition of each cell, with a hash to verify it.

    Write it with ``to_csv`` (also ``.csv.gz``) or ``to_parquet``, with its index. :func:`heldout.pp.split_from` reads
    and verifies it, and applies the same split, with the same hash, to the same cells in another AnnData.

    Parameters
    ----------
    adata
        AnnData with the split, (n_obs × n_vars). For a split of cells, a MuData is also supported.
    split_key
        Name of the split.
    axis
        ``obs`` for a split of cells, ``var`` for a split of genes.

    Returns
    -------
    One row for each cell that the split was made on; the index has its name (and is called ``cell`` or ``gene``). The
    cells in ``adata`` come first, in their order, then the cells that were dropped since. Only a digest of a dropped
    cell is known; its name is ``blake2b:`` and 16 hexadecimal digits. Columns: ``partition``; ``split_hash``, the
    same in all rows; ``record``, JSON of scheme and parameters in the first row, empty in the others.

    Raises
    ------
    ValueError
        If there is no such split, or the column differs from its record.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> table = ho.get.split_table(adata)
    >>> table["partition"].value_counts().to_dict()
    {'train': 160, 'val': 40, 'test': 40, 'unused': 0}
    """
    if axis not in NAMES:
        msg = f"axis={axis!r} must be 'obs' (a split of cells) or 'var' (a split of genes)."
        raise ValueError(msg)
    if axis == "obs":
        cells.check(adata)
    else:
        store.check_adata(adata)
    partition = read_partition(adata, split_key, axis=axis)
    names = adata.obs_names if axis == "obs" else adata.var_names
    made = partition.assignment
    dropped = ~np.isin(made.members, digests(names))
    unnamed = [f"{DIGEST}{member:016x}" for member in made.members[dropped].tolist()]
    codes = np.concatenate([partition.codes, made.codes[dropped]])
    record = np.full(len(codes), "", dtype=object)
    record[:1] = json.dumps({"schema": SCHEMA, "scheme": partition.scheme, "params": partition.params}, sort_keys=True)
    return pd.DataFrame(
        {
            "partition": pd.Categorical.from_codes(codes, categories=list(PARTITIONS)),
            "split_hash": np.full(len(codes), partition.hash, dtype=object),
            "record": record,
        },
        index=pd.Index([*names, *unnamed], name=NAMES[axis]),
    )
