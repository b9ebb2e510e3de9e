"""Score probabilities of classes that another tool predicted for held-out cells or groups."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import keys, store
from heldout._core.keys import check_key
from heldout._core.looks import ScoredSet, next_looks
from heldout._core.tables import prints_whole
from heldout._core.threads import thread_policy
from heldout.metrics.classification import group_log_probability, roc_auc
from heldout.tasks.genotype.compare import comparison_table
from heldout.tasks.genotype.fold_tests import FoldsTest, folds_test
from heldout.tasks.genotype.leaks import declared_levels, leak_of_groups
from heldout.tasks.genotype.outside import (
    HeldOutCells,
    fold_of_cells,
    log_probabilities,
    named_probabilities,
    read_folds,
)
from heldout.tasks.genotype.pooled import Pooled, log_probability, pooled_table
from heldout.tasks.genotype.resolve import label_of
from heldout.tasks.genotype.task import Task, group_labels, group_names
from heldout.tasks.genotype.units import blocks_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData

    from heldout._core.partition import Partition

logger = logging.getLogger("heldout")

_INVERTED = 0.01
"""Level of the test for an AUC below 0.5."""


@prints_whole
@thread_policy()
def score_probabilities(
    adata: AnnData,
    predicted: Any,
    label_key: str | None = None,
    *,
    fold_key: str | None = None,
    split_key: str = "split",
    group_key: str | Sequence[str] | None = None,
    block_key: str | None = None,
    claim_keys: str | Sequence[str] = (),
    positive_class: str | float | None = None,
    comparison: str | None = None,
    key_added: str = "probabilities",
) -> pd.DataFrame:
    """Score out-of-fold probabilities that another tool predicted, in the way in which compare scores methods.

    The prediction for a group is the mean logit of its cells. The AUC is that of the held-out groups of all folds; if
    each fold holds out every class, groups are compared within folds only. heldout cannot check that a probability is
    out of fold: that the model did not use cells of the same fold, in any step.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars). The matrix is not read.
    predicted
        Probabilities of the classes, or a mapping of names of models to them. A Series or an array (n_obs,) with the
        probability of ``positive_class``; a DataFrame or an array (n_obs × n_classes) with a column for each class; or
        the name of a column of ``obs``, of an entry of ``obsm``, or a list of columns of ``obs``. The index of a Series
        or DataFrame has the names of the cells, or of the groups for one probability per group.
    label_key
        Column of ``obs`` with the true class. If None, the label of the split is used, else the column ``genotype``.
    fold_key
        Column of ``obs`` with the fold in which each cell was held out. Cells with a missing fold are not scored. Or
        ``key_added`` of :func:`heldout.pp.folds`. If None, the test cells of one split are scored.
    split_key
        The split, if there are no folds.
    group_key
        Column(s) of ``obs`` with the independent unit. If None, the group of the folds.
    block_key
        Column within whose values labels of groups can be exchanged, as in :func:`evaluate_genotype`.
    claim_keys
        Columns of ``obs`` with levels above the group, e.g. ``"donor"`` if the groups are libraries. Units of a
        declared level may be on both sides of a fold; the result then makes no claim about new ones. A column that
        looks like a unit, is on both sides and is not declared is refused.
    positive_class
        Class whose probability a single column has. If None, the second class, in the order of the categories or else
        in alphabetical order. A column that is named after the first class is then refused.
    comparison
        Name of a comparison by :func:`compare` on the same folds of :func:`heldout.pp.folds`. Its methods are scored
        with the models, and each model is compared with the best baseline among them.
    key_added
        Name of the result.

    Returns
    -------
    One row for each model, the highest AUC first: ``method``, ``role``, ``level``, ``estimate`` (AUC), ``ci_low``,
    ``ci_high`` (95 %, with the variance of folds that share train groups), ``n_groups``, ``n_folds``, ``pairs``
    (whether groups are compared within folds or all with all), ``p_value``, ``p_smallest``, ``p_kind``,
    ``p_conditional``, ``sentence``. Also stored:

    ``uns["heldout"]["comparisons"][key_added]``
        This table, the scores of each fold, and the predictions for groups; see :func:`heldout.get.comparison`,
        :func:`heldout.get.leaderboard` and :func:`heldout.get.summary`.
    ``uns["heldout"]["ledger"]``, ``uns["heldout"]["assignments"]``
        One more row for each fold, and its cells.

    Raises
    ------
    TypeError
        If probabilities are of another type.
    ValueError
        If there are no such folds or columns, a group has two labels or is on both sides of a fold, scored cells are
        missing, values are not probabilities with the sum 1, or a single column may belong to the other class.

    Warns
    -----
    UserWarning
        If an AUC is below 0.5 by more than chance, as with the probability of the other class.

    Notes
    -----
    The p-value is one-sided. For one split it is the exact permutation test of :func:`evaluate_genotype`. For folds,
    fits cannot be repeated here, and the fit of a fold used the labels of the groups in other folds. So the test is
    made in each fold, where it is exact, and ``p_value`` is twice the mean of the p-values, which is valid for every
    dependence between them :cite:p:`vovk2020`. This costs power; with one group of each class in a fold it can show
    nothing. ``p_conditional`` tests all groups together as if folds were independent. It is too small: see
    ``docs/inference.md``. For a p-value with full power pass the method to :func:`compare`, with ``n_refits``.

    Examples
    --------
    >>> import heldout as ho, numpy as np
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.folds(adata, "library", "genotype", n_folds=2, val=0)
    >>> noise = np.random.default_rng(0).normal(size=adata.n_obs)
    >>> adata.obs["p_patient"] = 1 / (1 + np.exp(-2 * (adata.obs["genotype"] == "patient") + 1 - noise))
    >>> table = ho.tl.score_probabilities(adata, "p_patient", "genotype", fold_key="fold")
    >>> table[["n_groups", "n_folds", "p_kind"]].values.tolist()
    [[12, 2, 'twice the mean of the exact p of the folds']]
    """
    check_key("key_added", key_added)
    store.check_adata(adata)
    named = named_probabilities(predicted)
    declared = declared_levels(adata, claim_keys)
    _check_free(adata, key_added)
    splits = read_folds(adata, fold_key, split_key)
    label_key = label_of(adata, splits[0], label_key)
    task = Task.of(adata, splits[0], label_key=label_key, group_key=group_key, mask_var=None)
    if task.group_key is None:
        msg = "No group is known. Pass group_key, the column of obs with the independent unit."
        raise ValueError(msg)
    groups = group_names(adata, task.group_key)
    names_of_cells = adata.obs_names.to_numpy()
    positive = None if positive_class is None else str(store.as_names([positive_class])[0])
    cells = HeldOutCells(names_of_cells, groups, fold_of_cells(adata, splits), task.classes, positive)
    rows = cells.rows
    names, numbers = store.factorize(groups[rows])
    group_labels(names, numbers, task.labels[rows], task.classes)
    for split in splits:
        if leak := leak_of_groups(adata, split, task, groups, "test", declared=declared):
            msg = f"The folds leak, so a score is no evidence: {leak}"
            raise ValueError(msg)
    blocks = blocks_of(adata, splits[0], groups, task.labels, block_key)
    exchange = None if blocks is None else pd.Series(blocks.number)
    frames = [_scores(name, log_probabilities(adata, name, p, cells), cells, task) for name, p in named.items()]
    roles = dict.fromkeys(named, "model")
    if comparison is not None:
        others, of_others = _compared(adata, comparison, fold_key, task.classes, pd.concat(frames))
        if clash := sorted(set(of_others) & set(roles)):
            msg = f"predicted[{clash[0]!r}] has the name of a method of the comparison {comparison!r}. Rename it."
            raise ValueError(msg)
        frames.append(others)
        roles |= of_others
    scores = pd.concat(frames, ignore_index=True)
    unit = "+".join(task.group_key)
    n_train = float(np.mean([len(set(groups[split.rows("train")])) for split in splits]))
    table = comparison_table(scores, roles, unit=unit, n_train=n_train, blocks=exchange)
    pooled = Pooled.of(scores, exchange, len(task.classes))
    assert pooled is not None  # a group on both sides of a fold was refused
    summed = _tested(pooled_table(scores, roles, pooled, task.classes, unit=unit, p_values={}), scores, pooled)
    about = {"classes": task.classes, "label_key": label_key, "fold_key": fold_key, "made_by": "score_probabilities"}
    entry = {"scores": scores.rename(index=str), "json": json.dumps(about)}
    entry |= {"table": table.rename(index=str), "pooled": summed.rename(index=str)}
    _write(adata, key_added, entry, splits, len(named))
    _warn_if_inverted(scores, named, pooled, task.classes)
    return summed


def _check_free(adata: AnnData, key: str) -> None:
    """Refuse to replace what another function has stored under this name."""
    there = store.section(adata, keys.COMPARISONS).get(key)
    others = {**store.section(adata, keys.FITS), **store.section(adata, keys.EVALUATIONS)}
    made_here = there is None or json.loads(str(there["json"])).get("made_by") == "score_probabilities"
    if key in others or not made_here:
        msg = f"key_added={key!r} is the name of a fit, an evaluation or a comparison. Choose another name."
        raise ValueError(msg)


def _scores(name: str, predicted: tuple[np.ndarray, bool], cells: HeldOutCells, task: Task) -> pd.DataFrame:
    """One row for each held-out group, as :func:`compare` stores them."""
    log_p, of_groups = predicted
    rows = cells.rows
    digest = hashlib.sha256(np.ascontiguousarray(log_p).tobytes()).hexdigest()[:24]
    found = []
    for fold in pd.unique(cells.fold[rows]):
        here = np.flatnonzero(cells.fold[rows] == fold)
        names, numbers = store.factorize(cells.groups[rows[here]])
        labels = task.labels[rows[here]]
        pooled = group_log_probability(log_p[here], numbers)
        of_group = np.zeros(len(names), dtype=int)
        of_group[numbers] = labels
        found.append(
            pd.DataFrame(
                {
                    "digest": digest,
                    "method": name,
                    "fold": fold,
                    "seed": 0,
                    "group": names.astype(str),
                    "label": of_group,
                    "n_cells": np.bincount(numbers),
                    "cell_auc": np.nan if of_groups else roc_auc(labels, log_p[here]),
                    "threshold": np.nan,
                    **{f"log_probability_{c}": pooled[:, c] for c in range(pooled.shape[1])},
                }
            )
        )
    return pd.concat(found)


def _compared(
    adata: AnnData, key: str, fold_key: str | None, classes: Sequence[str], ours: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Predictions and roles of the methods of a comparison on the same held-out groups."""
    entries = store.section(adata, keys.COMPARISONS)
    if key not in entries or "table" not in entries[key]:
        hint = store.suggest(key, entries) if entries else "Call heldout.tl.compare first."
        msg = f"comparison={key!r} is not a finished comparison. {hint}"
        raise ValueError(msg)
    stored, about = entries[key], json.loads(str(entries[key]["json"]))
    scores = pd.DataFrame(stored["scores"]).reset_index(drop=True)
    text = dict.fromkeys(("digest", "method", "fold", "group"), str)
    columns = ["fold", "group", "label"]
    scores = scores.astype(text)
    same = {frozenset(map(tuple, each[columns].to_numpy().tolist())) for each in (scores, ours)}
    if about["classes"] != list(classes) or about["fold_key"] != fold_key or len(same) > 1:
        msg = (
            f"comparison={key!r} has other held-out groups, folds or classes than predicted. It must be made with "
            f"fold_key={fold_key!r} of heldout.pp.folds and the same label_key and group_key."
        )
        raise ValueError(msg)
    table = pd.DataFrame(stored["table"]).astype({"method": str, "role": str})
    return scores, dict(zip(table["method"], table["role"], strict=True))


def _tested(table: pd.DataFrame, scores: pd.DataFrame, pooled: Pooled) -> pd.DataFrame:
    """The pooled table with p-values that do not repeat fits."""
    tests = {
        str(method): folds_test(pooled, log_probability(of_method, pooled))
        for method, of_method in scores.groupby("method", sort=False)
    }
    found = [tests[method] for method in table["method"]]
    table = table.assign(
        p_value=[test.p_value for test in found],
        p_smallest=[test.p_smallest for test in found],
        p_kind=[test.p_kind for test in found],
        p_conditional=[test.p_conditional for test in found],
        sentence=[f"{sentence[:-1]}; {_words(test)}." for sentence, test in zip(table["sentence"], found, strict=True)],
    )
    return table[[*(name for name in table if name != "sentence"), "sentence"]]


def _warn_if_inverted(scores: pd.DataFrame, models: Iterable[str], pooled: Pooled, classes: Sequence[str]) -> None:
    """Warn if a model ranks groups the wrong way round, as with the probability of the other class."""
    if len(classes) != 2:
        return
    for name in models:
        swapped = log_probability(scores[scores["method"] == name], pooled)[:, ::-1]
        if folds_test(pooled, swapped).p_conditional <= _INVERTED:
            msg = (
                f"{name!r} ranks groups the wrong way round: its AUC is below 0.5, more than chance explains. A single "
                f"column must have the probability of positive_class, {classes[1]!r} if it is not given."
            )
            warnings.warn(msg, stacklevel=5)  # the caller of the decorated function


def _words(test: FoldsTest) -> str:
    """What the test says, and what limits it."""
    if not test.n_tests:
        return "no p-value: no fold holds out groups whose labels can be exchanged"
    least = ", the smallest possible" if test.p_value <= test.p_smallest * (1 + 1e-9) else ""
    if test.n_tests == 1:
        return f"p = {test.p_value:.2g}{least}"
    return f"p = {test.p_value:.2g}{least}, from {test.n_tests} folds that share train groups"


def _write(adata: AnnData, key: str, entry: dict[str, Any], splits: list[Partition], n_models: int) -> None:
    fitted = hashlib.sha256("".join(sorted(set(entry["scores"]["digest"]))).encode()).hexdigest()
    looks = [ScoredSet(key, f"score_probabilities: {n_models} models", fitted, split) for split in splits]
    ledger, numbered = next_looks(adata, looks, judged=fitted)
    again = [look.number for look in numbered if look.new and look.number > 1]
    if again:
        logger.warning(
            "%d of %d test sets were scored before, this is up to look %d at their cells",
            len(again),
            len(numbered),
            max(again),
        )
    assignments = store.section(adata, keys.ASSIGNMENTS)
    assignments |= {split.hash: split.assignment.stored() for split in splits}
    compared = {**store.section(adata, keys.COMPARISONS), key: entry}
    store.commit(adata, heldout={keys.COMPARISONS: compared, keys.LEDGER: ledger, keys.ASSIGNMENTS: assignments})
