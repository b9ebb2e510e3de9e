"""Chains of ``pp.lineages`` as the forecast methods take them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core import keys
from heldout._core.fits import check_split, read_fit, read_header
from heldout._core.partition import digests
from heldout._core.store import section, some

if TYPE_CHECKING:
    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout._core.partition import Partition

logger = logging.getLogger("heldout")

ON_CHAINS = ("lstm", "feedforward", "lstm_published", "feedforward_published")
"""Methods that train on chains."""


def read_lineages(adata: AnnData, key: str) -> Fit:
    """The stored chains; refuses a fit of something else."""
    fit = read_header(adata, key)
    if fit.method != "pp.lineages":
        made = [name for name in section(adata, keys.FITS) if read_header(adata, name).method == "pp.lineages"]
        msg = f"The fit {key!r} is {fit.method!r}, not 'pp.lineages'. " + (
            f"Lineages are {some(made)}." if made else "Call heldout.pp.lineages first."
        )
        raise ValueError(msg)
    return read_fit(adata, key)


def rows_of_chains(adata: AnnData, fit: Fit, key: str) -> np.ndarray:
    """Row numbers in ``adata`` of the cells of each chain, (n_chains × T), looked up by name."""
    chains, times = fit.arrays["chains"], fit.arrays["times"]
    rows = np.asarray(pd.Index(digests(adata.obs_names)).get_indexer(fit.arrays["digests"])[chains])
    if (rows < 0).any():
        lost = {f"{time:g}": len(np.unique(chains[rows[:, k] < 0, k])) for k, time in enumerate(times)}
        lost = {time: n for time, n in lost.items() if n}
        msg = (
            f"{int((rows < 0).any(axis=1).sum())} of the {len(chains)} chains of {key!r} pass cells that are no longer in adata "
            f"({fit.config['time_key']}: number of cells {lost}). Use the AnnData before cells were dropped, or call "
            "heldout.pp.lineages again."
        )
        raise ValueError(msg)
    return rows


def check_method(method: str, lineages: str | None) -> None:
    """Refuse chains for a method that would not look at them."""
    if lineages is not None and method not in ON_CHAINS:
        msg = f"lineages={lineages!r}: method={method!r} does not train on chains. Leave it out, or use one of {', '.join(ON_CHAINS)}."
        raise ValueError(msg)


def check_lineages(adata: AnnData, key: str, partition: Partition, time_key: str, times: np.ndarray) -> Fit:
    """The stored chains, if they were drawn on this split through these times."""
    fit = read_lineages(adata, key)
    check_split(adata, fit, partition, key=key)
    if fit.split_key != partition.key or fit.config["time_key"] != time_key:
        msg = (
            f"lineages={key!r} were drawn along {fit.config['time_key']!r} on the split {fit.split_key!r}; the forecast is along "
            f"{time_key!r} on {partition.key!r}. Call heldout.pp.lineages(adata, {time_key!r}, split_key={partition.key!r})."
        )
        raise ValueError(msg)
    if not np.array_equal(fit.arrays["times"], times):
        msg = (
            f"lineages={key!r} pass {time_key}={_shown(fit.arrays['times'])}, the train cells are at {_shown(times)}: {time_key} was "
            f"changed since. Call heldout.pp.lineages(adata, {time_key!r}) again."
        )
        raise ValueError(msg)
    if fit.info["rep_fit"] is None:
        logger.warning(
            "lineages=%r were drawn in obsm[%r], of which nothing proves that it was fitted on the train cells; if held-out "
            "cells shaped it, the chains have seen them",
            key,
            fit.config["use_rep"],
        )
    return fit


def chains_in(adata: AnnData, fit: Fit, key: str, snapshots: list[np.ndarray]) -> np.ndarray:
    """Positions of the chains' cells in snapshots that are given as row numbers, (n_chains × T)."""
    rows = rows_of_chains(adata, fit, key)
    found = np.stack([pd.Index(at).get_indexer(rows[:, k]) for k, at in enumerate(snapshots)], axis=1)
    if (found < 0).any():
        msg = (
            f"{int((found < 0).any(axis=1).sum())} of the {len(found)} chains of lineages={key!r} pass cells that are not train "
            "cells of their time. Call heldout.pp.lineages again."
        )
        raise ValueError(msg)
    return found


def _shown(times: np.ndarray) -> str:
    return ", ".join(f"{time:g}" for time in times)
