"""Training of the forecast networks: they stop on the score of the val cells where there are any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from heldout._core.blocks import SplitDataModule
from heldout._core.training import run_trainer
from heldout._core.training_plan import BlockTrainingPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd
    from scvi.module.base import BaseModuleClass

SET_ASIDE = 0.15
"""Share of chains or pairs that only the stopping sees. Whole cells of the first time are set aside."""


class ForecastTrainingPlan(BlockTrainingPlan):
    """AdamW with clipped gradients, and the energy distance to the val cells where there are any.

    Parameters
    ----------
    module, config
        As in :class:`heldout._core.training_plan.BlockTrainingPlan`.
    score
        Energy distance between predicted and observed val cells, computed once each epoch.
    """

    clip: ClassVar[float | None] = 10.0

    def __init__(self, module: BaseModuleClass, config: Any, score: Callable[[], float] | None) -> None:
        super().__init__(module, config)
        self.score = score

    def on_validation_epoch_end(self) -> None:
        """Log the mean loss, and the energy distance to the val cells."""
        super().on_validation_epoch_end()
        if self.score is not None:
            self.log_value("val_energy", self.score())


def train(
    module: BaseModuleClass,
    X: np.ndarray,
    columns: dict[str, np.ndarray],
    set_aside: np.ndarray,
    config: Any,
    *,
    seed: int,
    score: Callable[[], float] | None = None,
    trainer_options: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Train a module in place on rows of ``X``, and return its history, one row for each epoch.

    Parameters
    ----------
    module
        The module.
    X, columns
        Rows that are batched, and further arrays with the same rows.
    set_aside
        Mask (n,) of the rows that only the stopping sees.
    config
        Options with batch_size, lr, max_epochs and patience.
    seed
        Seed of the order of the rows.
    score
        Energy distance to the val cells. If None, training stops on the loss of the rows that were set aside.
    trainer_options
        Options of Lightning's Trainer.
    """
    rows = np.flatnonzero(~set_aside), np.flatnonzero(set_aside)
    return run_trainer(
        ForecastTrainingPlan(module, config, score),
        SplitDataModule(X, *rows, columns, config.batch_size, seed=seed),
        max_epochs=config.max_epochs,
        patience=config.patience,
        monitor="val_loss" if score is None else "val_energy",
        options=trainer_options,
    )


def whole_cells(first: np.ndarray, *, seed: int) -> np.ndarray:
    """Mask of the rows whose first cell is set aside, so that no cell starts in both parts."""
    cells = np.unique(first)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(cells, max(1, round(SET_ASIDE * len(cells))), replace=False)
    return np.isin(first, chosen)
