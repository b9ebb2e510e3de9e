"""Options of the networks that predict perturbations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from heldout._core.options import Config, option
from heldout.tasks.perturbation.methods.questions import QUESTIONS


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


@dataclass(frozen=True)
class LatentAdditiveNetworkConfig(TrainedConfig):
    """Options of ``latent_additive_network``, see :class:`TrainedConfig` for those that all networks share.

    Parameters
    ----------
    n_hidden
        Width of the hidden layer of the encoder and of the decoder.
    n_latent
        Number of latent coordinates.
    dropout
        Dropout after the hidden layers.
    cells
        ``"moved"``: control cells, moved by the decoded change. ``"decoded"``: the decoded cells, as published; their
        variance is too small.
    max_controls
        Largest number of control cells of each context that the fit keeps.
    """

    n_updates: int = option(1500, at_least=1)
    n_hidden: int = option(256, at_least=1)
    n_latent: int = option(64, at_least=1)
    dropout: float = option(0.1, at_least=0, below=1)
    cells: Literal["moved", "decoded"] = "moved"
    max_controls: int = option(200, at_least=1)


@dataclass(frozen=True)
class CompositionalConfig(LatentAdditiveNetworkConfig):
    """Options of ``compositional``; see :class:`LatentAdditiveNetworkConfig` for the others.

    Parameters
    ----------
    adversary
        Weight of the adversary, which removes the perturbation from the latent coordinates of a cell. 0 trains without
        an adversary.
    n_adversary
        Width of the hidden layer of the adversary.
    """

    adversary: float = option(1.0, at_least=0)
    n_adversary: int = option(64, at_least=1)


@dataclass(frozen=True)
class GraphConfig(LatentAdditiveNetworkConfig):
    """Options of ``graph``; see :class:`LatentAdditiveNetworkConfig` for the others.

    Parameters
    ----------
    perturbation_embedding
        Key of an embedding (:func:`heldout.pp.embedding`), from which the graph is computed. If None, the graph is the
        co-expression of the genes of the data in the train cells.
    n_neighbors
        Number of train targets that each gene is joined to.
    n_steps
        Number of steps in which vectors are passed on along the graph.
    hidden_share
        Share of the vectors that are hidden in training, so that the network learns to use the graph.
    loss
        ``"mse"``, the squared error; or ``"autofocus"``, the fourth power of the error, as published.
    """

    n_neighbors: int = option(10, at_least=1)
    n_steps: int = option(1, at_least=1)
    hidden_share: float = option(0.3, at_least=0, at_most=1)
    loss: Literal["mse", "autofocus"] = "mse"


@dataclass(frozen=True)
class SetTransportConfig(TrainedConfig):
    """Options of ``set_transport``, see :class:`TrainedConfig` for those that all networks share.

    Parameters
    ----------
    batch_size
        Number of cells in a batch. A batch has as many whole sets as fit into it.
    set_size
        Number of cells in a set.
    n_hidden
        Number of coordinates of a cell in the attention layers.
    n_layers
        Number of attention layers.
    n_heads
        Number of attention heads; it divides ``n_hidden``.
    dropout
        Dropout in the attention layers.
    loss
        Distance between the predicted and the measured set: ``"mmd"``, the maximum mean discrepancy, or ``"energy"``.
    max_cells
        Largest number of cells of each perturbation, and of controls, in each context that are kept in memory.
    max_controls
        Largest number of control cells of each context that the fit keeps.
    """

    batch_size: int = option(128, at_least=2)
    n_updates: int = option(1000, at_least=1)
    set_size: int = option(32, at_least=2)
    n_hidden: int = option(128, at_least=1)
    n_layers: int = option(2, at_least=1)
    n_heads: int = option(4, at_least=1)
    dropout: float = option(0.0, at_least=0, below=1)
    loss: Literal["mmd", "energy"] = "mmd"
    max_cells: int = option(1000, at_least=2)
    max_controls: int = option(200, at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_hidden % self.n_heads:
            msg = f"SetTransportConfig: n_heads={self.n_heads} must divide n_hidden={self.n_hidden}."
            raise ValueError(msg)


@dataclass(frozen=True)
class PerturbationFlowConfig(TrainedConfig):
    """Options of ``flow``, conditional flow matching; see :class:`TrainedConfig` for those that all networks share.

    Parameters
    ----------
    network
        Network of the velocity. ``"skip_mlp"`` is a residual perceptron with a skip path from each gene to the same
        gene, ``"mlp"`` a plain perceptron, ``"unet"`` a U-Net along the genes, and ``"latents"`` mixes genes by
        attention to learned latents, so that their order does not matter.
    prediction
        What the network predicts: ``"v"`` for the velocity, ``"x"`` for the cell at the end of the path.
    source
        Where paths begin: ``"noise"`` (standard normal), ``"matched"`` (normal, with the variance of each gene in
        train), ``"control"`` (train controls of the context), or ``"composed"`` (measured cells of a part of the
        perturbation, moved by the mean change of the other parts; train cells are stored in the fit).
    coupling
        ``"independent"``, or ``"transport"``: in each batch, source cells and cells of the same perturbation are paired
        by optimal transport.
    space
        ``"genes"``, or ``"pca"`` for the principal components of the train cells.
    n_comps
        Number of principal components.
    width, n_layers
        Width and number of the hidden layers. Of ``"unet"``, ``width`` is the number of channels of the first level.
    n_condition
        Length of the vector of a condition.
    n_latents, patch
        Number of latents, and genes in a token, of ``"latents"``.
    gene_identity
        Whether ``"unet"`` has a learned embedding of each gene as further input.
    condition_dropout
        Share of the cells whose perturbation is hidden in training.
    guidance
        Weight w of the conditional velocity: v = v_hidden + w (v_conditional - v_hidden). With 1 it is the conditional
        velocity alone.
    solver
        Solver of torchdiffeq: ``"euler"``, ``"midpoint"`` or ``"rk4"`` with ``n_steps`` steps, or the adaptive
        ``"dopri5"`` with ``tolerance``.
    n_steps, tolerance
        Number of steps, and absolute and relative tolerance.
    zeros
        ``"threshold"``: values below a threshold become 0. The threshold of each gene is learned on train, so that the
        share of zeros is that of train. ``"none"``: values stay as they are, and can be below 0.
    max_cells
        Largest number of cells of each perturbation that ``source="composed"`` stores.
    """

    n_updates: int = option(1000, at_least=1)
    network: Literal["skip_mlp", "mlp", "unet", "latents"] = "skip_mlp"
    prediction: Literal["v", "x"] = "v"
    source: Literal["noise", "matched", "control", "composed"] = "matched"
    coupling: Literal["independent", "transport"] = "independent"
    space: Literal["genes", "pca"] = "genes"
    n_comps: int = option(50, at_least=1)
    width: int = option(384, at_least=4)
    n_layers: int = option(3, at_least=1)
    n_condition: int = option(128, at_least=1)
    n_latents: int = option(32, at_least=1)
    patch: int = option(1, at_least=1)
    gene_identity: bool = False
    condition_dropout: float = option(0.2, at_least=0, below=1)
    guidance: float = option(1.0, at_least=0)
    solver: Literal["euler", "midpoint", "rk4", "dopri5"] = "midpoint"
    n_steps: int = option(8, at_least=1)
    tolerance: float = option(1e-4, above=0)
    zeros: Literal["threshold", "none"] = "threshold"
    max_cells: int = option(200, at_least=2)


@dataclass(frozen=True)
class ResidualFlowConfig(TrainedConfig):
    """Options of ``residual_flow``, see :class:`TrainedConfig` for those that all networks share.

    ``patience`` has no effect, because the flow does not stop on val.

    Parameters
    ----------
    perturbation_embedding
        Key of an embedding (:func:`heldout.pp.embedding`) with vectors of the targets, which ``informed_additive`` uses
        for the mean changes.
    coordinates
        Where residuals are learnt. ``"responses"``: how far a cell went along the mean change of its perturbation, and
        along the contrast between its targets. ``"genes"``: all genes, which needs many more perturbations.
    questions
        Kinds of perturbations for which residuals are learnt: ``"combination"`` of seen targets, ``"context"`` for a
        known perturbation elsewhere, ``"single"`` for an unseen target. Others have composed cells. Each kind is
        trained apart, so fewer kinds take less time. If None, all that train can hold out.
    width, n_layers
        Width and number of the hidden layers.
    n_steps
        Number of midpoint steps along the flow.
    max_cells
        Largest number of cells that are kept of each perturbation in each context. The fit stores these cells.
    """

    batch_size: int = option(512, at_least=2)
    lr: float = option(3e-3, above=0)
    weight_decay: float = option(1e-3, at_least=0)
    n_updates: int = option(300, at_least=1)
    coordinates: Literal["responses", "genes"] = "responses"
    questions: tuple[str, ...] | None = None
    width: int = option(64, at_least=4)
    n_layers: int = option(2, at_least=1)
    n_steps: int = option(8, at_least=1)
    max_cells: int = option(200, at_least=2)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not set(self.questions or ()) <= set(QUESTIONS):
            allowed = ", ".join(map(repr, QUESTIONS))
            msg = f"ResidualFlowConfig: questions={self.questions!r} must be some of {allowed}."
            raise ValueError(msg)
