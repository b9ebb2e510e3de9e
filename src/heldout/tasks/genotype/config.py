"""Options of the genotype methods."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Sequence

Activation = Literal["relu", "tanh"]
Optimizer = Literal["adam", "sgd"]


@dataclass(frozen=True)
class NoConfig:
    """A method without options."""


@dataclass(frozen=True)
class LogisticConfig:
    """Options of the logistic baselines.

    Parameters
    ----------
    C
        Inverse strength of the L2 penalty.
    max_iter
        Iterations of the solver.
    """

    C: float = 1.0
    max_iter: int = 1000

    def __post_init__(self) -> None:
        _positive(self, "C", "max_iter")


@dataclass(frozen=True)
class RidgeConfig:
    """Options of the ridge on group means.

    Parameters
    ----------
    alphas
        Penalties to choose from by leave-one-out over groups, in units of the mean squared distance of a group from the
        mean of all.
    """

    alphas: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

    def __post_init__(self) -> None:
        if not len(self.alphas) or not all(alpha > 0 for alpha in self.alphas):
            msg = f"alphas={self.alphas!r} must be numbers above 0, at least one."
            raise ValueError(msg)
        object.__setattr__(self, "alphas", [float(alpha) for alpha in self.alphas])


@dataclass(frozen=True)
class BoostingConfig:
    """Options of the boosted trees on group means. With a dozen groups, trees of depth 1 are all there is.

    Parameters
    ----------
    n_trees
        Number of boosting steps.
    max_depth
        Depth of each tree.
    lr
        Learning rate.
    max_features
        Share of the genes that a split chooses from, drawn anew each time.
    """

    n_trees: int = 100
    max_depth: int = 1
    lr: float = 0.1
    max_features: float = 0.1

    def __post_init__(self) -> None:
        _positive(self, "n_trees", "max_depth", "lr", "max_features")
        if self.max_features > 1:
            msg = f"max_features={self.max_features!r} must be a share in (0, 1]."
            raise ValueError(msg)


@dataclass(frozen=True)
class MLPConfig:
    """Options of the multilayer perceptron. The defaults are those of the LMNA classifier study.

    Parameters
    ----------
    n_hidden
        Width of each hidden layer.
    n_layers
        Number of hidden layers, each linear → batch norm → activation → dropout.
    dropout
        Share of units set to zero in training.
    activation
        ``relu`` or ``tanh``.
    optimizer
        ``adam`` or ``sgd`` (momentum 0).
    lr
        Learning rate.
    batch_size
        Cells in a batch.
    max_epochs
        Most passes over the train cells.
    patience
        Epochs without a better validation AUC after which training stops; the best weights are restored.
    alpha
        Weight of the auxiliary loss (Model B): loss = label loss + alpha × auxiliary loss.
    reversal
        Turn the gradient of the auxiliary loss around where it enters the trunk :cite:p:`ganin2016`, so that the trunk
        forgets the auxiliary class (the day) instead of learning it.
    balanced
        Draw train cells so that every class, and in it every group, counts the same, whatever their numbers of cells.
    n_members
        Networks of different seeds whose probabilities are averaged.
    """

    n_hidden: int = 512
    n_layers: int = 2
    dropout: float = 0.3
    activation: Activation = "relu"
    optimizer: Optimizer = "adam"
    lr: float = 1e-3
    batch_size: int = 256
    max_epochs: int = 40
    patience: int = 8
    alpha: float = 0.3
    reversal: bool = False
    balanced: bool = False
    n_members: int = 1

    def __post_init__(self) -> None:
        _positive(self, "n_hidden", "n_layers", "lr", "batch_size", "max_epochs", "patience", "n_members")
        for name, allowed in (("activation", get_args(Activation)), ("optimizer", get_args(Optimizer))):
            if getattr(self, name) not in allowed:
                msg = f"{name}={getattr(self, name)!r} must be one of {', '.join(allowed)}."
                raise ValueError(msg)
        if self.batch_size < 2:
            msg = f"batch_size={self.batch_size!r} must be at least 2: batch norm needs two cells."
            raise ValueError(msg)
        if not 0 <= self.dropout < 1:
            msg = f"dropout={self.dropout!r} must be in [0, 1)."
            raise ValueError(msg)
        if self.alpha < 0:
            msg = f"alpha={self.alpha!r} must not be negative."
            raise ValueError(msg)


@dataclass(frozen=True)
class AttentionConfig(MLPConfig):
    """Options of the attention network, which classifies whole groups. Those of :class:`MLPConfig`, and two more.

    Parameters
    ----------
    n_hidden, n_layers, dropout, activation, optimizer, lr, max_epochs, patience, alpha, reversal, balanced, n_members
        As in :class:`MLPConfig`. Groups are always drawn evenly, so ``balanced`` changes nothing.
    batch_size
        Cells in a bag: a random part of a train group. A batch has ``n_bags`` of them.
    n_attention
        Width of the gated attention :cite:p:`ilse2018`.
    n_bags
        Bags in a batch, classes in turn.
    """

    n_hidden: int = 64
    n_layers: int = 1
    batch_size: int = 64
    n_attention: int = 32
    n_bags: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive(self, "n_attention", "n_bags")


def _positive(config: object, *names: str) -> None:
    types = {field.name: field.type for field in fields(config)}  # type: ignore[arg-type]
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int | float) or not value > 0 or (types[name] == "int" and value != int(value)):
            kind = "a whole number above 0" if types[name] == "int" else "above 0"
            msg = f"{name}={value!r} must be {kind}."
            raise ValueError(msg)
