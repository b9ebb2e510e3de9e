"""The sections on the record: looks at the test set, fits with their options and hashes, versions, what is missing."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from heldout import get
from heldout._core import chain, keys, store
from heldout._core.fits import FitHeader, package_versions, read_header
from heldout._core.plain_json import DAMAGED, read_json
from heldout._core.words import counted
from heldout._report._parts import ReportPart, Section, Table, shortened, table_of

if TYPE_CHECKING:
    from anndata import AnnData

_UNITS = ("group_key", "time_key", "perturbation_key")
"""Parameters of a split with the columns of what it holds out."""

_SHORT = 12
"""Characters of a hash in the ledger; the complete hashes are next to the splits and the fits."""


def ledger_section(adata: AnnData) -> Section:
    """Every look at a test set."""
    try:
        ledger = get.ledger(adata)
    except ValueError as error:
        return Section("ledger", "Looks at the test set", [ReportPart("Ledger", warning=str(error))])
    if not len(ledger):
        return Section("ledger", "Looks at the test set", text="No look at a test set is recorded in this file.")
    most = int(ledger["look"].max())
    words = (
        f"The file records {counted(len(ledger), 'evaluation')} of "
        f"{counted(ledger['test_set'].nunique(), 'test set')}. The last one was at {ledger['time'].iloc[-1]}. "
    )
    words += (
        "No test set was looked at more than once."
        if most < 2
        else f"The highest number of a look is {most}. The best of several fits on one test set is biased upwards."
    )
    short = {name: ledger[name].str[:_SHORT] for name in ("fit", "split", "test_set")}
    shown = ledger.assign(**short).drop(columns="judged")
    return Section("ledger", "Looks at the test set", [ReportPart("Ledger", tables=[table_of(shown)])], text=words)


def record_section(adata: AnnData) -> Section:
    """Fits with their options and hashes, preparation steps, and versions."""
    headers, problems = _headers(adata)
    parts = [ReportPart(f"Fit {key!r}", warning=problem) for key, problem in problems.items()]
    if headers:
        steps = chain.steps(adata)
        text = [f"Preparation, in this order: {' → '.join(steps)}."] if steps else []
        parts.append(ReportPart("Fits", text=text, tables=[_fits(headers)], folded=[_options(headers)]))
    parts.append(ReportPart("Versions", tables=[_versions(headers)]))
    return Section("record", "Methods, versions and hashes", parts)


def _headers(adata: AnnData) -> tuple[dict[str, FitHeader], dict[str, str]]:
    """Readable fits, and the problems of the others."""
    headers, problems = {}, {}
    for key in store.section(adata, keys.FITS):
        try:
            headers[str(key)] = read_header(adata, key)
        except ValueError as error:
            problems[str(key)] = str(error)
    return headers, problems


def _fits(headers: Mapping[str, FitHeader]) -> Table:
    rows = [
        {
            "fit": key,
            "method": fit.method,
            "split": fit.split_key,
            "genes": len(fit.genes),
            "numbers": fit.n_numbers,
            "hash": fit.hash,
        }
        for key, fit in headers.items()
    ]
    return table_of(pd.DataFrame(rows), "Everything that was fitted")


def _options(headers: Mapping[str, FitHeader]) -> Table:
    rows = [
        [key, shortened(json.dumps(fit.config, ensure_ascii=False, sort_keys=True), 2000)]
        for key, fit in headers.items()
    ]
    return Table(["fit", "options"], rows, "Options of each fit")


def _versions(headers: Mapping[str, FitHeader]) -> Table:
    """Packages now, and at the time of each fit where they differ."""
    now = {"Python": platform.python_version(), **package_versions()}
    earlier: dict[str, set[str]] = {}
    for fit in headers.values():
        for name, version in fit.versions.items():
            earlier.setdefault(name, set()).add(str(version))
    rows = [
        [name, now.get(name, ""), ", ".join(sorted(earlier.get(name, ())))] for name in dict.fromkeys([*now, *earlier])
    ]
    return Table(["package", "this report", "fits"], rows)


def missing(adata: AnnData) -> list[tuple[str, str]]:
    """What the file does not have, each with the call that adds it."""
    stored = {name: store.section(adata, name) for name in (keys.SPLITS, keys.AUDITS, keys.FITS, keys.EVALUATIONS)}
    found = []
    if not stored[keys.SPLITS]:
        found.append(("No split is recorded, so nothing is held out.", "heldout.pp.split_groups(adata, …)"))
    if not stored[keys.AUDITS] and (call := _audit_call(stored[keys.SPLITS])):
        found.append(("The split was not audited.", call))
    headers = _headers(adata)[0]
    judged = {key: fit for key, fit in headers.items() if not fit.method.startswith("pp.")}
    if not judged and not stored[keys.EVALUATIONS]:
        found.append(("Nothing was fitted, so there is no prediction.", "heldout.tl.genotype(adata, …)"))
    unjudged = [key for key in judged if key not in stored[keys.EVALUATIONS]]
    return found + [(f"The fit {key!r} was not evaluated.", f"heldout.tl.evaluate(adata, {key!r})") for key in unjudged]


def _audit_call(splits: Mapping[str, object]) -> str:
    """The call that audits the first split of cells, with columns to fill in that its record does not name.

    It is empty if cells have no split.
    """
    for key, record in splits.items():
        if isinstance(record, Mapping) and record.get("axis") == "obs":
            known = _params(record)
            absent = [] if any(known.get(name) for name in _UNITS) else ["group_key=…"]
            absent += [] if any(known.get(name) for name in ("label_key", *_UNITS[1:])) else ["label_key=…"]
            named = [] if key == "split" else [f"split_key={str(key)!r}"]
            return f"heldout.tl.audit({', '.join(['adata', *absent, *named])})"
    return ""


def _params(record: Mapping[str, object]) -> dict[str, object]:
    try:
        params = read_json(str(record["params"]))
    except DAMAGED:
        return {}
    return params if isinstance(params, dict) else {}
