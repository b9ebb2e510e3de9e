"""Training plan of the networks of perturbations: clipped gradients, accumulation and a falling learning rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from heldout._core.training_plan import BlockTrainingPlan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scvi.module.base import BaseModuleClass

    from heldout._core.blocks import Batch

WARM_UP = 0.05
"""Share of the steps in which the learning rate rises."""


class NetworkTrainingPlan(BlockTrainingPlan):
    """AdamW with clipped gradients; the learning rate rises for a short time and then falls along a cosine.

    ``accumulate`` batches of the options make one step, and with ``compile`` the module is compiled for training.
    """

    clip: ClassVar[float | None] = 1.0

    def __init__(self, module: BaseModuleClass, config: Any) -> None:
        super().__init__(module, config)
        self.accumulate = config.accumulate
        self.n_batches = self.n_steps = 0
        self.n_total = 1

    def on_fit_start(self) -> None:
        """Count the steps of the whole training, and compile."""
        super().on_fit_start()
        each = math.ceil(self.trainer.datamodule.n_train / self.config.batch_size)
        self.n_total = max(1, each * int(self.trainer.max_epochs or 1) // self.accumulate)
        if self.config.compile:
            net: Any = getattr(self.module, "net", self.module)
            net.compile()

    def learn(self, batch: Batch, optimizer: Any) -> None:
        """Add the gradient of a batch, and do an optimiser step after each ``accumulate`` batches."""
        if self.n_batches % self.accumulate == 0:
            optimizer.zero_grad()
        self.manual_backward(self.step(batch, "train") / self.accumulate)
        self.n_batches += 1
        if self.n_batches % self.accumulate:
            return
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.clip or math.inf)
        for group in optimizer.param_groups:
            group["lr"] = self.config.lr * schedule(self.n_steps / self.n_total)
        optimizer.step()
        self.n_steps += 1


def schedule(done: float) -> float:
    """Share of the learning rate after a share of the steps."""
    if done < WARM_UP:
        return 0.1 + 0.9 * done / WARM_UP
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - WARM_UP) / (1 - WARM_UP))))


def check_trainer_options(options: Mapping[str, Any] | None) -> None:
    """Refuse options of Lightning's Trainer that have no effect, or a wrong one, on this training.

    Raises
    ------
    ValueError
        If gradients would be scaled without being scaled back, or accumulated by Lightning.
    """
    options = options or {}
    precision = str(options.get("precision", "32-true"))
    if precision in ("16", "16-mixed", "16-true"):
        msg = f"trainer_options: precision={precision!r} must be '32-true' or 'bf16-mixed', which needs no scaling."
        raise ValueError(msg)
    if int(options.get("accumulate_grad_batches", 1)) != 1:
        n = options["accumulate_grad_batches"]
        msg = f"trainer_options: accumulate_grad_batches={n!r} has no effect here. Set accumulate={n!r} in config."
        raise ValueError(msg)
