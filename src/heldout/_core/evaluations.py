"""Store an evaluation with its report, read it back, and write down the look at the test set."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from heldout._core import keys, store
from heldout._core.leaks import LEAK, without_inference
from heldout._core.ledger import judged_digest, read_ledger
from heldout._core.looks import Look, ScoredSet, needs_look, next_look, report_look
from heldout._core.metric import metric_of
from heldout._core.plain_json import DAMAGED, read_json
from heldout._core.report import Evaluation, about_table
from heldout._core.versus import take_remark, take_versus

if TYPE_CHECKING:
    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout._core.partition import Partition

logger = logging.getLogger("heldout")


OTHER_RESULTS = {keys.COMPARISONS: "comparison", keys.LEARNING_CURVES: "learning_curve", keys.SWEEPS: "sweep"}
"""Sections whose entries are not evaluations, and the function of ``get`` that reads each."""


def write_evaluation(
    adata: AnnData,
    key: str,
    fit: Fit,
    split: Partition,
    table: pd.DataFrame,
    scores: pd.DataFrame,
    *,
    partition: str,
    leak: str,
    also: Mapping[str, Mapping[str, Any]] | None = None,
    answer: str | None = None,
    summary: str | None = None,
) -> Evaluation:
    """Store an evaluation, and return its table with the partition, the look and a note on missing cells.

    Parameters
    ----------
    adata
        AnnData to write to.
    key
        Name of the evaluation, which is that of the fit.
    fit, split
        The fit that was scored, and its split.
    table
        One row for each method, level and metric; rows of judged methods have the role ``model``. What
        :func:`heldout._core.versus.with_versus` attached is stored next to it, and the remark of
        :func:`heldout._core.versus.with_remark` is a part of the report.
    scores
        Scores of single units by each method.
    partition
        The partition that was scored.
    leak
        Which units are on both sides of the split; empty if none is. If there is a leak, the table has no interval and
        no p-value, and the verdict is ``leaks``.
    also
        Further entries by section of ``uns["heldout"]``.
    answer, summary
        The verdict in one sentence, and in a few sentences with the score. If None, they are made from the table.
    """
    for name in dict.fromkeys(table["metric"]):
        metric_of(name)
    table = table.copy()
    versus, remark = take_versus(table), take_remark(table)
    missing = split.missing(partition)
    if missing:
        what = "cells" if split.axis == "obs" else "genes"
        note = f"{missing} of {missing + split.counts()[partition]} {partition} {what} of the split are not here"
        table = table.assign(note=[f"{note}; {old}" if old else note for old in table["note"]])
        logger.warning("%s: this is a score on a part of the %s set", note, partition)
    sections: dict[str, Any] = {}
    look: Look | None = None
    if needs_look(adata, split, partition):
        claims = (also or {}).get(keys.CLAIMS, {}).get(key, {}).get("table")
        judged = judged_digest(table, scores, missing=missing, claims=claims)
        scored = ScoredSet(key, fit.method, fit.hash, split, partition)
        sections[keys.LEDGER], look = next_look(adata, scored, judged=judged)
    table = table.assign(partition=partition, look=0 if look is None else look.number)
    if leak:
        table, versus = without_inference(table), None if versus is None else without_inference(versus)
        logger.warning("the split leaks: %s", leak)
    about = about_table(
        table,
        task=fit.method.split(".")[0],
        key=key,
        method=fit.method,
        fit=fit.hash,
        label_key=fit.info.get("label_key"),
        answer=answer,
        remark=remark or None,
        summary=summary,
        looked=None if look is None else look.words,
        **({LEAK: leak} if leak else {}),
        order=_next_order(adata),
    )
    stored = store.section(adata, keys.EVALUATIONS)
    entry = {"table": table.rename(index=str), "json": json.dumps(about)}
    if versus is not None:
        entry["versus"] = versus.rename(index=str)
    sections[keys.EVALUATIONS] = {**stored, key: entry}
    by_unit = scores.assign(partition=partition).rename(index=str)
    sections[keys.SCORES] = {**store.section(adata, keys.SCORES), key: by_unit}
    for name, entries in (also or {}).items():
        sections[name] = {**store.section(adata, name), **entries}
    store.commit(adata, heldout=sections)
    if look is not None:
        report_look(look, key)
    logger.info("%s", about["summary"])
    return Evaluation.load(table, about)


def read_evaluation(adata: AnnData, key: str | None = None) -> Evaluation:
    """Read the evaluation ``key``, or the last one; of an older file, the report is made from the table."""
    key = latest_evaluation(adata) if key is None else key
    entries = store.section(adata, keys.EVALUATIONS)
    if key not in entries:
        raise ValueError(_not_there(adata, key, entries))
    table = stored_table(entries[key])
    if "json" in entries[key]:
        return Evaluation.load(table, _about(key, entries[key]))
    summary = store.section(adata, keys.CLAIMS).get(key, {}).get("summary")
    return Evaluation.load(table, about_table(table, key=key, summary=None if summary is None else str(summary)))


def read_versus(adata: AnnData, key: str) -> pd.DataFrame | None:
    """The judged method against each baseline, None if the evaluation was made by an older version."""
    entry = store.section(adata, keys.EVALUATIONS)[key]
    return _plain(entry["versus"]) if "versus" in entry else None


def read_scores(adata: AnnData, key: str | None = None) -> pd.DataFrame:
    """Scores of single units behind the evaluation ``key``, or behind the last one."""
    key = latest_evaluation(adata) if key is None else key
    entries = store.section(adata, keys.SCORES)
    if key not in entries:
        raise ValueError(_not_there(adata, key, entries))
    return _plain(entries[key])


def stored_table(entry: Any) -> pd.DataFrame:
    """The table of a stored evaluation; an older version stored the table alone."""
    table = entry if isinstance(entry, pd.DataFrame) else entry.get("table") if isinstance(entry, Mapping) else None
    if table is None:
        msg = "uns['heldout']['evaluations'] was altered: an evaluation has no table. Evaluate the fit again."
        raise ValueError(msg)
    return _plain(table)


def _about(key: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found = read_json(str(entry["json"]))
    except DAMAGED:
        found = None
    if isinstance(found, dict):
        return found
    msg = f"The evaluation {key!r} in uns['heldout']['evaluations'] was altered. Evaluate the fit again."
    raise ValueError(msg)


def latest_evaluation(adata: AnnData) -> str:
    """Name of the last evaluation."""
    entries = store.section(adata, keys.EVALUATIONS)
    if not entries:
        msg = "Nothing was evaluated in this AnnData. Call heldout.tl.evaluate first."
        raise ValueError(msg)
    order = {key: _order(key, entry) for key, entry in entries.items()}
    last = max(order.values())
    found = [key for key, number in order.items() if number == last]
    looked = [key for key in read_ledger(adata)["key"] if key in found]  # older files have the order of looks only
    if len(found) > 1 and not looked:
        msg = f"key is not given, and there are several evaluations: {store.some(sorted(found), 8)}. Pass one as key."
        raise ValueError(msg)
    return found[0] if len(found) == 1 else looked[-1]


def _order(key: str, entry: Any) -> int:
    """Position of an evaluation among all, from 1; 0 for those of older files."""
    return 0 if isinstance(entry, pd.DataFrame) else int(_about(key, entry).get("order", 0))


def _next_order(adata: AnnData) -> int:
    return 1 + max((_order(*entry) for entry in store.section(adata, keys.EVALUATIONS).items()), default=0)


def _not_there(adata: AnnData, key: str, entries: Mapping[str, Any]) -> str:
    """What to call instead, for a key that has no evaluation."""
    for section, function in OTHER_RESULTS.items():
        if key in store.section(adata, section):
            what = f"a {function.replace('_', ' ')}, not an evaluation"
            return f"{key!r} is {what}. Call heldout.get.{function}(adata, {key!r})."
    fits = store.section(adata, keys.FITS)
    if key in fits:
        return f"The fit {key!r} was not evaluated. Call heldout.tl.evaluate(adata, {key!r}) first."
    known = [*entries, *(name for name in fits if name not in entries)]
    hint = store.suggest(key, known) if known else "Nothing was fitted yet; heldout.tl.evaluate needs a fit."
    return f"There is no evaluation and no fit {key!r}. {hint}"


def _plain(stored: pd.DataFrame) -> pd.DataFrame:
    """A stored table with text as objects, as it was before it went through a file."""
    frame = pd.DataFrame(stored).reset_index(drop=True)
    text = [name for name in frame.columns if isinstance(frame[name].dtype, pd.CategoricalDtype)]
    return frame.astype(dict.fromkeys(text, object))
