"""Grids of options: that of the LMNA study, products, named ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from itertools import product
from typing import Any

import numpy as np

from heldout.tasks.genotype.config import MLPConfig

_LMNA: dict[str, dict[str, Any]] = {
    "A_d1_e20_b128_relu_adam": {},
    "A_d2_e20_b128_relu_adam": {"n_layers": 2},
    "A_d1_e50_b128_relu_adam": {"max_epochs": 50},
    "A_d1_e20_b512_relu_adam": {"batch_size": 512},
    "A_d1_e20_b128_tanh_adam": {"activation": "tanh"},
    "A_d1_e20_b128_relu_sgd": {"optimizer": "sgd"},
}


def configs_of(grid: Any, base: Any, *, n_trials: int | None, rng: np.random.Generator) -> dict[str, Any]:
    """Options by name.

    Parameters
    ----------
    grid
        ``"lmna"``, the six configurations of the study; a mapping of options to lists of values, all combinations of
        which are tried; or a mapping of names to whole options.
    base
        Options of which the grid changes some.
    n_trials
        Try so many, drawn at random; all if None.
    rng
        Source of the draw.

    Raises
    ------
    ValueError
        If the grid is empty, or names an option that does not exist.
    """
    if isinstance(grid, str):
        found = _named(grid, base)
    elif isinstance(grid, Mapping) and grid and all(isinstance(value, type(base)) for value in grid.values()):
        found = dict(grid)
    elif isinstance(grid, Mapping) and grid:
        found = _product(grid, base)
    else:
        msg = f"grid={grid!r} is not 'lmna', nor a mapping of options to values, nor of names to {type(base).__name__}."
        raise ValueError(msg)
    if n_trials is not None and n_trials < len(found):
        kept = sorted(rng.choice(len(found), n_trials, replace=False))
        found = {name: found[name] for name in np.array(list(found), dtype=object)[kept]}
    return found


def _named(grid: str, base: Any) -> dict[str, Any]:
    if grid != "lmna" or type(base) is not MLPConfig:
        msg = f"grid={grid!r} must be 'lmna', which is one of method='mlp', or a mapping."
        raise ValueError(msg)
    start = replace(base, n_layers=1, max_epochs=20, batch_size=128)
    return {name: replace(start, **changed) for name, changed in _LMNA.items()}


def _product(grid: Mapping[str, Any], base: Any) -> dict[str, Any]:
    known = [field.name for field in fields(base)]
    for name, values in grid.items():
        if name not in known:
            msg = f"grid has {name!r}, which is no option of {type(base).__name__}. It has {', '.join(known)}."
            raise ValueError(msg)
        if isinstance(values, str) or not hasattr(values, "__len__") or not len(values):
            msg = f"grid[{name!r}]={values!r} must be a list of values, at least one."
            raise ValueError(msg)
    found = {}
    for values in product(*grid.values()):
        changed = dict(zip(grid, values, strict=True))
        found[", ".join(f"{name}={value}" for name, value in changed.items())] = replace(base, **changed)
    return found
