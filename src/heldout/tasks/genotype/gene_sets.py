"""Gene sets from a mapping, a table or a GMT file, and which of their genes are in the data."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from heldout._core.store import some

logger = logging.getLogger("heldout")

_COLUMNS = (("source", "target"), ("set", "gene"))
"""Names of the columns of a table: those of decoupler, and plain ones."""


def as_gene_sets(source: Any) -> dict[str, tuple[str, ...]]:
    """Return the genes of each set by the name of the set.

    Parameters
    ----------
    source
        A mapping from names to genes; a DataFrame with one row for each set and gene, in the columns ``source`` and
        ``target`` (as in decoupler; weights are not used) or ``set`` and ``gene``; or the path of a GMT file.

    Raises
    ------
    ValueError
        If the source is of another kind, has no sets, a set has no genes, or a file is damaged.
    """
    if isinstance(source, str | Path):
        found = _of_gmt(Path(source))
    elif isinstance(source, pd.DataFrame):
        found = _of_table(source)
    elif isinstance(source, Mapping):
        found = {str(name): [genes] if isinstance(genes, str) else list(genes) for name, genes in source.items()}
    else:
        msg = (
            f"gene_sets is a {type(source).__name__}. It must be a mapping from names of sets to genes, a DataFrame "
            "with the columns 'source' and 'target', or the path of a GMT file."
        )
        raise ValueError(msg)
    empty = [name for name, genes in found.items() if not len(genes)]
    if empty or not found:
        what = f"{len(empty)} sets without genes ({some(empty)})" if empty else "no sets"
        msg = f"gene_sets has {what}. Each set must have one gene or more. Leave out the others."
        raise ValueError(msg)
    return {name: tuple(dict.fromkeys(map(str, genes))) for name, genes in found.items()}


def _of_gmt(path: Path) -> dict[str, list[str]]:
    if not path.is_file():
        msg = f"gene_sets={str(path)!r} is not a file. Pass the path of a GMT file."
        raise ValueError(msg)
    found: dict[str, list[str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        name, *rest = line.split("\t")
        genes = [gene.strip() for gene in rest[1:] if gene.strip()]
        if not genes or name in found:
            wrong = f"repeats the set {name!r}" if name in found else "has no genes"
            msg = (
                f"Line {number} of gene_sets={str(path)!r} {wrong}. Each line of a GMT file must have the name of a "
                "new set, a description and genes, separated by tabs."
            )
            raise ValueError(msg)
        found[name] = genes
    return found


def _of_table(table: pd.DataFrame) -> dict[str, list[str]]:
    columns = next((names for names in _COLUMNS if set(names) <= set(table.columns)), None)
    if columns is None:
        msg = (
            f"gene_sets has the columns {some(table.columns, 8)}. It must have 'source' and 'target', or 'set' and "
            "'gene'. Rename them."
        )
        raise ValueError(msg)
    pairs = table[list(columns)]
    if pairs.isna().any().any():
        msg = f"gene_sets has missing values in {columns[0]!r} or {columns[1]!r}. Drop these rows."
        raise ValueError(msg)
    return {str(name): list(genes) for name, genes in pairs.groupby(columns[0], sort=False, observed=True)[columns[1]]}


def measured_sets(
    gene_sets: Mapping[str, tuple[str, ...]], genes: np.ndarray, *, least: int
) -> tuple[list[str], list[np.ndarray]]:
    """Names of the sets with ``least`` or more measured genes, and the columns of these genes.

    The other sets are left out, with a warning that names them.

    Raises
    ------
    ValueError
        If no set has enough genes.
    """
    at = {gene: i for i, gene in enumerate(genes)}
    columns = {
        name: np.array([at[gene] for gene in of_set if gene in at], dtype=int) for name, of_set in gene_sets.items()
    }
    kept = [name for name, found in columns.items() if len(found) >= least]
    without = [name for name, found in columns.items() if not len(found)]
    few = [name for name, found in columns.items() if 0 < len(found) < least]
    if not kept:
        example = next(iter(gene_sets.values()))
        msg = (
            f"None of {len(gene_sets)} gene sets has {least} or more of the {len(genes)} genes of the fit. "
            f"{len(without)} have none ({some(without or few)}). The sets have genes such as {some(example)}, adata "
            f"has {some(genes)}. Use the same kind of gene names, pass mask_var=None for all genes, or lower min_genes."
        )
        raise ValueError(msg)
    if without:
        logger.warning("%d of %d gene sets have no gene in adata: %s", len(without), len(gene_sets), some(without, 8))
    if few:
        logger.warning(
            "%d of %d gene sets have fewer than min_genes=%d genes in adata and are left out: %s",
            len(few),
            len(gene_sets),
            least,
            some(few, 8),
        )
    return kept, [columns[name] for name in kept]
