"""One training plan for all networks: an optimiser step for each batch of a block, and means for each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from scvi.train import TrainingPlan

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from scvi.module.base import BaseModuleClass

    from heldout._core.blocks import Batch


class BlockTrainingPlan(TrainingPlan):
    """Train on blocks of batches with AdamW, and log the means of each epoch.

    The plan of scvi-tools monitors the ELBO, which these networks do not have, and logs each step.

    Parameters
    ----------
    module
        The network. Called with a batch, its third result has the ``loss``, the mean over the rows of the batch.
    config
        Options with ``lr``, ``batch_size`` and, where it is not 0, ``weight_decay``.
    """

    clip: ClassVar[float | None] = None
    """Maximum norm of the gradient."""

    shares_batches: bool = True
    """Whether several processes share the rows of each batch."""

    def __init__(self, module: BaseModuleClass, config: Any) -> None:
        super().__init__(module, lr=config.lr, eps=1e-8, weight_decay=0.0)
        self.config = config
        self.automatic_optimization = False  # a block holds many batches
        self._sums: dict[str, dict[str, list[Any]]] = {"train": {}, "val": {}}

    def step(self, batch: Batch, partition: str) -> torch.Tensor:
        """Loss of a batch. A subclass may :meth:`add` other metrics."""
        _, _, losses = self.module(batch)
        n = len(batch["X"])
        self.add(partition, "loss", float(losses.loss.detach()) * n, n)
        loss: torch.Tensor = losses.loss
        return loss

    def add(self, partition: str, name: str, total: Any, weight: Any) -> None:
        """Add to the sum of a metric and to the sum of its weights; their ratio is logged when the epoch ends."""
        sums = self._sums[partition]
        sums[name] = [total, weight] if name not in sums else [sums[name][0] + total, sums[name][1] + weight]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW. Without weight decay it is Adam."""
        decay = getattr(self.config, "weight_decay", 0.0)
        return torch.optim.AdamW(self.module.parameters(), lr=self.config.lr, weight_decay=decay, fused=True)

    def on_fit_start(self) -> None:
        """Refuse more processes than a batch can be shared by."""
        n, fewest = self.trainer.world_size, min(self.config.batch_size, self.trainer.datamodule.n_train)
        if self.shares_batches and n > 1 and fewest < 2 * n:
            msg = (
                f"{n} devices cannot share batches of {fewest} train rows, because each device needs two rows. Use a "
                "larger batch_size, or fewer devices."
            )
            raise ValueError(msg)

    def training_step(self, block: list[Batch], batch_idx: int) -> None:
        """Learn from each batch of a block."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        for batch in share_of(block, self.trainer) if self.shares_batches else block:
            self.learn(batch, optimizer)

    def learn(self, batch: Batch, optimizer: Any) -> None:
        """Do one optimiser step."""
        optimizer.zero_grad()
        self.manual_backward(self.step(batch, "train"))
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.clip)
        optimizer.step()

    def validation_step(self, block: list[Batch], batch_idx: int) -> None:
        """Sum the metrics of the batches of a block."""
        for batch in block:
            self.step(batch, "val")

    def on_train_epoch_start(self) -> None:
        """Begin the sums of the train batches."""
        self._sums["train"] = {}

    def on_train_epoch_end(self) -> None:
        """Log the means of the train batches."""
        self.log_means("train")

    def on_validation_epoch_start(self) -> None:
        """Begin the sums of the validation batches. Validation comes before the train epoch ends."""
        self._sums["val"] = {}

    def on_validation_epoch_end(self) -> None:
        """Log the means of the validation batches."""
        self.log_means("val")

    def log_means(self, partition: str) -> None:
        """Log each sum over its weights, as ``train_loss`` and so on."""
        for name, (total, weight) in self._sums[partition].items():
            self.log_value(f"{partition}_{name}", float(total) / float(weight) if weight else float("nan"))

    def log_value(self, name: str, value: float) -> None:
        """Log a value of this epoch; with several processes the mean over them."""
        self.log(name, value, sync_dist=self.trainer.world_size > 1)


def share_of(block: list[Batch], trainer: Trainer) -> list[Batch]:
    """Rows of each batch that this process trains on: all rows, or one part of the same size for each process.

    Together the processes take the step that one process would take, with two exceptions: batch norm, and losses that
    are not a mean over all rows of a batch, are computed on the rows of each process. Rows that cannot be shared evenly
    are left out.
    """
    n_processes, rank = trainer.world_size, trainer.global_rank
    if n_processes == 1:
        return block
    sizes = [len(batch["X"]) // n_processes for batch in block]
    return [
        {name: values[rank * size : (rank + 1) * size] for name, values in batch.items()}
        for batch, size in zip(block, sizes, strict=True)
        if size > 1  # batch norm needs two rows
    ]
