"""Score a gene forecast and its baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core import store
from heldout._core.evaluations import write_evaluation
from heldout._core.fits import check_split
from heldout._core.leaks import leak_of_units
from heldout._core.partition import read_partition
from heldout._core.progress import progress
from heldout._core.rng import generator, seed_of
from heldout._core.versus import with_remark
from heldout.tasks.forecast_genes import METHODS
from heldout.tasks.forecast_genes.evaluate import Scored, Truth, evaluation_table, split_halves
from heldout.tasks.forecast_genes.modules import by_module, module_names, past_modules, sentence
from heldout.tasks.forecast_genes.task import predict, task_of_fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout._core.partition import Partition
    from heldout._core.rng import Rng
    from heldout.tasks.forecast_genes.interface import Data
    from heldout.tasks.forecast_genes.task import Task

_HALVINGS = 20


def evaluate(
    adata: AnnData,
    key: str,
    fit: Fit,
    *,
    partition: str,
    baselines: Sequence[str] | None,
    n_bootstrap: int,
    rng: Rng,
) -> pd.DataFrame:
    """Score over genes, or over modules if the split is by module; see :func:`heldout.tl.evaluate_forecast_genes`."""
    baselines = METHODS.baselines(baselines)
    split = read_partition(adata, fit.split_key, axis="var")
    check_split(adata, fit, split, key=key)
    if not split.mask(partition).any():
        msg = f"evaluate(partition={partition!r}) needs genes in it, but var[{split.key!r}] has {split.counts()}."
        raise ValueError(msg)
    task = task_of_fit(adata, split, fit)
    seed = int(fit.config["seed"])
    data = task.data(seed=seed)
    genes = task.numbers(partition)
    method = METHODS.method_of(fit).name
    scored = [Scored(method, "model", predict(fit, data.history)[genes])]
    others = progress([name for name in baselines if name != method], "baselines")
    scored += [Scored(name, "baseline", task.fit(name, seed=seed, data=data)[1][genes]) for name in others]
    unit, units = _units(adata, task, split, genes)
    truth = _truth(task, data, genes, units, seed=seed_of(rng))
    table = evaluation_table(scored, truth, unit=unit, n_bootstrap=n_bootstrap, rng=generator(rng))
    modules = _modules_of_split(adata, task, split, genes) if unit == "module" else past_modules(data.history, genes)
    by_gene = _gene_table(scored, truth, adata.var_names[task.genes[genes]], modules)
    leak = _leak(adata, split, partition)
    if not leak:
        table = with_remark(table, sentence(by_module(by_gene, module_names(by_gene))))
    return write_evaluation(adata, key, fit, split, table, by_gene, partition=partition, leak=leak)


def _leak(adata: AnnData, split: Partition, partition: str) -> str:
    """Say which modules are on both sides of a split by module; empty if none is."""
    column = f"{split.key}_module"
    if split.params.get("by") != "module" or column not in adata.var.columns:
        return ""
    return leak_of_units(split, partition, [("module", store.as_names(adata.var[column]))])


def _modules_of_split(adata: AnnData, task: Task, split: Partition, genes: np.ndarray) -> np.ndarray:
    return adata.var[f"{split.key}_module"].iloc[task.genes[genes]].to_numpy(np.float64)


def _units(adata: AnnData, task: Task, split: Partition, genes: np.ndarray) -> tuple[str, np.ndarray]:
    """Name of the unit of inference, and the number of the unit of each gene."""
    column = f"{split.key}_module"
    if split.params.get("by") == "module" and column in adata.var.columns:
        modules = store.as_names(adata.var[column].iloc[task.genes[genes]])
        return "module", store.factorize(modules)[1]
    return "gene", np.arange(len(genes))


def _truth(task: Task, data: Data, genes: np.ndarray, units: np.ndarray, *, seed: int) -> Truth:
    rng = np.random.default_rng(seed)
    level, drawn = task.target(genes, rng)
    last = data.history.last[genes]
    error = np.sqrt(drawn.var(axis=0, ddof=1) + data.replicates[:, genes, -1, 0].var(axis=0, ddof=1))
    cells, libraries = task.target_cells(genes)
    halves = split_halves(cells, libraries, n=_HALVINGS, rng=rng)
    return Truth(level - last, level, error, np.mean((halves[0] - halves[1]) ** 2, axis=0), halves, units)


def _gene_table(scored: list[Scored], truth: Truth, names: pd.Index, modules: np.ndarray) -> pd.DataFrame:
    """True change of each gene, its prediction by each method, and the number of its module."""
    parts = [
        pd.DataFrame(
            {
                "method": each.method,
                "role": each.role,
                "gene": names.astype(str).to_numpy(dtype=object),
                "change": truth.change,
                "predicted": each.change,
                "error": truth.error,
                "floor": truth.floor,
                "module": modules,
            }
        )
        for each in scored
    ]
    return pd.concat(parts, ignore_index=True)
