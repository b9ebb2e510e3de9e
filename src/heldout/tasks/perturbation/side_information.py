"""Embeddings that the options of a method name, as vectors of genes and of targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from heldout._core.embeddings import read_embedding
from heldout.tasks.perturbation.interface import Vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from heldout._core.embeddings import Embedding

Replacement = Literal["shuffled", "random"]
"""Replacement of an embedding that shows whether the embedding helps: its rows in random order, or noise."""

FIELDS = ("gene_embedding", "perturbation_embedding")
"""Options that name an embedding."""


def embeddings_of(config: Any) -> list[str]:
    """Keys of the embeddings that the options name."""
    return [key for field in FIELDS if (key := getattr(config, field, None)) is not None]


def side_information(
    adata: AnnData,
    genes: np.ndarray,
    targets: Sequence[str],
    config: Any,
    replacement: Replacement | None,
    *,
    separator: str,
    seed: int,
) -> dict[str, Any]:
    """Vectors of genes, (G × d), and of targets that the options name, or their replacement; None if they name none."""
    gene_key, target_key = (getattr(config, field, None) for field in FIELDS)
    result: dict[str, Any] = {"gene_vectors": None, "target_vectors": None}
    if gene_key is not None:
        embedding = _replaced(read_embedding(adata, gene_key), replacement, genes, seed)
        rows = embedding.lookup(genes)
        if not (rows >= 0).any():
            msg = (
                f"The embedding {gene_key!r} has none of the {len(genes)} genes. Add it again with "
                "heldout.pp.embedding."
            )
            raise ValueError(msg)
        result["gene_vectors"] = np.where((rows >= 0)[:, None], embedding.values[rows].astype(np.float64), np.nan)
    if target_key is not None:
        embedding = _replaced(read_embedding(adata, target_key), replacement, targets, seed)
        aliases = embedding.info.get("aliases", {})
        what = f"names of the embedding {target_key!r}"
        result["target_vectors"] = Vectors(embedding.names, embedding.values, aliases, what, separator)
    return result


def _replaced(
    embedding: Embedding, replacement: Replacement | None, among: Sequence[str] | np.ndarray, seed: int
) -> Embedding:
    if replacement is None:
        return embedding
    return embedding.shuffled(seed, among=among) if replacement == "shuffled" else embedding.random(seed)
