"""Score methods against the number of train groups."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from heldout._core import keys, store
from heldout._core.arrays import get_matrix, take
from heldout._core.checks import check_choice, check_integer
from heldout._core.keys import check_key
from heldout._core.looks import ScoredSet, held_out_elsewhere, next_look, report_look
from heldout._core.partition import PARTITIONS, read_partition, write_partition
from heldout._core.progress import progress
from heldout._core.tables import prints_whole
from heldout._core.threads import thread_policy
from heldout._core.words import counted, plural
from heldout.splitting._components import components
from heldout.splitting._folds import FoldUnits
from heldout.tasks.genotype import METHODS
from heldout.tasks.genotype.leaks import leak_of_groups
from heldout.tasks.genotype.learning import (
    curve_table,
    gains_table,
    repeats_table,
    scores_of,
    sizes_in_words,
    sizes_of,
    subsets_of,
    unit_order,
)
from heldout.tasks.genotype.resolve import label_of
from heldout.tasks.genotype.task import group_labels, group_names
from heldout.tasks.genotype.tuning.fold import Fold, Question
from heldout.tasks.genotype.tuning.runs import Entry, check_scale, is_random, named_methods, run
from heldout.tl._compare import prepared

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anndata import AnnData

    from heldout._core.partition import Partition
    from heldout.tasks.genotype.learning import Scores, Subset
    from heldout.tasks.genotype.task import Task

logger = logging.getLogger("heldout")

_N_FOLDS = 5

_SPLIT = "heldout_learning_curve"
"""Column of the temporary split of a subset."""


@prints_whole
@thread_policy()
def learning_curve(
    adata: AnnData,
    label_key: str | None = None,
    *,
    methods: Sequence[str] | Mapping[str, Any],
    sizes: Sequence[int] | None = None,
    n_repeats: int = 20,
    partition: Literal["train", "test"] = "train",
    n_folds: int | None = None,
    group_key: str | Sequence[str] | None = None,
    covariate_keys: Sequence[str] = (),
    cell_type_key: str | None = None,
    n_top_genes: int | None = None,
    max_value: float | None = 10.0,
    layer: str | None = None,
    split_key: str = "split",
    rng: int = 0,
    key_added: str = "learning_curve",
) -> pd.DataFrame:
    """Score methods against the number of train groups, and say whether more donors would help.

    Random subsets of the train groups are drawn many times, and the methods are fitted on each. A subset has the
    classes in the proportions of train. Within a repetition the subsets are nested: the smaller one is part of the
    larger one. Groups of one unit of the split (the libraries of a donor, the samples of a pair) are drawn together.
    Genes are chosen and scaled on the cells of each subset.

    **The test set stays untouched** by default: the train groups are divided into inner folds, and each fold is
    predicted from subsets of the others. With ``partition="test"`` the groups of test are predicted instead. This is
    one look at the test set. Val groups are in no subset and are not scored. They stay val for each fit, for methods
    that stop on val.

    Parameters
    ----------
    adata
        Log-normalised cells with a split by groups, (n_obs × n_vars), not scaled yet.
    label_key
        Column of ``obs`` that is predicted. If None, the label of the split is used, else the column ``genotype``.
    methods
        Names of methods of :func:`heldout.tl.genotype`, or a mapping as in :func:`heldout.tl.compare`.
    sizes
        Numbers of train units (donors, pairs) of all classes together. If None, five numbers, from two of each class to
        all that are available.
    n_repeats
        Number of repetitions, an integer >= 2. Each repetition draws new inner folds and subsets, and uses another seed
        for random methods.
    partition
        Which groups are scored. ``train``: held-out groups of inner folds. ``test``: those of test.
    n_folds
        Number of inner folds, not used with ``partition="test"``. If None, 5, or the number of units of the smallest
        class if this is lower. Every fold has every class.
    group_key
        Column(s) of ``obs`` with the group that has one label and is scored. If None, that of the split.
    covariate_keys, cell_type_key
        Columns for ``covariate_logistic`` and ``composition_logistic``.
    n_top_genes, max_value
        Number of genes that are chosen on each subset (None: all), and the value at which scaled genes are clipped
        (None: genes are not scaled).
    layer
        Layer to use instead of ``X``. If None, ``X`` is used.
    split_key
        Column of ``obs`` with the split.
    rng
        Seed of the subsets, folds and fits.
    key_added
        Name of the learning curve.

    Returns
    -------
    Table with one row for each method, metric (``auc``; ``loss`` in nats; both of groups) and number of train units.
    Columns: ``method``, ``role``, ``level``, ``metric``, ``n_train``, ``train`` (the units in words; numbers of a class
    can differ by one between folds), ``estimate`` (mean over repetitions), ``ci_low``, ``ci_high`` (95 % interval of
    this mean), ``sd``, ``low``, ``high`` (80 % of the repetitions are between them), ``n_repeats``, ``n_groups``
    (scored groups). **All of these cover the draw of subsets from these groups. They do not cover new groups.** The
    change from half of the units to all has an interval over held-out groups, see :func:`heldout.get.learning_curve`.
    Also stored:

    ``uns["heldout"]["learning_curves"][key_added]``
        The table, the scores of each repetition, and the change for each method with a sentence;
        ``get.summary(adata, key_added)`` prints the sentences.

    With ``partition="test"``, the ledger (:func:`heldout.get.ledger`) gets one more row. If the call fails or is
    interrupted, the AnnData is unchanged.

    Raises
    ------
    ValueError
        If there is no such split, a group has two labels or is on both sides, the matrix holds counts or was scaled
        already, a method is unknown, a size is not possible, or a method cannot be fitted on a subset.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=16)
    >>> table = ho.tl.learning_curve(adata, methods=["pseudobulk_logistic"], sizes=[2, 4], n_repeats=3)
    >>> table.query("metric == 'auc'")[["n_train", "train"]].values.tolist()
    [[2, '2 libraries (1 control, 1 patient)'], [4, '4 libraries (3 control, 1 patient)']]
    """
    check_key("key_added", key_added)
    check_integer(n_repeats, "n_repeats", least=2)
    check_choice(partition, "partition", ("train", "test"))
    store.check_adata(adata)
    named = named_methods(methods)
    split = read_partition(adata, split_key)
    split.require("train", *(["test"] if partition == "test" else []), purpose="A learning curve")
    label_key = label_of(adata, split, label_key)
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
    task = replace(question, n_top_genes=None).task(adata, split, None)
    plan = _Plan.of(adata, split, task, partition)
    inner = _inner_folds(plan.units, n_folds) if partition == "train" else None
    chosen = sizes_of(plan.units, sizes, inner)
    draws = np.random.default_rng(rng)
    words = sizes_in_words(plan.units, unit_order(plan.units.strata, np.random.default_rng(rng)), chosen, plan.unit)
    subsets = subsets_of(
        plan.units, chosen, n_repeats=n_repeats, n_folds=inner, held_out=np.arange(len(plan.scored.names)), rng=draws
    )
    scores = _scored(adata, question, plan, subsets, named, rng)
    roles = {name: METHODS[how[0]].role for name, how in named.items()}
    n_scored = len(set(plan.groups[plan.rows_of(plan.scored, np.arange(len(plan.scored.names)))]))
    table = curve_table(scores, roles, words, level="+".join(task.group_key or ()), n_scored=n_scored)
    held = "test" if partition == "test" else "held-out train"
    where = f"means over {n_repeats} random subsets, scored on {n_scored} {held} {plural(plan.level)}"
    gains = gains_table(scores, plan.scored.strata, words, unit=plan.unit, where=where)
    about = {
        "label_key": label_key,
        "partition": partition,
        "unit": plan.unit,
        "n_scored": n_scored,
        "n_classes": len(task.classes),
        "pure": plan.units.pure,
        "seed": rng,
    }
    entry = {
        "table": table.rename(index=str),
        "repeats": repeats_table(scores).rename(index=str),
        "gains": gains.rename(index=str),
        "json": json.dumps(about),
    }
    sections: dict[str, Any] = {keys.LEARNING_CURVES: {**store.section(adata, keys.LEARNING_CURVES), key_added: entry}}
    looked = partition == "test" or bool(held_out_elsewhere(adata, split, "train"))
    if looked:
        fitted = hashlib.sha256(gains.to_csv().encode()).hexdigest()
        scored = ScoredSet(key_added, f"learning curve: {counted(len(subsets), 'subset')}", fitted, split, partition)
        sections[keys.LEDGER], look = next_look(adata, scored)
    store.commit(adata, heldout=sections)
    if looked and partition == "test":
        report_look(look, key_added)
    elif looked:
        logger.warning("some train cells are test cells of another split, so this is %s", look.words)
    return table


@dataclass(frozen=True)
class _Plan:
    """The units of train and the units that are scored, with the unit and the group of each cell."""

    split: Partition
    units: FoldUnits
    scored: FoldUnits
    unit: str
    level: str
    of_cell: np.ndarray
    groups: np.ndarray

    @classmethod
    def of(cls, adata: AnnData, split: Partition, task: Task, partition: str) -> _Plan:
        """Find the units.

        Raises
        ------
        ValueError
            If there is no group, a group has two labels, is on both sides, or test lacks a class.
        """
        if task.group_key is None:
            msg = "No group is known. Pass group_key, the column of obs with the independent unit."
            raise ValueError(msg)
        groups = group_names(adata, task.group_key)
        names, numbers = store.factorize(groups[task.labels >= 0])
        group_labels(names, numbers, task.labels[task.labels >= 0], task.classes)
        if partition == "test" and (leak := leak_of_groups(adata, split, task, groups, "test")):
            msg = f"{leak} Make another split, or use partition='train', whose inner folds keep units whole."
            raise ValueError(msg)
        pair_key = split.params.get("pair_key")
        kept_whole = [str(pair_key)] if pair_key in adata.obs.columns else split.group_key or []
        whole = [key for key in kept_whole if key in adata.obs.columns]
        columns = [groups, *(store.as_names(store.column(adata, key, argument="group_key")) for key in whole)]
        used = np.flatnonzero(split.mask("train", "val", "test"))
        of_cell = np.full(adata.n_obs, "", dtype=object)
        of_cell[used] = components(*(column[used] for column in columns))
        class_of = np.array(task.classes, dtype=object)[task.labels]
        train, scored = split.rows("train"), split.rows(partition)
        if len(set(class_of[scored])) < len(task.classes):
            has = store.some(sorted(set(class_of[scored])))
            msg = f"{partition} has only {has} of label_key={task.label_key!r}, so there is no AUC. Make another split."
            raise ValueError(msg)
        level = "+".join(task.group_key)
        unit = "+".join(whole) if whole and len(set(of_cell[train])) < len(set(groups[train])) else level
        units = FoldUnits.of(of_cell[train], class_of[train])
        found = units if partition == "train" else FoldUnits.of(of_cell[scored], class_of[scored])
        return cls(split, units, found, unit, level, of_cell, groups)

    def rows_of(self, units: FoldUnits, numbers: np.ndarray) -> np.ndarray:
        """Rows of the cells of some units of train, or of the scored units."""
        name = "train" if units is self.units else "test"
        return np.flatnonzero(np.isin(self.of_cell, units.names[numbers]) & self.split.mask(name))


def _inner_folds(units: FoldUnits, n_folds: int | None) -> int:
    """Number of inner folds, each of which can have every class."""
    if n_folds is None:
        units.require(2, purpose="A learning curve with inner folds", advice="Use partition='test'")
        return int(min(_N_FOLDS, units.has.sum(axis=0).min()))
    check_integer(n_folds, "n_folds", least=2)
    units.require(n_folds, purpose=f"n_folds={n_folds} with every class in every inner fold")
    return n_folds


def _scored(
    adata: AnnData,
    question: Question,
    plan: _Plan,
    subsets: Sequence[Subset],
    named: Mapping[str, tuple[str, Any, str | None]],
    rng: int,
) -> list[Scores]:
    """Fit all methods on all subsets. Cells of a subset are prepared once for all methods."""
    frames: dict[tuple[str, int, int], list[pd.DataFrame]] = {}
    for subset in progress(subsets, "subsets of train groups"):
        for name, frame in _fitted(adata, question, plan, subset, named, rng):
            frames.setdefault((name, subset.size, subset.repeat), []).append(frame)
    units = dict(zip(plan.groups, plan.of_cell, strict=True))
    number = {name: i for i, name in enumerate(plan.scored.names)}
    of_group = {str(group): number[unit] for group, unit in units.items() if unit in number}
    n_classes = plan.units.has.shape[1]
    return [scores_of(pd.concat(found, ignore_index=True), of_group, n_classes) for found in frames.values()]


def _fitted(
    adata: AnnData,
    question: Question,
    plan: _Plan,
    subset: Subset,
    named: Mapping[str, tuple[str, Any, str | None]],
    rng: int,
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Predictions of each method for the held-out groups of one subset."""
    once = plan.scored is not plan.units and subset.size == len(plan.units.names) and subset.repeat > 0
    wanted = {name: how for name, how in named.items() if not once or is_random(*how[:2])}
    if not wanted:
        return
    cells = _cells(adata, question, plan, subset)
    of_subset = replace(question, layer=None)
    ready = Fold.of(prepared(cells, of_subset, _SPLIT), of_subset, _SPLIT)
    for name, how in wanted.items():
        entry = Entry(name, *how, _SPLIT, rng + subset.repeat)
        try:
            frame = run(ready, entry, partition="test", data="")
        except ValueError as problem:
            msg = f"{name} cannot be fitted on {counted(subset.size, 'train unit')}: {problem} Pass larger sizes."
            raise ValueError(msg) from problem
        yield name, frame.assign(method=name, size=subset.size, repeat=subset.repeat, fold=f"fold_{subset.fold}")


def _cells(adata: AnnData, question: Question, plan: _Plan, subset: Subset) -> AnnData:
    """Cells of a subset with a temporary split: its units are train, the held-out units test, and val stays val."""
    from anndata import AnnData

    parts = {
        "train": plan.rows_of(plan.units, subset.train),
        "val": plan.split.rows("val"),
        "test": plan.rows_of(plan.scored, subset.held_out),
    }
    rows = np.sort(np.concatenate(list(parts.values())))
    codes = np.zeros(len(rows), dtype=np.int8)
    for name, members in parts.items():
        codes[np.isin(rows, members)] = PARTITIONS.index(name)
    X = take(get_matrix(adata, question.layer, dask=True), rows, None)
    cells = AnnData(X, obs=adata.obs.iloc[rows].copy(), var=adata.var[[]].copy())
    params = {"group_key": plan.split.params.get("group_key"), "label_key": question.label_key}
    write_partition(cells, codes, key=_SPLIT, scheme="learning_curve", params=params)
    return cells
