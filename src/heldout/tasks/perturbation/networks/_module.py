"""What the modules of networks that map control cells share."""

from __future__ import annotations

from abc import abstractmethod
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from heldout._core.blocks import Batch


class StandardisedModule(BaseModuleClass):
    """Base of the modules: genes are centred and divided by one scale, and a batch goes through :meth:`predicted`.

    Parameters
    ----------
    arrays
        ``centre``, (G,), and ``scale``, (1,).
    """

    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        for name in ("centre", "scale"):
            self.register_buffer(name, torch.as_tensor(arrays[name], dtype=torch.float32), persistent=False)

    def standardised(self, x: torch.Tensor) -> torch.Tensor:
        """Coordinates of cells, (… × G)."""
        return (x - self.centre) / self.scale

    def expression(self, coordinates: torch.Tensor) -> torch.Tensor:
        """Inverse of :meth:`standardised`."""
        return self.centre + self.scale * coordinates

    @abstractmethod
    def predicted(self, batch: Batch) -> dict[str, torch.Tensor]:
        """What the loss is computed from."""

    @abstractmethod
    def losses(self, batch: Batch, found: dict[str, torch.Tensor]) -> torch.Tensor:
        """Loss of each row of a batch, (batch,)."""

    def _get_inference_input(self, tensors: Batch, **kwargs: Any) -> dict[str, Any]:
        return {"batch": tensors}

    def _get_generative_input(
        self, tensors: Batch, inference_outputs: dict[str, torch.Tensor], **kwargs: Any
    ) -> dict[str, Any]:
        return {"found": inference_outputs}

    @auto_move_data
    def inference(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Predict for a batch."""
        return self.predicted(batch)

    @auto_move_data
    def generative(self, found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the prediction as it is."""
        return found

    def loss(
        self, tensors: Batch, inference_outputs: dict[str, torch.Tensor], generative_outputs: dict[str, torch.Tensor]
    ) -> LossOutput:
        """Mean loss of the rows of a batch."""
        on_device = {name: values.to(self.centre.device) for name, values in tensors.items()}
        losses = self.losses(on_device, generative_outputs)
        return LossOutput(loss=losses.mean(), n_obs_minibatch=len(losses))

    def sample(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Refuse: cells are mapped from control cells, and not drawn."""
        msg = f"{type(self).__name__} maps control cells and does not sample. Use heldout.tl.predict_cells."
        raise TypeError(msg)


def layers(*widths: int, dropout: float = 0.0) -> nn.Sequential:
    """A network with layer norm, GELU and dropout after each hidden layer."""
    hidden = [
        layer
        for a, b in pairwise(widths[:-1])
        for layer in (nn.Linear(a, b), nn.LayerNorm(b), nn.GELU(), nn.Dropout(dropout))
    ]
    return nn.Sequential(*hidden, nn.Linear(widths[-2], widths[-1]))
