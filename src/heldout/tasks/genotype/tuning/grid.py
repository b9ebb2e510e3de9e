"""Grids of options: the grid of the LMNA study, combinations of values, or named options."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from heldout.tasks.genotype.config import MLPConfig
from heldout.tasks.genotype.estimators.describe import name_of

_LMNA: dict[str, dict[str, Any]] = {
    "A_d1_e20_b128_relu_adam": {},
    "A_d2_e20_b128_relu_adam": {"n_layers": 2},
    "A_d1_e50_b128_relu_adam": {"max_epochs": 50},
    "A_d1_e20_b512_relu_adam": {"batch_size": 512},
    "A_d1_e20_b128_tanh_adam": {"activation": "tanh"},
    "A_d1_e20_b128_relu_sgd": {"optimizer": "sgd"},
}

_OF_STUDY: dict[str, Any] = {
    "n_hidden": 512,
    "patience": 8,
    "monitor": "cell_auc",
    "weight_decay": 0.0,
    "balanced": False,
    "calibrated": False,
}
"""Options of the study that differ from the defaults. They hold where the given options have the default."""


def configs_of(grid: Any, base: Any, *, n_trials: int | None, rng: np.random.Generator) -> dict[str, Any]:
    """Return the options of a grid, by name.

    Parameters
    ----------
    grid
        ``"lmna"``, the six configurations of the LMNA study. Or a mapping of options to lists of values, of which all
        combinations are tried. Or a mapping of names to complete options.
    base
        Options that the grid changes in part.
    n_trials
        Number of combinations that are drawn at random. If None, all are tried.
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
        msg = (
            f"grid={grid!r} must be 'lmna', a mapping of options to values, or a mapping of names to "
            f"{type(base).__name__}."
        )
        raise ValueError(msg)
    if n_trials is not None and n_trials < len(found):
        kept = sorted(rng.choice(len(found), n_trials, replace=False))
        found = {name: found[name] for name in np.array(list(found), dtype=object)[kept]}
    return found


def _short(value: Any) -> Any:
    return name_of(value) if hasattr(value, "get_params") else value


def _name(base: Any) -> str:
    return str(getattr(base, "name", type(base).__name__))


def _named(grid: str, base: Any) -> dict[str, Any]:
    if grid != "lmna" or type(base) is not MLPConfig:
        msg = f"grid={grid!r} must be a mapping, or 'lmna' with method='mlp'."
        raise ValueError(msg)
    default = type(base)()
    of_study = {name: value for name, value in _OF_STUDY.items() if getattr(base, name) == getattr(default, name)}
    start = base.changed(n_layers=1, max_epochs=20, batch_size=128, **of_study)
    return {name: start.changed(**changed) for name, changed in _LMNA.items()}


def _product(grid: Mapping[str, Any], base: Any) -> dict[str, Any]:
    known = base.options()
    for name, values in grid.items():
        if name not in known:
            msg = f"grid has {name!r}, which is not an option of {_name(base)}. It has {', '.join(known)}."
            raise ValueError(msg)
        if isinstance(values, str) or not hasattr(values, "__len__") or not len(values):
            msg = f"grid[{name!r}]={values!r} must be a list of one or more values."
            raise ValueError(msg)
    found = {}
    for values in product(*grid.values()):
        changed = dict(zip(grid, values, strict=True))
        found[", ".join(f"{name}={_short(value)}" for name, value in changed.items())] = base.changed(**changed)
    return found
