"""The chain of preparation steps that were fitted on train and applied to the matrix, in order."""

from __future__ import annotations

import itertools
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import keys
from heldout._core.arrays import MatrixState
from heldout._core.fits import Fit, check_split, fit_sections, read_header
from heldout._core.store import commit, sections

if TYPE_CHECKING:
    from anndata import AnnData

    from heldout._core.partition import Partition

_UNSCALED = {"counts", "normalised", "lognormalised"}


def steps(adata: AnnData) -> list[str]:
    """Return the keys of the preparation fits in the order in which they were applied."""
    return [str(key) for key in np.atleast_1d(sections(adata).get(keys.CHAIN, []))]


def scaled_layers(adata: AnnData) -> set[str | None]:
    """Return the layers that ``pp.scale`` has changed; None is ``X``."""
    fits = (read_header(adata, key) for key in steps(adata))
    return {fit.config["layer"] for fit in fits if fit.method == "pp.scale"}


def is_scaled(adata: AnnData, layer: str | None, state: MatrixState) -> bool:
    """Whether ``pp.scale`` has changed this matrix, and it was not replaced by unscaled values since."""
    return state.kind not in _UNSCALED and layer in scaled_layers(adata)


def chain_sections(adata: AnnData, key: str, fit: Fit, partition: Partition) -> dict[str, Any]:
    """Return the sections of ``uns["heldout"]`` with this step at the end of the chain.

    Running a step again removes the steps that followed it. A scaling leaves the chain if the matrix holds unscaled
    values again. The steps that remain must belong to the same split.
    """
    before = {step: read_header(adata, step) for step in steps(adata)}
    kept = dict(itertools.takewhile(lambda item: item[0] != key, before.items()))
    if fit.info["input"]["kind"] in _UNSCALED:
        kept = {s: f for s, f in kept.items() if f.method != "pp.scale" or f.config["layer"] != fit.config["layer"]}
    for step, old in kept.items():
        check_split(adata, old, partition, key=step)
    return {**fit_sections(adata, {key: fit}, partition=partition), keys.CHAIN: np.array([*kept, key])}


def write_step(adata: AnnData, key: str, fit: Fit, partition: Partition, **slots: Any) -> None:
    """Store a preparation fit at the end of the chain, together with other results in ``slots``."""
    commit(adata, heldout=chain_sections(adata, key, fit, partition), **slots)


def check_steps(adata: AnnData, partition: Partition) -> None:
    """Refuse preparation steps that were fitted on another split."""
    for key in steps(adata):
        check_split(adata, read_header(adata, key), partition, key=key)


def scaled_with(adata: AnnData, layer: str | None) -> list[str]:
    """Return the hash of each scaling of this matrix, so that a model can require the same scaling later.

    Other steps do not change the matrix.
    """
    fits = (read_header(adata, key) for key in steps(adata))
    return [fit.hash for fit in fits if fit.method == "pp.scale" and fit.config["layer"] == layer]


def state_to_json(state: MatrixState) -> dict[str, Any]:
    """Return a matrix state as JSON values."""
    return asdict(state)


def state_from_json(stored: dict[str, Any]) -> MatrixState:
    """Inverse of :func:`state_to_json`."""
    return MatrixState(**stored)
