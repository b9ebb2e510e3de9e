"""Identify the cells on which scanpy ranked genes by the label, from the record in ``uns``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np

from heldout._core import store
from heldout._core.words import counted
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._selectors import scores
from heldout.auditing._sums import UnitSums, unit_sums

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout.auditing._case import Case

_SAME = 0.01
_MEASURE = "difference from the recorded scores, on all cells"
_ADVICE = "Rank genes on the train cells, and repeat all steps that use the ranked genes."


def record_findings(case: Case) -> list[Finding]:
    """One finding for each record of ``scanpy.tl.rank_genes_groups`` whose groups are those of the label."""
    return [
        _finding(case, str(key), record) for key, record in sorted(case.adata.uns.items()) if _is_of_label(case, record)
    ]


def _is_of_label(case: Case, record: Any) -> bool:
    """Whether genes were ranked by the label, or by a column in which each value has one label."""
    if not hasattr(record, "get") or "names" not in record or not hasattr(record.get("params"), "get"):
        return False
    column = record["params"].get("groupby")
    if column not in case.adata.obs or getattr(getattr(record["names"], "dtype", None), "names", None) is None:
        return False
    if column == case.label_key:
        return True
    values, labels = store.as_names(case.adata.obs[column])[case.used], case.labels
    if labels is None:
        return False
    pairs = set(zip(values.tolist(), labels[case.used].tolist(), strict=True))
    return len(pairs) == len(set(values)) and len(pairs) == len({label for _, label in pairs})


def _finding(case: Case, key: str, record: Any) -> Finding:
    subject = f"uns[{key!r}]"
    column = record["params"]["groupby"]
    values = store.as_names(case.adata.obs[column])
    distance: dict[str, float] = {}
    for matrix in _matrices(case, record):
        for cells, partitions in (("train", ("train",)), ("all", ("train", "val", "test"))):
            try:
                sums = unit_sums(matrix, *partitions)
            except NotRun:
                continue
            found = _distance(matrix, sums, record, values)
            distance[cells] = min(distance.get(cells, np.inf), found)
    on_all, on_train = distance.get("all", np.inf), distance.get("train", np.inf)
    common: dict[str, Any] = {"subject": subject, "measure": _MEASURE, "value": on_all, "threshold": _SAME}
    if on_train <= _SAME and on_train <= on_all:
        return Finding("pass", f"Genes were ranked by {column} on the train cells.", **common)
    if on_all > _SAME:
        text = (
            f"Genes were ranked by {column}. The scores are neither those of the train cells nor those of all cells in "
            "any matrix that is stored, so it cannot be seen which cells were used."
        )
        return Finding("not run", text, **common)
    n_used = _used_from_record(case, record)
    if n_used:
        text = (
            f"Genes were ranked by {column} on all cells, test included, and the {counted(n_used, 'gene')} of adata "
            "are those with the largest and smallest scores."
        )
        return Finding("fail", text, advice=_ADVICE, **common)
    text = (
        f"Genes were ranked by {column} on all cells, test included. Features that are chosen from this ranking leak "
        "the labels of test."
    )
    return Finding("warn", text, advice=_ADVICE, **common)


def _matrices(case: Case, record: Any) -> Iterator[Case]:
    """The case with each matrix on which scanpy can have ranked."""
    raw = case.adata.raw
    if raw is not None and record["params"].get("use_raw") is not False:
        yield replace(case, adata=ad.AnnData(raw.X, obs=case.adata.obs, var=raw.var[[]]), layer=None)
    layers = [record["params"].get("layer"), None, *case.adata.layers]
    for layer in dict.fromkeys(layer for layer in layers if layer is None or layer in case.adata.layers):
        yield replace(case, layer=layer)


def _distance(case: Case, sums: UnitSums, record: Any, values: np.ndarray) -> float:
    """Median relative difference of the recorded log fold changes, or else scores, from those of these cells."""
    units = case.units
    of_unit = np.empty(len(units.names), dtype=object)
    of_unit[units.of_cell[case.used]] = values[case.used]
    groups = [name for name in record["names"].dtype.names if name in set(of_unit)]
    if not groups:
        return np.inf
    members = np.array([[of_unit == name for name in groups]], dtype=float)
    computed = dict(scores(sums, members))
    found = []
    for field, name in (("logfoldchanges", "log fold change"), ("scores", "t test")):
        if field not in record or (record["params"].get("reference", "rest") != "rest" and len(set(of_unit)) > 2):
            continue
        differences = []
        for k, group in enumerate(groups):
            at = case.adata.var_names.get_indexer(np.asarray(record["names"][group], dtype=object).astype(str))
            stored = np.asarray(record[field][group], dtype=float)
            usual = (at >= 0) & np.isfinite(stored) & (np.abs(stored) < 20)
            new = computed[name][0, k, at[usual]]
            differences.append(np.abs(new - stored[usual]) / np.maximum(np.abs(stored[usual]), 0.05))
        together = np.concatenate(differences)
        if len(together) >= 5:
            found.append(float(np.nanmedian(together)))
    return min(found, default=np.inf)


def _used_from_record(case: Case, record: Any) -> int:
    """Number of genes of the AnnData if they are the first or last of a ranking that has other genes too, else 0."""
    present = [
        np.isin(np.asarray(record["names"][group], dtype=object).astype(str), case.adata.var_names)
        for group in record["names"].dtype.names
    ]
    n = case.adata.n_vars
    if all(kept.all() for kept in present):
        return 0
    outer = max(np.concatenate([kept[:n], kept[-n:]]).sum() for kept in present)
    return n if outer >= 0.9 * n else 0
