"""Try options, choose the best on val, and score it once on test."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from heldout._core import keys, store
from heldout._core.chain import check_steps
from heldout._core.fits import check_key_is_free, write_fit
from heldout._core.keys import check_key
from heldout._core.looks import ScoredSet, needs_look, next_look, report_look
from heldout._core.metric import metric_of
from heldout._core.partition import read_partition
from heldout._core.progress import progress
from heldout._core.rng import Rng, generator, seed_of
from heldout._core.tables import prints_whole
from heldout._core.threads import thread_policy
from heldout.metrics.classification import log_loss, roc_auc
from heldout.tasks.genotype import METHODS
from heldout.tasks.genotype.estimators.estimator import Estimator
from heldout.tasks.genotype.resolve import label_of, resolved
from heldout.tasks.genotype.task import Task, predict
from heldout.tasks.genotype.trained import Trained
from heldout.tasks.genotype.tuning.grid import configs_of
from heldout.tasks.genotype.tuning.search import search
from heldout.tl._evaluate_genotype import evaluate_genotype
from heldout.tl._predict import prediction_slots

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anndata import AnnData


@prints_whole
@thread_policy()
def sweep(
    adata: AnnData,
    label_key: str | None = None,
    *,
    grid: Literal["lmna"] | Mapping[str, Any] | Callable[[Any], Mapping[str, Any]] = "lmna",
    method: Any = "mlp",
    config: Any = None,
    n_trials: int | None = None,
    metric: Literal["auc", "loss"] = "auc",
    auxiliary_key: str | None = None,
    group_key: str | Sequence[str] | None = None,
    mask_var: str | None = "highly_variable",
    layer: str | None = None,
    split_key: str = "split",
    baselines: Sequence[str] | None = None,
    rng: Rng = 0,
    key_added: str = "sweep",
) -> pd.DataFrame:
    """Fit a method with many options, choose on val, and score the chosen fit once on test.

    Test cells are not predicted before the choice, so a sweep counts as one look at test, independent of the number of
    options. The val score of the chosen options is the best of many, so it is too optimistic. The test score is not.

    Parameters
    ----------
    adata
        Prepared data, (n_obs × n_vars), with a val partition that has every class.
    label_key
        Column of ``obs`` that is predicted. If None, the label of the split is used, else the column ``genotype``.
    grid
        ``"lmna"``: the six configurations of the LMNA classifier study (depth 1 or 2, 20 or 50 epochs, batches of 128
        or 512, ReLU or tanh, Adam or SGD). A mapping of options to lists of values tries all combinations. A mapping of
        names to complete options tries these. A function of an ``optuna.Trial`` that returns options is a space in
        which optuna proposes ``n_trials``, e.g. ``lambda trial: {"lr": trial.suggest_float("lr", 1e-4, 1e-1,
        log=True)}``.
    method
        A method of :func:`heldout.tl.genotype`, or a classifier of scikit-learn. The options in ``grid`` are then its
        parameters, with the names of ``set_params``, and ``rows`` and ``balanced`` of
        :class:`heldout.model.Estimator`.
    config
        Options that the grid changes in part. If None, the defaults of the method.
    n_trials
        Draw this number of combinations at random. If None, all are tried. For an optuna space, the number of trials.
    metric
        ``auc`` of val cells, with ties decided by their loss, or ``loss``.
    auxiliary_key, group_key, mask_var, layer, split_key
        As in :func:`heldout.tl.genotype`.
    baselines
        As in :func:`heldout.tl.evaluate`.
    rng
        Seed or Generator. Every fit has the same seed.
    key_added
        Name of the chosen fit, of its evaluation, and of the sweep.

    Returns
    -------
    One row per configuration: ``name``, its options, ``n_epochs``, ``val_auc`` and ``val_loss`` of cells, ``chosen``,
    and ``test_auc`` of cells, NaN for the others. Sets the following fields for the chosen configuration:

    ``obs[key_added + "_prediction"]``, ``obs[key_added + "_probability"]``, ``obsm[key_added + "_log_probability"]``
        Predictions, see :func:`heldout.tl.genotype`.
    ``uns["heldout"]["fits"][key_added]``, ``uns["heldout"]["assignments"]``
        The fit.
    ``uns["heldout"]["evaluations"][key_added]``, ``uns["heldout"]["scores"][key_added]``,
    ``uns["heldout"]["claims"][key_added]``
        Its evaluation, see :func:`heldout.tl.evaluate`.
    ``uns["heldout"]["ledger"]``
        One more row, and another one if the val cells are test cells of another split.
    ``uns["heldout"]["sweeps"][key_added]``
        The table.

    Raises
    ------
    ImportError
        If the grid is an optuna space and optuna is not installed.
    ValueError
        If val lacks a class, the grid is empty or names an unknown option, or the split, columns or preparation do not
        fit.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=30, n_genes=200)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.scale(adata)
    >>> base = ho.model.MLPConfig(max_epochs=2, n_hidden=16)
    >>> table = ho.tl.sweep(adata, grid={"n_layers": [1, 2]}, config=base, baselines=["majority"])
    >>> int(table["test_auc"].notna().sum()), len(ho.get.ledger(adata))
    (1, 1)
    """
    check_key("key_added", key_added)
    store.check_adata(adata)
    method, base = resolved(method, config)
    check_key_is_free(adata, key_added, f"genotype.{method}")
    if metric not in ("auc", "loss"):
        msg = f"metric={metric!r} must be one of 'auc', 'loss'."
        raise ValueError(msg)
    partition = read_partition(adata, split_key)
    check_steps(adata, partition)
    configs = {} if callable(grid) else configs_of(grid, base, n_trials=n_trials, rng=generator(rng))
    partition.require("val", "test", purpose="A sweep")
    if baselines is not None:
        METHODS.baselines(baselines)
    task = Task.of(
        adata,
        partition,
        label_key=label_of(adata, partition, label_key),
        auxiliary_key=auxiliary_key,
        group_key=group_key,
        mask_var=mask_var,
        layer=layer,
    )
    val = partition.rows("val")
    if len(np.unique(task.labels[val])) < len(task.classes):
        msg = (
            "val does not have every class, so options cannot be ranked on it. Make a split whose val has all of them."
        )
        raise ValueError(msg)
    seed = seed_of(rng)
    rows: list[dict[str, Any]] = []
    fits: list[Trained] = []

    def score(name: str, options: Any) -> float:
        """Fit, and keep the fit and its scores on val."""
        trained = Trained.of(task, method, options, seed=seed)
        fits.append(trained)
        rows.append(_row(name, options, trained, task.labels[val], trained.predict(val)))
        return float(rows[-1][f"val_{metric}"])

    if callable(grid):
        direction: Literal["maximize", "minimize"] = "minimize" if metric_of(metric).lower_is_better else "maximize"
        configs = search(grid, base, n_trials=n_trials, direction=direction, seed=seed, score=score)
    for name, options in progress([] if callable(grid) else list(configs.items()), "configurations"):
        score(name, options)
    table = pd.DataFrame(rows)
    order = ["val_auc", "val_loss"] if metric == "auc" else ["val_loss"]
    best = int(table.sort_values(order, ascending=[name == "val_loss" for name in order], kind="stable").index[0])
    chosen = fits[best].to_fit()
    slots = prediction_slots(
        chosen, predict(chosen, adata, key=key_added, layer=layer), key=key_added, index=adata.obs_names
    )
    store.actual(adata)
    with store.undone_on_error(adata):
        write_fit(adata, key_added, chosen, partition, **slots)
        if needs_look(adata, partition, "val"):
            scored = ScoredSet(key_added, f"sweep: {len(fits)} fits", chosen.hash, partition, "val")
            ledger, look = next_look(adata, scored)
            store.commit(adata, heldout={keys.LEDGER: ledger})
            report_look(look, key_added)
        judged = evaluate_genotype(adata, key_added, group_key=group_key, baselines=baselines, rng=seed)
        _finish(table, best, judged)
        about = {
            "method": method,
            "metric": metric,
            "configs": {name: options.stored() for name, options in configs.items()},
        }
        entry = {"table": table.rename(index=str), "json": json.dumps(about)}
        store.commit(adata, heldout={keys.SWEEPS: {**store.section(adata, keys.SWEEPS), key_added: entry}})
    if isinstance(base, Estimator):
        base.fitted_ = fits[best].implementation.live  # type: ignore[attr-defined]
    return table


def _finish(table: pd.DataFrame, best: int, judged: pd.DataFrame) -> None:
    """Add which configuration was chosen, and its score on test."""
    test = judged[(judged["role"] == "model") & (judged["level"] == "cell") & (judged["metric"] == "auc")]
    table["chosen"] = np.arange(len(table)) == best
    table["test_auc"] = np.where(table["chosen"], float(test["estimate"].iloc[0]), np.nan)


def _row(name: str, options: Any, trained: Trained, labels: np.ndarray, log_p: np.ndarray) -> dict[str, Any]:
    shown = options.shown() if isinstance(options, Estimator) else options.stored()
    simple = {key: value for key, value in shown.items() if isinstance(value, int | float | str | bool)}
    scores = {"val_auc": roc_auc(labels, log_p), "val_loss": log_loss(labels, log_p)}
    return {"name": name, **simple, "n_epochs": len(trained.fitted.history), **scores}
