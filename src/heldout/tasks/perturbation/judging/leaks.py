"""Find perturbations that are judged and were also in train, or groups of the split on both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.leaks import leak_of_group, leak_of_units

if TYPE_CHECKING:
    from anndata import AnnData

    from heldout._core.partition import Partition
    from heldout.splitting._read_screen import Screen


def leak_of_screen(adata: AnnData, split: Partition, screen: Screen, partition: str) -> str:
    """Say what is on both sides of the split; empty if nothing is.

    A perturbation may be on both sides in other contexts, or at other doses of a screen with doses. It may also be on
    both sides where the split holds out other groups, such as donors: then the groups are the units.
    """
    groups = leak_of_group(adata, split, partition)
    other_units = set(split.group_key or []) - {screen.names.perturbation_key}
    if groups or other_units:
        return groups
    return leak_of_units(split, partition, [(_name(screen), pair_of_cell(screen))], among=screen.of_cell >= 0)


def _name(screen: Screen) -> str:
    dose = [] if screen.names.dose_key is None else [screen.names.dose_key]
    return "+".join([screen.names.perturbation_key, *screen.names.covariate_keys, *dose])


def pair_of_cell(screen: Screen) -> np.ndarray:
    """Name of the perturbation, with context and dose, of each cell, (n,) text. Empty for cells without one."""
    names = screen.names
    perturbations = np.array([*map(names.joined, screen.perturbations), "", ""], dtype=object)
    parts = [perturbations[screen.of_cell]]
    if names.covariate_keys:
        contexts = np.array([", ".join(context) for context in names.contexts], dtype=object)
        parts.append(contexts[screen.context])
    if screen.dose is not None:
        parts.append(np.array([f"{dose:g}" for dose in screen.dose], dtype=object))
    return np.array([" in ".join(values) for values in zip(*parts, strict=True)], dtype=object)
