"""Training of the genotype networks: one pass over blocks of batches, sums on the side, logged once an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scvi.train import TrainingPlan

from heldout._core.training import share_of
from heldout.metrics.classification import roc_auc
from heldout.tasks.genotype.config import AttentionConfig
from heldout.tasks.genotype.networks._module import ABSENT

if TYPE_CHECKING:
    from heldout._core.training import Batch
    from heldout.tasks.genotype.config import MLPConfig
    from heldout.tasks.genotype.networks._module import GenotypeModule


class GenotypeTrainingPlan(TrainingPlan):
    """Adam or SGD without weight decay, and the validation AUC over the whole partition, not batch means of it.

    scvi-tools' own plan uses Adam with eps 0.01 and weight decay 1e-6, monitors the ELBO, which a classifier does not
    have, and logs each step; none of that fits here.
    """

    def __init__(self, module: GenotypeModule, config: MLPConfig) -> None:
        super().__init__(module, lr=config.lr, eps=1e-8, weight_decay=0.0)
        self.config = config
        self.automatic_optimization = False  # a block holds many batches
        self._sums: dict[str, torch.Tensor] = {}
        self._seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam (torch defaults, fused where the device has it) or plain SGD."""
        parameters = list(self.module.parameters())
        if self.config.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr=self.config.lr)
        return torch.optim.Adam(parameters, lr=self.config.lr, fused=True)

    def on_fit_start(self) -> None:
        """Refuse more processes than a batch has pairs of cells."""
        n, fewest = self.trainer.world_size, min(self.config.batch_size, self.trainer.datamodule.n_train)
        if n > 1 and fewest < 2 * n and not isinstance(self.config, AttentionConfig):
            msg = f"{n} devices cannot share batches of {fewest} train cells: each needs two. Take a larger batch_size, or fewer devices."
            raise ValueError(msg)

    def training_step(self, block: list[Batch], batch_idx: int) -> None:
        """One optimiser step for each batch of a block."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        whole = isinstance(self.config, AttentionConfig)  # bags are not cut
        for batch in block if whole else share_of(block, self.trainer):
            optimizer.zero_grad()
            loss, _ = self._step(batch)
            self.manual_backward(loss)
            optimizer.step()

    def validation_step(self, block: list[Batch], batch_idx: int) -> None:
        """Collect scores; the epoch's end turns them into metrics."""
        for batch in block:
            _, logits = self._step(batch)
            self._seen.append((self.module.log_probability(logits), batch["labels"]))

    def on_train_epoch_start(self) -> None:
        """Begin the sums of an epoch."""
        self._sums = {}

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means."""
        self._log_means("train")

    def on_validation_epoch_start(self) -> None:
        """Validation comes before the end of the train epoch: put its sums aside."""
        self._train_sums, self._sums, self._seen = self._sums, {}, []

    def on_validation_epoch_end(self) -> None:
        """Log means and the AUC of the whole validation partition."""
        self._log_means("val")
        log_probability, labels = (torch.cat(part).cpu().numpy() for part in zip(*self._seen, strict=True))
        auc = roc_auc(labels, log_probability)
        if np.isfinite(auc):
            self.log("val_auc", auc, sync_dist=self.trainer.world_size > 1)
        self._sums = self._train_sums

    def _step(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        _, outputs, losses = self.module(batch)
        logits, labels = outputs["logits"].detach(), batch["labels"]
        predicted = (logits[:, 0] > 0).long() if self.module.n_classes == 2 else logits.argmax(dim=1)
        n = len(labels)
        self._add("n", torch.tensor(float(n)))
        self._add("loss", losses.loss.detach() * n)
        self._add("accuracy", (predicted == labels).sum())
        if outputs["auxiliary"] is not None:
            known = losses.extra_metrics["n_auxiliary"]
            right = (outputs["auxiliary"].detach().argmax(dim=1) == batch["auxiliary"]) & (batch["auxiliary"] != ABSENT)
            self._add("label_loss", losses.extra_metrics["label_loss"] * n)
            self._add("n_auxiliary", known)
            self._add("auxiliary_loss", losses.extra_metrics["auxiliary_loss"] * known)
            self._add("auxiliary_accuracy", right.sum())
        return losses.loss, logits

    def _add(self, name: str, value: torch.Tensor) -> None:
        self._sums[name] = self._sums[name] + value if name in self._sums else value

    def _log_means(self, partition: str) -> None:
        sums = {name: float(value) for name, value in self._sums.items()}
        n, known = sums.pop("n"), sums.pop("n_auxiliary", 0.0)
        for name, value in sums.items():
            size = known if name.startswith("auxiliary") else n
            several = self.trainer.world_size > 1
            self.log(f"{partition}_{name}", value / size if size else float("nan"), sync_dist=several)
