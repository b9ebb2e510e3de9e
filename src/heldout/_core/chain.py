"""The chain of preparation steps: what was fitted on train and applied to the matrix, in order."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import keys
from heldout._core.arrays import MatrixState
from heldout._core.fits import Fit, check_split, fit_sections, read_fit
from heldout._core.store import commit

if TYPE_CHECKING:
    from anndata import AnnData

    from heldout._core.partition import Partition


def steps(adata: AnnData) -> list[str]:
    """Keys of the preparation fits in the order they were applied."""
    return [str(key) for key in np.atleast_1d(adata.uns.get(keys.UNS, {}).get(keys.CHAIN, []))]


def scaled_layers(adata: AnnData) -> set[str | None]:
    """Layers (None is X) that ``pp.scale`` has changed."""
    return {read_fit(adata, key).config["layer"] for key in steps(adata) if key == "scale"}


def chain_sections(adata: AnnData, key: str, fit: Fit, partition: Partition) -> dict[str, Any]:
    """Sections of ``uns["heldout"]`` with this step at the end of the chain."""
    chain = [step for step in steps(adata) if step != key] + [key]
    return {**fit_sections(adata, {key: fit}, partition=partition), keys.CHAIN: np.array(chain)}


def write_step(adata: AnnData, key: str, fit: Fit, partition: Partition, **slots: Any) -> None:
    """Store a preparation fit at the end of the chain, with whatever else was computed."""
    commit(adata, heldout=chain_sections(adata, key, fit, partition), **slots)


def check_steps(adata: AnnData, partition: Partition) -> None:
    """Refuse when a preparation step was fitted on another split."""
    for key in steps(adata):
        check_split(adata, read_fit(adata, key), partition, key=key)


def fingerprint(adata: AnnData) -> list[list[str]]:
    """Key and hash of each step, so that a model can ask for the same preparation later."""
    return [[key, read_fit(adata, key).hash] for key in steps(adata)]


def state_to_json(state: MatrixState) -> dict[str, Any]:
    """Matrix state as JSON values."""
    return asdict(state)


def state_from_json(stored: dict[str, Any]) -> MatrixState:
    """Inverse of :func:`state_to_json`."""
    return MatrixState(**stored)
