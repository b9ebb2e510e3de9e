"""Model A and Model B behind the two verbs that all genotype methods have."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch

from heldout._core.streaming import streamed
from heldout._core.training import SplitDataModule, local_seed, run_trainer, stopping, to_tensor
from heldout._core.types import is_dask, is_sparse
from heldout.tasks.genotype.config import AttentionConfig, MLPConfig
from heldout.tasks.genotype.interface import Data, Fitted
from heldout.tasks.genotype.networks._batches import Bags, BalancedBlocks, WholeGroups
from heldout.tasks.genotype.networks._module import GenotypeModule
from heldout.tasks.genotype.networks._trainingplan import GenotypeTrainingPlan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heldout._core.types import Matrix, MatrixOrDask

logger = logging.getLogger("heldout")


class MLP:
    """Multilayer perceptron on the genes of each cell; with auxiliary classes it has a second head."""

    features: ClassVar[Any] = "genes"
    by_group: ClassVar[bool] = False
    config_class: ClassVar[type] = MLPConfig

    _fitted: Fitted | None = None
    _modules: list[GenotypeModule]

    def fit(self, data: Data, config: MLPConfig, *, seed: int) -> Fitted:
        """Train on the CPU or the first accelerator, stop on val, keep the best epoch's weights."""
        modules, history = fit_members(data, config, seed=seed)
        return pack(modules, config, history)

    def predict(self, fitted: Fitted, X: Matrix) -> np.ndarray:
        """Log-probabilities, computed on the CPU; the modules are rebuilt once for all chunks of a prediction."""
        if self._fitted is not fitted:
            self._fitted, self._modules = fitted, unpack_members(fitted)
        return predict_members(self._modules, X)


def build_module(n_genes: int, n_classes: int, config: MLPConfig, n_auxiliary: int) -> GenotypeModule:
    """The network that the class of the options stands for."""
    if isinstance(config, AttentionConfig):
        from heldout.tasks.genotype.networks._attention import AttentionModule

        return AttentionModule(n_genes, n_classes, config, n_auxiliary)
    return GenotypeModule(n_genes, n_classes, config, n_auxiliary)


def fit_members(
    data: Data, config: MLPConfig, *, seed: int, trainer_options: Mapping[str, Any] | None = None
) -> tuple[list[GenotypeModule], pd.DataFrame]:
    """Train each member of the ensemble from its own seed; the history of several has a column ``member``."""
    modules, tables = [], []
    for member in range(config.n_members):
        own = seed if member == 0 else int(np.random.SeedSequence([seed, member]).generate_state(1)[0])
        with local_seed(own):
            module = build_module(data.X.shape[1], data.n_classes, config, data.n_auxiliary)
            history = fit_module(module, data, config, seed=own, trainer_options=trainer_options)
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
    """Train a module in place and return its history, one row an epoch."""
    callbacks = []
    if len(data.val):
        both = len(np.unique(data.labels[data.val])) == data.n_classes
        if not both:
            logger.warning("val does not have every class, so its AUC is undefined; stopping watches val_loss instead")
        ranks = both and not isinstance(
            config, AttentionConfig
        )  # a handful of bags has an AUC of 0, 1 or little between
        callbacks = stopping("val_auc" if ranks else "val_loss", "max" if ranks else "min", config.patience)
    else:
        logger.warning("there is no val partition: training runs all %d epochs", config.max_epochs)
    beside = {"labels": data.labels.astype(np.int64)}
    if data.auxiliary is not None:
        beside["auxiliary"] = data.auxiliary.astype(np.int64)
    X = data.X.tocsr() if is_sparse(data.X) and data.X.format == "csc" else data.X
    batches = _batches(X, data, beside, config, seed=seed)
    options = {
        "accelerator": "auto",
        "limit_val_batches": 1.0 if len(data.val) else 0,
        **(trainer_options or {}),
    }
    plan = GenotypeTrainingPlan(module, config)
    history = run_trainer(plan, batches, max_epochs=config.max_epochs, callbacks=callbacks, options=options)
    module.cpu().eval()
    return history_table(history)


def _batches(
    X: MatrixOrDask, data: Data, beside: dict[str, np.ndarray], config: MLPConfig, *, seed: int
) -> SplitDataModule:
    """Cells at random, cells drawn evenly over groups, or bags of groups."""
    blocks: dict[str, Any] = {}
    if is_dask(X):
        if isinstance(config, AttentionConfig) or config.balanced:
            what = "The attention network" if isinstance(config, AttentionConfig) else "balanced=True"
            msg = f"{what} draws cells of each group anew, which takes X in memory: adata.X = adata.X.compute()"
            raise ValueError(msg)
        blocks["train_blocks"] = streamed(X, data.train, beside, config.batch_size, seed=seed)
        blocks["val_blocks"] = streamed(X, data.val, beside, max(config.batch_size, 2048))
    elif isinstance(config, AttentionConfig):
        assert data.groups is not None
        sizes = (config.batch_size, config.n_bags)
        blocks["train_blocks"] = Bags(X, data.train, beside, *sizes, seed=seed, groups=data.groups)
        blocks["val_blocks"] = WholeGroups(X, data.val, beside, *sizes, seed=seed, groups=data.groups)
    elif config.balanced:
        if data.groups is None:
            msg = "balanced=True needs groups. Pass group_key, or use a split that was made by group."
            raise ValueError(msg)
        blocks["train_blocks"] = BalancedBlocks(X, data.train, beside, config.batch_size, seed=seed, groups=data.groups)
    return SplitDataModule(X, data.train, data.val, beside, config.batch_size, seed=seed, **blocks)


def history_table(history: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row an epoch, one column a metric."""
    columns = [frame[name].astype(np.float64) for name, frame in sorted(history.items())]
    table = pd.concat(columns, axis=1).sort_index()
    return table.rename_axis("epoch").reset_index()


def pack(modules: list[GenotypeModule], config: MLPConfig, history: pd.DataFrame) -> Fitted:
    """Weights and what is needed to rebuild the modules."""
    arrays = {
        f"{member}/{name}" if len(modules) > 1 else name: tensor.detach().cpu().numpy().copy()
        for member, module in enumerate(modules)
        for name, tensor in module.state_dict().items()
    }
    head = modules[0].auxiliary_head
    info = {
        "n_genes": modules[0].trunk[0].in_features,
        "n_classes": modules[0].n_classes,
        "n_auxiliary": 0 if head is None else head.out_features,
        "config": asdict(config),
    }
    return Fitted(arrays, info, history)


def config_of(options: Mapping[str, Any]) -> MLPConfig:
    """Options as they were stored; those of the attention network have a width of the attention."""
    return AttentionConfig(**options) if "n_attention" in options else MLPConfig(**options)


def unpack(fitted: Fitted) -> GenotypeModule:
    """Rebuild the first (or only) module of :func:`pack`, ready to predict."""
    return unpack_members(fitted)[0]


def unpack_members(fitted: Fitted) -> list[GenotypeModule]:
    """Rebuild all modules of :func:`pack`, ready to predict."""
    info = fitted.info
    config = config_of(info["config"])
    modules = []
    for member in range(config.n_members):
        with local_seed(0):  # a new module draws initial weights
            module = build_module(info["n_genes"], info["n_classes"], config, info["n_auxiliary"])
        prefix = f"{member}/" if config.n_members > 1 else ""
        own = {name.removeprefix(prefix): array for name, array in fitted.arrays.items() if name.startswith(prefix)}
        module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in own.items()})
        modules.append(module.eval())
    return modules


@torch.inference_mode()
def predict_module(module: GenotypeModule, X: Matrix) -> np.ndarray:
    """Log-probabilities, (n × n_classes) float32."""
    logits = module.logits_of(module.trunk(to_tensor(X)))
    return np.asarray(module.log_probability(logits).numpy(), dtype=np.float32)


def predict_members(modules: list[GenotypeModule], X: Matrix) -> np.ndarray:
    """Log of the mean probability of the members, (n × n_classes) float32."""
    parts = [predict_module(module, X) for module in modules]
    if len(parts) == 1:
        return parts[0]
    return np.asarray(np.logaddexp.reduce(np.stack(parts), axis=0) - np.log(len(parts)), dtype=np.float32)
