"""What all networks share in training: the best weights are kept in memory, and randomness stays local."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterable
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import Logger

from heldout._core.progress import Stage, show_progress
from heldout._core.threads import network_policy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd
    from lightning.pytorch import LightningModule, Trainer
    from scvi.train import TrainingPlan

    from heldout._core.blocks import SplitDataModule

logger = logging.getLogger("heldout")


class BestWeights(Callback):
    """Keep the weights of the best epoch in memory, and restore them when training ends."""

    def __init__(self, monitor: str, mode: str) -> None:
        self.monitor, self.sign = monitor, 1 if mode == "max" else -1
        self.best, self.best_epoch = -np.inf, -1
        self.weights: dict[str, torch.Tensor] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the weights if they are the best so far."""
        value = self.sign * float(trainer.callback_metrics[self.monitor])
        if value > self.best or self.best_epoch < 0:
            self.best, self.best_epoch = value, trainer.current_epoch
            self.weights = {name: tensor.detach().clone() for name, tensor in pl_module.state_dict().items()}

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the best weights."""
        if self.weights:
            pl_module.load_state_dict(self.weights)
            self.weights = {}


def stopping(monitor: str, mode: str, patience: int) -> list[Callback]:
    """Callbacks that stop after ``patience`` epochs without improvement and restore the best weights."""
    return [
        BestWeights(monitor, mode),
        EarlyStopping(monitor=monitor, mode=mode, patience=patience, min_delta=0.0, check_finite=False),
    ]


class SameBuffers(Callback):
    """Average the running means of batch norm over all processes; each process computes them on its own rows.

    All processes then validate the same network, and the same network is left when training ends.
    """

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Average before the weights are scored."""
        self._average(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Average at the end, for training without validation."""
        self._average(trainer, pl_module)

    @staticmethod
    def _average(trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size == 1:
            return
        for buffer in pl_module.buffers():
            if buffer.is_floating_point():
                torch.distributed.all_reduce(buffer)
                buffer /= trainer.world_size


class EpochLines(Callback):
    """Lines of log about the epochs, where no progress bar is shown."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the epoch."""
        self.stage.step()


class EpochLogger(Logger):
    """Metrics of each epoch.

    The logger of scvi-tools is empty in all processes but the first. With several processes it also pickles itself into
    the working directory.
    """

    name, version = "history", 0

    def __init__(self) -> None:
        super().__init__()
        self.logged: dict[str, dict[int, float]] = {}

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Keep the metrics."""
        for name in metrics.keys() - {"epoch"}:
            self.logged.setdefault(name, {})[int(metrics["epoch"])] = float(metrics[name])

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Do nothing; there are none."""

    def table(self) -> pd.DataFrame:
        """One row for each epoch, one column for each metric, and the column ``epoch``."""
        import pandas as pd

        columns = {name: pd.Series(self.logged[name], dtype=np.float64) for name in sorted(self.logged)}
        return pd.DataFrame(columns).sort_index().rename_axis("epoch").reset_index()


def run_trainer(
    plan: TrainingPlan,
    batches: SplitDataModule,
    *,
    max_epochs: int,
    patience: int | None,
    monitor: str = "val_loss",
    mode: str = "min",
    options: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Train the module of a plan in place, move it to the CPU, and return its history, one row for each epoch.

    Parameters
    ----------
    plan, batches
        What is trained, and on which rows. Without validation rows training runs all epochs.
    max_epochs, patience, monitor, mode
        When training stops: after ``patience`` epochs without a better value of ``monitor``. With a patience of None
        it runs all epochs by design, and does not warn of a missing val partition.
    options
        Options of Lightning's Trainer. They replace the defaults set here, but the history is always kept, next to a
        ``logger`` of the user.

    Raises
    ------
    ValueError
        If the strategy forks or spawns processes. Weights and history would stay in these processes.
    """
    from scvi.train import Trainer

    options = dict(options or {})
    callbacks = stopping(monitor, mode, patience) if batches.n_val and patience is not None else []
    if not batches.n_val and patience is not None:
        logger.warning("There is no val partition, so training runs all %d epochs.", max_epochs)
    history, given = EpochLogger(), options.get("logger")
    others = [] if given is None or isinstance(given, bool) else [*given] if isinstance(given, Iterable) else [given]
    defaults = {
        "accelerator": "auto",
        "devices": 1,
        "enable_progress_bar": show_progress(),
        "log_every_n_steps": 1,
        "num_sanity_val_steps": 0,
        "limit_val_batches": 1.0 if batches.n_val else 0,
    }
    chosen = {**defaults, **options, "logger": [history, *others]}
    stage = None if chosen["enable_progress_bar"] else Stage("epochs of training, at most", max_epochs)
    lines = [] if stage is None else [EpochLines(stage)]
    with quiet_lightning(), network_policy(plan.module, batches.train_dataloader().batch_size), stage or nullcontext():
        trainer = Trainer(
            max_epochs=max_epochs, check_val_every_n_epoch=1, callbacks=[SameBuffers(), *callbacks, *lines], **chosen
        )
        if type(trainer.strategy.launcher).__name__ == "_MultiProcessingLauncher":
            msg = (
                f"strategy={chosen.get('strategy', 'auto')!r} with devices={chosen['devices']!r} would train in other "
                "processes, and the best weights and the history would be lost. Use strategy='ddp' in a script, which "
                "starts the script once for each device, or devices=1."
            )
            raise ValueError(msg)
        with interruptible():
            trainer.fit(plan, datamodule=batches)
    plan.module.cpu().eval()
    return history.table()


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt, where Lightning would end the process and ignore the interrupt key from then on."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stopped:
        if not isinstance(stopped.__context__, KeyboardInterrupt):
            raise
        raise KeyboardInterrupt from None
    finally:
        if before is not None and signal.getsignal(signal.SIGINT) is not before:
            signal.signal(signal.SIGINT, before)


@contextmanager
def local_seed(seed: int) -> Iterator[None]:
    """Seed torch inside the block, and restore its global generators afterwards."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        yield


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's notes on hardware and products. Warnings about the training are still shown."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec.*deprecated")
            # Small networks train on the CPU on purpose, and who passes accelerator="cpu" knows it.
            warnings.filterwarnings("ignore", message="GPU available but not used", category=UserWarning)
            # This is about the early stopping of scvi-tools. Ours is a callback, which stops all processes together.
            warnings.filterwarnings("ignore", message="early_stopping was automatically disabled", category=UserWarning)
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
