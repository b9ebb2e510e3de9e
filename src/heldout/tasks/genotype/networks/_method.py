"""Model A and Model B behind the two verbs of a genotype method."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

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
from heldout.tasks.genotype.networks._trainingplan import GenotypeTrainingPlan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heldout._core.types import Matrix
    from heldout.tasks.genotype.interface import Data

logger = logging.getLogger("heldout")


class MLP:
    """Multilayer perceptron on the genes of each cell. With auxiliary classes it has a second head."""

    features: ClassVar[Any] = "genes"
    by_group: ClassVar[bool] = False
    stochastic: ClassVar[bool] = True
    default_config: ClassVar[Any] = MLPConfig()

    _fitted: Fitted | None = None
    _modules: list[GenotypeModule]

    def fit(self, data: Data, config: MLPConfig, *, seed: int) -> Fitted:
        """Train on the CPU or the first accelerator, stop on val, keep the weights of the best epoch."""
        modules, history = fit_members(data, config, seed=seed)
        return pack(modules, config, history)

    def predict(self, fitted: Fitted, X: Matrix) -> np.ndarray:
        """Log-probabilities, computed on the CPU. The modules are rebuilt once for all chunks of a prediction."""
        if self._fitted is not fitted:
            config = type(self.default_config).from_stored(fitted.info["config"])
            self._fitted, self._modules = fitted, unpack_members(fitted, config)
        return predict_members(self._modules, X)


def build_module(n_genes: int, n_classes: int, config: MLPConfig, n_auxiliary: int) -> GenotypeModule:
    """Build the network of a class of options, with initial weights."""
    network = AttentionModule if isinstance(config, AttentionConfig) else GenotypeModule
    return network(n_genes, n_classes, config, n_auxiliary)  # type: ignore[arg-type]


def fit_members(
    data: Data, config: MLPConfig, *, seed: int, trainer_options: Mapping[str, Any] | None = None
) -> tuple[list[GenotypeModule], pd.DataFrame]:
    """Train each member of the ensemble from its own seed. The history of several members has a column ``member``."""
    modules, tables = [], []
    for member in range(config.n_members):
        member_seed = seed if member == 0 else int(np.random.SeedSequence([seed, member]).generate_state(1)[0])
        with local_seed(member_seed):
            module = build_module(data.X.shape[1], data.n_classes, config, data.n_auxiliary)
            history = fit_module(module, data, config, seed=member_seed, trainer_options=trainer_options)
        modules.append(module)
        tables.append(history if config.n_members == 1 else history.assign(member=member))
    return modules, pd.concat(tables, ignore_index=True)


def fit_module(
    module: GenotypeModule,
    data: Data,
    config: MLPConfig,
    *,
    seed: int,
    trainer_options: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Train a module in place, and return its history, one row for each epoch."""
    has_all = len(np.unique(data.labels[data.val])) == data.n_classes
    if len(data.val) and not has_all:
        logger.warning("val does not have every class, so its AUC is undefined. Training stops on val_loss instead.")
    # The AUC of a handful of bags is 0, 1 or little between, so the attention network stops on its loss.
    by_auc = has_all and not isinstance(config, AttentionConfig)
    return run_trainer(
        GenotypeTrainingPlan(module, config),
        _batches(data, config, seed=seed),
        max_epochs=config.max_epochs,
        patience=config.patience,
        monitor="val_auc" if by_auc else "val_loss",
        mode="max" if by_auc else "min",
        options=trainer_options,
    )


def _batches(data: Data, config: MLPConfig, *, seed: int) -> SplitDataModule:
    """Cells at random, cells drawn with equal weight of the groups, or bags of cells of a group."""
    X = data.X.tocsr() if is_sparse(data.X) and data.X.format == "csc" else data.X
    columns = {"labels": data.labels.astype(np.int64)}
    if data.auxiliary is not None:
        columns["auxiliary"] = data.auxiliary.astype(np.int64)
    blocks: dict[str, Any] = {}
    if is_dask(X):
        if isinstance(config, AttentionConfig) or config.balanced:
            what = "The attention network" if isinstance(config, AttentionConfig) else "balanced=True"
            msg = f"{what} draws the cells of each group anew, so X must be in memory: adata.X = adata.X.compute()"
            raise ValueError(msg)
        blocks["train_blocks"] = streamed(X, data.train, columns, config.batch_size, seed=seed)
        blocks["val_blocks"] = streamed(X, data.val, columns, max(config.batch_size, ROWS))
    elif isinstance(config, AttentionConfig):
        assert data.groups is not None
        sizes = (config.batch_size, config.n_bags)
        blocks["train_blocks"] = Bags(X, data.train, columns, *sizes, seed=seed, groups=data.groups)
        blocks["val_blocks"] = WholeGroups(X, data.val, columns, *sizes, seed=seed, groups=data.groups)
    elif config.balanced:
        if data.groups is None:
            msg = "balanced=True needs groups. Pass group_key, or use a split that was made by group."
            raise ValueError(msg)
        blocks["train_blocks"] = BalancedBlocks(
            X, data.train, columns, config.batch_size, seed=seed, groups=data.groups
        )
    return SplitDataModule(X, data.train, data.val, columns, config.batch_size, seed=seed, **blocks)


def pack(modules: list[GenotypeModule], config: MLPConfig, history: pd.DataFrame) -> Fitted:
    """Weights, and what is needed to rebuild the modules."""
    arrays: dict[str, np.ndarray] = {}
    for member, module in enumerate(modules):
        arrays |= with_prefix(weights_of(module), f"{member}/" if len(modules) > 1 else "")
    head = modules[0].auxiliary_head
    info = {
        "n_genes": modules[0].trunk[0].in_features,
        "n_classes": modules[0].n_classes,
        "n_auxiliary": 0 if head is None else head.out_features,
        "config": asdict(config),
    }
    return Fitted(arrays, info, history)


def unpack_members(fitted: Fitted, config: MLPConfig) -> list[GenotypeModule]:
    """Rebuild all modules of :func:`pack`, ready to predict."""
    info, modules = fitted.info, []
    for member in range(config.n_members):
        with local_seed(0):  # a new module draws initial weights
            module = build_module(info["n_genes"], info["n_classes"], config, info["n_auxiliary"])
        set_weights(module, without_prefix(fitted.arrays, f"{member}/" if config.n_members > 1 else ""))
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
