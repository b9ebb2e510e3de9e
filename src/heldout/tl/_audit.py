"""The audit of a split: what could make a score look better than it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from heldout._core import keys, store
from heldout._core.keys import check_key
from heldout._core.partition import inspect_partition
from heldout._core.progress import progress
from heldout._core.rng import Rng, seed_of
from heldout.auditing._case import build
from heldout.auditing._finding import AuditTable, Finding
from heldout.auditing.registry import ITEMS, chosen

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

    from heldout._core.partition import Partition
    from heldout.auditing._case import Case


def audit(
    adata: AnnData,
    group_key: str | Sequence[str] | None = None,
    label_key: str | None = None,
    *,
    covariate_keys: str | Sequence[str] = (),
    match_key: str | None = None,
    time_key: str | None = None,
    perturbation_key: str | None = None,
    split_key: str = "split",
    items: str | Sequence[str] = "cheap",
    layer: str | None = None,
    n_cells: int = 20_000,
    rng: Rng = 0,
    key_added: str = "audit",
) -> pd.DataFrame:
    """Look for leaks and confounding: whatever could make a score on the test cells look better than it is.

    Each item looks for one kind of leak, named after the taxonomy of Kapoor and Narayanan :cite:p:`kapoor2023`. Any
    column of train, val, test and unused can be audited, also one made without heldout. An item that cannot run says
    why; that nothing was found by the items that ran does not prove that there is no leak.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), best with raw counts in ``X`` or in ``layer``.
    group_key
        Column(s) of ``obs`` with the independent unit; taken from the split's record if not given.
    label_key
        Column of ``obs`` that is predicted; taken from the split's record if not given.
    covariate_keys
        Column(s) of ``obs`` that could explain the label instead: day, batch, sex, site. The match and time columns of
        the split's record are added.
    match_key
        Column of ``obs`` within which labels are compared, e.g. the day; taken from the split's record if not given.
    time_key
        Numeric column of ``obs``, for a split that forecasts; taken from the split's record if not given.
    perturbation_key
        Column of ``obs`` with the perturbation, if perturbations are held out; taken from the split's record if not
        given.
    split_key
        The split.
    items
        ``"cheap"``, ``"all"``, or names of items; see Notes.
    layer
        Layer with counts or log-normalised values; ``X`` if not given, or another layer where ``X`` is scaled.
    n_cells
        Number of cells, drawn at random, that the costly items look at.
    rng
        Seed or Generator of whatever is drawn.
    key_added
        Name under which the audit is stored.

    Returns
    -------
    Table with one row a finding; it prints as a report. Columns: ``item``, ``subject`` (a column, a gene, a fit),
    ``status`` (fail, warn, unidentifiable, pass, not run), ``measure``, ``value``, ``threshold``, ``leak`` (its kind),
    ``finding`` (a sentence), ``advice`` (what to do). It is also stored:

    ``uns["heldout"]["audits"][key_added]``
        The table, and as JSON what was asked and of which split.

    Raises
    ------
    ValueError
        If a column or an item does not exist; if a column other than a covariate has missing values in cells of train,
        val or test; if ``adata`` is a view of a backed AnnData.

    Notes
    -----
    Cheap items, which always run: ``integrity`` of the split, ``group_overlap``, ``class_coverage``, ``power`` of the
    test set, ``confounding`` of the label, ``covariate_prediction``, ``temporal_order``, ``perturbations``, ``test_looks``, ``provenance``
    of whatever was fitted, ``duplicates``, ``single_genes``, ``nuisance`` and ``effective_size``. Costly ones:
    ``near_duplicates``, ``fingerprint``, ``random_labels``, ``leakage_gap`` and ``shift``.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> table = ho.tl.audit(adata)
    >>> sorted(set(table["status"].astype(str)) & {"fail", "warn"})
    []
    """
    check_key("key_added", key_added)
    store.check_adata(adata)
    if adata.is_view and adata.isbacked:
        msg = (
            "adata is a view of a backed AnnData, so the audit cannot be stored in it. Load it first: adata.to_memory()"
        )
        raise ValueError(msg)
    wanted = chosen(items)
    if not isinstance(n_cells, int) or n_cells < 100:
        msg = f"n_cells={n_cells!r} must be an integer of at least 100."
        raise ValueError(msg)
    codes, partition, problem = inspect_partition(adata, split_key)
    seed = seed_of(rng)
    asked: dict[str, Any] = {
        "group_key": _several(group_key) or (partition.group_key if partition is not None else None) or [],
        "covariate_keys": _several(covariate_keys),
    }
    for name, value in (
        ("label_key", label_key),
        ("match_key", match_key),
        ("time_key", time_key),
        ("perturbation_key", perturbation_key),
    ):
        asked[name] = value if value is not None else _recorded(partition, name)
    beside = [key for key in (asked["match_key"], asked["time_key"]) if key and key != asked["label_key"]]
    asked["covariate_keys"] = list(dict.fromkeys([*asked["covariate_keys"], *beside]))
    options = {"split_key": split_key, "layer": layer, "n_cells": n_cells, "seed": seed, **asked}
    case = build(adata, codes=codes, partition=partition, problem=problem, **options)

    said: list[tuple[str, str, Finding]] = []
    for item in progress(wanted, "audit"):
        said += [(item.name, item.leak, finding) for finding in item.run(case)]
    for item in ITEMS.values():
        if item not in wanted:
            said.append(
                (item.name, item.leak, Finding("not run", "not asked for; name it in items, or ask for items='all'"))
            )
    table = AuditTable.of(said, _title(case))
    record = {
        "split_hash": None if partition is None else partition.hash,
        "title": _title(case),
        "items": [item.name for item in wanted],
        **options,
    }
    stored = {"table": table.astype({"status": str}).rename(index=str), "json": json.dumps(record, sort_keys=True)}
    store.commit(adata, heldout={keys.AUDITS: {**store.section(adata, keys.AUDITS), key_added: stored}})
    return table


def _several(names: str | Sequence[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else list(names or ())


def _recorded(partition: Partition | None, name: str) -> str | None:
    value = None if partition is None else partition.params.get(name)
    return value if isinstance(value, str) else None


def _title(case: Case) -> str:
    parts = [f"Audit of obs[{case.split_key!r}]: {case.adata.n_obs} cells"]
    counts = {name: int(case.mask(name).sum()) for name in ("train", "val", "test", "unused")}
    parts.append(", ".join(f"{n} {name}" for name, n in counts.items() if n))
    if case.group_key and case.used.any():
        n = {name: int(case.units.within(name).sum()) for name in ("train", "val", "test")}
        parts.append(f"{case.unit}: " + ", ".join(f"{k} {name}" for name, k in n.items() if k))
    if case.label_key:
        parts.append(f"label {case.label_key}")
    return "; ".join(parts)
