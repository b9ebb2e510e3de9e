"""The network: a shared trunk, a label head and, for Model B, an auxiliary head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from heldout.tasks.genotype.config import MLPConfig

ABSENT = -1
"""Auxiliary class number of cells whose class the train cells do not contain; the loss leaves them out."""

_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient is turned around."""

    @staticmethod
    def forward(ctx: Any, h: torch.Tensor) -> torch.Tensor:
        return h.view_as(h)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return -gradient


class GenotypeModule(BaseModuleClass):
    """[Linear → BatchNorm → activation → dropout] × depth, then one head a target.

    Two classes have one output and a sigmoid, more have a softmax. The loss is cross-entropy, plus ``alpha`` times
    the cross-entropy of the auxiliary head over the cells whose auxiliary class is known from train.
    """

    def __init__(self, n_genes: int, n_classes: int, config: MLPConfig, n_auxiliary: int = 0) -> None:
        super().__init__()
        self.n_classes, self.alpha, self.reversal = n_classes, config.alpha, config.reversal
        layers: list[nn.Module] = []
        width = n_genes
        for _ in range(config.n_layers):
            layers += [
                nn.Linear(width, config.n_hidden),
                nn.BatchNorm1d(config.n_hidden),
                _ACTIVATIONS[config.activation](),
                nn.Dropout(config.dropout),
            ]
            width = config.n_hidden
        self.trunk = nn.Sequential(*layers)
        self.label_head = nn.Linear(width, 1 if n_classes == 2 else n_classes)
        self.auxiliary_head = nn.Linear(width, n_auxiliary) if n_auxiliary else None

    def _get_inference_input(self, tensors: dict[str, torch.Tensor], **kwargs: Any) -> dict[str, torch.Tensor]:
        return {"x": tensors["X"]}

    def _get_generative_input(
        self, tensors: dict[str, torch.Tensor], inference_outputs: dict[str, torch.Tensor], **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        return {"h": inference_outputs["h"]}

    @auto_move_data
    def inference(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Trunk: (batch × n_genes) to (batch × n_hidden)."""
        return {"h": self.trunk(x)}

    @auto_move_data
    def generative(self, h: torch.Tensor) -> dict[str, torch.Tensor | None]:
        """Heads: label logits (batch × 1 or n_classes) and auxiliary logits (batch × n_auxiliary) or None."""
        return {"logits": self.label_head(h), "auxiliary": self.auxiliary_logits(h)}

    def logits_of(self, h: torch.Tensor) -> torch.Tensor:
        """Label logits of the cells of one prediction."""
        return self.label_head(h)

    def auxiliary_logits(self, h: torch.Tensor) -> torch.Tensor | None:
        """Logits (batch × n_auxiliary) of Model B; None for Model A."""
        if self.auxiliary_head is None:
            return None
        return self.auxiliary_head(_Reversed.apply(h) if self.reversal else h)

    def loss(
        self,
        tensors: dict[str, torch.Tensor],
        inference_outputs: dict[str, torch.Tensor],
        generative_outputs: dict[str, torch.Tensor | None],
    ) -> LossOutput:
        """Cross-entropy of the label, with weights of cells if there are any, plus alpha times the auxiliary one."""
        logits, labels = generative_outputs["logits"], tensors["labels"]
        assert logits is not None
        if self.n_classes == 2:
            of_cells = F.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype), reduction="none")
        else:
            of_cells = F.cross_entropy(logits, labels, reduction="none")
        label_loss = (of_cells * tensors["weight"] if "weight" in tensors else of_cells).mean()
        loss, extra = label_loss, {"label_loss": label_loss.detach()}
        auxiliary = generative_outputs["auxiliary"]
        if auxiliary is not None:
            known = (tensors["auxiliary"] != ABSENT).sum()
            summed = F.cross_entropy(auxiliary, tensors["auxiliary"], ignore_index=ABSENT, reduction="sum")
            auxiliary_loss = summed / known.clamp(min=1)
            loss = loss + self.alpha * auxiliary_loss
            extra |= {"auxiliary_loss": auxiliary_loss.detach(), "n_auxiliary": known}
        return LossOutput(loss=loss, n_obs_minibatch=len(labels), extra_metrics=extra)

    @torch.no_grad()
    def divide_logits(self, temperature: float) -> None:
        """Divide the label logits of all cells by a number, for good."""
        for values in self.label_head.parameters():
            values.div_(temperature)

    def log_probability(self, logits: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (batch × n_classes) of label logits."""
        if self.n_classes == 2:
            return torch.cat([F.logsigmoid(-logits), F.logsigmoid(logits)], dim=1)
        return F.log_softmax(logits, dim=1)

    def sample(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Not a generative model."""
        msg = "GenotypeModule classifies cells, it does not sample them."
        raise TypeError(msg)
