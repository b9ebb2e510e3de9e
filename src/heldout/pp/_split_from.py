"""Verify a published split, and apply it to the cells of an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from heldout._core import cells, store
from heldout._core.checks import check_choice
from heldout._core.keys import check_key
from heldout._core.partition import PARTITIONS, digests, write_partition
from heldout._core.split_table import NAMES
from heldout.splitting._members import members_of
from heldout.splitting._published import PublishedSplit, read_table

if TYPE_CHECKING:
    import os

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData


def split_from(
    adata: AnnData | MuData,
    table: pd.DataFrame | str | os.PathLike[str],
    *,
    key_added: str = "split",
    missing: Literal["error", "unused"] = "error",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Apply a published split to the cells, after verifying that its table is unchanged.

    The hash is computed again from the names and partitions of the table. The split that is written has the hash of the
    publication, even if ``adata`` has only some of the cells. A fit on the published split is therefore accepted.

    The record of the split also lists the groups, times or perturbations of each partition. If ``obs`` has their
    column, each cell must be in the partition that the record gives to its group. Otherwise the names of the cells have
    changed their meaning, for example because libraries were joined in another order before ``obs_names_make_unique``.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), or a MuData if the table lists cells, see :func:`split_groups`. Its names must
        be those of the table, in any order.
    table
        Result of :func:`heldout.get.split_table`, or the path of such a table as ``.csv``, ``.csv.gz`` or ``.parquet``
        (needs pyarrow). If you read a csv file yourself, use ``dtype=str, keep_default_na=False``.
    key_added
        Name of the new column.
    missing
        What to do with cells that the table does not list. ``error`` raises an error. ``unused`` puts them into
        ``unused``. The split then has a hash that differs from the published hash, and the published hash is in its
        parameters. The test set stays the same.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData (MuData) if ``copy=True``. The function writes the following. If the table
    lists genes, it writes to ``var`` instead of ``obs``.

    ``obs[key_added]``
        Categorical with the values train, val, test, unused.
    ``uns["heldout"]["splits"][key_added]``
        Scheme, parameters and hash of the publication. If cells were put into ``unused``, the parameter ``split_from``
        has the published hash and the number of those cells.
    ``uns["heldout"]["assignments"]``
        The partition of each name in the table, as digests, under the hash.

    Raises
    ------
    ValueError
        If the table was altered, lists a name twice, has wrong columns or partitions, lacks cells of ``adata``, or
        shares no cell with ``adata``. If the groups, times or perturbations of the cells in ``obs`` are in other
        partitions than in the record.
    TypeError
        If ``table`` is neither a DataFrame nor a path.
    ImportError
        If the table is a parquet file and pyarrow is not installed.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> theirs = adata.copy()
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> ho.pp.split_from(theirs, ho.get.split_table(adata))
    >>> theirs.obs["split"].equals(adata.obs["split"])
    True
    """
    check_key("key_added", key_added)
    check_choice(missing, "missing", ("error", "unused"))
    cells.check(adata)
    published = PublishedSplit.of(read_table(table))
    if published.axis == "var":
        store.check_adata(adata)  # a gene belongs to one modality, so a MuData has no place for a split of genes
    adata = cells.start(adata, copy=copy)
    names = adata.obs_names if published.axis == "obs" else adata.var_names
    split = published.extended(names, missing=missing)
    assignment = split.assignment
    if published.axis == "obs":
        _check_members(adata, published, assignment.lookup(names))
    write_partition(
        adata,
        assignment.lookup(names),
        key=key_added,
        scheme=split.scheme,
        params=split.params,
        axis=split.axis,
        assignment=assignment,
    )
    _log_absent(published, names)
    return store.finish(adata, copy=copy)


def _check_members(adata: AnnData | MuData, published: PublishedSplit, codes: np.ndarray) -> None:
    """Refuse a table whose names are now the names of other cells."""

    def read(key: str) -> pd.Series | None:
        try:
            return cells.column(adata, key, argument="group_key", allow_missing=True)
        except ValueError:
            return None  # adata does not have the column, so it cannot be compared

    listed = published.assignment.lookup(adata.obs_names) >= 0
    members = members_of(read, published.params, codes, exempt=~listed)
    if members.moved.any():
        msg = (
            f"table does not fit adata: {int(members.moved.sum())} of {len(codes)} cells have another {members.what} "
            f"than in the table. For example, {members.example(codes)}. The names of the cells are now the names of "
            "other cells. Join the libraries in the original order, or make unique names from the library and the "
            "barcode before the split is published."
        )
        raise ValueError(msg)
    if members.what and not members.n_known:
        store.logger.warning(
            "No value of %s in obs is in the record of the table, so the groups of the cells were not compared.",
            members.what,
        )


def _log_absent(published: PublishedSplit, names: pd.Index) -> None:
    """Log how many names of the table are not in ``adata``, because a smaller test set is a different measurement."""
    members, codes = published.assignment.members, published.assignment.codes
    absent = np.bincount(codes[~np.isin(members, digests(names))], minlength=len(PARTITIONS))
    if absent.any():
        by_partition = ", ".join(f"{n} {name}" for name, n in zip(PARTITIONS, absent, strict=True) if n)
        what = NAMES[published.axis]
        store.logger.warning(
            "%d of the %d %ss of the table are not in adata (%s).", absent.sum(), len(codes), what, by_partition
        )
