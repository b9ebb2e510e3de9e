"""What all networks share: batches driven by the split, best weights kept in memory, randomness kept local."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import Logger

from heldout._core.progress import show_progress
from heldout._core.types import is_sparse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd
    from lightning.pytorch import LightningModule, Trainer

    from heldout._core.types import Matrix


_ROWS = 2048
"""Rows in a block: one gather for many batches, still little memory."""

Batch = dict[str, torch.Tensor]


class Blocks:
    """Mini-batches of some rows of a matrix and of arrays beside it, as dense tensors, several at a time.

    It stands in for a torch DataLoader, whose per-row fetching costs more than a small network's step. What is yielded
    is a list of batches: rows are gathered once for all of them, and Lightning's bookkeeping is paid once. Memory stays
    at the matrix plus one block.

    Parameters
    ----------
    X
        Matrix (n_obs × n_features), dense or csr.
    rows
        Row numbers to iterate over.
    beside
        Arrays (n_obs,) that are batched along.
    batch_size
        Rows in a batch. In training a last batch of one row is left out, since batch norm needs two.
    seed
        Seed of the shuffling, a new order each epoch; None keeps the order of ``rows``.
    """

    def __init__(
        self, X: Matrix, rows: np.ndarray, beside: dict[str, np.ndarray], batch_size: int, *, seed: int | None = None
    ) -> None:
        self.X, self.rows, self.batch_size = X, rows, batch_size
        self.beside = {name: torch.from_numpy(np.asarray(values)) for name, values in beside.items()}
        self.rng = None if seed is None else np.random.default_rng(seed)
        single = self.rng is not None and len(rows) > 1 and len(rows) % batch_size == 1
        self.n_rows = len(rows) - single
        self.block = batch_size * max(1, _ROWS // batch_size)

    def __len__(self) -> int:
        return -(-self.n_rows // self.block)

    def __iter__(self) -> Iterator[list[Batch]]:
        rows = self.order()
        for start in range(0, self.n_rows, self.block):
            yield self._batches(rows[start : min(start + self.block, self.n_rows)])

    def order(self) -> np.ndarray:
        """Rows of an epoch; a subclass may draw them otherwise, as many of them."""
        return self.rows if self.rng is None else self.rng.permutation(self.rows)

    def _batches(self, rows: np.ndarray) -> list[Batch]:
        X = self.X[rows]
        batches = [slice(first, first + self.batch_size) for first in range(0, len(rows), self.batch_size)]
        return [
            {"X": to_tensor(X[batch]), **{name: values[rows[batch]] for name, values in self.beside.items()}}
            for batch in batches
        ]


def to_tensor(X: Matrix) -> torch.Tensor:
    """Dense float32 tensor of a block of rows."""
    return torch.from_numpy(np.ascontiguousarray(X.toarray() if is_sparse(X) else X, dtype=np.float32))


class SplitDataModule(LightningDataModule):
    """Train and validation batches by the split; what is in test or unused is never read.

    ``train_blocks`` and ``val_blocks`` take the place of the usual :class:`Blocks` of these rows.
    """

    def __init__(
        self,
        X: Any,
        train: np.ndarray,
        val: np.ndarray,
        beside: dict[str, np.ndarray],
        batch_size: int,
        *,
        seed: int,
        train_blocks: Blocks | None = None,
        val_blocks: Blocks | None = None,
    ) -> None:
        super().__init__()
        self.train_idx, self.val_idx = train, val
        self.n_train, self.n_val = len(train), len(val)
        self._train = Blocks(X, train, beside, batch_size, seed=seed) if train_blocks is None else train_blocks
        self._val = Blocks(X, val, beside, max(batch_size, _ROWS)) if val_blocks is None else val_blocks

    def train_dataloader(self) -> Blocks:
        """Shuffled train batches."""
        return self._train

    def val_dataloader(self) -> Blocks:
        """Validation batches in order."""
        return self._val


class BestWeights(Callback):
    """Keep the weights of the best epoch in memory and put them back when training ends."""

    def __init__(self, monitor: str, mode: str) -> None:
        self.monitor, self.sign = monitor, 1 if mode == "max" else -1
        self.best, self.best_epoch = -np.inf, -1
        self.weights: dict[str, torch.Tensor] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare, and copy the weights when they are the best so far."""
        value = self.sign * float(trainer.callback_metrics[self.monitor])
        if value > self.best or self.best_epoch < 0:
            self.best, self.best_epoch = value, trainer.current_epoch
            self.weights = {name: tensor.detach().clone() for name, tensor in pl_module.state_dict().items()}

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore."""
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
    """Running means of batch norm, which each process counts over its own rows, become those over all processes.

    So one network is validated, and one is left when training ends.
    """

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the weights are judged."""
        self._average(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Where nothing is validated."""
        self._average(trainer, pl_module)

    @staticmethod
    def _average(trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size == 1:
            return
        for buffer in pl_module.buffers():
            if buffer.is_floating_point():
                torch.distributed.all_reduce(buffer)
                buffer /= trainer.world_size


class History(Logger):
    """What was logged in each epoch.

    That of scvi-tools is empty in all processes but the first, and pickles itself into the working directory where there
    are several.
    """

    name, version = "history", 0

    def __init__(self) -> None:
        super().__init__()
        self.logged: dict[str, dict[int, float]] = {}

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Keep them."""
        for name in metrics.keys() - {"epoch"}:
            self.logged.setdefault(name, {})[int(metrics["epoch"])] = float(metrics[name])

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """There are none."""

    def tables(self) -> dict[str, pd.DataFrame]:
        """One row an epoch, a table a metric."""
        import pandas as pd

        return {
            name: pd.DataFrame({name: list(values.values())}, index=pd.Index(list(values), name="epoch"))
            for name, values in self.logged.items()
        }


def run_trainer(
    plan: LightningModule,
    batches: SplitDataModule,
    *,
    max_epochs: int,
    callbacks: list[Callback],
    options: Mapping[str, Any],
) -> dict[str, pd.DataFrame]:
    """Train in place, and return what was logged, a table a metric.

    ``options`` are those of Lightning's Trainer; they win over what is set here, but for the history, which is kept beside
    a ``logger`` of the user.

    Raises
    ------
    ValueError
        If the strategy trains in processes that this one forks or spawns: weights and history would stay there.
    """
    from scvi.train import Trainer

    history = History()
    given = options.get("logger")
    others = [] if given is None or isinstance(given, bool) else [*given] if isinstance(given, Iterable) else [given]
    defaults = {"devices": 1, "enable_progress_bar": show_progress(), "log_every_n_steps": 1}
    chosen = {**defaults, **options, "logger": [history, *others]}
    with quiet_lightning():
        trainer = Trainer(
            max_epochs=max_epochs, check_val_every_n_epoch=1, callbacks=[SameBuffers(), *callbacks], **chosen
        )
        if type(trainer.strategy.launcher).__name__ == "_MultiProcessingLauncher":
            msg = (
                f"strategy={chosen.get('strategy', 'auto')!r} with devices={chosen['devices']!r} would train in processes that "
                "keep the best weights and the history to themselves. Use strategy='ddp' in a script, which starts it once "
                "for each device, or devices=1."
            )
            raise ValueError(msg)
        trainer.fit(plan, datamodule=batches)
    return history.tables()


def share_of(block: list[Batch], trainer: Trainer) -> list[Batch]:
    """The rows of each batch that this process trains on: all, or of several processes one part each, of the same size.

    Together they take the step that one process would take, but that batch norm, and the mean over the cells whose
    auxiliary class is known, are those of a process. What cannot be shared out evenly is left out.
    """
    n_processes, own = trainer.world_size, trainer.global_rank
    if n_processes == 1:
        return block
    sizes = [len(batch["labels"]) // n_processes for batch in block]
    return [
        {name: values[own * size : (own + 1) * size] for name, values in batch.items()}
        for batch, size in zip(block, sizes, strict=True)
        if size > 1  # batch norm needs two
    ]


@contextmanager
def local_seed(seed: int) -> Iterator[None]:
    """Seed torch inside the block and give its global generators back as they were."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        yield


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hold back Lightning's notes on hardware and products; warnings about the training itself still come through."""
    talkers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero")]
    levels = [talker.level for talker in talkers]
    for talker in talkers:
        talker.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec.*deprecated")
            # Of scvi-tools' own stopping; ours is a callback, which stops all processes together.
            warnings.filterwarnings("ignore", message="early_stopping was automatically disabled", category=UserWarning)
            yield
    finally:
        for talker, level in zip(talkers, levels, strict=True):
            talker.setLevel(level)
