"""The slots of an AnnData that a docstring promises, and those that a call writes."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import numpy as np

from heldout._core import keys

if TYPE_CHECKING:
    import anndata as ad


def documented_slots(f, **values) -> set[tuple[str, str]]:
    """Slots such as ``obs[key_added + "_prediction"]`` in a docstring, with the names filled in."""
    section = f.__doc__.split("Returns")[1].split("Raises")[0].split("Examples")[0]
    slots = set()
    for slot, expression in re.findall(r"``(obs|var|obsm|varm|uns)\[(.+?)\]``", section):
        parts = expression.split("][") if slot == "uns" else [expression]
        names = [eval(compile(ast.parse(part, mode="eval"), "", "eval"), {}, values) for part in parts]
        slots.add((slot, "/".join(names)))
    return slots


def slots_of(adata: ad.AnnData) -> dict[tuple[str, str], object]:
    """Every slot of an AnnData with its value; of uns["heldout"] each section, and each entry of a keyed one."""
    found = {("obs", n): adata.obs[n].to_numpy() for n in adata.obs}
    found |= {("var", n): adata.var[n].to_numpy() for n in adata.var}
    found |= {("obsm", n): adata.obsm[n] for n in adata.obsm}
    found |= {("varm", n): adata.varm[n] for n in adata.varm}
    for section, entries in adata.uns.get(keys.UNS, {}).items():
        if section in (keys.SPLITS, keys.FITS, keys.EVALUATIONS, keys.SCORES, keys.CLAIMS, keys.EMBEDDINGS):
            found |= {("uns", f"heldout/{section}/{n}"): repr(e) for n, e in entries.items()}
        else:
            found["uns", f"heldout/{section}"] = repr(entries)
    return found


def written_by(adata: ad.AnnData, call) -> set[tuple[str, str]]:
    before = slots_of(adata)
    call()
    after = slots_of(adata)
    return {slot for slot, value in after.items() if slot not in before or not same(before[slot], value)}


def same(before, after) -> bool:
    if isinstance(before, str):
        return before == after
    return np.array_equal(before, after, equal_nan=np.issubdtype(np.asarray(before).dtype, np.floating))
