"""The slots of an AnnData that a docstring promises, and those that a call writes."""

from __future__ import annotations

import ast
import inspect
import re
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from heldout._core import keys

if TYPE_CHECKING:
    from collections.abc import Callable

    import anndata as ad

Slot = tuple[str, str]
SINGLE = (keys.ASSIGNMENTS, keys.CHAIN, keys.LEDGER, keys.LIBRARIES)
"""Entries of ``uns["heldout"]`` that are one thing; the others have an entry for each key."""


def documented_slots(f: Callable, **values: object) -> set[Slot]:
    """Slots such as ``obs[key_added + "_prediction"]`` in a docstring, with the names filled in.

    A slot whose name is None (``layers[layer]`` with ``layer=None``) is left out: it is not written.
    """
    section = f.__doc__.split("Returns")[1].split("Raises")[0].split("Examples")[0]
    slots = {("X", "")} if re.search(r"^\s*``X``", section, re.MULTILINE) else set()
    for slot, expression in re.findall(r"``(obs|var|obsm|varm|layers|uns)\[(.+?)\]``", section):
        parts = expression.split("][") if slot == "uns" else [expression]
        names = [eval(compile(ast.parse(part, mode="eval"), "", "eval"), {}, values) for part in parts]
        if None not in names:
            slots.add((slot, "/".join(names)))
    return slots


def slots_of(adata: ad.AnnData) -> dict[Slot, object]:
    """Every slot of an AnnData with its value; of uns["heldout"] each section, and each entry of a keyed one."""
    found = {("X", ""): adata.X}
    for slot in ("obs", "var"):
        frame = getattr(adata, slot)
        found |= {(slot, n): frame[n].to_numpy() for n in frame}
    for slot in ("layers", "obsm", "varm", "obsp", "varp"):
        # anndata 0.13 lists X among the layers, as None.
        found |= {(slot, n): value for n, value in getattr(adata, slot).items() if n is not None}
    found |= {("uns", n): repr(value) for n, value in adata.uns.items() if n != keys.UNS}
    for section, entries in adata.uns.get(keys.UNS, {}).items():
        if section in SINGLE:
            found["uns", f"heldout/{section}"] = repr(entries)
        else:
            found |= {("uns", f"heldout/{section}/{n}"): repr(entry) for n, entry in entries.items()}
    return found


def written_by(adata: ad.AnnData, call: Callable[[], object]) -> set[Slot]:
    """The slots that are new or changed after a call. Removing cells or genes changes no slot."""
    whole = adata.copy()
    call()
    before = slots_of(whole[adata.obs_names, adata.var_names])
    return {slot for slot, value in slots_of(adata).items() if slot not in before or not _same(before[slot], value)}


def _same(before: object, after: object) -> bool:
    if isinstance(before, str):
        return before == after
    before, after = (x.toarray() if sparse.issparse(x) else np.asarray(x) for x in (before, after))
    return before.dtype == after.dtype and np.array_equal(before, after, equal_nan=before.dtype.kind == "f")


def covers(promised: Slot, written: Slot) -> bool:
    """Whether a promised slot is the written one, or the section that the written one is in."""
    return promised[0] == written[0] and (promised[1] == written[1] or written[1].startswith(promised[1] + "/"))


def assert_documented(
    f: Callable,
    adata: ad.AnnData,
    arguments: dict[str, object],
    *,
    also: set[Slot] = frozenset(),
    conditional: set[Slot] = frozenset(),
) -> None:
    """Call a function; it writes exactly the slots that its docstring promises.

    ``also`` are slots that the docstring describes in words. ``conditional`` are promised slots that this call need not
    write. The assignment of a split that is in the AnnData already is not written again.
    """
    defaults = {n: p.default for n, p in inspect.signature(f).parameters.items() if p.default is not p.empty}
    there = set(slots_of(adata)) & {("uns", f"{keys.UNS}/{keys.ASSIGNMENTS}")}
    written = written_by(adata, lambda: f(adata, **arguments))
    promised = documented_slots(f, **{**defaults, **arguments}) | also
    not_documented = {slot for slot in written if not any(covers(p, slot) for p in promised)}
    assert not not_documented
    not_written = {p for p in promised if not any(covers(p, slot) for slot in written)}
    assert not not_written - conditional - there
