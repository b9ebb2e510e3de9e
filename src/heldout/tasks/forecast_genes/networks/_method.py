"""The networks behind the two verbs of a gene forecast."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from heldout._core.blocks import SplitDataModule, to_tensor
from heldout._core.method import Fitted, with_prefix, without_prefix
from heldout._core.model import set_weights, weights_of
from heldout._core.options import NoConfig
from heldout._core.threads import network_policy
from heldout._core.training import local_seed, run_trainer
from heldout.tasks.forecast_genes.baselines import LowRank
from heldout.tasks.forecast_genes.config import GeneNetworkConfig
from heldout.tasks.forecast_genes.networks._module import Architecture, ForecastModule
from heldout.tasks.forecast_genes.networks._trainingplan import ForecastTrainingPlan

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from heldout.tasks.forecast_genes.features import History
    from heldout.tasks.forecast_genes.interface import Data

_PUBLISHED = GeneNetworkConfig(
    n_hidden=(128, 64),
    dropout=0.2,
    lr=1e-3,
    weight_decay=0.0,
    batch_size=32,
    max_epochs=250,
    patience=15,
    n_members=1,
    residual=False,
)


class _Network:
    """A network on top of ``low_rank`` or, as published, alone."""

    architecture: ClassVar[Architecture]
    stochastic: ClassVar[bool] = True
    default_config: ClassVar[Any] = GeneNetworkConfig()

    def fit(self, data: Data, config: GeneNetworkConfig, *, seed: int) -> Fitted:
        """Train on the bootstrap trajectories of the train genes, and stop on those of the val genes."""
        module, preparation, history = train_network(self.architecture, data, config, seed=seed)
        return pack(module, preparation, config, history)

    def predict(self, fitted: Fitted, history: History) -> np.ndarray:
        """Change of each gene, computed on the CPU."""
        return predict_network(unpack(fitted), fitted, history)


class LSTM(_Network):
    """An ensemble of small LSTMs that corrects ``low_rank``."""

    architecture: ClassVar[Architecture] = "lstm"


class Feedforward(_Network):
    """An ensemble of small feed-forward networks that corrects ``low_rank``. All times are inputs of one layer."""

    architecture: ClassVar[Architecture] = "feedforward"
    default_config: ClassVar[Any] = GeneNetworkConfig(n_hidden=(16, 16))


class PublishedLSTM(_Network):
    """The LSTM of the forecasting study: layers of 128 and 64 units on the means, predicting the level."""

    architecture: ClassVar[Architecture] = "lstm"
    default_config: ClassVar[Any] = _PUBLISHED


class PublishedFeedforward(_Network):
    """The feed-forward network of the forecasting study: 128, 64 and 32 units on the means, predicting the level."""

    architecture: ClassVar[Architecture] = "feedforward"
    default_config: ClassVar[Any] = replace(_PUBLISHED, n_hidden=(128, 64, 32))


def train_network(
    architecture: Architecture,
    data: Data,
    config: GeneNetworkConfig,
    *,
    seed: int,
    trainer_options: Mapping[str, Any] | None = None,
) -> tuple[ForecastModule, Fitted, pd.DataFrame]:
    """Train a network.

    Returns the module, the arrays that prepare its inputs and finish its outputs, and the history.
    """
    times = data.history.times
    raw = inputs(data.replicates, times, data.at, residual=config.residual)
    of_train = raw[:, data.train].reshape(-1, *raw.shape[2:])
    centre, scale = of_train.mean(axis=0), of_train.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    skip: dict[str, np.ndarray] = {}
    if config.residual:
        linear = LowRank().fit(data, NoConfig(), seed=seed)
        skip = with_prefix(linear.arrays, "skip.")
        base = LowRank().predict(linear, data.history)
        base[data.train] = linear.arrays["held_out"]  # its prediction for a gene that it has not seen
        y = data.replicate_target - data.replicates[:, :, -1, 0] - base
    else:
        y = data.replicate_target
    level = 0.0 if config.residual else float(y[:, data.train].mean())
    spread = float(y[:, data.train].std()) or 1.0
    X = ((raw - centre) / scale).reshape(-1, centre.size).astype(np.float32)
    n_genes = raw.shape[1]
    weights = np.ones((n_genes, config.n_members), dtype=np.float32)
    if config.n_members > 1:
        weights = np.random.default_rng(seed).exponential(size=weights.shape).astype(np.float32)
    columns = {"y": ((y - level) / spread).ravel().astype(np.float32), "weights": np.tile(weights, (len(raw), 1))}
    rows = {name: _rows(genes, n_genes, len(raw)) for name, genes in (("train", data.train), ("val", data.val))}
    with local_seed(seed):
        module = ForecastModule(architecture, centre.shape[0], centre.shape[1], config)
        if config.residual:
            torch.nn.init.zeros_(module.head.weight)  # starts as low_rank
        history = _run(module, X, rows, columns, config, seed=seed, trainer_options=trainer_options)
    arrays = {"centre": centre, "scale": scale, "finish": np.array([level, spread, data.at]), **skip}
    return module, Fitted(arrays), history


def inputs(stats: np.ndarray, times: np.ndarray, at: float, *, residual: bool) -> np.ndarray:
    """Inputs of a network for each gene and time, (R × G × T × inputs).

    As published the mean only. With ``residual`` also standard deviation, share of cells above 0 and log mean, the mean
    minus that of all times and minus the last one, the time until the target and the length of the step.
    """
    mean = stats[..., :1]
    if not residual:
        return mean
    ahead = (at - times) / (at - times[0])
    step = np.diff(times, prepend=times[0]) / (at - times[0])
    clock = np.broadcast_to(np.stack([ahead, step], axis=-1), (*mean.shape[:-1], 2))
    return np.concatenate([stats, mean - mean.mean(axis=2, keepdims=True), mean - mean[:, :, -1:], clock], axis=-1)


def _rows(genes: np.ndarray, n_genes: int, n_replicates: int) -> np.ndarray:
    """Row numbers of all replicates of some genes. All replicates of a gene are in the same partition."""
    return (np.arange(n_replicates)[:, None] * n_genes + genes).ravel()


def _run(
    module: ForecastModule,
    X: np.ndarray,
    rows: dict[str, np.ndarray],
    columns: dict[str, np.ndarray],
    config: GeneNetworkConfig,
    *,
    seed: int,
    trainer_options: Mapping[str, Any] | None,
) -> pd.DataFrame:
    return run_trainer(
        ForecastTrainingPlan(module, config),
        SplitDataModule(X, rows["train"], rows["val"], columns, config.batch_size, seed=seed),
        max_epochs=config.max_epochs,
        patience=config.patience,
        # these networks are so small that an accelerator does not pay
        options={"accelerator": "cpu", **(trainer_options or {})},
    )


def pack(module: ForecastModule, preparation: Fitted, config: GeneNetworkConfig, history: pd.DataFrame) -> Fitted:
    """Weights and what is needed to rebuild the module."""
    weights = with_prefix(weights_of(module), "net.")
    info = {"architecture": module.architecture, "shape": list(module.shape), "config": asdict(config)}
    return Fitted({**preparation.arrays, **weights}, info, history)


def unpack(fitted: Fitted) -> ForecastModule:
    """Rebuild the module of :func:`pack`, ready to predict."""
    info = fitted.info
    with local_seed(0):  # a new module draws initial weights
        n_times, n_inputs = info["shape"]
        module = ForecastModule(info["architecture"], n_times, n_inputs, GeneNetworkConfig.from_stored(info["config"]))
    set_weights(module, without_prefix(fitted.arrays, "net."))
    return module


def predict_network(module: ForecastModule, fitted: Fitted, history: History) -> np.ndarray:
    """Predicted change of each gene, (G,) float64."""
    config, arrays = GeneNetworkConfig.from_stored(fitted.info["config"]), fitted.arrays
    level, spread, at = arrays["finish"]
    raw = inputs(history.statistics[None], history.times, float(at), residual=config.residual)[0]
    X = ((raw - arrays["centre"]) / arrays["scale"]).reshape(len(raw), -1)
    with torch.inference_mode(), network_policy(module, len(X)):
        y = level + spread * module.forecast(to_tensor(X)).numpy().astype(np.float64)
    if not config.residual:
        return np.asarray(y - history.last)
    return LowRank().predict(Fitted(without_prefix(arrays, "skip.")), history) + config.correction * y
