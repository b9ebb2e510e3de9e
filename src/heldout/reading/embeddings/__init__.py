"""Side information: read vectors of genes or perturbations from other sources, without running any code."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import pandas as pd

from heldout._core.store import some
from heldout.reading.embeddings import checkpoints, graph, tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout.reading.embeddings.source import EmbeddingSource

Format = Literal["table", "npz", "scgpt", "scfoundation", "geneformer", "scbert", "gene2vec", "uce", "graph", "gene2go"]

_CHECKPOINTS: dict[str, Callable[[Any, Any], EmbeddingSource]] = {
    "scgpt": checkpoints.read_scgpt,
    "scfoundation": checkpoints.read_scfoundation,
    "geneformer": checkpoints.read_geneformer,
    "scbert": checkpoints.read_scbert,
    "gene2vec": checkpoints.read_gene2vec,
    "uce": checkpoints.read_uce,
    "npz": tables.read_npz,
}


def read_source(
    source: Any, format: Format | None, *, names: Any = None, n_comps: int | None = None, at_hand: set[str]
) -> EmbeddingSource:
    """Read vectors in one of the formats, and record the format in ``info["format"]``.

    ``at_hand`` are the names in the AnnData. Only ``gene2go`` uses them, to restrict its graph.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError
        If the source cannot be read.
    """
    format = _checked_format(source, format)
    if format in {"table", "graph", "gene2go"} and names is not None:
        msg = f"names= is not used with format={format!r}, because the source contains names. Leave it out."
        raise ValueError(msg)
    if format == "graph":
        found = graph.read_graph(source, n_comps)
    elif format == "gene2go":
        found = graph.read_gene2go(source, n_comps, at_hand)
    else:
        found = tables.read_table(source) if format == "table" else _CHECKPOINTS[format](source, names)
        found = found if n_comps is None else found.reduced(n_comps)
    return replace(found, info={"format": format, **found.info})


def _checked_format(source: Any, format: Any) -> Format:
    from anndata import AnnData

    in_memory = isinstance(source, AnnData | pd.DataFrame)
    if not (in_memory or isinstance(source, str | PathLike)):
        msg = f"source must be a path, a DataFrame or an AnnData, got {type(source).__name__}."
        raise TypeError(msg)
    formats = get_args(Format)
    if format is None:
        if not isinstance(source, AnnData) and graph.is_edge_list(source):
            return "graph"
        if tables.looks_like_table(source):
            return "table"
        if Path(source).suffix == ".npz":
            return "npz"
        msg = (
            f"The format of source={str(source)!r} is not clear from its name. Pass format=, one of "
            f"{some(formats, 10)}."
        )
        raise ValueError(msg)
    if format not in formats:
        msg = f"format={format!r} must be one of {some(formats, 10)}."
        raise ValueError(msg)
    if in_memory and format not in {"table", "graph"}:
        msg = (
            f"format={format!r} is read from files, but source is a {type(source).__name__}. Leave format out, or pass "
            "a path."
        )
        raise ValueError(msg)
    return format
