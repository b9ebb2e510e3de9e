"""A network that classifies a group by the attention-weighted mean of its cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from scvi.module.base import auto_move_data
from torch import nn

from heldout.tasks.genotype.networks._module import GenotypeModule

if TYPE_CHECKING:
    from heldout.tasks.genotype.config import AttentionConfig


class AttentionModule(GenotypeModule):
    """The trunk of Model A on each cell, gated attention over the cells of a bag, and a head on their weighted mean.

    The logits of a bag are repeated for each of its cells, so that losses and scores are those of cells.
    """

    def __init__(self, n_genes: int, n_classes: int, config: AttentionConfig, n_auxiliary: int = 0) -> None:
        super().__init__(n_genes, n_classes, config, n_auxiliary)
        width = config.n_hidden
        self.content, self.gate = nn.Linear(width, config.n_attention), nn.Linear(width, config.n_attention)
        self.weight = nn.Linear(config.n_attention, 1)

    def _get_generative_input(
        self, tensors: dict[str, torch.Tensor], inference_outputs: dict[str, torch.Tensor], **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        return {"h": inference_outputs["h"], "bag": tensors["bag"]}

    @auto_move_data
    def generative(self, h: torch.Tensor, bag: torch.Tensor) -> dict[str, torch.Tensor | None]:
        """Logits of the bag of each cell, and auxiliary logits of the cell itself."""
        return {"logits": self.pooled_logits(h, bag), "auxiliary": self.auxiliary_logits(h)}

    def logits_of(self, h: torch.Tensor) -> torch.Tensor:
        """Logits of the group whose cells are given."""
        return self.pooled_logits(h, torch.zeros(len(h), dtype=torch.long))

    def pooled_logits(self, h: torch.Tensor, bag: torch.Tensor) -> torch.Tensor:
        """(batch × n_hidden) to the logits of each cell's bag, (batch × 1 or n_classes)."""
        score = self.weight(torch.tanh(self.content(h)) * torch.sigmoid(self.gate(h)))
        share = torch.exp(score - score.max())
        n_bags = int(bag.max()) + 1
        total = share.new_zeros(n_bags, 1).index_add(0, bag, share)
        mean = h.new_zeros(n_bags, h.shape[1]).index_add(0, bag, share * h) / total
        return self.label_head(mean)[bag]
