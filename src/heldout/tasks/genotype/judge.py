"""Score a genotype fit and its baselines."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import keys, store
from heldout._core.arrays import get_matrix, loaded, take
from heldout._core.evaluations import write_evaluation
from heldout._core.fits import check_split
from heldout._core.leaks import leaking_claims
from heldout._core.partition import read_partition
from heldout._core.progress import progress
from heldout._core.rng import generator, seed_of
from heldout._core.verdict import FEW
from heldout.metrics.classification import group_log_probability, one_vs_rest
from heldout.tasks.genotype import METHODS
from heldout.tasks.genotype.auto import choice_in_words
from heldout.tasks.genotype.claims import answer, claims_table, pairs_table, summary
from heldout.tasks.genotype.evaluate import Scored, evaluation_table, group_table, seen_groups_ceiling
from heldout.tasks.genotype.features import OF_GENES
from heldout.tasks.genotype.leaks import declared_levels, leak_of_groups
from heldout.tasks.genotype.resolve import resolved_baselines
from heldout.tasks.genotype.task import Task, check_prepared, group_labels, group_names, predict, shown_name
from heldout.tasks.genotype.thresholds import thresholds
from heldout.tasks.genotype.trained import Trained
from heldout.tasks.genotype.tuning.refit import refit_test
from heldout.tasks.genotype.units import blocks_of, hierarchy_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout._core.partition import Partition
    from heldout._core.rng import Rng

logger = logging.getLogger("heldout")

_REPEATED = "one prediction for each group, repeated for its cells"


def evaluate(
    adata: AnnData,
    key: str,
    fit: Fit,
    *,
    partition: str,
    group_key: str | Sequence[str] | None,
    baselines: Sequence[Any] | None,
    n_bootstrap: int,
    rng: Rng,
    block_key: str | None = None,
    claim_keys: Sequence[str] | None = None,
    n_refits: int = 0,
) -> pd.DataFrame:
    """Score at the level of groups and cells, store and return the table; see :func:`heldout.tl.evaluate`."""
    resolved_baselines(baselines)
    if n_refits and METHODS.is_adapter(METHODS.method_of(fit).name):
        msg = (
            f"n_refits={n_refits} fits again, but the fit {key!r} keeps only the predictions of {shown_name(fit)}. "
            "Pass the estimator to heldout.tl.compare(methods=[...], n_refits=...)."
        )
        raise ValueError(msg)
    split = read_partition(adata, fit.split_key)
    check_split(adata, fit, split, key=key)
    check_prepared(fit, adata, key=key, layer=fit.info["layer"])
    split.require(partition, purpose=f"evaluate(partition={partition!r})")
    task = _task(adata, fit, split, group_key)
    named = resolved_baselines(baselines, known=_known(task))
    rows = split.rows(partition)
    unit = "+".join(_group_key(task))
    of_cell = group_names(adata, _group_key(task))
    names, groups = store.factorize(of_cell[rows])
    labels = task.labels[rows]
    of_group = group_labels(names, groups, labels, task.classes)
    blocks = blocks_of(adata, split, of_cell, task.labels, block_key)
    group_blocks = None if blocks is None else blocks.of_groups(names)
    if group_blocks is not None and len(np.unique(group_blocks)) == 1:
        group_blocks = None
    claimed = declared_levels(adata, claim_keys or ())
    leak = leak_of_groups(adata, split, task, of_cell, partition, declared=claimed)
    hierarchy = hierarchy_of(adata, split, of_cell, rows, unit, claim_keys)

    judged = _Judge(
        task, of_cell, _cells(adata, rows, task.layer), _cells(adata, split.rows("val"), task.layer), split.rows("val")
    )
    scored = [judged.scored(shown_name(fit), "model", fit, key)]
    others = [(name, *how) for name, how in named.items() if name != scored[0].method]
    scored.extend(
        judged.scored(name, "baseline", Trained.of(task, method, config).to_fit(), name)
        for name, method, config in progress(others, "baselines")
    )
    X = take(judged.cells.X, None, task.columns)
    table = evaluation_table(
        scored,
        labels,
        groups,
        unit=unit,
        ceiling=seen_groups_ceiling(X, labels, groups, seed=seed_of(rng)) if len(task.columns) else None,
        n_bootstrap=n_bootstrap,
        rng=generator(rng),
        blocks=group_blocks,
    )
    if n_refits and not leak:
        table = _refitted(table, task, fit, rows, of_cell, blocks, n_refits=n_refits, seed=seed_of(rng))
    of_groups = group_log_probability(scored[0].log_probability, groups)
    claims = claims_table(hierarchy, of_group, one_vs_rest(of_groups), task.classes, group_blocks)
    auc = table[(table["role"] == "model") & (table["level"] == unit) & (table["metric"] == "auc")].iloc[0]
    _warn_of_few(of_group, task.classes, unit)
    if leak:
        claims = leaking_claims(claims, leak)
    claimed_of = {"table": claims.rename(index=str)}
    if len(task.classes) > 2 and not leak:
        claimed_of["pairs"] = pairs_table(of_group, of_groups, task.classes, group_blocks).rename(index=str)
    also = {keys.CLAIMS: {key: claimed_of}}
    by_group = group_table(scored, labels, groups, names, task.classes)
    return write_evaluation(
        adata,
        key,
        fit,
        split,
        table,
        by_group,
        partition=partition,
        leak=leak,
        also=also,
        answer=None
        if leak
        else answer(claims, auc, task.classes, unit=unit, counts=np.bincount(of_group, minlength=len(task.classes))),
        summary=None if leak else summary(claims, auc, task.classes, unit=unit, where=partition) + choice_in_words(fit),
    )


@dataclass(frozen=True)
class _Judge:
    """Predict the evaluated cells, with thresholds that are chosen on val."""

    task: Task
    groups: np.ndarray
    cells: AnnData
    val_cells: AnnData
    val: np.ndarray

    def scored(self, method: str, role: str, fit: Fit, key: str) -> Scored:
        """Log-probabilities of the evaluated cells."""
        note = "" if fit.info["fitted"].get("converged", True) else "solver did not converge"
        if fit.info["fitted"].get("scores") == "decision_function":
            note = "margins are taken as log-odds, so loss and brier are not calibrated"
        if METHODS.method_of(fit).load().by_group:
            note = "; ".join(filter(None, [note, _REPEATED]))
        log_probability = predict(fit, self.cells, key=key)
        return Scored(method, role, log_probability, note, self._thresholds(fit, key))

    def _thresholds(self, fit: Fit, key: str) -> tuple[float, float] | None:
        if not len(self.val):
            return None
        names, groups = store.factorize(self.groups[self.val])
        labels = self.task.labels[self.val]
        if len(np.unique(np.stack([groups, labels]), axis=1).T) > len(names):
            return None  # groups of two classes have no threshold of their own
        return thresholds(labels, predict(fit, self.val_cells, key=key), groups)


def _refitted(
    table: pd.DataFrame,
    task: Task,
    fit: Fit,
    rows: np.ndarray,
    of_cell: np.ndarray,
    blocks: Any,
    *,
    n_refits: int,
    seed: int,
) -> pd.DataFrame:
    """The table with p-values from labellings for which the fit was made again."""
    used = task.partition.mask("train", "val")
    used[rows] = True
    names, numbers = store.factorize(of_cell[used])
    groups = np.full(len(of_cell), -1)
    groups[used] = numbers
    group_labels(names, numbers, task.labels[used], task.classes)
    method, config = METHODS.implementation_of(fit), METHODS.config_of(fit)
    table = table.copy()
    for metric in ("auc", "block_auc"):
        at = (table["role"] == "model") & (table["metric"] == metric) & table["p_value"].notna()
        if not at.any():
            continue
        found = refit_test(
            method,
            config,
            task.data(fit.info["features"]),
            rows,
            groups,
            None if blocks is None else blocks.of_groups(names),
            within=metric == "block_auc",
            n_labellings=n_refits,
            seed=int(fit.config["seed"]),
        )
        kind = f"{'exact' if found.exact else f'{n_refits} labellings'}, fit made again for each"
        table.loc[at, ["p_value", "p_mid", "p_smallest"]] = [found.p_value, found.mid_p, found.smallest]
        table.loc[at, "p_kind"] = kind
    return table


def _warn_of_few(labels: np.ndarray, classes: Sequence[str], unit: str) -> None:
    counts = np.bincount(labels, minlength=len(classes))
    if 1 < counts.min() < FEW:
        logger.info(
            "%d %s of %s: below %d a class a bootstrap over groups is too narrow; intervals of groups here are not",
            counts.min(),
            unit,
            classes[int(counts.argmin())],
            FEW,
        )


def _known(task: Task) -> list[str]:
    """What default baselines may require."""
    known = {"covariates": bool(task.covariates), "cell_types": task.cell_types is not None}
    return [name for name, there in known.items() if there]


def _task(adata: AnnData, fit: Fit, split: Partition, group_key: str | Sequence[str] | None) -> Task:
    task = Task.of(
        adata,
        split,
        label_key=fit.info["label_key"],
        group_key=group_key or fit.info["group_key"],
        covariate_keys=_covariate_keys(adata, fit, split),
        cell_type_key=(fit.info.get("cell_types") or {}).get("key"),
        mask_var=None,
        layer=fit.info["layer"],
    )
    if task.classes != fit.info["classes"]:
        msg = f"The fit has the classes {fit.info['classes']}, adata has {task.classes}. Fit again."
        raise ValueError(msg)
    if fit.info["features"] in OF_GENES:
        task = replace(task, columns=fit.columns(adata.var_names, key="of this evaluation"))
    return task


def _covariate_keys(adata: AnnData, fit: Fit, split: Partition) -> list[str]:
    """Declared covariates. Without any, the auxiliary column or the column that the split was matched on."""
    declared = [covariate["key"] for covariate in fit.info.get("covariates", [])]
    others = [fit.info["auxiliary_key"], split.params.get("match_key")]
    whole = [name for name in others if name in adata.obs.columns and not adata.obs[name].isna().any()]
    return declared or whole[:1]


def _cells(adata: AnnData, rows: np.ndarray, layer: str | None) -> AnnData:
    """The evaluated cells, with the matrix that is read as X. They are copied once."""
    from anndata import AnnData

    X = loaded(take(get_matrix(adata, layer, dask=True), rows, None))
    return AnnData(X, obs=adata.obs.iloc[rows], var=adata.var[[]])


def _group_key(task: Task) -> list[str]:
    if task.group_key is None:
        msg = (
            "No group is known, because the split was not made by group. Pass group_key, the column of obs with the "
            "independent unit."
        )
        raise ValueError(msg)
    return task.group_key
