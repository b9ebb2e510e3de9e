"""The section on splits: how each was made, what is in each partition, and its picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from heldout import get, pl
from heldout._core import keys, store
from heldout._core.partition import PARTITIONS, params_of, read_partition
from heldout._core.plain_json import DAMAGED, read_json
from heldout._core.words import counted
from heldout._report._parts import ReportPart, Section, Table, shortened, table_of

if TYPE_CHECKING:
    from anndata import AnnData

    from heldout._core.partition import Partition
    from heldout._report._figures import Pen

_SCHEMES = {
    "groups": "Whole groups, drawn at random",
    "matched": "Whole groups that share a value, so that both sides have every class",
    "assigned": "Whole groups, named by the user",
    "cells": "Single cells, drawn at random: cells of one group can be on both sides",
    "time": "Time points",
    "perturbations": "Perturbations",
    "genes": "Genes",
    "kfold": "Whole groups, drawn into folds",
    "leave_one_group_out": "One group at a time",
    "leave_one_pair_out": "One pair of groups at a time",
    "leave_one_match_out": "One value of the matched column at a time",
}
_UNITS = ("time_key", "perturbation_key")
_SHOWN_ELSEWHERE = ("groups", "folds", "fold")


def split_section(adata: AnnData, pen: Pen) -> Section:
    """All splits of the AnnData. The folds of one cross-validation are one part."""
    single, folds = _sorted(store.section(adata, keys.SPLITS))
    parts = [_single(adata, key, axis, pen) for key, axis in single.items()]
    parts += [_folds(adata, names, pen) for names in folds]
    return Section("splits", "What was held out", parts)


def _sorted(records: Mapping[str, Any]) -> tuple[dict[str, str], list[list[str]]]:
    """Splits with their axis, and the names of the folds of each cross-validation."""
    single: dict[str, str] = {}
    folds: dict[tuple[str, ...], list[str]] = {}
    for key, record in records.items():
        try:
            names = params_of(record, key).get("folds")
        except ValueError:
            names = None
        if isinstance(names, list):
            folds.setdefault(tuple(map(str, names)), []).append(key)
        else:
            single[key] = str(record.get("axis", "obs")) if isinstance(record, Mapping) else "obs"
    return single, list(folds.values())


def _single(adata: AnnData, key: str, axis: str, pen: Pen) -> ReportPart:
    title = f"Split {key!r}"
    try:
        split = read_partition(adata, key, axis="var" if axis == "var" else "obs")
    except ValueError as error:
        return ReportPart(title, warning=str(error))
    counts = _counts(adata, {key: split})
    if split.axis == "var":
        return ReportPart(title, facts=_facts(split), tables=[counts])
    columns = _columns(split) or _audited_groups(adata, key)
    if not columns:
        return ReportPart(title, facts=_facts(split), tables=[counts])
    group_key = None if _columns(split) else columns
    words = f"Cells of each group in train, val and test of the split {key!r}."
    figure = pen.draw(words, pl.split, adata, key, group_key=group_key)
    call = f"heldout.get.split(adata, {key!r}{f', group_key={group_key!r}' if group_key else ''})"
    members = table_of(get.split(adata, key, group_key=group_key), "Every group and its partition", call=call)
    return ReportPart(title, facts=_facts(split), tables=[counts], figures=[figure], folded=[members])


def _folds(adata: AnnData, names: list[str], pen: Pen) -> ReportPart:
    title = f"Cross-validation in {counted(len(names), 'fold')}: {names[0]!r} to {names[-1]!r}"
    try:
        splits = {name: read_partition(adata, name) for name in names}
    except ValueError as error:
        return ReportPart(title, warning=str(error))
    figure = pen.draw(f"The fold {names[0]!r}, as an example.", pl.split, adata, names[0])
    hashes = [[name, split.hash] for name, split in splits.items()]
    first = next(iter(splits.values()))
    return ReportPart(
        title,
        facts=_facts(first, hashes=False),
        tables=[_counts(adata, splits)],
        folded=[Table(["fold", "hash"], hashes, "Hashes of the folds")],
        figures=[figure],
    )


def _audited_groups(adata: AnnData, key: str) -> list[str]:
    """Columns of the groups that an audit of this split was told, for a split that was not made by group."""
    for stored in store.section(adata, keys.AUDITS).values():
        try:
            record = read_json(str(stored["json"]))
            if record["split_key"] == key and set(record["group_key"]) <= set(adata.obs.columns):
                return list(record["group_key"])
        except DAMAGED:  # the section on audits tells
            continue
    return []


def _in_words(value: Any) -> str:
    """A parameter as text, a list of values with commas; empty for nested lists, which are for programs."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) if not any(isinstance(part, list | dict) for part in value) else ""
    return "" if isinstance(value, dict) else str(value)


def _columns(split: Partition) -> list[str]:
    """Columns of what the split keeps together."""
    named = [split.params[name] for name in _UNITS if isinstance(split.params.get(name), str)]
    return [*(split.group_key or []), *([] if split.group_key else named)]


def _counts(adata: AnnData, splits: Mapping[str, Partition]) -> Table:
    """Numbers of cells and of groups in each partition of each split."""
    rows = []
    for key, split in splits.items():
        row: dict[str, Any] = {"split": key, "of": "cells" if split.axis == "obs" else "genes"}
        rows.append(row | split.counts())
        columns = [name for name in _columns(split) if split.axis == "obs" and name in adata.obs]
        if columns:
            frame = adata.obs[columns].astype(str).assign(partition=split.codes)
            units = frame.drop_duplicates().groupby("partition").size()
            inside = {name: int(units.get(code, 0)) for code, name in enumerate(PARTITIONS)}
            rows.append({"split": key, "of": f"groups ({' + '.join(columns)})"} | inside)
    frame = pd.DataFrame(rows)
    return table_of(frame if len(splits) > 1 else frame.drop(columns="split"))


def _facts(split: Partition, *, hashes: bool = True) -> list[tuple[str, str]]:
    facts = [("held out", _SCHEMES.get(split.scheme, split.scheme)), ("scheme", split.scheme)]
    given = {name: value for name, value in split.params.items() if value is not None and value not in ([], {})}
    words = {name: _in_words(value) for name, value in given.items() if name not in _SHOWN_ELSEWHERE}
    facts += [(name, shortened(text)) for name, text in words.items() if text]
    if lists := [name for name, text in words.items() if not text]:
        facts.append(("lists in the record", ", ".join(lists)))
    if hashes:
        facts += [("hash of the split", split.hash), ("hash of the test set", split.test_hash)]
    return facts
