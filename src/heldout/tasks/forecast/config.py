"""Options of the forecast methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Rollout = Literal["straight", "steps"]


@dataclass(frozen=True)
class NoForecastConfig:
    """A method without options."""


@dataclass(frozen=True)
class DampingConfig:
    """Options of the baselines that move cells on.

    Parameters
    ----------
    damping
        Share of the predicted movement that is made: 0 is persistence, 1 all of it. None chooses it on past times only:
        each train time from the third on is forecast from those before it, in components fitted on those before it. The
        share that came nearest (energy distance, relative to persistence) is taken, shrunk the more, the fewer such times
        there are and the less of them is explained; what explains 90 % of two or more is made whole.
    penalty
        Ridge penalty, as a share of the number of rows, of standardised columns.
    """

    damping: float | None = None
    penalty: float = 0.1

    def __post_init__(self) -> None:
        check_damping(self.damping)
        check_above(self, "penalty")


@dataclass(frozen=True)
class FlowConfig:
    """Options of the flow.

    Parameters
    ----------
    n_hidden, n_layers
        Width and number of hidden layers of the velocity network. It learns what a linear flow through all train times, which
        is solved for, leaves.
    noise
        Standard deviation of the noise around the path between two paired cells, as a share of that of the train cells.
    n_pairs
        Pairs of cells drawn from the optimal plan of each two neighbouring times.
    n_refinements
        How often the cells are paired again after they were moved along the linear flow found so far; 0 pairs them once.
    batch_size
        Pairs in a batch.
    lr
        Learning rate.
    weight_decay
        Decay of the weights, of AdamW.
    max_epochs
        Most passes over the pairs.
    patience
        Epochs without a better score on val, or on pairs that were kept aside, after which training stops; the best
        weights are restored.
    n_steps
        Steps (of Heun's method) in which one time interval is integrated.
    damping
        Share of the linear part of the flow that is made after the last train time, without the rest. None chooses on past
        times how much to make of the linear part, of what the network adds to it, and of what follows, see
        :class:`DampingConfig`.
    var_ridge
        Whether the movement after the last train time may also follow ``method="var_ridge"``, by a share of its own.
    reversion
        Likewise of ``method="reversion"``.
    """

    n_hidden: int = 128
    n_layers: int = 2
    noise: float = 0.05
    n_pairs: int = 1024
    n_refinements: int = 2
    batch_size: int = 256
    lr: float = 3e-3
    weight_decay: float = 1e-3
    max_epochs: int = 80
    patience: int = 15
    n_steps: int = 8
    damping: float | None = None
    var_ridge: bool = True
    reversion: bool = True

    def __post_init__(self) -> None:
        check_whole(self, "n_hidden", "n_layers", "n_pairs", "batch_size", "max_epochs", "patience", "n_steps")
        check_above(self, "lr")
        check_not_below(self, "noise", "weight_decay", "n_refinements")
        check_damping(self.damping)


@dataclass(frozen=True)
class SequenceConfig:
    """Options of ``lstm`` and ``feedforward``, which predict the change of a cell from its likely history.

    Parameters
    ----------
    n_hidden
        Widths of the hidden layers.
    dropout
        Share of units set to zero in training.
    window
        Number of times that ``feedforward`` looks back; an earlier history is not seen.
    n_chains
        Chains of cells that are drawn through the couplings of the train times.
    batch_size
        Chains in a batch.
    lr
        Learning rate.
    weight_decay
        Decay of the weights, of AdamW.
    max_epochs
        Most passes over the chains.
    patience
        Epochs without a better score on val, or on chains that were kept aside, after which training stops.
    rollout
        ``straight`` predicts the target in one step of its real length, ``steps`` goes there in steps no longer than
        the longest one of train.
    damping
        Share of the predicted change that is made; None chooses it on past times, see :class:`DampingConfig`.
    """

    n_hidden: tuple[int, ...] = (64, 64)
    dropout: float = 0.1
    window: int = 3
    n_chains: int = 400
    batch_size: int = 128
    lr: float = 2e-3
    weight_decay: float = 1e-3
    max_epochs: int = 30
    patience: int = 6
    rollout: Rollout = "straight"
    damping: float | None = None

    def __post_init__(self) -> None:
        check_widths(self.n_hidden)
        object.__setattr__(self, "n_hidden", tuple(self.n_hidden))  # JSON gives a list
        check_whole(self, "window", "n_chains", "batch_size", "max_epochs", "patience")
        check_above(self, "lr")
        check_not_below(self, "weight_decay")
        check_share(self.dropout)
        check_damping(self.damping)
        if self.rollout not in get_args(Rollout):
            msg = f"rollout={self.rollout!r} must be one of {', '.join(get_args(Rollout))}."
            raise ValueError(msg)


@dataclass(frozen=True)
class PublishedConfig:
    """Options of ``lstm_published`` and ``feedforward_published``, by default those of the published study.

    Parameters
    ----------
    n_hidden
        Widths of the hidden layers; None takes the published ones, 128 and 64 for the LSTM and 128, 64 and 32 else.
    dropout
        Share of units set to zero in training.
    n_chains
        Chains of cells that are drawn through the couplings of the train times.
    batch_size
        Chains in a batch.
    lr
        Learning rate of Adam.
    max_epochs
        Most passes over the chains.
    patience
        Epochs without a better score on val, or on chains that were kept aside, after which training stops.
    """

    n_hidden: tuple[int, ...] | None = None
    dropout: float = 0.2
    n_chains: int = 1000
    batch_size: int = 32
    lr: float = 1e-3
    max_epochs: int = 250
    patience: int = 15

    def __post_init__(self) -> None:
        if self.n_hidden is not None:
            check_widths(self.n_hidden)
            object.__setattr__(self, "n_hidden", tuple(self.n_hidden))
        check_whole(self, "n_chains", "batch_size", "max_epochs", "patience")
        check_above(self, "lr")
        check_share(self.dropout)


def check_whole(config: object, *names: str) -> None:
    """Refuse options that are no whole numbers above 0."""
    for name in names:
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            msg = f"{name}={value!r} must be a whole number above 0."
            raise ValueError(msg)


def check_above(config: object, *names: str) -> None:
    """Refuse options that are not above 0."""
    for name in names:
        if not getattr(config, name) > 0:
            msg = f"{name}={getattr(config, name)!r} must be above 0."
            raise ValueError(msg)


def check_not_below(config: object, *names: str) -> None:
    """Refuse options that are below 0."""
    for name in names:
        if not getattr(config, name) >= 0:
            msg = f"{name}={getattr(config, name)!r} must not be negative."
            raise ValueError(msg)


def check_share(dropout: float) -> None:
    """Refuse a dropout that leaves nothing."""
    if not 0 <= dropout < 1:
        msg = f"dropout={dropout!r} must be in [0, 1)."
        raise ValueError(msg)


def check_widths(n_hidden: tuple[int, ...]) -> None:
    """Refuse widths that are not whole numbers above 0."""
    if not len(n_hidden) or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in n_hidden):
        msg = f"n_hidden={n_hidden!r} must be whole numbers above 0, e.g. (128, 64)."
        raise ValueError(msg)


def check_damping(damping: float | None) -> None:
    """Refuse a damping outside of 0 to 2."""
    if damping is not None and not 0 <= damping <= 2:
        msg = f"damping={damping!r} must be between 0 (persistence) and 2, or None to choose it on past times."
        raise ValueError(msg)
