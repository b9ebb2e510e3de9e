"""The scvi-tools style class of the forecast wing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scvi.data import AnnDataManager
from scvi.data.fields import LayerField, NumericalObsField
from scvi.model.base import BaseModelClass

from heldout._core.chain import check_steps
from heldout._core.fits import Fit, check_split, read_fit, write_fit
from heldout._core.keys import check_key
from heldout._core.no_pickle import NoPickle
from heldout._core.partition import read_partition
from heldout._core.rng import generator, seed_of
from heldout.tasks.forecast.interface import Fitted
from heldout.tasks.forecast.lineages import check_method
from heldout.tasks.forecast.networks._flow import Flow
from heldout.tasks.forecast.networks._sequence import LSTM, FeedForward
from heldout.tasks.forecast.task import Task, cells_at, space_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from heldout._core.rng import Rng
    from heldout.tasks.forecast.config import FlowConfig, SequenceConfig
    from heldout.tasks.forecast.networks._method import Network

_NETWORKS: dict[str, type[Network]] = {"flow": Flow, "lstm": LSTM, "feedforward": FeedForward}


class CellForecaster(NoPickle, BaseModelClass):
    """Forecast cell states with a network: a flow, an LSTM or a feed-forward network.

    Training sees the train cells of the split, stopping sees val, test is never read. Most users want
    :func:`heldout.tl.forecast`, which runs this life cycle in one call and has the baselines too. The state is kept inside the
    AnnData (:meth:`to_adata`, :meth:`from_adata`) and not in a pickle.

    Parameters
    ----------
    adata
        AnnData that :meth:`setup_anndata` was called on.
    network
        ``flow``, ``lstm`` or ``feedforward``.
    config
        Options: a :class:`heldout.model.FlowConfig`, or for the other two a :class:`heldout.model.SequenceConfig`.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.split_time(adata, "day", test=30)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.model.CellForecaster.setup_anndata(adata, "day")
    >>> model = ho.model.CellForecaster(adata, config=ho.model.FlowConfig(max_epochs=2))
    >>> model.train()
    >>> model.predict(30).shape[1]
    100
    >>> model.to_adata(adata, "forecast")
    >>> again = ho.model.CellForecaster.from_adata(adata, "forecast")
    """

    def __init__(
        self, adata: AnnData, network: str = "flow", config: FlowConfig | SequenceConfig | None = None
    ) -> None:
        super().__init__(adata)
        if network not in _NETWORKS:
            msg = f"network={network!r} must be one of {', '.join(_NETWORKS)}."
            raise ValueError(msg)
        self.network = network
        self._network = _NETWORKS[network]()
        self.config_ = self._network.config_class() if config is None else config
        if not isinstance(self.config_, self._network.config_class):
            msg = f"config must be a {self._network.config_class.__name__} for network={network!r}, got {type(config).__name__}."
            raise TypeError(msg)
        arguments = self.adata_manager.registry["setup_args"]
        options = {name: value for name, value in arguments.items() if name != "split_key"}
        check_method(network, options.get("lineages"))
        self.task = Task.of(adata, read_partition(adata, arguments["split_key"]), **options)
        self.fit_: Fit | None = None
        self._model_summary_string = f"CellForecaster: {len(self.task.columns)} genes, {network}; {self.config_}"
        self.init_params_ = self._get_init_params(locals())

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        time_key: str,
        *,
        split_key: str = "split",
        mask_var: str | None = "highly_variable",
        layer: str | None = None,
        use_rep: str | None = None,
        n_comps: int = 50,
        lineages: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Register the columns to use; see :func:`heldout.tl.forecast` for what each argument means.

        Parameters
        ----------
        adata
            Annotated data, (n_obs × n_vars), with a split by time.
        time_key
            Numeric column of ``obs``.
        split_key
            The split.
        mask_var
            Bool column of ``var`` with the genes to use.
        layer
            Layer to use instead of ``X``.
        use_rep
            Name in ``obsm`` of a PCA by :func:`heldout.pp.pca` on the same split.
        n_comps
            Components of the PCA that is fitted otherwise.
        lineages
            Name of chains by :func:`heldout.pp.lineages` that ``lstm`` and ``feedforward`` train on.
        **kwargs
            Only for scvi-tools itself, which passes ``source_registry`` when it loads.
        """
        arguments = cls._get_setup_method_args(**locals())
        asked = {name: value for name, value in arguments["setup_args"].items() if name != "split_key"}
        Task.of(adata, read_partition(adata, split_key), **asked)
        fields = [LayerField("X", layer, is_count_data=False), NumericalObsField("time", time_key)]
        manager = AnnDataManager(fields=fields, setup_method_args=arguments)
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)

    def train(
        self,
        max_epochs: int | None = None,
        *,
        rng: Rng = 0,
        trainer_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Train on the train cells, and learn on past times how much of the movement to make.

        Parameters
        ----------
        max_epochs
            Most epochs; those of the config if not given.
        rng
            Seed or Generator; torch's global state is left alone.
        trainer_options
            Options of Lightning's Trainer (``accelerator``, ``devices``, ``strategy``, …).
        """
        if max_epochs is not None:
            self.config_ = replace(self.config_, max_epochs=max_epochs)
        check_steps(self.adata, self.task.partition)
        seed, data = seed_of(rng), self.task.data()
        self.task.check_method(self.network, self._network.min_times, self.config_)
        fitted = self._network.fit(data, self.config_, seed=seed, trainer_options=trainer_options)
        self._finish(self.task.pack(self.network, self.config_, fitted, data.space, seed=seed), fitted)

    def predict(self, at: float, *, rng: Rng = 0) -> pd.DataFrame:
        """Genes of the predicted cells, one row a start cell; start cells are the latest train cells before ``at``.

        Parameters
        ----------
        at
            Time to predict.
        rng
            Seed or Generator; unused by networks that do not draw.
        """
        fit = self._trained("predict")
        rows, start_time, start = cells_at(self.adata, fit, at, key="of this model")
        arrays = {n.removeprefix("fitted."): a for n, a in fit.arrays.items() if n.startswith("fitted.")}
        moved = self._network.predict(Fitted(arrays, fit.info["fitted"]), start, start_time, at, generator(rng))
        genes = space_of(fit).decode(moved).astype(np.float32)
        return pd.DataFrame(genes, index=self.adata.obs_names[rows], columns=fit.genes)

    def to_adata(self, adata: AnnData, key: str = "forecast") -> None:
        """Store the trained model inside an AnnData, as arrays and JSON.

        Parameters
        ----------
        adata
            An AnnData with the split that was trained on. Written are ``uns["heldout"]["fits"][key]`` and
            ``uns["heldout"]["assignments"]``.
        key
            Name of the fit.
        """
        check_key("key", key)
        fit, partition = self._trained("to_adata"), read_partition(adata, self.task.partition.key)
        check_split(adata, fit, partition, key=key)
        write_fit(adata, key, fit, partition)

    @classmethod
    def from_adata(cls, adata: AnnData, key: str = "forecast") -> CellForecaster:
        """Rebuild a model that :meth:`to_adata` or :func:`heldout.tl.forecast` stored.

        Parameters
        ----------
        adata
            The AnnData with the fit and its split.
        key
            Name of the fit.

        Raises
        ------
        ValueError
            If the fit is not there, is not of this class, or was made on another split or other genes.
        """
        fit = read_fit(adata, key)
        network = fit.method.removeprefix("forecast.")
        if network not in _NETWORKS:
            msg = f"The fit {key!r} is a {fit.method}, not one of these networks. Predict with heldout.tl.predict_cells(adata, {key!r}, at=...)."
            raise ValueError(msg)
        check_split(adata, fit, read_partition(adata, fit.split_key), key=key)
        names = ("time_key", "layer", "use_rep", "n_comps")
        cls.setup_anndata(
            adata,
            split_key=fit.split_key,
            mask_var=None,
            **{name: fit.info[name] for name in names},
            lineages=fit.info.get("lineages"),
        )
        options = {name: value for name, value in fit.config.items() if name != "seed"}
        model = cls(adata, network, _NETWORKS[network].config_class(**options))
        model.task = replace(model.task, columns=fit.columns(adata.var_names, key=key))
        arrays = {n.removeprefix("fitted."): a for n, a in fit.arrays.items() if n.startswith("fitted.")}
        model._finish(fit, Fitted(arrays, fit.info["fitted"], fit.history))
        return model

    def _trained(self, verb: str) -> Fit:
        if self.fit_ is None:
            msg = f"The model is not trained. Call train() before {verb}()."
            raise ValueError(msg)
        return self.fit_

    def _finish(self, fit: Fit, fitted: Fitted) -> None:
        """Set what scvi-tools sets after training."""
        self.fit_, self.module = fit, self._network.module(fitted)
        self.history_table_ = fit.history
        self.history_ = {name: fit.history[["epoch", name]].set_index("epoch") for name in fit.history.columns[1:]}
        for name, part in (("train", "train"), ("validation", "val"), ("test", "test")):
            setattr(self, f"{name}_indices_", self.task.partition.rows(part))
        self.is_trained_ = True
