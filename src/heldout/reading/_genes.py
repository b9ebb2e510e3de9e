"""Join the genes of all libraries by id."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from heldout.reading._id_spaces import check_shared, without_versions
from heldout.reading._library import Genes, LibrarySource, gene_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger("heldout")

Join = Literal["union", "intersection"]


@dataclass(frozen=True)
class JoinedGenes:
    """Genes of the store.

    ``n_libraries`` is the number of libraries that list each gene. ``positions`` has one array for each library, with
    the column in the store of each feature of its file, -1 for a feature that is not kept.
    """

    genes: Genes
    n_libraries: np.ndarray
    positions: list[np.ndarray]

    @property
    def digest(self) -> str:
        """Hash of the ids in their order."""
        return hashlib.sha256("\n".join(self.genes.ids).encode()).hexdigest()


def join_genes(sources: Sequence[LibrarySource], join: Join, *, gex_only: bool) -> JoinedGenes:
    """Join the gene lists by id. The symbol of a gene comes from the first library that lists it."""
    kept: list[np.ndarray] = []
    lists: list[Genes] = []
    for source in sources:
        earlier = next((i for i, other in enumerate(sources[: len(kept)]) if other.genes is source.genes), None)
        kept.append(gene_columns(source, gex_only=gex_only) if earlier is None else kept[earlier])
        lists.append(source.genes.take(kept[-1]) if earlier is None else lists[earlier])
    lists = without_versions(lists)
    check_shared(sources, lists)
    distinct = list({id(genes): genes for genes in lists}.values())
    every = Genes(
        *(np.concatenate([getattr(genes, part) for genes in distinct]) for part in ("ids", "symbols", "types"))
    )
    distinct_genes = every.take(np.flatnonzero(~pd.Index(every.ids).duplicated()))
    index = pd.Index(distinct_genes.ids)
    at = {id(genes): index.get_indexer(genes.ids) for genes in distinct}
    n = np.bincount(np.concatenate([at[id(genes)] for genes in lists]), minlength=len(index))
    if join == "intersection":
        common = np.flatnonzero(n == len(lists))
        if not len(common):
            msg = (
                f"genes='intersection': no gene is in all {len(lists)} libraries. Use genes='union', or leave a "
                "library out."
            )
            raise ValueError(msg)
        if len(common) < len(index) / 2 and len(common) < min(map(len, distinct)) / 2:
            logger.warning(
                "genes='intersection' keeps only %d of %d genes. Look at adata.var of genes='union' for the libraries "
                "that list few.",
                len(common),
                len(index),
            )
        new = np.full(len(index), -1)
        new[common] = np.arange(len(common))
        at = {key: new[columns] for key, columns in at.items()}
        distinct_genes, n = distinct_genes.take(common), n[common]
    positions = []
    for source, columns, genes in zip(sources, kept, lists, strict=True):
        position = np.full(len(source.genes), -1, dtype=np.int32)
        position[columns] = at[id(genes)]
        positions.append(position)
    return JoinedGenes(distinct_genes, n, positions)


def place(X: sparse.csr_matrix, positions: np.ndarray, n_genes: int) -> sparse.csr_matrix:
    """Return the matrix with its columns moved to their positions in the store."""
    if len(positions) == n_genes and np.array_equal(positions, np.arange(n_genes)):
        return X
    if (positions < 0).any():
        columns = np.flatnonzero(positions >= 0)
        X, positions = X[:, columns], positions[columns]
    placed = sparse.csr_matrix((X.data, positions[X.indices], X.indptr), shape=(X.shape[0], n_genes))
    placed.sort_indices()
    return placed
