"""Training of the forecast networks: blocks of batches, sums on the side, logged once an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scvi.train import TrainingPlan

from heldout._core.training import SplitDataModule, run_trainer, stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd
    from scvi.module.base import BaseModuleClass

    from heldout._core.training import Batch

KEPT_ASIDE = 0.15
"""Share of chains or pairs that only the stopping sees, by whole cells of the first time."""


class ForecastTrainingPlan(TrainingPlan):
    """AdamW (Adam without decay), and the score of the val cells where there are any.

    scvi-tools' own plan monitors the ELBO, which these networks do not have.
    """

    def __init__(self, module: BaseModuleClass, config: Any, score: Callable[[], float] | None) -> None:
        super().__init__(module, lr=config.lr, eps=1e-8, weight_decay=0.0)
        self.config, self.score = config, score
        self.automatic_optimization = False  # a block holds many batches
        self._sums = {"train": np.zeros(2), "val": np.zeros(2)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Decay is none for what was published."""
        decay = getattr(self.config, "weight_decay", 0.0)
        return torch.optim.AdamW(self.module.parameters(), lr=self.config.lr, weight_decay=decay)

    def training_step(self, block: list[Batch], batch_idx: int) -> None:
        """One optimiser step for each batch of a block."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        for batch in block:
            optimizer.zero_grad()
            loss = self._step(batch, "train")
            self.manual_backward(loss)
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), 10.0)
            optimizer.step()

    def validation_step(self, block: list[Batch], batch_idx: int) -> None:
        """Sum the loss of what was kept aside."""
        for batch in block:
            self._step(batch, "val")

    def on_train_epoch_start(self) -> None:
        """Begin the sums of an epoch."""
        self._sums["train"] = np.zeros(2)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean."""
        self._log("train")

    def on_validation_epoch_start(self) -> None:
        """Begin the sums."""
        self._sums["val"] = np.zeros(2)

    def on_validation_epoch_end(self) -> None:
        """Log the mean, and the energy distance to the val cells."""
        self._log("val")
        if self.score is not None:
            self.log("val_energy", self.score())

    def _step(self, batch: Batch, part: str) -> torch.Tensor:
        _, _, losses = self.module(batch)
        n = len(batch["X"])
        self._sums[part] += (float(losses.loss.detach()) * n, n)
        return losses.loss

    def _log(self, part: str) -> None:
        total, n = self._sums[part]
        self.log(f"{part}_loss", total / n)


def train(
    module: BaseModuleClass,
    X: np.ndarray,
    beside: dict[str, np.ndarray],
    kept_aside: np.ndarray,
    config: Any,
    *,
    seed: int,
    score: Callable[[], float] | None = None,
    trainer_options: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Train a module in place on rows of ``X``, return its history, one row an epoch.

    Parameters
    ----------
    module
        The module.
    X, beside
        What a batch holds, row by row.
    kept_aside
        Mask (n,) of the rows that only the stopping sees.
    config
        Options with batch_size, lr, max_epochs and patience.
    seed
        Seed of the order of the rows.
    score
        Energy distance to the val cells; without val the loss of the rows kept aside stops.
    trainer_options
        Options of Lightning's Trainer.
    """
    import pandas as pd

    monitor = "val_loss" if score is None else "val_energy"
    options = {"accelerator": "auto", "num_sanity_val_steps": 0, **(trainer_options or {})}
    rows = np.flatnonzero(~kept_aside), np.flatnonzero(kept_aside)
    batches = SplitDataModule(X, *rows, beside, config.batch_size, seed=seed)
    logged = run_trainer(
        ForecastTrainingPlan(module, config, score),
        batches,
        max_epochs=config.max_epochs,
        callbacks=stopping(monitor, "min", config.patience),
        options=options,
    )
    module.cpu().eval()
    columns = [frame[name].astype(np.float64) for name, frame in sorted(logged.items())]
    return pd.concat(columns, axis=1).sort_index().rename_axis("epoch").reset_index()


def whole_cells(first: np.ndarray, *, seed: int) -> np.ndarray:
    """Mask of the rows whose first cell is kept aside, so that no cell starts on both sides; at least one on each."""
    cells = np.unique(first)
    rng = np.random.default_rng(seed)
    aside = rng.choice(cells, max(1, round(KEPT_ASIDE * len(cells))), replace=False)
    return np.isin(first, aside)
