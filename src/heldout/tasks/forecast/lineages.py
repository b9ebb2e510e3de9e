"""Read the chains of ``pp.lineages`` for the forecast methods that train on them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core import keys
from heldout._core.fits import check_split, read_fit, read_header
from heldout._core.partition import digests
from heldout._core.store import section, some
from heldout._core.times import times_text

if TYPE_CHECKING:
    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout._core.partition import Partition

logger = logging.getLogger("heldout")

ON_CHAINS = ("lstm", "feedforward", "lstm_published", "feedforward_published")
"""Methods that train on chains."""


def read_lineages(adata: AnnData, key: str) -> Fit:
    """Read the stored chains; refuse a fit of another kind."""
    fit = read_header(adata, key)
    if fit.method != "pp.lineages":
        made = [name for name in section(adata, keys.FITS) if read_header(adata, name).method == "pp.lineages"]
        msg = f"The fit {key!r} is {fit.method!r}, not 'pp.lineages'. " + (
            f"Lineages are {some(made)}." if made else "Call heldout.pp.lineages first."
        )
        raise ValueError(msg)
    return read_fit(adata, key)


def rows_of_chains(adata: AnnData, fit: Fit, key: str) -> np.ndarray:
    """Row numbers in ``adata`` of the cells of each chain, (n_chains × T). Cells are looked up by name."""
    chains, times = fit.arrays["chains"], fit.arrays["times"]
    rows = np.asarray(pd.Index(digests(adata.obs_names)).get_indexer(fit.arrays["digests"])[chains])
    if (rows < 0).any():
        lost = {f"{time:g}": len(np.unique(chains[rows[:, k] < 0, k])) for k, time in enumerate(times)}
        lost = {time: n for time, n in lost.items() if n}
        msg = (
            f"{int((rows < 0).any(axis=1).sum())} of the {len(chains)} chains of {key!r} pass cells that are no "
            "longer in adata "
            f"({fit.config['time_key']}: number of cells {lost}). Use the AnnData before cells were dropped, or call "
            "heldout.pp.lineages again."
        )
        raise ValueError(msg)
    return rows


def lineages_key_of(fit: Fit) -> str | None:
    """Key of the lineages that a forecast was trained on, if any. Older fits have another name for it."""
    key: str | None = fit.info.get("lineages_key", fit.info.get("lineages"))
    return key


def check_method(method: str, lineages_key: str | None) -> None:
    """Refuse lineages for a method that does not use them."""
    if lineages_key is not None and method not in ON_CHAINS:
        msg = (
            f"lineages_key={lineages_key!r} is not used: method={method!r} does not train on chains. Leave it out, or "
            f"use one of {', '.join(ON_CHAINS)}."
        )
        raise ValueError(msg)


def check_lineages(adata: AnnData, key: str, partition: Partition, time_key: str, times: np.ndarray) -> Fit:
    """Read the stored chains; refuse chains of another split, time column or other times."""
    fit = read_lineages(adata, key)
    check_split(adata, fit, partition, key=key)
    if fit.split_key != partition.key or fit.config["time_key"] != time_key:
        msg = (
            f"lineages_key={key!r} holds chains along {fit.config['time_key']!r} on the split {fit.split_key!r}; the "
            f"forecast is along {time_key!r} on {partition.key!r}. Call heldout.pp.lineages(adata, {time_key!r}, "
            f"split_key={partition.key!r})."
        )
        raise ValueError(msg)
    if not np.array_equal(fit.arrays["times"], times):
        msg = (
            f"lineages_key={key!r} holds chains through {time_key}={times_text(fit.arrays['times'])}, but the train "
            "cells are at "
            f"{times_text(times)}: {time_key} has changed. Call heldout.pp.lineages(adata, {time_key!r}) again."
        )
        raise ValueError(msg)
    if fit.info["rep_fit"] is None:
        logger.warning(
            "The lineages %r were drawn in obsm[%r]. There is no record that it was fitted on train cells only. If "
            "held-out cells "
            "were used for it, the chains have seen them.",
            key,
            fit.config["use_rep"],
        )
    return fit


def chains_in(adata: AnnData, fit: Fit, key: str, snapshots: list[np.ndarray]) -> np.ndarray:
    """Positions of the cells of the chains in snapshots, which are given as row numbers, (n_chains × T)."""
    rows = rows_of_chains(adata, fit, key)
    found = np.stack([pd.Index(at).get_indexer(rows[:, k]) for k, at in enumerate(snapshots)], axis=1)
    if (found < 0).any():
        msg = (
            f"{int((found < 0).any(axis=1).sum())} of the {len(found)} chains of lineages_key={key!r} pass cells that "
            "are not train "
            "cells of their time. Call heldout.pp.lineages again."
        )
        raise ValueError(msg)
    return found
