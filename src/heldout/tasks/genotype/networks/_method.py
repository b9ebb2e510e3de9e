"""Model A and Model B behind the two verbs of a genotype method."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch

from heldout._core.blocks import ROWS, SplitDataModule, to_tensor
from heldout._core.method import Fitted, with_prefix, without_prefix
from heldout._core.model import set_weights, weights_of
from heldout._core.streaming import streamed
from heldout._core.threads import network_policy
from heldout._core.training import local_seed, run_trainer
from heldout._core.types import is_dask, is_sparse
from heldout.tasks.genotype.config import AttentionConfig, MLPConfig
from heldout.tasks.genotype.networks._attention_module import AttentionModule
from heldout.tasks.genotype.networks._batches import Bags, BalancedBlocks, WholeGroups
from heldout.tasks.genotype.networks._module import GenotypeModule
from heldout.tasks.genotype.networks._stopping import LeftOut, has_every_class, parts_of, shared_temperature
from heldout.tasks.genotype.networks._trainingplan import GenotypeTrainingPlan
from heldout.tasks.genotype.penalty import balanced_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heldout._core.types import Matrix
    from heldout.tasks.genotype.interface import Data

logger = logging.getLogger("heldout")

_DENSE = 2**27
"""Bytes up to which a sparse matrix is made dense once, and not batch by batch in every epoch."""


class MLP:
    """Multilayer perceptron on the genes of each cell. With auxiliary classes it has a second head."""

    features: ClassVar[Any] = "genes"
    by_group: ClassVar[bool] = False
    stochastic: ClassVar[bool] = True
    default_config: ClassVar[Any] = MLPConfig()

    _fitted: Fitted | None = None
    _modules: list[GenotypeModule]

    def fit(self, data: Data, config: MLPConfig, *, seed: int) -> Fitted:
        """Train on the CPU or the first accelerator, and stop on left-out groups; see :func:`fit_members`."""
        return fit_members(data, config, seed=seed)[1]

    def predict(self, fitted: Fitted, X: Matrix) -> np.ndarray:
        """Log-probabilities, computed on the CPU. The modules are rebuilt once for all chunks of a prediction."""
        if self._fitted is not fitted:
            config = type(self.default_config).from_stored(fitted.info["config"])
            self._fitted, self._modules = fitted, unpack_members(fitted, config)
        return predict_members(self._modules, X)


@dataclass(frozen=True)
class Member:
    """A trained network.

    Parameters
    ----------
    module, history
        The network, and one row for each epoch.
    monitor
        Column of the history that decided when to stop, and whether its best value is the smallest or the largest.
    left_out
        The groups of val. None if there are none, or groups are not known.
    of_groups
        Log-probabilities of the groups of val after each epoch. Empty if there are none.
    """

    module: GenotypeModule
    history: pd.DataFrame
    monitor: tuple[str, Literal["min", "max"]]
    left_out: LeftOut | None
    of_groups: list[np.ndarray]

    @classmethod
    def trained(cls, data: Data, config: MLPConfig, *, seed: int, trainer_options: Mapping[str, Any] | None) -> Member:
        """Train a new network on train, stop on val, and keep the weights of the best epoch."""
        left_out = LeftOut.of(data, data.val, config)
        monitor: tuple[str, Literal["min", "max"]] = ("val_loss" if left_out is None else "val_group_loss", "min")
        if config.monitor == "cell_auc" and has_every_class(data, data.val):
            monitor = ("val_auc", "max")
        with local_seed(seed):
            module = build_module(data.X.shape[1], data.n_classes, config, data.n_auxiliary)
            plan = GenotypeTrainingPlan(module, config, left_out)
            history = run_trainer(
                plan,
                batches_of(data, config, left_out, seed=seed),
                max_epochs=config.max_epochs,
                patience=config.patience,
                monitor=monitor[0],
                mode=monitor[1],
                options=trainer_options,
            )
        return cls(module, history, monitor, left_out, plan.of_groups)

    @property
    def at_best(self) -> np.ndarray:
        """Log-probabilities of the groups of val in the epoch whose weights were kept."""
        column, mode = self.monitor
        return self.of_groups[int(self.history[column].argmax() if mode == "max" else self.history[column].argmin())]


def build_module(n_genes: int, n_classes: int, config: MLPConfig, n_auxiliary: int) -> GenotypeModule:
    """Build the network of a class of options, with initial weights."""
    network = AttentionModule if isinstance(config, AttentionConfig) else GenotypeModule
    return network(n_genes, n_classes, config, n_auxiliary)  # type: ignore[arg-type]


def fit_members(
    data: Data, config: MLPConfig, *, seed: int, trainer_options: Mapping[str, Any] | None = None
) -> tuple[list[GenotypeModule], Fitted]:
    """Train each member of the ensemble from its own seed.

    If val has every class, it decides when training stops, and a member is one network. If not, a member is several
    networks, one for each inner fold over the groups of train; see :func:`parts_of`. The temperature of a member is
    that of the left-out groups of all of its networks. The history of several networks has a column ``member``.
    """
    parts = parts_of(data, config)
    if len(data.val) and not has_every_class(data, data.val):
        instead = "groups of train are left out instead" if len(parts) > 1 else "Training stops on its loss"
        logger.warning("val does not have every class: %s.", instead)
    members: list[Member] = []
    scales: list[float] = []
    for number in range(config.n_members):
        own_seed = seed if number == 0 else int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        networks = [Member.trained(part, config, seed=own_seed, trainer_options=trainer_options) for part in parts]
        left_out = [each for network in networks if (each := network.left_out) is not None]
        scales.append(1.0)
        if config.calibrated and left_out:
            scales[-1] = shared_temperature(left_out, [network.at_best for network in networks])
        for network in networks:
            network.module.divide_logits(scales[-1])
        members += networks
    info: dict[str, Any] = {"n_networks": len(members), "n_inner_folds": len(parts) if len(parts) > 1 else 0}
    info |= {"temperature": scales[0]} if len(members) == 1 else {"temperatures": scales}
    info["monitor"] = members[0].monitor[0] if len(parts[0].val) else ""
    return [member.module for member in members], pack(members, config, info)


def batches_of(data: Data, config: MLPConfig, left_out: LeftOut | None, *, seed: int) -> SplitDataModule:
    """Cells at random, cells drawn with equal weight of the groups, or bags of cells of a group."""
    X = data.X
    if is_sparse(X):
        X = X.toarray() if 4 * X.shape[0] * X.shape[1] <= _DENSE else X.tocsr()
    columns = {"labels": data.labels.astype(np.int64)}
    if data.auxiliary is not None:
        columns["auxiliary"] = data.auxiliary.astype(np.int64)
    if left_out is not None:
        columns["row"] = left_out.row_of
    groups = np.zeros(len(data.labels), dtype=int) if data.groups is None else data.groups
    blocks: dict[str, Any] = {}
    if is_dask(X):
        if isinstance(config, AttentionConfig):
            msg = (
                "The attention network draws the cells of each group anew, so X must be in memory: adata.X = "
                "adata.X.compute()"
            )
            raise ValueError(msg)
        if config.balanced:
            columns["weight"] = np.ones(len(data.labels), dtype=np.float32)
            columns["weight"][data.train] = balanced_weights(data.labels[data.train], groups[data.train])
        blocks["train_blocks"] = streamed(X, data.train, columns, config.batch_size, seed=seed)
        blocks["val_blocks"] = streamed(X, data.val, columns, max(config.batch_size, ROWS))
    elif isinstance(config, AttentionConfig):
        sizes = (config.batch_size, config.n_bags)
        blocks["train_blocks"] = Bags(X, data.train, columns, *sizes, seed=seed, groups=groups)
        blocks["val_blocks"] = WholeGroups(X, data.val, columns, *sizes, seed=seed, groups=groups)
    elif config.balanced:
        blocks["train_blocks"] = BalancedBlocks(X, data.train, columns, config.batch_size, seed=seed, groups=groups)
    return SplitDataModule(X, data.train, data.val, columns, config.batch_size, seed=seed, **blocks)


def pack(members: list[Member], config: MLPConfig, info: dict[str, Any]) -> Fitted:
    """Weights, and what is needed to rebuild the modules."""
    arrays: dict[str, np.ndarray] = {}
    for number, member in enumerate(members):
        arrays |= with_prefix(weights_of(member.module), f"{number}/" if len(members) > 1 else "")
    module = members[0].module
    head = module.auxiliary_head
    info |= {
        "n_genes": module.trunk[0].in_features,
        "n_classes": module.n_classes,
        "n_auxiliary": 0 if head is None else head.out_features,
        "config": asdict(config),
    }
    several = len(members) > 1
    tables = [m.history.assign(member=number) if several else m.history for number, m in enumerate(members)]
    return Fitted(arrays, info, pd.concat(tables, ignore_index=True))


def unpack_members(fitted: Fitted, config: MLPConfig) -> list[GenotypeModule]:
    """Rebuild all modules of :func:`pack`, ready to predict."""
    info, modules = fitted.info, []
    n_networks = info.get("n_networks", config.n_members)
    for member in range(n_networks):
        with local_seed(0):  # a new module draws initial weights
            module = build_module(info["n_genes"], info["n_classes"], config, info["n_auxiliary"])
        set_weights(module, without_prefix(fitted.arrays, f"{member}/" if n_networks > 1 else ""))
        modules.append(module)
    return modules


@torch.inference_mode()
def predict_module(module: GenotypeModule, X: Matrix) -> np.ndarray:
    """Log-probabilities, (n × n_classes) float32."""
    with network_policy(module, X.shape[0]):
        logits = module.logits_of(module.trunk(to_tensor(X)))
        return np.asarray(module.log_probability(logits).numpy(), dtype=np.float32)


def predict_members(modules: list[GenotypeModule], X: Matrix) -> np.ndarray:
    """Log of the mean probability of the members, (n × n_classes) float32."""
    parts = [predict_module(module, X) for module in modules]
    if len(parts) == 1:
        return parts[0]
    return np.asarray(np.logaddexp.reduce(np.stack(parts), axis=0) - np.log(len(parts)), dtype=np.float32)
