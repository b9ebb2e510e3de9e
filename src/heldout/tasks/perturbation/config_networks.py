"""Options of the networks that predict perturbations."""

from __future__ import annotations

from dataclasses import dataclass

from heldout._core.options import Config, option


@dataclass(frozen=True)
class TrainedConfig(Config):
    """Options that all networks of perturbations share.

    Parameters
    ----------
    perturbation_embedding
        Key of an embedding (:func:`heldout.pp.embedding`) with vectors of the targets. Then targets that train has not
        seen have a condition, too. If None, each train target has a vector that is learned.
    batch_size
        Cells in a batch.
    lr
        Highest learning rate. It rises in the first 5 % of the steps and then falls along a cosine.
    weight_decay
        Weight decay of AdamW.
    n_updates
        Number of steps of the optimiser, from which the number of epochs follows.
    max_epochs
        Number of epochs; it replaces ``n_updates``.
    patience
        Epochs without a better loss of the val perturbations after which training stops. Without val perturbations
        training does not stop early.
    accumulate
        Number of batches whose gradients make one step.
    compile
        Whether the network is compiled by ``torch.compile`` for training.
    """

    perturbation_embedding: str | None = None
    batch_size: int = option(256, at_least=2)
    lr: float = option(1e-3, above=0)
    weight_decay: float = option(0.0, at_least=0)
    n_updates: int = option(3000, at_least=1)
    max_epochs: int | None = option(None, at_least=1)
    patience: int = option(20, at_least=1)
    accumulate: int = option(1, at_least=1)
    compile: bool = False
