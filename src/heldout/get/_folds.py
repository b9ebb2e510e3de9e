"""The folds of a cross-validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core import keys, store
from heldout._core.partition import Partition, read_partition

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from anndata import AnnData
    from mudata import MuData


def fold_keys(adata: AnnData | MuData, key: str = "fold") -> list[str]:
    """Return the names of the split columns of the folds, in their order.

    Parameters
    ----------
    adata
        AnnData with folds, (n_obs × n_vars), or a MuData.
    key
        ``key_added`` of :func:`heldout.pp.folds`.

    Returns
    -------
    The columns of ``obs``. Pass each of them as ``split_key`` to other functions.

    Raises
    ------
    ValueError
        If there are no such folds, or a column belongs to another split.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.folds(adata, "library", "genotype", n_folds=3)
    >>> ho.get.fold_keys(adata)
    ['fold_0', 'fold_1', 'fold_2']
    """
    return [partition.key for partition in _read(adata, key)]


def iterate_folds(adata: AnnData | MuData, key: str = "fold") -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the row numbers of train and test of each fold, in the form that scikit-learn takes as cv.

    Cells of val are in neither. Make the folds with ``val=0`` if the method does not use val.

    Parameters
    ----------
    adata
        AnnData with folds, (n_obs × n_vars), or a MuData.
    key
        ``key_added`` of :func:`heldout.pp.folds`.

    Yields
    ------
    Row numbers of train and row numbers of test.

    Raises
    ------
    ValueError
        If there are no such folds, or a column was changed.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.folds(adata, "library", "genotype", n_folds=3, val=0)
    >>> [len(test) for _, test in ho.get.iterate_folds(adata)]
    [80, 80, 80]
    """
    for partition in _read(adata, key):
        yield partition.rows("train"), partition.rows("test")


def _read(adata: AnnData | MuData, key: str) -> list[Partition]:
    """Read and check the splits of the folds ``key``; the record of the first one lists the columns."""
    splits = store.section(adata, keys.SPLITS)
    first = [name for name in (f"{key}_0", f"{key}_0_0") if name in splits]
    if len(first) != 1:
        found = "two sets of folds, nested and not nested" if first else "no folds"
        msg = (
            f"key={key!r} names {found}. Make them with heldout.pp.folds(adata, ..., key_added={key!r}), with another "
            "key for each set."
        )
        raise ValueError(msg)
    partitions = [read_partition(adata, first[0])]
    names = partitions[0].params.get("folds", [])
    partitions += [read_partition(adata, name) for name in names[1:]]
    for partition in partitions:
        if not names or partition.params.get("folds") != names:
            msg = f"obs[{partition.key!r}] is another split, not one of the folds {key!r}. Make the folds again."
            raise ValueError(msg)
    return partitions
