"""Run the items of an audit and collect their findings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heldout._core.partition import PARTITIONS, inspect_partition
from heldout._core.progress import progress
from heldout.auditing._case import build
from heldout.auditing._finding import AuditTable, Finding
from heldout.auditing._words import many
from heldout.auditing.registry import ITEMS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from heldout._core.partition import Partition
    from heldout.auditing._case import Case
    from heldout.auditing.registry import Item

_FROM_RECORD = ("label_key", "match_key", "time_key", "perturbation_key")
_NOT_SELECTED = Finding("not run", "Not selected. Name the item in items, or use items='all'.")


def run_audit(
    adata: AnnData,
    items: list[Item],
    *,
    split_key: str,
    keys: dict[str, Any],
    rename: Mapping[Any, str] | None = None,
    **options: Any,
) -> tuple[AuditTable, dict[str, Any]]:
    """Audit a split.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars).
    items
        Items to run.
    split_key
        Column of ``obs`` with the split.
    keys
        Names of columns, as passed to :func:`heldout.tl.audit`. The record of the split replaces missing names.
    rename
        Partition of values of the column that are not names of partitions.
    options
        ``control``, ``layer``, ``n_cells`` and ``seed`` of the case.

    Returns
    -------
    The table of findings, and the options and the split that were used.
    """
    codes, partition, problem = inspect_partition(adata, split_key, rename)
    options = {"split_key": split_key, **options, **_completed(keys, partition)}
    case = build(adata, codes=codes, partition=partition, problem=problem, **options)
    findings = [(item.name, item.leak, finding) for item in progress(items, "audit") for finding in item.run(case)]
    findings += [(item.name, item.leak, _NOT_SELECTED) for item in ITEMS.values() if item not in items]
    record = {
        "split_hash": None if partition is None else partition.hash,
        "title": title(case),
        "items": [item.name for item in items],
        **options,
        **({"rename": {str(old): new for old, new in rename.items()}} if rename else {}),
    }
    return AuditTable.of(findings, title(case)), record


def _completed(keys: dict[str, Any], partition: Partition | None) -> dict[str, Any]:
    """Names of columns, where the record of the split replaces missing names."""
    recorded_group = [*((partition.group_key if partition is not None else None) or [])]
    pair_key = _recorded(partition, "pair_key")
    if pair_key is not None:
        recorded_group.append(pair_key)
    completed: dict[str, Any] = {"group_key": _several(keys["group_key"]) or recorded_group}
    for name in _FROM_RECORD:
        completed[name] = keys[name] if keys[name] is not None else _recorded(partition, name)
    design = [completed["match_key"], completed["time_key"]]
    covariates = [*_several(keys["covariate_keys"]), *(key for key in design if key and key != completed["label_key"])]
    return {**completed, "covariate_keys": list(dict.fromkeys(covariates))}


def _several(names: str | Sequence[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else list(names or ())


def _recorded(partition: Partition | None, name: str) -> str | None:
    value = None if partition is None else partition.params.get(name)
    return value if isinstance(value, str) else None


def title(case: Case) -> str:
    """Title of the report: the split, the number of cells and groups in each partition, and the label."""
    cells = {name: int(case.mask(name).sum()) for name in PARTITIONS}
    parts = [f"Audit of obs[{case.split_key!r}]: {case.adata.n_obs} cells ({_counts(cells)})"]
    if case.group_key and case.used.any():
        groups = {name: int(case.units.within(name).sum()) for name in ("train", "val", "test")}
        parts.append(f"{many(case.unit)}: {_counts(groups)}")
    if case.label_key:
        parts.append(f"label: {case.label_key}")
    return "; ".join(parts)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.items() if n) or "none in a partition"
