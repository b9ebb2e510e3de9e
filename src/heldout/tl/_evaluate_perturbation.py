"""Score the fit of a perturbation method, and store the evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core.evaluations import write_evaluation
from heldout._core.partition import read_partition
from heldout.tasks.perturbation.judging.judge import judge_fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout._core.rng import Rng


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
    """Score over perturbations; see :func:`heldout.tl.evaluate`."""
    if group_key is not None:
        msg = f"group_key={group_key!r} is not for predicted perturbations: perturbations are the units. Leave it out."
        raise ValueError(msg)
    split = read_partition(adata, fit.split_key)
    table, rows = judge_fit(
        adata, fit, split, key=key, partition=partition, baselines=baselines, n_bootstrap=n_bootstrap, rng=rng
    )
    return write_evaluation(adata, key, fit, split, table, rows, partition=partition)
