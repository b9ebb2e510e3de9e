"""Whether the split is what its record says, and each cell in one partition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core import keys
from heldout._core.partition import PARTITIONS
from heldout._core.store import section
from heldout.auditing._finding import Finding

if TYPE_CHECKING:
    from heldout.auditing._case import Case


def integrity(case: Case) -> list[Finding]:
    """Compare the column with its record; a column without one is judged by its values."""
    where = f"obs[{case.split_key!r}]"
    lost = int((case.codes < 0).sum())
    found = Finding.about(case.split_key, "cells in no partition", float(lost), 0.0)
    if lost:
        text = f"{lost} of {len(case.codes)} cells of {where} are in none of {', '.join(PARTITIONS)}"
        return [found.says("fail", text, "Make the split again on this AnnData, or write 'unused'.")]
    empty = [name for name in ("train", "test") if not case.mask(name).any()]
    if empty:
        text = f"{where} has no cells in {' and '.join(empty)}, so nothing is held out"
        return [found.says("fail", text, "Make the split again.")]
    if case.partition is not None:
        missing = {name: n for name in PARTITIONS if (n := case.partition.missing(name))}
        gone = f"; of the split as it was made, {_counts(missing)} are not here" if missing else ""
        text = f"each cell is in the partition that the record ({case.partition.hash[:12]}…) put it in{gone}"
        return [found.says("pass", text)]
    if case.split_key in section(case.adata, keys.SPLITS):
        return [found.says("fail", case.problem.split(". ")[0].rstrip("."), "Make the split again.")]
    text = f"{where} has no record, so nothing proves how it was made, or that it has not changed since"
    advice = f"Adopt it: heldout.pp.split_assigned(adata, {case.split_key!r}, train=['train'], …, key_added='split')."
    return [found.says("warn", text, advice)]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.items()) + " cells"
