"""Model A and Model B behind the two verbs that all genotype methods have."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from scvi.train import Trainer

from heldout._core.progress import show_progress
from heldout._core.training import SplitDataModule, local_seed, quiet_lightning, stopping, to_tensor
from heldout.tasks.genotype.config import MLPConfig
from heldout.tasks.genotype.interface import Data, Fitted
from heldout.tasks.genotype.networks._module import GenotypeModule
from heldout.tasks.genotype.networks._trainingplan import GenotypeTrainingPlan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heldout._core.arrays import Matrix

logger = logging.getLogger("heldout")


class MLP:
    """Multilayer perceptron on the genes of each cell; with auxiliary classes it has a second head."""

    features: ClassVar[Any] = "genes"
    config_class: ClassVar[type] = MLPConfig

    _fitted: Fitted | None = None
    _module: GenotypeModule

    def fit(self, data: Data, config: MLPConfig, *, seed: int) -> Fitted:
        """Train on the CPU or the first accelerator, stop on val, keep the best epoch's weights."""
        with local_seed(seed):
            module = GenotypeModule(data.X.shape[1], data.n_classes, config, data.n_auxiliary)
            history = fit_module(module, data, config, seed=seed)
        return pack(module, config, history)

    def predict(self, fitted: Fitted, X: Matrix) -> np.ndarray:
        """Log-probabilities, computed on the CPU; the module is rebuilt once for all chunks of a prediction."""
        if self._fitted is not fitted:
            self._fitted, self._module = fitted, unpack(fitted)
        return predict_module(self._module, X)


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
        callbacks = stopping("val_auc" if both else "val_loss", "max" if both else "min", config.patience)
    else:
        logger.warning("there is no val partition: training runs all %d epochs", config.max_epochs)
    beside = {"labels": data.labels.astype(np.int64)}
    if data.auxiliary is not None:
        beside["auxiliary"] = data.auxiliary.astype(np.int64)
    X = data.X.tocsr() if sparse.issparse(data.X) and data.X.format == "csc" else data.X
    batches = SplitDataModule(X, data.train, data.val, beside, config.batch_size, seed=seed)
    options = {
        "accelerator": "auto",
        "devices": 1,
        "enable_progress_bar": show_progress(),
        "limit_val_batches": 1.0 if len(data.val) else 0,
        "log_every_n_steps": 1,
        **(trainer_options or {}),
    }
    with quiet_lightning():
        trainer = Trainer(max_epochs=config.max_epochs, check_val_every_n_epoch=1, callbacks=callbacks, **options)
        trainer.fit(GenotypeTrainingPlan(module, config), datamodule=batches)
    module.cpu().eval()
    return history_table(trainer.logger.history)


def history_table(history: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row an epoch, one column a metric."""
    columns = [frame[name].astype(np.float64) for name, frame in sorted(history.items()) if name != "epoch"]
    table = pd.concat(columns, axis=1).sort_index()
    return table.rename_axis("epoch").reset_index()


def pack(module: GenotypeModule, config: MLPConfig, history: pd.DataFrame) -> Fitted:
    """Weights and what is needed to rebuild the module."""
    arrays = {name: tensor.detach().cpu().numpy().copy() for name, tensor in module.state_dict().items()}
    head = module.auxiliary_head
    info = {
        "n_genes": module.trunk[0].in_features,
        "n_classes": module.n_classes,
        "n_auxiliary": 0 if head is None else head.out_features,
        "config": asdict(config),
    }
    return Fitted(arrays, info, history)


def unpack(fitted: Fitted) -> GenotypeModule:
    """Rebuild the module of :func:`pack`, ready to predict."""
    info = fitted.info
    with local_seed(0):  # a new module draws initial weights
        module = GenotypeModule(info["n_genes"], info["n_classes"], MLPConfig(**info["config"]), info["n_auxiliary"])
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in fitted.arrays.items()})
    return module.eval()


@torch.inference_mode()
def predict_module(module: GenotypeModule, X: Matrix) -> np.ndarray:
    """Log-probabilities, (n × n_classes) float32."""
    logits = module.label_head(module.trunk(to_tensor(X)))
    return np.asarray(module.log_probability(logits).numpy(), dtype=np.float32)
