"""Check that the split matches its record and that each cell is in one partition."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from heldout._core import keys
from heldout._core.partition import NOTHING_HELD_OUT, PARTITIONS
from heldout._core.partition_names import adoption, found_values, suggested_rename
from heldout._core.store import section
from heldout.auditing._finding import Finding
from heldout.splitting._members import members_of

if TYPE_CHECKING:
    from heldout.auditing._case import Case
    from heldout.splitting._members import Members


def integrity(case: Case) -> list[Finding]:
    """Compare the split column with its record. Without a record, check its values only."""
    where = f"obs[{case.split_key!r}]"
    lost = int((case.codes < 0).sum())
    found = Finding.about(case.split_key, "cells in no partition", float(lost), 0.0)
    if lost:
        others = case.adata.obs[case.split_key][case.codes < 0]
        text = (
            f"{lost} of {len(case.codes)} cells {'has' if lost == 1 else 'have'} no partition. The value in {where} "
            f"must be one of {', '.join(PARTITIONS)}; it also has {found_values(others)}."
        )
        advice = (
            f"Say which partition these values are, e.g. rename={suggested_rename(others)}, set {where} of these cells "
            "to 'unused', or make the split again on this AnnData."
        )
        return [found.says("fail", text, advice)]
    if case.partition is not None and not case.partition.has_test:
        return [
            found.says(
                "warn",
                f"{where} has no test cells, so the items that compare test with train did not run.",
                NOTHING_HELD_OUT,
            )
        ]
    empty = [name for name in ("train", "test") if not case.mask(name).any()]
    if empty:
        text = f"{where} has no cells in {' and '.join(empty)}, so no data are held out."
        return [found.says("fail", text, "Make the split again.")]
    if case.partition is not None:
        members = members_of(case.adata.obs.get, case.partition.params, case.codes, exempt=~case.used)
        if members.moved.any():
            return [_moved(case, members)]
        missing = {name: n for name in PARTITIONS if (n := case.partition.missing(name))}
        gone = f" {_counts(missing)} of the original split are not in this AnnData." if missing else ""
        text = f"Each cell is in the partition that its record gives ({case.partition.hash[:12]}…).{gone}"
        return [found.says("pass", text)]
    if case.split_key in section(case.adata, keys.SPLITS):
        text = re.sub(r" Make the split again[^.]*\.$", "", case.problem)  # it is the advice
        return [found.says("fail", text, "Make the split again on this AnnData.")]
    text = f"{where} has no record. The audit cannot check how the split was made, or whether it has changed since."
    advice = f"Record it with its unit: {adoption(case.adata.obs, case.split_key)}."
    return [found.says("warn", text, advice)]


def _moved(case: Case, members: Members) -> Finding:
    n = int(members.moved.sum())
    text = (
        f"{n} of {len(case.codes)} cells have another {members.what} than when the split was made. For example, "
        f"{members.example(case.codes)}."
    )
    advice = f"Restore obs[{members.what!r}] and the names of the cells, or make the split again."
    about = Finding.about(case.split_key, "cells in another partition than their group", n, 0)
    return about.says("fail", text, advice)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.items()) + " cells"
