"""Options of the forecast methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from heldout._core.options import Config, option

Rollout = Literal["straight", "steps"]
Score = Literal["energy_distance", "wasserstein"]


def _damping() -> Any:
    return option(None, at_least=0, at_most=2, hint="0 is persistence, and None chooses it on past times")


@dataclass(frozen=True)
class DampingConfig(Config):
    """Options of the baselines that move cells.

    Parameters
    ----------
    damping
        Share of the predicted movement that is applied. 0 is persistence, 1 applies all of it. None chooses the share
        on past times only: each train time from the third on is forecast from the times before it, in components that
        were fitted on the times before it. The share with the lowest energy distance (relative to persistence) is
        taken. It is shrunk towards 0 if there are few such times, or if little of them is explained. A movement that
        explains 90 % of two or more past times is applied in full.
    penalty
        Ridge penalty on standardised columns, as a share of the number of rows.
    """

    damping: float | None = _damping()
    penalty: float = option(0.1, above=0)


@dataclass(frozen=True)
class AutoConfig(Config):
    """Options of ``auto``, a mixture of several forecasts with weights that were best on past times.

    Parameters
    ----------
    candidates
        Names of the methods that can be part of the mixture; persistence always is. Candidates that cannot predict the
        target times, or need more train times, are left out. None takes methods in closed form: ``ot_linear``,
        ``var_ridge``, ``reversion``, ``ridge_reversion`` and ``states`` after the last train time, and ``blend``,
        ``ot_interpolation`` and ``neighbour_mixture`` between train times. A network is trained once more for each past
        time. Candidates have their default options.
    shrinkage
        Strength with which the weights are shrunk towards persistence (between train times: towards ``blend``), if
        there is one past time, and no mixture explains it. With more past times, or with more of them explained, the
        weights are shrunk less.
    """

    candidates: tuple[str, ...] | None = None
    shrinkage: float = option(0.05, at_least=0)


@dataclass(frozen=True)
class _GrowthConfig(Config):
    growth_key: str | None = None
    estimate_growth: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.growth_key is not None and self.estimate_growth:
            msg = (
                f"{type(self).__name__}: growth is either given, by growth_key={self.growth_key!r}, or estimated, by "
                "estimate_growth=True. Leave out one of the two."
            )
            raise ValueError(msg)


@dataclass(frozen=True)
class InterpolationConfig(_GrowthConfig):
    """Options of ``ot_interpolation``.

    Parameters
    ----------
    growth_key
        Numeric column of ``adata.obs`` with the growth rate of each train cell: births less deaths for each unit of
        time, so that exp(rate × t) descendants are expected after a time t. Only differences between cells count. None
        gives all cells the same number of descendants.
    estimate_growth
        Whether the number of descendants of each cell is estimated by unbalanced transport. Cells may then have more
        descendants if there are more cells near to them at the next time.
    """


@dataclass(frozen=True)
class BlendConfig(_GrowthConfig):
    """Options of ``blend``, which predicts middle times.

    Parameters
    ----------
    weight
        Share of cells that stay at one of the two sides: those whose likely descendant is farthest away. 0 moves all
        cells, 1 is a mixture of both sides. None learns the share by leaving out inner train times.
    score
        Distance to the inner train times by which the share is learnt: ``energy_distance`` or the Wasserstein-1
        distance ``wasserstein``. Choose the one by which the forecast will be judged. The Wasserstein distance prefers
        fewer cells that stay, and it can reward forecasts with too little spread, see
        :func:`heldout.metrics.wasserstein`.
    power
        Cells move evenly in this power of the time since the first train time. With a power below 1 they move fast at
        first, and then more slowly. None averages the powers 0.6, 0.8, 1 and 1.25 by how well each explains the means
        of the train times.
    curvature
        Weight of the bend of the paths. 0 gives straight lines between two cells, 1 gives curves through the likely
        ancestors and descendants at all train times.
    n_neighbors
        Number of nearest cells of the same time that are averaged to the structure of a cell. Only the structure
        moves, and the cell keeps its residual. 1 moves cells as they are.
    growth_key, estimate_growth
        Growth of cells, given or estimated, see :class:`InterpolationConfig`.
    """

    weight: float | None = option(None, at_least=0, at_most=1)
    score: Score = "energy_distance"
    power: float | None = option(None, above=0)
    curvature: float = option(1.0, at_least=0, at_most=2)
    n_neighbors: int = option(30, at_least=1)


@dataclass(frozen=True)
class StatesConfig(_GrowthConfig):
    """Options of ``states``.

    Parameters
    ----------
    n_states
        Number of states. None takes the largest number up to 8 that is found again in other cells (prediction strength
        of at least 0.8).
    damping
        Share of the predicted change of the composition, and of the movement within states. None chooses a share of
        each on past times, see :class:`DampingConfig`.
    growth_key, estimate_growth
        Growth of cells, given or estimated, see :class:`InterpolationConfig`. The growth rate of a state is the mean of
        its cells, or follows from their number of descendants.
    """

    n_states: int | None = option(None, at_least=1)
    damping: float | None = _damping()


@dataclass(frozen=True)
class FlowConfig(Config):
    """Options of the flow.

    Parameters
    ----------
    n_hidden, n_layers
        Width and number of hidden layers of the velocity network. A linear flow through all train times is solved for
        first. The network learns what the linear flow leaves.
    noise
        Standard deviation of the noise around the path between two paired cells, as a share of that of the train cells.
    n_pairs
        Number of pairs of cells that are drawn from the optimal plan of each two neighbouring times.
    n_refinements
        How often the cells are paired again, after they were moved along the linear flow found so far. 0 pairs them
        once.
    batch_size
        Number of pairs in a batch.
    lr
        Learning rate.
    weight_decay
        Weight decay of AdamW.
    max_epochs
        Maximum number of passes over the pairs.
    patience
        Training stops after this number of epochs without a better score on val, or on pairs that were set aside if
        there is no val. The best weights are restored.
    n_steps
        Number of steps (of Heun's method) in which one time interval is integrated.
    damping
        Share of the linear part of the flow that is applied after the last train time, without the other parts. None
        chooses on past times how much to apply of the linear part, of the network, and of ``var_ridge`` and
        ``reversion``; see
        :class:`DampingConfig`.
    var_ridge
        Whether the movement after the last train time may also include that of ``method="var_ridge"``, with its own
        share.
    reversion
        Whether it may also include the movement of ``method="reversion"``.
    """

    n_hidden: int = option(128, at_least=1)
    n_layers: int = option(2, at_least=1)
    noise: float = option(0.05, at_least=0)
    n_pairs: int = option(1024, at_least=1)
    n_refinements: int = option(2, at_least=0)
    batch_size: int = option(256, at_least=1)
    lr: float = option(3e-3, above=0)
    weight_decay: float = option(1e-3, at_least=0)
    max_epochs: int = option(80, at_least=1)
    patience: int = option(15, at_least=1)
    n_steps: int = option(8, at_least=1)
    damping: float | None = _damping()
    var_ridge: bool = True
    reversion: bool = True


@dataclass(frozen=True)
class SequenceConfig(Config):
    """Options of ``lstm`` and ``feedforward``, which predict the change of a cell from its likely history.

    Parameters
    ----------
    n_hidden
        Widths of the hidden layers.
    dropout
        Share of units that are set to zero in training.
    window
        Number of times that ``feedforward`` looks back. Earlier times are not used.
    n_chains
        Number of chains of cells that are drawn through the couplings of the train times.
    batch_size
        Number of chains in a batch.
    lr
        Learning rate.
    weight_decay
        Weight decay of AdamW.
    max_epochs
        Maximum number of passes over the chains.
    patience
        Training stops after this number of epochs without a better score on val, or on chains that were set aside if
        there is no val.
    rollout
        ``straight`` predicts the target in one step of its real length. ``steps`` predicts it in steps no longer than
        the longest step between train times.
    damping
        Share of the predicted change that is applied. None chooses it on past times, see :class:`DampingConfig`.
    """

    n_hidden: tuple[int, ...] = option((64, 64), at_least=1)
    dropout: float = option(0.1, at_least=0, below=1)
    window: int = option(3, at_least=1)
    n_chains: int = option(400, at_least=1)
    batch_size: int = option(128, at_least=1)
    lr: float = option(2e-3, above=0)
    weight_decay: float = option(1e-3, at_least=0)
    max_epochs: int = option(30, at_least=1)
    patience: int = option(6, at_least=1)
    rollout: Rollout = "straight"
    damping: float | None = _damping()


@dataclass(frozen=True)
class PublishedConfig(Config):
    """Options of ``lstm_published`` and ``feedforward_published``. The defaults are those of the published study.

    Parameters
    ----------
    n_hidden
        Widths of the hidden layers. None takes the published widths: 128 and 64 for the LSTM; 128, 64 and 32 for the
        feed-forward network.
    dropout
        Share of units that are set to zero in training.
    n_chains
        Number of chains of cells that are drawn through the couplings of the train times.
    batch_size
        Number of chains in a batch.
    lr
        Learning rate of Adam.
    max_epochs
        Maximum number of passes over the chains.
    patience
        Training stops after this number of epochs without a better score on val, or on chains that were set aside if
        there is no val.
    """

    n_hidden: tuple[int, ...] | None = option(None, at_least=1)
    dropout: float = option(0.2, at_least=0, below=1)
    n_chains: int = option(1000, at_least=1)
    batch_size: int = option(32, at_least=1)
    lr: float = option(1e-3, above=0)
    max_epochs: int = option(250, at_least=1)
    patience: int = option(15, at_least=1)
