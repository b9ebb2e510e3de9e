"""A library: its files, barcodes, genes and counts, and the errors about it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
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
"""Number of values that are checked together, to limit the memory."""


class LibraryError(ValueError):
    """A library cannot be used. The message names the library, the file and the problem."""

    def __init__(self, library: str, path: Path, what: str) -> None:
        self.library, self.path, self.what = library, path, what
        super().__init__(f"library {library!r}, {path}: {what}")


def digest_of(*lists: np.ndarray) -> str:
    """Return the sha256 of lists of names."""
    return hashlib.sha256("\n\n".join("\n".join(map(str, names)) for names in lists).encode()).hexdigest()


@dataclass(frozen=True)
class Genes:
    """Genes of a library as its file lists them: ids, symbols and types, (n,) text each."""

    ids: np.ndarray
    symbols: np.ndarray
    types: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def digest(self) -> str:
        """Hash of the ids, symbols and types in their order."""
        return digest_of(self.ids, self.symbols, self.types)

    def take(self, columns: np.ndarray) -> Genes:
        """Return the genes in these columns."""
        return Genes(self.ids[columns], self.symbols[columns], self.types[columns])


@dataclass(frozen=True)
class LibrarySource:
    """A library before its counts are read.

    Parameters
    ----------
    library
        Name of the library.
    kind
        ``mtx`` (a 10x folder), ``h5`` (10x), ``h5ad`` or ``zarr``.
    path
        The file or folder with the counts.
    barcodes
        Barcode of each cell, (n,) text.
    genes
        All genes of the file, (g,), including genes that will not be kept.
    size
        Bytes on disk and time of the last change of the file with the counts. A restart compares them.
    barcodes_in, genes_in
        Files with the barcodes and the genes, if these are separate files.
    where
        Place of the counts in a file with several matrices.
    chosen
        Mask of the genes of the chosen genome, (g,), or None for all.
    """

    library: str
    kind: str
    path: Path
    barcodes: np.ndarray
    genes: Genes
    size: tuple[int, int]
    barcodes_in: Path | None = None
    genes_in: Path | None = None
    where: str = "X"
    chosen: np.ndarray | None = None

    def error(self, what: str, path: Path | None = None) -> LibraryError:
        """Return the error to raise for this library."""
        return LibraryError(self.library, path or self.path, what)


def checked(source: LibrarySource) -> LibrarySource:
    """Refuse repeated barcodes or gene ids, and a library without cells or genes."""
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
                f"{len(repeated)} {what} occur more than once (e.g. {store.some(repeated)}). Each must occur once. "
                "Check if several files were joined into this file."
            )
            raise source.error(msg, path)
    return source


def check_shape(source: LibrarySource, shape: tuple[int, ...]) -> None:
    """Refuse a matrix that is not barcodes × genes. It is called before memory is taken for the matrix."""
    if tuple(shape) != (len(source.barcodes), len(source.genes)):
        has = f"{shape[0]} cells and {shape[1]} genes" if len(shape) == 2 else f"the shape {tuple(shape)}"
        msg = (
            f"its matrix has {has}, but it lists {len(source.barcodes)} barcodes and {len(source.genes)} genes. The "
            "file is damaged or was changed by hand."
        )
        raise source.error(msg)


def as_counts(source: LibrarySource, X: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return cells × genes as float32 without stored zeros, with sorted genes. Refuse values that are not counts."""
    check_shape(source, X.shape)
    if len(X.data) and not np.isfinite(X.data.sum()):
        msg = "it has NaN or infinite values."
        raise source.error(msg)
    wrong = [value for first in range(0, len(X.data), _PART) for value in _not_counts(X.data[first : first + _PART])]
    if wrong:
        msg = (
            f"{len(wrong)} of its values are not counts (e.g. {store.some(wrong[:3])}). Raw counts are integers >= "
            f"0. {_whole_counts(source)}"
        )
        raise source.error(msg)
    if len(X.data) and X.data.max() >= 2**24:
        msg = f"it has a count of {X.data.max():g}, which float32 cannot store exactly."
        raise source.error(msg)
    if not X.has_sorted_indices:
        X.sort_indices()
    if not X.has_canonical_format:
        msg = "it has two entries for one gene of one cell."
        raise source.error(msg)
    X = X.astype(np.float32, copy=False)  # only after the check, because scipy may sum repeated entries here
    if not X.data.all():
        X.eliminate_zeros()
    return X


def _whole_counts(source: LibrarySource) -> str:
    if source.kind == "mtx":
        return (
            "Use the file before normalisation or background removal. If reads of several genes were divided among "
            "them (UniqueAndMult of STARsolo), use the matrix of unique reads."
        )
    return "Use the file before normalisation or background removal."


def _not_counts(values: np.ndarray) -> list[float]:
    return values[(values < 0) | (values != np.rint(values))].tolist()


def gene_columns(source: LibrarySource, *, gex_only: bool) -> np.ndarray:
    """Return the numbers of the features to keep, ascending."""
    chosen = np.ones(len(source.genes), dtype=bool) if source.chosen is None else source.chosen
    if not gex_only:
        return np.flatnonzero(chosen)
    columns = np.flatnonzero((source.genes.types == GENE_EXPRESSION) & chosen)
    if not len(columns):
        kinds: Sequence[str] = sorted(set(source.genes.types))
        msg = f"it has no {GENE_EXPRESSION!r} features, only {store.some(kinds, 6)}. Pass gex_only=False to keep those."
        raise source.error(msg)
    return columns
