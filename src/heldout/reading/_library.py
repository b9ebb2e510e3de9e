"""One library: its files, its barcodes and genes, its counts. And what is said when something is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core import store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scipy import sparse

GENE_EXPRESSION = "Gene Expression"

_PART = 2**20
"""Values looked at together, so that little memory is needed beside them."""


class LibraryError(ValueError):
    """A library cannot be used; the message names it, the file, and what is wrong with it."""

    def __init__(self, library: str, path: Path, what: str) -> None:
        self.library, self.path, self.what = library, path, what
        super().__init__(f"library {library!r}, {path}: {what}")


@dataclass(frozen=True)
class Genes:
    """Genes of a library as its file lists them: ids, symbols and kinds, each (n,) text."""

    ids: np.ndarray
    symbols: np.ndarray
    types: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, columns: np.ndarray) -> Genes:
        """Some of them."""
        return Genes(self.ids[columns], self.symbols[columns], self.types[columns])


@dataclass(frozen=True)
class LibrarySource:
    """What is known of a library before its counts are read.

    Parameters
    ----------
    kind
        ``mtx`` (a 10x folder), ``h5`` (10x), ``h5ad`` or ``zarr``.
    path
        The file or folder with the counts.
    barcodes
        One a cell, (n,) text.
    genes
        All of the file, (g,), also those that will not be kept.
    size
        Bytes on disk and time of the last change of the file with the counts: a restart asks whether it is the same.
    barcodes_in, genes_in
        Files that list them, where they are files of their own.
    """

    library: str
    kind: str
    path: Path
    barcodes: np.ndarray
    genes: Genes
    size: tuple[int, int]
    barcodes_in: Path | None = None
    genes_in: Path | None = None

    def error(self, what: str, path: Path | None = None) -> LibraryError:
        """The error to raise for this library."""
        return LibraryError(self.library, path or self.path, what)


def checked(source: LibrarySource) -> LibrarySource:
    """Refuse repeated barcodes and gene ids, and a library without cells or genes."""
    for what, names, path in (
        ("barcodes", source.barcodes, source.barcodes_in),
        ("gene ids", source.genes.ids, source.genes_in),
    ):
        if not len(names):
            msg = f"it has no {what}."
            raise source.error(msg, path)
        again = pd.Index(names).duplicated()
        if again.any():
            repeated = np.unique(names[again])
            msg = (
                f"{len(repeated)} {what} occur more than once (e.g. {store.some(repeated)}). "
                "Each must be there once; was the file pasted together from several?"
            )
            raise source.error(msg, path)
    return source


def as_counts(source: LibrarySource, X: sparse.csr_matrix) -> sparse.csr_matrix:
    """Cells × genes as float32 without stored zeros, genes in order; refuses what is no count."""
    if X.shape != (len(source.barcodes), len(source.genes)):
        msg = (
            f"its matrix has {X.shape[0]} cells and {X.shape[1]} genes, but it lists {len(source.barcodes)} barcodes and "
            f"{len(source.genes)} genes."
        )
        raise source.error(msg)
    if len(X.data) and not np.isfinite(X.data.sum()):
        msg = "it has NaN or infinite values."
        raise source.error(msg)
    wrong = [value for first in range(0, len(X.data), _PART) for value in _no_counts(X.data[first : first + _PART])]
    if wrong:
        msg = (
            f"{len(wrong)} of its values are no counts (e.g. {store.some(wrong[:3])}). Raw counts are whole "
            "numbers of at least 0; give the file from before normalisation or background removal."
        )
        raise source.error(msg)
    if len(X.data) and X.data.max() >= 2**24:
        msg = f"it has a count of {X.data.max():g}, more than float32 holds exactly."
        raise source.error(msg)
    if not X.has_sorted_indices:
        X.sort_indices()
    if not X.has_canonical_format:
        msg = "it has two entries for one gene of one cell."
        raise source.error(msg)
    X = X.astype(np.float32, copy=False)  # only now: on the way scipy adds up entries for the same place
    if not X.data.all():
        X.eliminate_zeros()
    return X


def _no_counts(values: np.ndarray) -> list[float]:
    return values[(values < 0) | (values != np.rint(values))].tolist()


def gene_columns(source: LibrarySource, *, gex_only: bool) -> np.ndarray:
    """Numbers of the features to keep, ascending."""
    if not gex_only:
        return np.arange(len(source.genes))
    columns = np.flatnonzero(source.genes.types == GENE_EXPRESSION)
    if not len(columns):
        kinds: Sequence[str] = sorted(set(source.genes.types))
        msg = f"it has no {GENE_EXPRESSION!r} features, only {store.some(kinds, 6)}. Pass gex_only=False to keep those."
        raise source.error(msg)
    return columns
