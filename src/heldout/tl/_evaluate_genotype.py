"""Score a genotype fit beside its baselines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from heldout._core import store
from heldout._core.arrays import get_matrix, take
from heldout._core.fits import check_split
from heldout._core.partition import read_partition
from heldout._core.progress import progress
from heldout._core.rng import generator, seed_of
from heldout.tasks.genotype import METHODS
from heldout.tasks.genotype.evaluate import Scored, evaluation_table, group_table, seen_groups_ceiling
from heldout.tasks.genotype.task import Task, check_prepared, group_labels, group_names, predict
from heldout.tl._write_evaluation import write_evaluation

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd
    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout._core.partition import Partition
    from heldout._core.rng import Rng

BASELINES = ("majority", "qc_logistic", "logistic", "pseudobulk_logistic")


def evaluate(
    adata: AnnData,
    key: str,
    fit: Fit,
    *,
    partition: str,
    group_key: str | Sequence[str] | None,
    baselines: Sequence[str] | None,
    n_bootstrap: int,
    rng: Rng,
) -> pd.DataFrame:
    """Score at the level of groups and cells, store and return the table; see :func:`heldout.tl.evaluate`."""
    baselines = BASELINES if baselines is None else baselines
    for name in baselines:
        METHODS[name]
    split = read_partition(adata, fit.split_key)
    check_split(adata, fit, split, key=key)
    check_prepared(fit, adata, key=key, layer=fit.info["layer"])
    split.require(partition, purpose=f"evaluate(partition={partition!r})")
    task = _task(adata, fit, split, group_key)
    rows = split.rows(partition)
    names, groups = store.factorize(group_names(adata, _group_key(task))[rows])
    labels = task.labels[rows]
    group_labels(names, groups, labels, task.classes)

    method = fit.method.removeprefix("genotype.")
    cells = _cells(adata, rows, task.layer)
    scored = [Scored(method, "model", predict(fit, cells, key=key))]
    others = [name for name in baselines if name != method]
    for name in progress(others, "baselines"):
        other = task.fit(name)
        note = "" if other.info["fitted"].get("converged", True) else "solver did not converge"
        scored.append(Scored(name, "baseline", predict(other, cells, key=name), note))
    X = take(cells.X, None, task.columns)
    table = evaluation_table(
        scored,
        labels,
        groups,
        unit="+".join(_group_key(task)),
        ceiling=seen_groups_ceiling(X, labels, groups, seed=seed_of(rng)) if len(task.columns) else None,
        n_bootstrap=n_bootstrap,
        rng=generator(rng),
    )
    by_group = group_table(scored, labels, groups, names, task.classes)
    return write_evaluation(adata, key, fit, split, table, by_group, partition=partition)


def _task(adata: AnnData, fit: Fit, split: Partition, group_key: str | Sequence[str] | None) -> Task:
    task = Task.of(
        adata,
        split,
        label_key=fit.info["label_key"],
        group_key=group_key or fit.info["group_key"],
        mask_var=None,
        layer=fit.info["layer"],
    )
    if task.classes != fit.info["classes"]:
        msg = f"The fit knows the classes {fit.info['classes']}, adata has {task.classes}. Fit again."
        raise ValueError(msg)
    if fit.info["features"] == "genes":
        task = replace(task, columns=fit.columns(adata.var_names, key="of this evaluation"))
    return task


def _cells(adata: AnnData, rows: np.ndarray, layer: str | None) -> AnnData:
    """The cells that are judged, with the matrix that is read as X, copied once."""
    from anndata import AnnData

    return AnnData(take(get_matrix(adata, layer), rows, None), obs=adata.obs.iloc[rows], var=adata.var[[]])


def _group_key(task: Task) -> list[str]:
    if task.group_key is None:
        msg = "No group is known: the split was not made by group. Pass group_key, the obs column of the independent unit."
        raise ValueError(msg)
    return task.group_key
