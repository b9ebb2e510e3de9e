"""Training of the genotype networks: loss, accuracies, and metrics of the whole validation partition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from heldout._core.training_plan import BlockTrainingPlan
from heldout.metrics.classification import roc_auc
from heldout.tasks.genotype.config import AttentionConfig
from heldout.tasks.genotype.networks._module import ABSENT

if TYPE_CHECKING:
    from heldout._core.blocks import Batch
    from heldout.tasks.genotype.config import MLPConfig
    from heldout.tasks.genotype.networks._module import GenotypeModule
    from heldout.tasks.genotype.networks._stopping import LeftOut


class GenotypeTrainingPlan(BlockTrainingPlan):
    """AdamW, or SGD with weight decay.

    The validation metrics are those of the whole partition, not means over batches: the log-loss of its groups, each of
    which counts once, and the AUC of its cells.

    Parameters
    ----------
    module, config
        The network and its options.
    left_out
        The groups of val. None if groups are not known.
    """

    def __init__(self, module: GenotypeModule, config: MLPConfig, left_out: LeftOut | None = None) -> None:
        super().__init__(module, config)
        self.shares_batches = not isinstance(config, AttentionConfig)  # a batch of bags cannot be cut
        self.left_out = left_out
        self.of_groups: list[np.ndarray] = []
        """Log-probabilities of the groups of val after each epoch."""
        self._validated: list[tuple[torch.Tensor, ...]] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW, fused where the device supports it, or plain SGD."""
        if self.config.optimizer == "sgd":
            decay = self.config.weight_decay
            return torch.optim.SGD(self.module.parameters(), lr=self.config.lr, weight_decay=decay)
        return super().configure_optimizers()

    def step(self, batch: Batch, partition: str) -> torch.Tensor:
        """Loss and accuracies of a batch. Sums stay on the device, so that no step waits for it."""
        _, outputs, losses = self.module(batch)
        logits, labels = outputs["logits"].detach(), batch["labels"]
        predicted = (logits[:, 0] > 0).long() if self.module.n_classes == 2 else logits.argmax(dim=1)
        n = len(labels)
        self.add(partition, "loss", losses.loss.detach() * n, n)
        self.add(partition, "accuracy", (predicted == labels).sum(), n)
        if outputs["auxiliary"] is not None:
            known = losses.extra_metrics["n_auxiliary"]
            correct = outputs["auxiliary"].detach().argmax(dim=1) == batch["auxiliary"]
            self.add(partition, "label_loss", losses.extra_metrics["label_loss"] * n, n)
            self.add(partition, "auxiliary_loss", losses.extra_metrics["auxiliary_loss"] * known, known)
            self.add(partition, "auxiliary_accuracy", (correct & (batch["auxiliary"] != ABSENT)).sum(), known)
        if partition == "val":
            row = batch["row"] if self.left_out is not None else labels
            self._validated.append((self.module.log_probability(logits), labels, row))
        loss: torch.Tensor = losses.loss
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin the sums and the predictions."""
        super().on_validation_epoch_start()
        self._validated = []

    def on_validation_epoch_end(self) -> None:
        """Log the means, the log-loss of the groups of val, and the AUC of its cells."""
        super().on_validation_epoch_end()
        log_p, labels, row = (torch.cat(part).cpu().numpy() for part in zip(*self._validated, strict=True))
        if self.left_out is not None:
            self.of_groups.append(self.left_out.predicted(log_p, row))
            self.log_value("val_group_loss", self.left_out.loss(self.of_groups[-1]))
        auc = roc_auc(labels, log_p)
        if np.isfinite(auc):
            self.log_value("val_auc", auc)
