"""Compute vectors of genes from a graph of genes: its adjacency spectral embedding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from heldout._core.store import some
from heldout._core.text_tables import pandas_options
from heldout.reading.embeddings.files import dictionary, find, recorded
from heldout.reading.embeddings.source import EmbeddingSource, check_components

DIMENSIONS = 2
"""Default number of dimensions, as in the code of Ahlmann-Eltze, Huber and Anders (2025)."""

_DENSE = 1000
_LEAST_JACCARD = 0.1  # as GEARS
_COLUMNS = ("source", "target", "importance")


def read_graph(source: Any, n_comps: int | None) -> EmbeddingSource:
    """Read edges from a DataFrame or a file: two names and an optional weight.

    The files ``go.csv`` and ``go_essential_all.csv`` of GEARS have the columns ``source``, ``target`` and
    ``importance``. In other tables, the first two columns are the names, and a third numeric column is the weight.
    """
    if isinstance(source, pd.DataFrame):
        return _embedded(*_edges(source, "source"), n_comps=n_comps, where="source", files=[])
    path = find(source, "go_essential_all.csv", "go.csv", what="an edge list (go.csv, go_essential_all.csv)")
    table = _edge_table(path)
    return _embedded(*_edges(table, str(path)), n_comps=n_comps, where=str(path), files=recorded(path))


def _edge_table(path: Path) -> pd.DataFrame:
    """Read only the columns that are used. Names are categories, because each is in thousands of edges."""
    options = pandas_options(path)
    columns = _used(pd.read_csv(path, nrows=0, **options))
    kinds = dict.fromkeys(columns[:2], "category")
    return pd.read_csv(path, **options, usecols=columns, dtype=kinds, keep_default_na=False, na_values=[""])


def _used(table: pd.DataFrame) -> list[str]:
    """Return the columns of the two ends and of the weight."""
    named = all(column in table for column in _COLUMNS[:2])
    return [c for c in _COLUMNS if c in table] if named else list(table.columns[:3])


def read_gene2go(source: Any, n_comps: int | None, genes: set[str]) -> EmbeddingSource:
    """Read GO terms of genes for the genes of the AnnData: ``gene2go.pkl`` of GEARS, or a table.

    A table (tsv) has a gene in the first column, and its terms, separated by spaces, in the second column.
    As in GEARS, two genes are joined if the Jaccard index of their terms is above 0.1. The index is the weight.
    """
    path = find(source, "gene2go*.pkl", "gene2go*.json", what="GO terms of genes (gene2go.pkl)")
    terms_of = {gene: sorted(set(terms)) for gene, terms in sorted(_terms(path).items()) if gene in genes}
    terms_of = {gene: terms for gene, terms in terms_of.items() if terms}
    if len(terms_of) < 2:
        msg = f"{path} has GO terms of {len(terms_of)} of the {len(genes)} names in adata (e.g. {some(sorted(genes))})."
        raise ValueError(msg)
    names = np.array(list(terms_of), dtype=object)
    first, second, weight = _jaccard(list(terms_of.values()))
    return _embedded(names[first], names[second], weight, n_comps=n_comps, where=str(path), files=recorded(path))


def _terms(path: Path) -> dict[str, Any]:
    """Terms of each gene."""
    if ".tsv" not in path.suffixes:
        return dictionary(path)
    table = pd.read_csv(path, dtype=str, keep_default_na=False, **pandas_options(path))
    if table.shape[1] < 2:
        msg = f"{path} must have two columns, a gene and its GO terms; it has the columns {some(table.columns)}."
        raise ValueError(msg)
    return {gene: terms.split() for gene, terms in table.iloc[:, :2].itertuples(index=False)}


def spectral_embedding(adjacency: sparse.csr_array, n_comps: int) -> np.ndarray:
    """Compute the adjacency spectral embedding of an undirected graph without loops, (n × n_comps).

    It consists of the eigenvectors of the adjacency matrix with the largest absolute eigenvalues, each times the square
    root of its absolute eigenvalue. As in ``embed_adjacency_matrix`` of igraph, the diagonal holds the strength of each
    node over n - 1. In a graph with several components, a vector is zero outside of one component. The largest entry of
    each eigenvector is positive.
    """
    n = adjacency.shape[0]
    strength = np.asarray(adjacency.sum(axis=1)).ravel()
    matrix = adjacency + sparse.diags_array(strength / (n - 1))
    if n <= _DENSE or n_comps >= n - 1:
        values, vectors = np.linalg.eigh(matrix.toarray())
    else:
        start, basis = np.random.default_rng(0).random(n), min(n, max(4 * n_comps + 1, 40))
        values, vectors = sparse.linalg.eigsh(matrix.tocsr(), k=n_comps, which="LM", v0=start, ncv=basis)
    order = np.argsort(-np.abs(values), kind="stable")[:n_comps]
    values, vectors = values[order], vectors[:, order]
    sign = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(n_comps)])
    return vectors * sign * np.sqrt(np.abs(values))


def _edges(table: pd.DataFrame, where: str) -> tuple[pd.Series, pd.Series, np.ndarray]:
    """Return the two ends and the weight of each edge."""
    columns = _used(table)
    if len(columns) < 2:
        msg = (
            f"{where} must have one edge per row, with two names and an optional weight; it has the columns "
            f"{some(table.columns)}."
        )
        raise ValueError(msg)
    ends = table[columns[0]], table[columns[1]]
    weighted = len(columns) == 3 and pd.api.types.is_numeric_dtype(table[columns[2]])
    weight = table[columns[2]].to_numpy(dtype=np.float64) if weighted else np.ones(len(table))
    if any(end.isna().any() for end in ends) or not np.isfinite(weight).all() or (weight < 0).any():
        msg = (
            f"{where} has edges without a name, or with a weight that is missing or below zero. Drop these edges first."
        )
        raise ValueError(msg)
    return *ends, weight


def _embedded(
    first: Any, second: Any, weight: np.ndarray, *, n_comps: int | None, where: str, files: list[dict[str, str]]
) -> EmbeddingSource:
    codes, names = pd.factorize(
        np.concatenate([np.asarray(first, dtype=str), np.asarray(second, dtype=str)]), sort=True
    )
    ends = np.sort(codes.reshape(2, -1), axis=0)
    edges = pd.DataFrame({"i": ends[0], "j": ends[1], "weight": weight}).query("i != j and weight > 0")
    edges = edges.groupby(["i", "j"], sort=False)["weight"].max().reset_index()
    if edges.empty:
        msg = f"{where} has no edge between two different genes."
        raise ValueError(msg)
    n_comps = DIMENSIONS if n_comps is None else n_comps
    check_components(n_comps, len(names) - 1)
    half = sparse.coo_array((edges["weight"], (edges["i"], edges["j"])), shape=(len(names),) * 2).tocsr()
    adjacency = sparse.csr_array(half + half.T)
    n_parts = int(sparse.csgraph.connected_components(adjacency, directed=False)[0])
    values = spectral_embedding(adjacency, n_comps)
    return EmbeddingSource.of(
        names, values, where=where, files=files, n_comps=n_comps, n_edges=len(edges), n_parts=n_parts
    )


def _jaccard(terms_of: list[list[str]], rows: int = 512) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find pairs of genes that share more than a tenth of their terms, block by block."""
    number = {term: i for i, term in enumerate(sorted({t for terms in terms_of for t in terms}))}
    sizes = np.array([len(terms) for terms in terms_of])
    columns = np.array([number[term] for terms in terms_of for term in terms])
    has = sparse.csr_array(
        (np.ones(len(columns)), (np.repeat(np.arange(len(sizes)), sizes), columns)), shape=(len(sizes), len(number))
    )
    found = []
    for start in range(0, len(sizes), rows):
        shared = sparse.coo_array(has[start : start + rows] @ has.T)
        i, j = shared.coords[0] + start, shared.coords[1]
        index = shared.data / (sizes[i] + sizes[j] - shared.data)
        keep = (index > _LEAST_JACCARD) & (i < j)
        found.append((i[keep], j[keep], index[keep]))
    first, second, weight = (np.concatenate(part) for part in zip(*found, strict=True))
    return first, second, weight


def is_edge_list(source: Any) -> bool:
    """Whether a table or file looks like a list of edges rather than a table of vectors."""
    if isinstance(source, pd.DataFrame):
        return all(column in source for column in _COLUMNS[:2])
    return Path(source).name in {"go.csv", "go_essential_all.csv"}
