"""The scvi-tools style class of the gene forecasts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
from scvi.data import AnnDataManager
from scvi.data.fields import LayerField, NumericalObsField
from scvi.model.base import BaseModelClass

from heldout._core.fits import Fit, check_split, read_fit, write_fit
from heldout._core.keys import check_key
from heldout._core.no_pickle import NoPickle
from heldout._core.partition import read_partition
from heldout._core.rng import Rng, seed_of
from heldout.tasks.forecast_genes.config import GeneNetworkConfig
from heldout.tasks.forecast_genes.interface import Fitted
from heldout.tasks.forecast_genes.networks._method import pack, predict_network, train_network, unpack
from heldout.tasks.forecast_genes.networks._module import Architecture
from heldout.tasks.forecast_genes.task import Task, task_of_fit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

_SPLIT = "split_key"


class GeneForecaster(NoPickle, BaseModelClass):
    """Forecast what unseen genes do at a later time, with LSTMs or feed-forward networks.

    An ensemble of small networks reads the pseudobulk of a gene at each time (mean, spread, share of expressing cells),
    with the real times, and corrects a linear forecast. Training sees the train genes of the split, stopping sees val;
    values of test genes at the target time are never read. :func:`heldout.tl.forecast_genes` runs this life cycle in one
    call. The state is kept inside the AnnData (:meth:`to_adata`, :meth:`from_adata`) and not in a pickle.

    Parameters
    ----------
    adata
        AnnData that :meth:`setup_anndata` was called on.
    config
        Options, the defaults of :class:`heldout.model.GeneNetworkConfig` if not given.
    architecture
        ``lstm`` or ``feedforward``.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_genes(adata)
    >>> ho.model.GeneForecaster.setup_anndata(adata, "day")
    >>> model = ho.model.GeneForecaster(adata, ho.model.GeneNetworkConfig(max_epochs=2))
    >>> model.train()
    >>> model.predict().columns.tolist()
    ['prediction', 'change']
    >>> model.to_adata(adata, "lstm")
    >>> again = ho.model.GeneForecaster.from_adata(adata, "lstm")
    """

    def __init__(
        self, adata: AnnData, config: GeneNetworkConfig | None = None, *, architecture: Architecture = "lstm"
    ) -> None:
        super().__init__(adata)
        if architecture not in get_args(Architecture):
            msg = f"architecture={architecture!r} must be one of {', '.join(get_args(Architecture))}."
            raise ValueError(msg)
        self.config_ = GeneNetworkConfig() if config is None else config
        self.architecture_, self.seed_ = architecture, 0
        self.history_table_ = pd.DataFrame()
        self.fitted_: Fitted | None = None
        arguments = dict(self.adata_manager.registry["setup_args"])
        partition = read_partition(adata, arguments.pop(_SPLIT), axis="var")
        self.task = Task.of(adata, partition, **arguments)
        self._model_summary_string = self._summary()
        self.init_params_ = self._get_init_params(locals())

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        time_key: str,
        *,
        at: float | None = None,
        history: Sequence[float] | None = None,
        group_key: str | None = None,
        n_replicates: int = 20,
        split_key: str = "gene_split",
        layer: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Register the columns to use; see :func:`heldout.tl.forecast_genes` for what each argument means.

        Parameters
        ----------
        adata
            Annotated data, (n_obs × n_vars), with a split of genes.
        time_key
            Numeric column of ``obs``.
        at
            Target time; the last one if not given.
        history
            Times that are used; all before ``at`` if not given.
        group_key
            Column of ``obs`` with the library.
        n_replicates
            Bootstrap replicates of each time.
        split_key
            The split of the genes.
        layer
            Layer to use instead of ``X``.
        **kwargs
            Only for scvi-tools itself, which passes ``source_registry`` when it loads.
        """
        arguments = cls._get_setup_method_args(**locals())
        asked = {name: value for name, value in arguments["setup_args"].items() if name != _SPLIT}
        Task.of(adata, read_partition(adata, split_key, axis="var"), **asked)
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
        """Train on the train genes, stop on val, keep the best epoch's weights.

        Parameters
        ----------
        max_epochs
            Most epochs, instead of those in the config.
        rng
            Seed or Generator of bootstrap, weights and batches; torch's global state is left alone.
        trainer_options
            Options of Lightning's Trainer.
        """
        if max_epochs is not None:
            self.config_ = replace(self.config_, max_epochs=max_epochs)
        self.seed_ = seed_of(rng)
        module, preparation, history = train_network(
            self.architecture_,
            self.task.data(seed=self.seed_),
            self.config_,
            seed=self.seed_,
            trainer_options=trainer_options,
        )
        self.module = module
        self._finish(pack(module, preparation, self.config_, history))

    def predict(self) -> pd.DataFrame:
        """Predicted mean of each gene at the target time, and its change from the last time of the history.

        Returns
        -------
        One row a gene, in the order of the AnnData, columns ``prediction`` and ``change``; unused genes are left out.
        """
        fitted = self._trained("predict")
        history = self.task.history()
        change = predict_network(self.module, fitted, history)
        names = self.adata.var_names[self.task.genes]
        table = pd.DataFrame({"prediction": history.last + change, "change": change}, index=names)
        return table.loc[self.adata.var_names[np.sort(self.task.genes)]]

    def to_adata(self, adata: AnnData, key: str = "forecast_genes") -> None:
        """Store the trained model inside an AnnData, as arrays and JSON.

        Parameters
        ----------
        adata
            An AnnData with the split of genes that was trained on. Written are ``uns["heldout"]["fits"][key]`` and
            ``uns["heldout"]["assignments"]``.
        key
            Name of the fit.
        """
        check_key("key", key)
        fit = self._fit(self._trained("to_adata"))
        partition = read_partition(adata, self.task.partition.key, axis="var")
        check_split(adata, fit, partition, key=key)
        write_fit(adata, key, fit, partition)

    @classmethod
    def from_adata(cls, adata: AnnData, key: str = "forecast_genes") -> GeneForecaster:
        """Rebuild a model that :meth:`to_adata` or :func:`heldout.tl.forecast_genes` stored.

        Parameters
        ----------
        adata
            The AnnData with the fit and its split of genes.
        key
            Name of the fit.
        """
        fit = read_fit(adata, key)
        if not fit.method.startswith("forecast_genes.") or "architecture" not in fit.info["fitted"]:
            msg = f"The fit {key!r} is a {fit.method}, not a network. Predict with heldout.tl.predict(adata, {key!r})."
            raise ValueError(msg)
        partition = read_partition(adata, fit.split_key, axis="var")
        check_split(adata, fit, partition, key=key)
        task_of_fit(adata, partition, fit)
        names = ("time_key", "at", "history", "group_key", "n_replicates", "layer")
        cls.setup_anndata(adata, split_key=fit.split_key, **{name: fit.info[name] for name in names})
        fitted = Fitted(fit.arrays, fit.info["fitted"], fit.history)
        config = GeneNetworkConfig(**fitted.info["config"])
        model = cls(adata, config, architecture=fitted.info["architecture"])
        model.module, model.seed_ = unpack(fitted), int(fit.config["seed"])
        model._finish(fitted)
        return model

    def _summary(self) -> str:
        times = ", ".join(f"{time:g}" for time in self.task.times)
        return f"GeneForecaster: {self.architecture_} on {times} → {self.task.at:g}; {self.config_}"

    def _trained(self, verb: str) -> Fitted:
        if self.fitted_ is None:
            msg = f"The model is not trained. Call train() before {verb}()."
            raise ValueError(msg)
        return self.fitted_

    def _finish(self, fitted: Fitted) -> None:
        """Set what scvi-tools sets after training."""
        self.fitted_, self.history_table_ = fitted, fitted.history
        columns = fitted.history.columns[1:]
        self.history_ = {name: fitted.history[["epoch", name]].set_index("epoch") for name in columns}
        self.is_trained_ = True

    def _fit(self, fitted: Fitted) -> Fit:
        published = "" if self.config_.residual else "_published"
        return self.task.pack(f"{self.architecture_}{published}", self.config_, fitted, seed=self.seed_)
