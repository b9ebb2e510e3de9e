"""Compare methods over folds and seeds, with intervals and verdicts."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import Counter
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import keys, store
from heldout._core.arrays import get_matrix
from heldout._core.checks import check_integer
from heldout._core.keys import check_key
from heldout._core.leaks import LEAK, without_inference
from heldout._core.looks import ScoredSet, next_looks
from heldout._core.partition import Partition, read_partition
from heldout._core.progress import progress
from heldout._core.tables import prints_whole
from heldout._core.threads import thread_policy
from heldout.metrics.labellings import labellings
from heldout.pp import highly_variable_genes, scale
from heldout.tasks.genotype import METHODS
from heldout.tasks.genotype.compare import comparison_table
from heldout.tasks.genotype.leaks import declared_levels, leak_of_groups
from heldout.tasks.genotype.pooled import Pooled, pooled_table
from heldout.tasks.genotype.resolve import label_of
from heldout.tasks.genotype.task import group_labels, group_names
from heldout.tasks.genotype.tuning.fold import Fold, Question
from heldout.tasks.genotype.tuning.refit_folds import refits
from heldout.tasks.genotype.tuning.runs import Entry, check_scale, data_digest, is_random, named_methods, run
from heldout.tasks.genotype.units import blocks_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anndata import AnnData

logger = logging.getLogger("heldout")

_TIMED = 1
"""Number of the labelling after which the time of all is estimated. The first one may load code."""

_LONG = 120.0
"""Shorter labellings do not log their time, in seconds."""


@prints_whole
@thread_policy()
def compare(
    adata: AnnData,
    label_key: str | None = None,
    *,
    methods: Sequence[Any] | Mapping[str, Any],
    fold_key: str = "fold",
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    group_key: str | Sequence[str] | None = None,
    block_key: str | None = None,
    claim_keys: str | Sequence[str] = (),
    covariate_keys: Sequence[str] = (),
    cell_type_key: str | None = None,
    n_top_genes: int | None = None,
    max_value: float | None = 10.0,
    layer: str | None = None,
    n_refits: int = 0,
    rng: int = 0,
    client: Any = None,
    key_added: str = "comparison",
) -> pd.DataFrame:
    """Fit methods on every fold with every seed, and compare them on the same held-out groups.

    Genes are chosen and scaled on the train cells of each fold. The score of a method in a fold is that of its groups;
    the prediction for a group is the mean logit of its cells. Seeds are averaged within a fold, so the intervals are
    over folds, see :func:`heldout.metrics.fold_interval`. Each model is compared with the best baseline on the same
    folds. The best baseline is chosen after all scores are known, which favours the baselines.

    Every finished fit is stored. After an interruption, or with one more method, only the missing fits are computed.

    Parameters
    ----------
    adata
        Log-normalised cells with folds of :func:`heldout.pp.folds`, (n_obs × n_vars), not scaled yet.
    label_key
        Column of ``obs`` that is predicted. If None, the label of the split is used, else the column ``genotype``.
    methods
        Names of methods of :func:`heldout.tl.genotype`. Or a mapping of your own names to ``method``, ``config`` and
        ``auxiliary_key``: ``{"model B": {"method": "mlp", "auxiliary_key": "day"}}``. A classifier of scikit-learn, or
        one in :class:`heldout.model.Estimator`, can stand for a method; in a list it is named after its class. Methods
        without randomness are fitted once.
    fold_key
        ``key_added`` of :func:`heldout.pp.folds`.
    seeds
        Seeds of each random method in each fold.
    group_key
        Column(s) of ``obs`` with the unit that has one label and is scored. If None, the unit of the folds.
    block_key
        Column within whose values labels of groups can be exchanged, as in :func:`heldout.tl.evaluate_genotype`.
    claim_keys
        Columns of ``obs`` with levels above the group, e.g. ``"donor"`` if the groups are libraries. Units of a
        declared level may be on both sides of a fold; the result then makes no claim about new ones. A column that
        looks like a unit, is on both sides and is not declared makes the verdict ``leaks``.
    covariate_keys, cell_type_key
        Columns for ``covariate_logistic``, and for ``composition_logistic`` and ``celltype_pseudobulk``.
    n_top_genes
        Number of genes that are chosen in each fold. If None, all genes are used.
    max_value
        Genes are divided by their standard deviation on train, and clipped at this value. If None, genes are not
        scaled.
    layer
        Layer to use instead of ``X``. If None, ``X`` is used.
    n_refits
        Largest number of labellings of the groups for which all fits are made again. The p-value of the pooled AUC then
        covers the whole procedure. With 0 there is none: fits of one fold used the labels of the others, and a test
        that ignores this rejects a true null hypothesis in 8 to 10 % of the studies instead of 5 %. Use it for methods
        that take seconds. Random methods are fitted again with the first seed, and all fits run in this process. If
        you interrupt them, the comparison without p-values is kept.
    rng
        Seed of the labellings.
    client
        A ``dask.distributed.Client``: folds and methods then run on its workers, except ``n_refits``. If None, fits run
        one after the other.
    key_added
        Name of the comparison.

    Returns
    -------
    Table with one row for each method and metric (``auc``, ``accuracy``, ``accuracy_calibrated`` at the threshold that
    is best on val, ``loss``, ``brier``, and ``cell_auc`` of single cells, for methods that predict cells). Columns:
    ``method``, ``role``, ``level``, ``metric``, ``estimate`` (mean over folds), ``ci_low``, ``ci_high`` (95 %; NaN if
    all folds have the same value), ``rank`` (mean over folds, 1 is best), ``n_folds``, ``n_seeds``, ``seed_sd``
    (between seeds), ``n_groups``, ``baseline``, ``difference``, ``difference_low``, ``difference_high``, ``ceiling``
    (NaN here), ``verdict`` (better, not better, undecided, or unidentifiable with fewer than 3 folds or too few
    groups), ``note``. Also stored:

    ``uns["heldout"]["comparisons"][key_added]``
        The table, the predictions for groups by each fit, and the AUC of the held-out groups of all folds, with an
        interval and a sentence: ``get.comparison(adata, by="pooled")`` and ``get.summary(adata, "comparison")``.
    ``uns["heldout"]["ledger"]``
        One more row for each fold with a new fit.

    Raises
    ------
    TypeError
        If ``methods`` is not a list or mapping, or an object in it is not a classifier.
    ValueError
        If there are no such folds, a group has two labels, the matrix holds counts or was scaled already, or a method
        is unknown, a classifier fails, or has the name of a method or of another classifier.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.folds(adata, "library", "genotype", n_folds=4)
    >>> table = ho.tl.compare(adata, "genotype", methods=["majority", "pseudobulk_logistic"])
    >>> table.query("metric == 'auc'")[["method", "n_folds"]].values.tolist()
    [['majority', 4], ['pseudobulk_logistic', 4]]
    """
    check_key("key_added", key_added)
    check_integer(n_refits, "n_refits", least=0)
    store.check_adata(adata)
    named = named_methods(methods)
    declared = declared_levels(adata, claim_keys)
    folds = _folds(adata, fold_key)
    label_key = label_of(adata, folds[0], label_key)
    question = Question.of(
        label_key,
        group_key=group_key,
        covariate_keys=covariate_keys,
        cell_type_key=cell_type_key,
        n_top_genes=n_top_genes,
        max_value=max_value,
        layer=layer,
    )
    check_scale(adata, question)
    task = replace(question, n_top_genes=None).task(adata, folds[0], None)
    if task.group_key is None:
        msg = "No group is known. Pass group_key, the column of obs with the independent unit."
        raise ValueError(msg)
    of_cell = group_names(adata, task.group_key)
    names, numbers = store.factorize(of_cell)
    group_labels(names, numbers, task.labels, task.classes)
    blocks = blocks_of(adata, folds[0], of_cell, task.labels, block_key)
    exchange = None if blocks is None else pd.Series(blocks.number)
    data = data_digest(adata, layer)
    entries = [
        Entry(name, *how, split.key, int(seed))
        for split in folds
        for name, how in named.items()
        for seed in (seeds if is_random(*how[:2]) else seeds[:1])
    ]
    done = _kept(adata, key_added, {entry.digest(question, data) for entry in entries})
    missing = [entry for entry in entries if entry.digest(question, data) not in done]
    found: list[pd.DataFrame] = []
    try:
        for frame in _computed(adata, question, missing, data, client):
            found.append(frame)
            done[str(frame["digest"].iloc[0])] = frame
    finally:
        if found and len(done) < len(entries):
            _write(adata, key_added, pd.concat(done.values(), ignore_index=True), None, {}, folds, found)
            logger.warning(
                "Interrupted: %d of %d fits are kept. Call heldout.tl.compare again to continue.",
                len(done),
                len(entries),
            )
    scores = pd.concat([done[entry.digest(question, data)].assign(method=entry.name) for entry in entries])
    roles = {name: METHODS[how[0]].role for name, how in named.items()}
    table = comparison_table(
        scores.reset_index(drop=True),
        roles,
        unit="+".join(task.group_key),
        n_train=float(np.mean([len(set(of_cell[split.rows("train")])) for split in folds])),
        blocks=exchange,
    )
    about = {"classes": task.classes, "label_key": label_key, "fold_key": fold_key, "question": asdict(question)}
    leaks = (leak_of_groups(adata, split, task, of_cell, "test", declared=declared) for split in folds)
    if leak := next(filter(None, leaks), ""):
        table, about = without_inference(table), {**about, LEAK: leak}
        logger.warning("the folds leak: %s", leak)
    pooled = None if leak else Pooled.of(scores, exchange, len(task.classes))
    if pooled is None:
        _write(adata, key_added, scores, table, about, folds, found)
        return table
    summed = partial(pooled_table, scores, roles, pooled, task.classes, unit="+".join(task.group_key))
    _write(adata, key_added, scores, table, about, folds, found, summed(p_values={}))
    first = [entry for entry in entries if entry.seed == entries[0].seed]
    if p_values := _refitted(adata, question, first, pooled, n_refits, rng):
        _write(adata, key_added, scores, table, about, folds, [], summed(p_values=p_values))
    return table


def _refitted(
    adata: AnnData, question: Question, entries: list[Entry], pooled: Pooled, n_refits: int, rng: int
) -> dict[str, float]:
    """P-value of each method from labellings for which all folds are fitted again. Cells are prepared once a fold."""
    if n_refits < 2 or pooled.smallest_p == 1:
        return {}
    tried, _ = labellings(pooled.labels, pooled.exchange, np.random.default_rng(rng), limit=n_refits)
    shape = (len(tried), len(pooled.names), pooled.n_classes)
    found = {name: np.zeros(shape) for name in dict.fromkeys(entry.name for entry in entries)}
    n_fits = Counter(entry.name for entry in entries)
    each = iter(progress(range(len(entries) * len(tried)), "fits of labellings"))
    fold: Fold | None = None
    for entry in entries:
        if fold is None or entry.split_key != fold.split.key:
            fold = Fold.of(prepared(adata, question, entry.split_key), question, entry.split_key)
        began = time.monotonic()
        for i, (held_out, log_p) in enumerate(refits(fold, entry, pooled.names, tried)):
            found[entry.name][i, held_out] = log_p
            next(each)
            if i == _TIMED and (count := n_fits.pop(entry.name, 0)):
                _warn_if_long(entry.name, (time.monotonic() - began) / (i + 1) * count * len(tried), len(tried))
    next(each, None)
    return {name: pooled.p_value(log_p, tried) for name, log_p in found.items()}


def _warn_if_long(name: str, seconds: float, n_refits: int) -> None:
    if seconds > _LONG:
        logger.warning(
            "%r: repeating its fits for %d labellings takes about %.0f minutes. For less, pass a smaller n_refits or "
            "leave the method out. If you interrupt, the comparison is kept without p-values.",
            name,
            n_refits,
            seconds / 60,
        )


def _folds(adata: AnnData, fold_key: str) -> list[Partition]:
    from heldout.get import fold_keys

    folds = [read_partition(adata, name) for name in fold_keys(adata, fold_key)]
    for split in folds:
        split.require("train", "test", purpose="A comparison over folds")
    return folds


def _computed(
    adata: AnnData, question: Question, entries: list[Entry], data: str, client: Any
) -> Iterator[pd.DataFrame]:
    """Compute the results one after the other. The cells of a fold are prepared once for all methods."""
    if client is not None:
        yield from _on_workers(adata, question, entries, data, client)
        return
    fold: Fold | None = None
    for entry in progress(entries, "fits"):
        if fold is None or entry.split_key != fold.split.key:
            fold = Fold.of(prepared(adata, question, entry.split_key), question, entry.split_key)
        yield run(fold, entry, partition="test", data=data)


def _on_workers(
    adata: AnnData, question: Question, entries: list[Entry], data: str, client: Any
) -> Iterator[pd.DataFrame]:
    """Submit a job per fold and method, whose seeds share the prepared cells, and yield results as they complete."""
    from dask.distributed import as_completed

    jobs: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        jobs.setdefault((entry.split_key, entry.name), []).append(entry)
    there = client.scatter(adata, broadcast=True)
    futures = [client.submit(_of_fold, there, question, of_job, data, pure=False) for of_job in jobs.values()]
    for future in as_completed(futures):
        yield from future.result()


@thread_policy()
def _of_fold(adata: AnnData, question: Question, entries: list[Entry], data: str) -> list[pd.DataFrame]:
    key = entries[0].split_key
    fold = Fold.of(prepared(adata, question, key), question, key)
    return [run(fold, entry, partition="test", data=data) for entry in entries]


def _kept(adata: AnnData, key: str, wanted: set[str]) -> dict[str, pd.DataFrame]:
    """Results of an earlier call that are needed again, by digest."""
    stored = store.section(adata, keys.COMPARISONS).get(key)
    if stored is None:
        return {}
    scores = pd.DataFrame(stored["scores"])
    scores = scores.astype(dict.fromkeys(("digest", "method", "fold", "group"), str))
    return {str(digest): rows for digest, rows in scores.groupby("digest", sort=False) if digest in wanted}


def _write(
    adata: AnnData,
    key: str,
    scores: pd.DataFrame,
    table: pd.DataFrame | None,
    about: Mapping[str, Any],
    folds: list[Partition],
    found: list[pd.DataFrame],
    pooled: pd.DataFrame | None = None,
) -> None:
    entry: dict[str, Any] = {"scores": scores.reset_index(drop=True).rename(index=str), "json": json.dumps(about)}
    if table is not None:
        entry["table"] = table.rename(index=str)
    if pooled is not None:
        entry["pooled"] = pooled.rename(index=str)
    sections: dict[str, Any] = {keys.COMPARISONS: {**store.section(adata, keys.COMPARISONS), key: entry}}
    new = {str(frame["fold"].iloc[0]) for frame in found}
    fitted = hashlib.sha256("".join(sorted(str(frame["digest"].iloc[0]) for frame in found)).encode()).hexdigest()
    looks = [ScoredSet(key, f"compare: {len(found)} fits", fitted, split) for split in folds if split.key in new]
    if looks:
        sections[keys.LEDGER], numbered = next_looks(adata, looks)
        again = [look.number for look in numbered if look.number > 1]
        if again:
            logger.warning(
                "%d of %d folds were scored before, this is up to look %d at their test cells; choose between methods "
                "before the last comparison, or on val",
                len(again),
                len(numbered),
                max(again),
            )
    store.commit(adata, heldout=sections)


def prepared(adata: AnnData, question: Question, split_key: str) -> AnnData:
    """Copy the cells without other results, and choose and scale genes on the train cells of this split."""
    from anndata import AnnData

    sections = {name: store.section(adata, name) for name in (keys.SPLITS, keys.ASSIGNMENTS)}
    X: Any = get_matrix(adata, question.layer, dask=True)
    copy = AnnData(X.copy(), obs=adata.obs.copy(), var=adata.var[[]].copy())
    copy.uns[keys.UNS] = sections
    if question.layer is not None:
        copy.layers[question.layer] = copy.X
    if question.n_top_genes is not None:
        n_train = int((copy.obs[split_key] == "train").sum())
        highly_variable_genes(
            copy, question.n_top_genes, min_cells=min(10, n_train // 10), split_key=split_key, layer=question.layer
        )
    if question.max_value is not None:
        scale(copy, max_value=question.max_value, split_key=split_key, layer=question.layer)
    return copy
