"""What all networks of perturbations share: training on cells, weights as arrays, and starting from an earlier fit."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch

from heldout._core.blocks import ROWS, BatchBlocks, SplitDataModule
from heldout._core.grouped import group_moments
from heldout._core.method import Fitted, with_prefix, without_prefix
from heldout._core.model import set_weights, weights_of
from heldout._core.training import local_seed, run_trainer
from heldout._core.types import is_dask
from heldout.tasks.perturbation.networks._batches import PairedBlocks
from heldout.tasks.perturbation.networks._condition import Conditions
from heldout.tasks.perturbation.networks._trainingplan import NetworkTrainingPlan, check_trainer_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from scvi.module.base import BaseModuleClass

    from heldout.tasks.perturbation.interface import Data
    from heldout.tasks.perturbation.observed import Cells
    from heldout.tasks.perturbation.pairs import Pairs
    from heldout.tasks.perturbation.predictions import Controls, Prediction

WEIGHTS = "net."
"""Prefix of the weights among the arrays of a fit."""


@dataclass(frozen=True)
class Blueprint:
    """What a network is built from.

    Parameters
    ----------
    config
        The options.
    conditions
        Targets, vectors and contexts that the network knows.
    arrays, info
        What :meth:`NetworkMethod.prepare` returned: arrays, and JSON values.
    """

    config: Any
    conditions: Conditions
    arrays: Mapping[str, np.ndarray]
    info: Mapping[str, Any]


class NetworkMethod(ABC):
    """Base of the networks. A subclass has the options, :meth:`build` and :meth:`predict`.

    A fit has the weights as arrays with the prefix ``net.``, what :meth:`prepare` returns, and the conditions. The
    options are a :class:`heldout.tasks.perturbation.config_networks.TrainedConfig`.
    """

    default_config: ClassVar[Any]
    stochastic: ClassVar[bool] = True
    reads: ClassVar[Literal["profiles", "cells"]] = "cells"
    gene_axes: ClassVar[dict[str, int]] = {}
    """Arrays of a fit with an axis of genes, and that axis. Weights have the prefix ``net.``."""

    with_controls: ClassVar[bool] = True
    """Whether control cells are among the cells that are learnt."""

    plan: ClassVar[type[NetworkTrainingPlan]] = NetworkTrainingPlan

    _fitted: Fitted | None = None
    _module: Any
    _conditions: Conditions

    @abstractmethod
    def build(self, blueprint: Blueprint) -> BaseModuleClass:
        """The module with initial weights.

        Called with a batch, the third result of the module has the ``loss``. The attribute ``encoder`` of the module is
        its :class:`heldout.tasks.perturbation.networks._condition.ConditionEncoder`, if it has one.
        """

    @abstractmethod
    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Prediction:
        """Predict with :meth:`module` and :meth:`conditions`."""

    def prepare(
        self, data: Data, config: Any, *, seed: int, start: Fitted | None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Numbers that are not trained: arrays, and JSON values. Here the coordinates, see :func:`coordinates`."""
        return coordinates(data.cells(), start), {}

    def conditions_of(self, data: Data, info: Mapping[str, Any], start: Fitted | None) -> Conditions:
        """Targets, vectors and contexts that the network knows; ``info`` is from :meth:`prepare`."""
        return Conditions.of(data, start)

    def blocks(
        self, cells: Cells, blueprint: Blueprint, rows: np.ndarray, *, batch_size: int, seed: int | None
    ) -> BatchBlocks:
        """Batches of some rows; shuffled with a seed for training, in order without it for validation."""
        return PairedBlocks(cells, rows, blueprint.conditions, batch_size, seed=seed)

    def finish(
        self, module: Any, cells: Cells, blueprint: Blueprint, rows: np.ndarray, *, seed: int
    ) -> dict[str, np.ndarray]:
        """Further arrays of the fit that need the trained module; ``rows`` are the train rows. There are none here."""
        return {}

    def fit(
        self,
        data: Data,
        config: Any,
        *,
        seed: int,
        start: Fitted | None = None,
        trainer_options: Mapping[str, Any] | None = None,
    ) -> Fitted:
        """Train on the train cells, stop on the perturbed val cells if there are any, and keep the weights as arrays.

        With ``start`` the weights of the earlier fit are continued. Targets and contexts are matched by name, and new
        ones get initial vectors.
        """
        check_trainer_options(trainer_options)
        arrays, info = self.prepare(data, config, seed=seed, start=start)
        cells, conditions = data.cells(), self.conditions_of(data, info, start)
        blueprint = Blueprint(config, conditions, arrays, info)
        train, val = self.rows(cells)
        with local_seed(seed):
            module = self.build(blueprint)
            if start is not None:
                begin(module, conditions, start)
            history = self._train(module, cells, blueprint, (train, val), seed, trainer_options)
            further = self.finish(module, cells, blueprint, train, seed=seed)
        weights = with_prefix(weights_of(module), WEIGHTS)
        record = {**info, "network": asdict(config), "conditions": conditions.to_json()}
        return Fitted({**arrays, **further, **conditions.arrays(), **weights}, record, history)

    def rows(self, cells: Cells) -> tuple[np.ndarray, np.ndarray]:
        """Rows to train on and to stop on. Only dask arrays are read in the order of the rows."""
        lowest = -1 if self.with_controls else 0
        train = cells.train[cells.perturbation[cells.train] >= lowest]
        val = cells.val[cells.perturbation[cells.val] >= 0]
        return (train, val) if is_dask(cells.X) else (cells.in_order(train), cells.in_order(val))

    def _train(
        self,
        module: BaseModuleClass,
        cells: Cells,
        blueprint: Blueprint,
        rows: tuple[np.ndarray, np.ndarray],
        seed: int,
        trainer_options: Mapping[str, Any] | None,
    ) -> pd.DataFrame:
        (train, val), config = rows, blueprint.config
        of_train = self.blocks(cells, blueprint, train, batch_size=config.batch_size, seed=seed)
        size = max(config.batch_size, ROWS)
        of_val = self.blocks(cells, blueprint, val, batch_size=size, seed=None) if len(val) else None
        batches = SplitDataModule(
            cells.X, train, val, {}, config.batch_size, seed=seed, train_blocks=of_train, val_blocks=of_val
        )
        return run_trainer(
            self.plan(module, config),
            batches,
            max_epochs=n_epochs(config, len(train)),
            patience=config.patience,
            options=trainer_options,
        )

    def config_of(self, fitted: Fitted) -> Any:
        """Options of a fit."""
        return type(self.default_config).from_stored(fitted.info["network"])

    def conditions(self, fitted: Fitted) -> Conditions:
        """Conditions of a fit."""
        self.module(fitted)
        return self._conditions

    def module(self, fitted: Fitted) -> Any:
        """The trained module, on the CPU. It is rebuilt once for all predictions of a fit."""
        if self._fitted is not fitted:
            conditions = Conditions.load(fitted.info["conditions"], fitted.arrays)
            with local_seed(0):  # a new module draws initial weights
                module = self.build(Blueprint(self.config_of(fitted), conditions, fitted.arrays, fitted.info))
            set_weights(module, without_prefix(fitted.arrays, WEIGHTS))
            self._fitted, self._module, self._conditions = fitted, module.eval(), conditions
        return self._module


def predicting_device() -> str:
    """Device that predicts: a GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def n_epochs(config: Any, n_rows: int) -> int:
    """Number of epochs: that of the options, or enough for ``n_updates`` steps of the optimiser."""
    if config.max_epochs is not None:
        return int(config.max_epochs)
    each = max(1, math.ceil(n_rows / (config.batch_size * config.accumulate)))
    return max(1, math.ceil(config.n_updates / each))


def coordinates(cells: Cells, start: Fitted | None = None) -> dict[str, np.ndarray]:
    """Mean and standard deviation of each gene over the train cells, (G,), and one scale for all genes, float32.

    The scale is the root of the mean variance. A fit that continues another one keeps the coordinates of that fit.
    """
    names = ("centre", "spread", "scale")
    if start is not None and all(name in start.arrays for name in names):
        return {name: start.arrays[name] for name in names}
    codes = np.full(len(cells.perturbation), -1, dtype=np.int64)
    codes[cells.train] = 0
    moments = group_moments(cells.X, codes, 1, columns=cells.columns)
    assert moments.var is not None
    var = np.nan_to_num(moments.var[0])
    scale = max(float(np.sqrt(var.mean())), 1e-6)
    found = {"centre": moments.mean[0], "spread": np.sqrt(var), "scale": np.array([scale])}
    return {name: values.astype(np.float32) for name, values in found.items()}


def begin(module: BaseModuleClass, conditions: Conditions, start: Fitted) -> None:
    """Set the weights of an earlier fit. Learned vectors of targets and contexts are matched by name.

    Raises
    ------
    ValueError
        If a layer of the earlier fit has another shape.
    """
    earlier = Conditions.load(start.info["conditions"], start.arrays)
    weights = without_prefix(start.arrays, WEIGHTS)
    state = module.state_dict()
    for name, named in (("targets", lambda c: c.targets), ("contexts", lambda c: c.contexts)):
        key = f"encoder.{name}.weight"
        if key in state and key in weights:
            weights[key] = _by_name(state[key], weights[key], named(conditions), named(earlier), key)
    for key, tensor in state.items():
        if key not in weights or tuple(weights[key].shape) != tuple(tensor.shape):
            have = "no such layer" if key not in weights else f"shape {tuple(weights[key].shape)}"
            msg = (
                f"start was fitted with other layers: {key!r} has shape {tuple(tensor.shape)} here, {have} in start. "
                "Pass the config of the earlier fit, or fit the start again with this config."
            )
            raise ValueError(msg)
    module.load_state_dict({key: torch.from_numpy(np.array(weights[key])) for key in state})


def _by_name(
    initial: torch.Tensor, stored: np.ndarray, names: tuple[Any, ...], earlier: tuple[Any, ...], key: str
) -> np.ndarray:
    """Rows of the earlier fit where the name is the same, initial rows elsewhere."""
    rows = initial.detach().cpu().numpy().copy()
    if rows.shape[1:] != stored.shape[1:]:
        msg = (
            f"start was fitted with other layers: vectors of {key!r} have length {rows.shape[1]} here and "
            f"{stored.shape[1]} in start. Pass the config of the earlier fit."
        )
        raise ValueError(msg)
    row = {name: i for i, name in enumerate(earlier)}
    for i, name in enumerate(names):
        if name in row:
            rows[i] = stored[row[name]]
    return rows
