"""Options of the gene forecasts."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class NoConfig:
    """A method without options."""


@dataclass(frozen=True)
class GeneNetworkConfig:
    """Options of the networks that forecast genes; of ``lstm`` and ``feedforward`` unless given.

    Parameters
    ----------
    n_hidden
        Units of each layer, first to last.
    dropout
        Share of units set to zero in training, after each layer.
    lr
        Learning rate of Adam.
    weight_decay
        Decoupled weight decay (AdamW).
    batch_size
        Trajectories (gene × bootstrap replicate) in a batch.
    max_epochs
        Most passes over the trajectories of the train genes.
    patience
        Epochs without a lower validation loss after which training stops; the best weights are restored.
    n_members
        Networks trained side by side, each from its own start and with its own random weights of the genes (Bayesian
        bootstrap); their mean is the forecast.
    residual
        Whether the network corrects the forecast of ``low_rank``; it then learns from what that leaves of train genes
        when they are held out. False predicts the level at the target time from the means alone, as published.
    damping
        Share of the correction that is added, in (0, 1]. Only with ``residual``.
    """

    n_hidden: tuple[int, ...] = (16,)
    dropout: float = 0.2
    lr: float = 1e-3
    weight_decay: float = 1e-2
    batch_size: int = 256
    max_epochs: int = 60
    patience: int = 15
    n_members: int = 8
    residual: bool = True
    damping: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_hidden", tuple(self.n_hidden))  # a list, as JSON gives it back
        if not self.n_hidden or any(not _whole(width) for width in self.n_hidden):
            msg = f"n_hidden={self.n_hidden!r} must be whole numbers above 0, one for each layer, e.g. (128, 64)."
            raise ValueError(msg)
        types = {field.name: field.type for field in fields(self)}
        for name in ("lr", "batch_size", "max_epochs", "patience", "n_members"):
            value = getattr(self, name)
            if not (_whole(value) if types[name] == "int" else isinstance(value, int | float) and value > 0):
                kind = "a whole number above 0" if types[name] == "int" else "above 0"
                msg = f"{name}={value!r} must be {kind}."
                raise ValueError(msg)
        for name, value, allowed in (
            ("dropout", self.dropout, 0 <= self.dropout < 1),
            ("damping", self.damping, 0 < self.damping <= 1),
            ("weight_decay", self.weight_decay, self.weight_decay >= 0),
        ):
            if not allowed:
                limits = {"dropout": "in [0, 1)", "damping": "in (0, 1]", "weight_decay": "0 or more"}[name]
                msg = f"{name}={value!r} must be {limits}."
                raise ValueError(msg)


def _whole(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0 and value == int(value)
