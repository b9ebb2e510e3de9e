"""Audit a split: what can make a score look better than it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from heldout._core import keys, store
from heldout._core.keys import check_key
from heldout._core.rng import Rng, seed_of
from heldout._core.threads import thread_policy
from heldout.auditing._run import run_audit
from heldout.auditing.registry import chosen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData


@thread_policy()
def audit(
    adata: AnnData,
    group_key: str | Sequence[str] | None = None,
    label_key: str | None = None,
    *,
    covariate_keys: str | Sequence[str] = (),
    match_key: str | None = None,
    time_key: str | None = None,
    perturbation_key: str | None = None,
    control: str | Sequence[str] = (),
    split_key: str = "split",
    rename: Mapping[Any, str] | None = None,
    items: str | Sequence[str] = "cheap",
    layer: str | None = None,
    n_cells: int = 20_000,
    rng: Rng = 0,
    key_added: str = "audit",
) -> pd.DataFrame:
    """Look for leaks and confounding that can make a score on the test cells look better than it is.

    Each item looks for one kind of leak, named after the taxonomy of Kapoor and Narayanan :cite:p:`kapoor2023`. Any
    column with train, val, test and unused can be audited, also one that was made without heldout. If an item cannot
    run, the report gives the reason. If no item finds a leak, this does not prove that there is no leak.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), if possible with raw counts in ``X`` or in ``layer``.
    group_key
        Column(s) of ``obs`` with the independent unit, e.g. the library or the donor. If None, the record of the split
        is used.
    label_key
        Column of ``obs`` that is predicted. If None, the record of the split is used.
    covariate_keys
        Column(s) of ``obs`` that can explain the label instead, e.g. the day, the batch, the sex or the site. The match
        and time columns of the record of the split are added.
    match_key
        Column of ``obs`` within which labels are compared, e.g. the day. If None, the record of the split is used.
    time_key
        Numeric column of ``obs`` for a split by time. If None, the record of the split is used.
    perturbation_key
        Column of ``obs`` with the perturbation for a split by perturbation. If None, the record of the split is used.
    control
        Name(s) of the control in ``perturbation_key``, for a split that was not made by
        :func:`heldout.pp.split_perturbations`. Controls may be in every partition. If empty, the record of the split is
        used; without a record, names such as ``control``, ``non-targeting``, ``DMSO`` and ``PBS`` are controls.
    split_key
        Column of ``obs`` with the split.
    rename
        Partition of each value of a column that was made elsewhere, e.g. ``{"tr": "train", "te": "test"}``.
    items
        ``"cheap"``, ``"all"``, or names of items. See Notes.
    layer
        Layer with counts or log-normalised values. If None, ``X`` is used, or another layer if ``X`` is scaled.
    n_cells
        Number of randomly drawn cells that the costly items use, an integer >= 100.
    rng
        Seed or Generator of all random draws.
    key_added
        Name under which the audit is stored.

    Returns
    -------
    Table with one row for each finding. It prints as a report. Columns: ``item``, ``subject`` (a column, a gene or a
    fit), ``status`` (fail, warn, unidentifiable, pass, not run), ``measure``, ``value``, ``threshold``, ``leak`` (the
    kind of leak), ``finding`` (in sentences) and ``advice`` (what to do next). It is also stored:

    ``uns["heldout"]["audits"][key_added]``
        The table, and the options and the audited split as JSON.

    Raises
    ------
    ValueError
        If a column or an item does not exist, if ``rename`` does not fit the column, if a column that is not a
        covariate has missing values in cells of train, val or test, if ``n_cells`` is too small, or if ``adata`` is a
        view of a backed AnnData.

    Notes
    -----
    The cheap items are ``integrity`` of the split, ``group_overlap``, ``aliases`` of groups, ``same_unit`` under two
    names, ``class_coverage``, ``power`` of the test set, ``confounding`` of the label, ``covariate_prediction``,
    ``temporal_order``, ``perturbations``, ``test_looks``, ``provenance`` of everything that was fitted,
    ``label_selection`` of genes, ``unit_variation``, ``disguised_label``, ``pretraining``, ``duplicates``,
    ``single_genes``, ``nuisance``, ``too_good`` test units and ``effective_size``. The costly items are
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
    selected = chosen(items)
    if not isinstance(n_cells, int) or n_cells < 100:
        msg = f"n_cells={n_cells!r} must be an integer >= 100."
        raise ValueError(msg)
    columns = {
        "group_key": group_key,
        "label_key": label_key,
        "covariate_keys": covariate_keys,
        "match_key": match_key,
        "time_key": time_key,
        "perturbation_key": perturbation_key,
    }
    table, record = run_audit(
        adata,
        selected,
        split_key=split_key,
        keys=columns,
        rename=rename,
        control=[control] if isinstance(control, str) else list(control),
        layer=layer,
        n_cells=n_cells,
        seed=seed_of(rng),
    )
    stored = {"table": table.astype({"status": str}).rename(index=str), "json": json.dumps(record, sort_keys=True)}
    store.commit(adata, heldout={keys.AUDITS: {**store.section(adata, keys.AUDITS), key_added: stored}})
    return table
