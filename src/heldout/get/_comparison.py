"""A stored comparison of methods over folds, and a stored sweep."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd

from heldout._core import keys, store
from heldout._core.checks import check_choice
from heldout._core.tables import prints_whole
from heldout.tasks.genotype.compare import fold_scores

if TYPE_CHECKING:
    from anndata import AnnData


@prints_whole
def comparison(adata: AnnData, key: str = "comparison", *, by: str = "method") -> pd.DataFrame:
    """Return the table of a comparison of methods.

    Parameters
    ----------
    adata
        AnnData with the comparison, (n_obs × n_vars).
    key
        Name of the comparison.
    by
        ``method``: the table that :func:`heldout.tl.compare` returned. ``fold``: the scores of each method, fold and
        seed. ``group``: the prediction for each held-out group by each of them. ``pooled``: the AUC over the held-out
        groups of all folds, one row for each method.

    Returns
    -------
    The table. By ``fold``: ``method``, ``fold``, ``seed`` and one column for each metric. By ``group``: ``method``,
    ``fold``, ``seed``, ``group``, ``label``, ``n_cells`` and the log-probability of each class. By ``pooled``:
    ``method``, ``role``, ``level``, ``estimate``, ``ci_low``, ``ci_high`` (95 %, with the variance of folds that share
    train groups), ``n_groups``, ``n_folds``, ``pairs`` (whether groups are compared within folds or all with all),
    ``p_value`` (NaN without ``n_refits``), ``p_smallest``, ``sentence``.

    Raises
    ------
    ValueError
        If there is no such comparison, it was interrupted, ``by`` has another value, or there is nothing to pool: the
        folds leak, or a group was held out twice.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.folds(adata, "library", "genotype", n_folds=4)
    >>> _ = ho.tl.compare(adata, "genotype", methods=["majority", "nearest_centroid"])
    >>> len(ho.get.comparison(adata, by="fold"))
    8
    """
    check_choice(by, "by", ("method", "fold", "group", "pooled"))
    stored = stored_result(adata, keys.COMPARISONS, key, "compare")
    if "table" not in stored:
        msg = (
            f"The comparison {key!r} was interrupted. Call heldout.tl.compare again; it computes only the missing fits."
        )
        raise ValueError(msg)
    if by == "method":
        return pd.DataFrame(stored["table"]).reset_index(drop=True)
    if by == "pooled":
        if "pooled" not in stored:
            msg = (
                f"The comparison {key!r} has no pooled groups: its folds leak, a group was held out in several folds, "
                "or an older version made it. Call heldout.tl.compare again on folds in which each group is held out "
                "once."
            )
            raise ValueError(msg)
        return pd.DataFrame(stored["pooled"]).reset_index(drop=True)
    scores = pd.DataFrame(stored["scores"]).reset_index(drop=True)
    if by == "fold":
        return fold_scores(scores)
    classes = json.loads(str(stored["json"]))["classes"]
    names = {f"log_probability_{i}": f"log_probability_{name}" for i, name in enumerate(classes)}
    labels = [classes[int(number)] for number in scores["label"]]
    return scores.assign(label=labels).drop(columns=["digest", "cell_auc", "threshold"]).rename(columns=names)


@prints_whole
def sweep(adata: AnnData, key: str = "sweep") -> pd.DataFrame:
    """Return the table of a sweep, with one row for each configuration.

    Parameters
    ----------
    adata
        AnnData with the sweep, (n_obs × n_vars).
    key
        Name of the sweep.

    Raises
    ------
    ValueError
        If there is no such sweep.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> _ = ho.tl.sweep(adata, grid={"C": [0.1, 1.0]}, method="pseudobulk_logistic", baselines=["majority"])
    >>> int(ho.get.sweep(adata)["chosen"].sum())
    1
    """
    return pd.DataFrame(stored_result(adata, keys.SWEEPS, key, "sweep")["table"]).reset_index(drop=True)


def stored_result(adata: AnnData, section: str, key: str, function: str) -> dict[str, Any]:
    """Return what a function stored under a key. The error for another key names similar ones."""
    stored = store.section(adata, section)
    if key not in stored:
        hint = store.suggest(key, stored) if stored else f"Call heldout.tl.{function} first."
        msg = f"There is no {section.removesuffix('s').replace('_', ' ')} {key!r} in this AnnData. {hint}"
        raise ValueError(msg)
    return dict(stored[key])
