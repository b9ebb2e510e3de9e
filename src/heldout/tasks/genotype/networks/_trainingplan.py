"""Training of the genotype networks: loss, accuracies, and the AUC of the whole validation partition."""

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


class GenotypeTrainingPlan(BlockTrainingPlan):
    """Adam or SGD without weight decay.

    The validation AUC is that of the whole partition, not a mean over batches.
    """

    def __init__(self, module: GenotypeModule, config: MLPConfig) -> None:
        super().__init__(module, config)
        self.shares_batches = not isinstance(config, AttentionConfig)  # a batch of bags cannot be cut
        self._validated: list[tuple[torch.Tensor, torch.Tensor]] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam (torch defaults, fused where the device supports it) or plain SGD."""
        parameters = list(self.module.parameters())
        if self.config.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr=self.config.lr)
        return torch.optim.Adam(parameters, lr=self.config.lr, fused=True)

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
            self._validated.append((self.module.log_probability(logits), labels))
        loss: torch.Tensor = losses.loss
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin the sums and the predictions."""
        super().on_validation_epoch_start()
        self._validated = []

    def on_validation_epoch_end(self) -> None:
        """Log the means, and the AUC of the whole validation partition."""
        super().on_validation_epoch_end()
        log_probability, labels = (torch.cat(part).cpu().numpy() for part in zip(*self._validated, strict=True))
        auc = roc_auc(labels, log_probability)
        if np.isfinite(auc):
            self.log_value("val_auc", auc)
