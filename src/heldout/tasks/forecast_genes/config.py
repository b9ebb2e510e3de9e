"""Options of the gene forecasts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from heldout._core.options import Config, option


@dataclass(frozen=True)
class GeneNetworkConfig(Config):
    """Options of the networks that forecast genes. The defaults are those of ``lstm``.

    Parameters
    ----------
    n_hidden
        Number of units of each layer, first to last.
    dropout
        Share of units that are set to zero in training, after each layer.
    lr
        Learning rate of Adam.
    weight_decay
        Decoupled weight decay (AdamW).
    batch_size
        Number of trajectories (gene × bootstrap replicate) in a batch.
    max_epochs
        Maximum number of passes over the trajectories of the train genes.
    patience
        Training stops after this number of epochs without a lower validation loss. The best weights are restored.
    n_members
        Number of networks in the ensemble. Each has its own initial weights and its own random weights of the genes
        (Bayesian bootstrap). Their mean is the forecast.
    residual
        Whether the network corrects the forecast of ``low_rank``. It then learns the errors of ``low_rank`` on held-out
        train genes. False predicts the level at the target time from the means alone, as published.
    correction
        Share of the correction that is added, in (0, 1]. It is used only with ``residual``.
    """

    renamed: ClassVar[dict[str, str]] = {"damping": "correction"}

    n_hidden: tuple[int, ...] = option((16,), at_least=1)
    dropout: float = option(0.2, at_least=0, below=1)
    lr: float = option(1e-3, above=0)
    weight_decay: float = option(1e-2, at_least=0)
    batch_size: int = option(256, at_least=1)
    max_epochs: int = option(60, at_least=1)
    patience: int = option(15, at_least=1)
    n_members: int = option(8, at_least=1)
    residual: bool = True
    correction: float = option(0.5, above=0, at_most=1)
