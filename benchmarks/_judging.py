"""Judge several methods on one split of a screen: each is fitted once, and all are scored on the same cells."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from _screens import KEY

from heldout._core.partition import read_partition
from heldout.tasks.perturbation import METHODS
from heldout.tasks.perturbation.judging.judge import Judged, replaced_embeddings, shifted_controls
from heldout.tasks.perturbation.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import anndata as ad
    import pandas as pd
    from heldout._core.config import Config

BOOTSTRAP = 20
"""Draws of a single split. The intervals come from the pooled scores."""


def config_of(method: str, options: Mapping[str, Any], vectors: str | None) -> Config:
    """Default options of a method with some changed, and with vectors of the targets if it takes any."""
    default = METHODS.implementation(method).default_config
    options = dict(options)
    if vectors and hasattr(default, "perturbation_embedding"):
        options.setdefault("perturbation_embedding", vectors)
    return type(default)(**options)


def judge(
    adata: ad.AnnData,
    methods: Sequence[str],
    baselines: Sequence[str] | None,
    *,
    options: Mapping[str, Mapping[str, Any]],
    vectors: str | None = None,
    replaced: bool = False,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, float]]:
    """Return the table of the split, the scores of each perturbation and context, and the seconds of each fit."""
    judged = Judged.of(Task.of(adata, read_partition(adata, "split"), mask_var=None), "test")
    scored, twins, seconds = [], [], {}
    for method in methods:
        start = time.perf_counter()
        fit = judged.task.fit(method, config_of(method, options.get(method, {}), vectors), seed=seed, data=judged.data)
        seconds[method] = time.perf_counter() - start
        scored.append(judged.scored(fit, method, "model"))
        twins += shifted_controls(scored[-1])
        if replaced and vectors:
            twins += replaced_embeddings(judged, fit)
        print(f"  {method}: fitted in {seconds[method]:.1f} s", flush=True)
    generative = any(model.cells is not None for model in scored)
    rivals = [rival for rival in judged.baselines(baselines, generative=generative) if rival.method not in methods]
    start = time.perf_counter()
    table, rows = judged.table([*scored, *rivals, *twins], n_bootstrap=BOOTSTRAP, rng=0)
    seconds["scores of all methods"] = time.perf_counter() - start
    return table, rows, seconds


__all__ = ["KEY", "config_of", "judge"]
