"""One base for the model classes in the style of scvi-tools; their state is kept in the AnnData and not in a pickle."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, Self

import numpy as np
import pandas as pd
import torch
from scvi.data import AnnDataManager
from scvi.model.base import BaseModelClass

from heldout._core.chain import check_steps
from heldout._core.fits import Fit, check_split, read_fit, write_fit
from heldout._core.keys import check_key
from heldout._core.partition import read_partition
from heldout._core.rng import Rng, seed_of
from heldout._core.threads import thread_policy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from heldout._core.method import Registry


class HeldoutModel(BaseModelClass):
    """Life cycle of all model classes: ``setup_anndata``, ``train``, ``predict``, ``to_adata`` and ``from_adata``.

    A subclass has a ``setup_anndata``, a ``predict``, and the three methods below that are abstract.
    """

    _methods: ClassVar[Registry]
    _networks: ClassVar[tuple[str, ...]]
    """Methods of the registry whose fits can become a model of this class."""

    _axis: ClassVar[Literal["obs", "var"]] = "obs"
    """Axis of the split: cells or genes."""

    task: Any
    config_: Any
    module: Any

    def __init__(self, adata: AnnData) -> None:
        super().__init__(adata)
        self.seed_ = 0
        self.fit_: Fit | None = None
        self.history_table_ = pd.DataFrame()

    @abstractmethod
    def _train(self, *, seed: int, trainer_options: Mapping[str, Any]) -> Fit:
        """Train the network, and return what :meth:`to_adata` stores."""

    @classmethod
    @abstractmethod
    def _from_fit(cls, adata: AnnData, fit: Fit, *, key: str) -> Self:
        """Build the model of a stored fit, without its weights."""

    @abstractmethod
    def _restore(self, fit: Fit) -> None:
        """Set the trained network of a fit."""

    @thread_policy()
    def train(
        self,
        max_epochs: int | None = None,
        accelerator: str = "auto",
        devices: int | str | list[int] = 1,
        *,
        rng: Rng = 0,
        trainer_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Train on the train partition, stop on val, and keep the weights of the best epoch.

        Parameters
        ----------
        max_epochs
            Maximum number of epochs. If None, that of the config is used.
        accelerator
            ``"cpu"``, ``"gpu"`` or another accelerator of Lightning. ``"auto"`` takes the best one that is there.
        devices
            Number of devices, or which ones. Several devices need ``trainer_options={"strategy": "ddp"}`` in a script;
            they share the rows of each batch.
        rng
            Seed or Generator of initial weights, dropout and batches. The global state of torch does not change.
        trainer_options
            Further options of Lightning's Trainer, e.g. ``strategy``, ``logger`` or ``precision``.

        Raises
        ------
        ValueError
            If the strategy forks or spawns processes, because weights and history would be lost, or if a batch has
            fewer than two rows for each device.
        """
        if max_epochs is not None:
            self.config_ = replace(self.config_, max_epochs=max_epochs)
        if self._axis == "obs":
            check_steps(self.adata, self.task.partition)
        self.seed_ = seed_of(rng)
        options = {"accelerator": accelerator, "devices": devices, **(trainer_options or {})}
        self._finish(self._train(seed=self.seed_, trainer_options=options))

    def to_adata(self, adata: AnnData, key: str | None = None) -> None:
        """Store the trained model inside an AnnData, as arrays and JSON.

        Parameters
        ----------
        adata
            An AnnData with the split that the model was trained on. The method writes ``uns["heldout"]["fits"][key]``
            and ``uns["heldout"]["assignments"]``.
        key
            Name of the fit. If None, the name of the task is used, e.g. ``"genotype"``.

        Raises
        ------
        ValueError
            If the model is not trained, or ``adata`` has another split.
        """
        key = check_key("key", self._methods.wing if key is None else key)
        fit, partition = self._trained("to_adata"), read_partition(adata, self.task.partition.key, axis=self._axis)
        check_split(adata, fit, partition, key=key)
        write_fit(adata, key, fit, partition)

    @classmethod
    def from_adata(cls, adata: AnnData, key: str | None = None) -> Self:
        """Rebuild a model that :meth:`to_adata`, or the function of the same task in ``heldout.tl``, has stored.

        Parameters
        ----------
        adata
            The AnnData with the fit and its split.
        key
            Name of the fit. If None, the name of the task is used, e.g. ``"genotype"``.

        Raises
        ------
        ValueError
            If the fit is not there, is not of this class, or was made on another split, genes or preparation.
        """
        key = cls._methods.wing if key is None else key
        fit = read_fit(adata, key)
        if fit.method not in {f"{cls._methods.wing}.{name}" for name in cls._networks}:
            msg = (
                f"The fit {key!r} is a {fit.method}, not a network of {cls.__name__}, which rebuilds fits of "
                f"{' and '.join(cls._networks)} by heldout.tl.{cls._methods.wing}. Pass the key of such a fit; "
                "heldout.get.fits(adata) lists all fits."
            )
            raise ValueError(msg)
        check_split(adata, fit, read_partition(adata, fit.split_key, axis=cls._axis), key=key)
        model = cls._from_fit(adata, fit, key=key)
        model.seed_ = int(fit.config["seed"])
        model._restore(fit)
        model._finish(fit)
        return model

    @classmethod
    def _register(cls, adata: AnnData, fields: Sequence[Any], arguments: dict[str, Any], **kwargs: Any) -> None:
        """Register the columns in use with scvi-tools."""
        manager = AnnDataManager(fields=list(fields), setup_method_args=arguments)
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)

    def _setup_arguments(self) -> tuple[str, dict[str, Any]]:
        """Split key, and the other arguments of ``setup_anndata``."""
        arguments = dict(self.adata_manager.registry["setup_args"])
        return arguments.pop("split_key"), arguments

    def _trained(self, verb: str) -> Fit:
        if self.fit_ is None:
            msg = f"The model is not trained. Call train() before {verb}()."
            raise ValueError(msg)
        return self.fit_

    def _finish(self, fit: Fit) -> None:
        """Set what scvi-tools sets after training."""
        self.fit_, self.history_table_ = fit, fit.history
        self.history_ = {name: fit.history[["epoch", name]].set_index("epoch") for name in fit.history.columns[1:]}
        if self._axis == "obs":
            self.train_indices_ = self.task.partition.rows("train")
            self.validation_indices_ = self.task.partition.rows("val")
            self.test_indices_ = self.task.partition.rows("test")
        self.is_trained_ = True

    def save(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse, because scvi-tools writes a pickle. Use :meth:`to_adata`."""
        raise TypeError(_no_pickle(type(self)))

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse, because scvi-tools reads a pickle. Use :meth:`from_adata`."""
        raise TypeError(_no_pickle(cls))

    @classmethod
    def load_registry(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse, because scvi-tools reads a pickle. Use :meth:`from_adata`."""
        raise TypeError(_no_pickle(cls))

    @classmethod
    def convert_legacy_save(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse, because scvi-tools reads and writes a pickle. Use :meth:`to_adata`."""
        raise TypeError(_no_pickle(cls))


def _no_pickle(cls: type) -> str:
    return (
        f"{cls.__name__} does not use pickle files, because opening one can run code. Store the model in its AnnData "
        f"with model.to_adata(adata, key), and write that with adata.write_h5ad; {cls.__name__}.from_adata(adata, key) "
        "reads it back."
    )


def weights_of(module: torch.nn.Module) -> dict[str, np.ndarray]:
    """Weights of a module as arrays, by name."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in module.state_dict().items()}


def set_weights(module: torch.nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Set the weights of a module; inverse of :func:`weights_of`. The module is then ready to predict."""
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
    module.eval()
