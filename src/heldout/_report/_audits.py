"""The section on audits: each finding with what to do, the most serious one first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from heldout import get
from heldout._core import keys, store
from heldout._core.plain_json import DAMAGED
from heldout._report._parts import ReportPart, Section, Table
from heldout.auditing._finding import STATUSES, conclusion

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def audit_section(adata: AnnData) -> Section:
    """All audits of the AnnData."""
    audits = store.section(adata, keys.AUDITS)
    parts = [_part(adata, key, stored) for key, stored in audits.items()]
    return Section("audit", "Audit of the split", parts)


def conclusions(adata: AnnData) -> list[tuple[str, str, str]]:
    """The most serious status of each readable audit, its name and its conclusion."""
    found = []
    for key in store.section(adata, keys.AUDITS):
        try:
            table = get.audit(adata, key)
        except DAMAGED:
            continue
        worst = next((status for status in STATUSES if (table["status"] == status).any()), "not run")
        found.append((worst, str(key), conclusion(table)))
    return found


def _part(adata: AnnData, key: str, stored: Mapping[str, Any]) -> ReportPart:
    name = f"Audit {key!r}"
    try:
        table = get.audit(adata, key)
        record = json.loads(str(stored["json"]))
    except DAMAGED as error:
        return ReportPart(
            name, warning=f"This audit was altered and cannot be read: {error}. Call heldout.tl.audit again."
        )
    shown = table[table["status"] != "not run"].sort_values("status", kind="stable")
    return ReportPart(
        name,
        warning=_outdated(adata, record),
        answer=conclusion(table),
        text=[str(table.attrs["title"])],
        findings=list(shown.itertuples()),
        folded=_not_run(table[table["status"] == "not run"]),
    )


def _outdated(adata: AnnData, record: Mapping[str, Any]) -> str:
    """Tell whether the split was made again after the audit; empty if it was not."""
    split_key, before = record.get("split_key"), record.get("split_hash")
    now = store.section(adata, keys.SPLITS).get(str(split_key), {})
    if before is None or not isinstance(now, Mapping) or now.get("hash") in (None, before):
        return ""
    return f"The split {split_key!r} was made again after this audit. Call heldout.tl.audit again."


def _not_run(rows: pd.DataFrame) -> list[Table]:
    if not len(rows):
        return []
    reasons = [
        [", ".join(dict.fromkeys(group["item"])), str(reason)] for reason, group in rows.groupby("finding", sort=False)
    ]
    return [Table(["items", "reason"], reasons, f"{len(set(rows['item']))} items that did not run")]
