"""Find out why gene lists share few ids: versions, symbols against ids, genome prefixes, or two species."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from heldout._core import store

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from heldout.reading._library import Genes, LibrarySource

logger = logging.getLogger("heldout")

_LOW = 0.5
"""Libraries that share less than this part of the shorter list are refused if there is a known reason."""
_VERSION = re.compile(r"(ENS[A-Z]*[GTP]\d{6,})\.\d+")
_PREFIX = re.compile(r"[A-Za-z]+\d*[A-Za-z]*\d*_+(?=.)")


def without_versions(lists: Sequence[Genes]) -> list[Genes]:
    """Return the lists without the versions of Ensembl ids (``ENSG00000111640.15``), if more genes then agree.

    Equal lists stay the same object. Versions stay if all libraries have the same, or if two ids of one library would
    become equal.
    """
    distinct = {id(genes): genes for genes in lists}
    plain = {key: _plain(genes.ids) for key, genes in distinct.items()}
    unique = all(not pd.Index(ids).duplicated().any() for ids in plain.values())
    before = len(set().union(*(genes.ids for genes in distinct.values())))
    after = len(set().union(*plain.values()))
    if len(distinct) < 2 or not unique or after == before:
        return list(lists)
    logger.warning(
        "The gene ids of some libraries have other versions than those of others (e.g. %s). Genes are joined by the id "
        "without its version, and %d ids become %d.",
        store.some(_versioned(distinct.values())),
        before,
        after,
    )
    new = {key: replace(genes, ids=store.as_names(plain[key])) for key, genes in distinct.items()}
    return [new[id(genes)] for genes in lists]


def _plain(ids: Iterable[str]) -> list[str]:
    return [_VERSION.sub(r"\1", name) if name.startswith("ENS") else name for name in ids]


def _versioned(lists: Iterable[Genes]) -> list[str]:
    return [name for genes in lists for name in genes.ids if _VERSION.fullmatch(name)]


def check_shared(sources: Sequence[LibrarySource], lists: Sequence[Genes]) -> None:
    """Refuse a library that shares few ids with the first library if the reason is known, else warn.

    A library that shares no id is always refused.
    """
    first, seen = lists[0], {id(lists[0])}
    for source, genes in zip(sources, lists, strict=True):
        if id(genes) in seen:
            continue
        seen.add(id(genes))
        shared = _shared(genes.ids, first.ids)
        if shared >= _LOW:
            continue
        n = len(set(genes.ids) & set(first.ids))
        many = "no gene id" if not n else f"only {n} of {min(len(genes), len(first))} gene ids"
        other, reason = sources[0].library, _reason(genes, first)
        what = (
            f"it shares {many} with {other!r} (e.g. {store.some(genes.ids)} here, {store.some(first.ids)} there). "
            "Genes are joined by id, so the others would be zero in one of the two."
        )
        if reason is not None:
            msg = f"{what} {reason}"
            raise source.error(msg)
        if not n:
            msg = f"{what} Check if one has symbols and the other ids, or if these are two species."
            raise source.error(msg)
        logger.warning("library %r: %s Use genes='intersection' to keep only shared genes.", source.library, what)


def _shared(here: Iterable[str], there: Iterable[str]) -> float:
    """Return the number of common names as a part of the shorter list."""
    names, others = set(here), set(there)
    return len(names & others) / max(min(len(names), len(others)), 1)


def _reason(here: Genes, there: Genes) -> str | None:
    if _shared(here.ids, there.symbols) >= _LOW or _shared(here.symbols, there.ids) >= _LOW:
        side = "this library" if _shared(here.ids, there.symbols) >= _LOW else "the other library"
        return (
            f"The gene ids of {side} are symbols. Put the ids into its features file, or into var['gene_ids'] of its "
            "h5ad."
        )
    if _shared(here.symbols, there.symbols) >= _LOW:
        return "Their symbols agree, so the ids are of two kinds (e.g. Ensembl and Entrez). Give both the same kind."
    for name, change in (("genome prefix", _without_prefix), ("spelling (upper and lower case)", str.upper)):
        ids = _shared(map(change, here.ids), map(change, there.ids))
        if max(ids, _shared(map(change, here.symbols), map(change, there.symbols))) >= _LOW:
            two = " If they are of two species, read them apart." if change is str.upper else ""
            return f"They differ in the {name}. Write the names in the same way.{two}"
    species = [
        {name[:7].rstrip("0123456789") for name in genes.ids if name.startswith("ENS")} for genes in (here, there)
    ]
    if species[0] and species[1] and not species[0] & species[1]:
        return "The ids are of two species. Read the species apart."
    return None


def _without_prefix(name: str) -> str:
    return _PREFIX.sub("", name, count=1)
