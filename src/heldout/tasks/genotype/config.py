"""Options of the genotype methods."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args

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

    def __post_init__(self) -> None:
        _positive(self, "n_hidden", "n_layers", "lr", "batch_size", "max_epochs", "patience")
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


def _positive(config: object, *names: str) -> None:
    types = {field.name: field.type for field in fields(config)}  # type: ignore[arg-type]
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int | float) or not value > 0 or (types[name] == "int" and value != int(value)):
            kind = "a whole number above 0" if types[name] == "int" else "above 0"
            msg = f"{name}={value!r} must be {kind}."
            raise ValueError(msg)
