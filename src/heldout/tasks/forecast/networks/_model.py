"""The scvi-tools style class of the forecast wing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd
from scvi.data.fields import LayerField, NumericalObsField

from heldout._core.method import Fitted
from heldout._core.model import HeldoutModel
from heldout._core.partition import read_partition
from heldout._core.rng import generator
from heldout._core.threads import thread_policy
from heldout.tasks.forecast import METHODS
from heldout.tasks.forecast.lineages import check_method, lineages_key_of
from heldout.tasks.forecast.start import cells_at, space_of
from heldout.tasks.forecast.task import Task, check_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout._core.rng import Rng
    from heldout.tasks.forecast.config import FlowConfig, SequenceConfig


class CellForecaster(HeldoutModel):
    """Forecast cell states with a network: a flow, an LSTM or a feed-forward network.

    Training sees the train cells of the split, stopping sees val, and test is never read. Training also learns on past
    times how much of the predicted movement to apply. Most users want :func:`heldout.tl.forecast`, which runs this life
    cycle in one call and also has the baselines. The state is kept inside the AnnData (:meth:`to_adata`,
    :meth:`from_adata`) and not in a pickle.

    Parameters
    ----------
    adata
        AnnData that :meth:`setup_anndata` was called on.
    network
        ``flow``, ``lstm`` or ``feedforward``.
    config
        Options: a :class:`heldout.model.FlowConfig` for the flow, a :class:`heldout.model.SequenceConfig` for the
        others. If None, the defaults are used.

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

    _methods: ClassVar[Any] = METHODS
    _networks: ClassVar[tuple[str, ...]] = ("flow", "lstm", "feedforward")

    def __init__(
        self, adata: AnnData, network: str = "flow", config: FlowConfig | SequenceConfig | None = None
    ) -> None:
        super().__init__(adata)
        if network not in self._networks:
            msg = f"network={network!r} must be one of {', '.join(map(repr, self._networks))}."
            raise ValueError(msg)
        self.network, self._network = network, METHODS[network].load()()
        self.config_ = METHODS[network].check_config(config)
        split_key, options = self._setup_arguments()
        check_method(network, options["lineages_key"])
        self.task = Task.of(adata, read_partition(adata, split_key), **options)
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
        lineages_key: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Register the columns to use. See :func:`heldout.tl.forecast` for the meaning of each argument.

        Parameters
        ----------
        adata
            Annotated data, (n_obs × n_vars), with a split by time.
        time_key
            Numeric column of ``obs``.
        split_key
            Column of ``obs`` with the split.
        mask_var
            Bool column of ``var`` with the genes to use. If None, all genes are used.
        layer
            Layer to use instead of ``X``. If None, ``X`` is used.
        use_rep
            Name in ``obsm`` of a PCA by :func:`heldout.pp.pca` on the same split. If None, a PCA of the train cells is
            fitted.
        n_comps
            Number of components of the PCA that is fitted if ``use_rep`` is None.
        lineages_key
            Name of the chains by :func:`heldout.pp.lineages` that ``lstm`` and ``feedforward`` train on.
        **kwargs
            For scvi-tools only, which passes ``source_registry`` when it loads.
        """
        arguments = cls._get_setup_method_args(**locals())
        asked = {name: value for name, value in arguments["setup_args"].items() if name != "split_key"}
        Task.of(adata, read_partition(adata, split_key), **asked)
        fields = [LayerField("X", layer, is_count_data=False), NumericalObsField("time", time_key)]
        cls._register(adata, fields, arguments, **kwargs)

    @thread_policy()
    def predict(self, at: float, *, rng: Rng = 0) -> pd.DataFrame:
        """Predict cells at a time. The start cells are the train cells of the latest train time before ``at``.

        Parameters
        ----------
        at
            Time to predict.
        rng
            Seed or Generator. Networks that do not draw do not use it.

        Returns
        -------
        Expression of the predicted cells, one row for each start cell, one column for each gene, float32.
        """
        fit = self._trained("predict")
        rows, start_time, start = cells_at(self.adata, fit, check_at(fit, at), key="of this model")
        moved = self._network.predict(self._fitted, start, start_time, at, generator(rng))
        genes = space_of(fit).decode(moved).astype(np.float32)
        return pd.DataFrame(genes, index=self.adata.obs_names[rows], columns=fit.genes)

    def _train(self, *, seed: int, trainer_options: Mapping[str, Any]) -> Fit:
        data = self.task.data()
        self.task.check_method(self.network, self._network.min_times, self.config_)
        fitted = self._network.fit(data, self.config_, seed=seed, trainer_options=trainer_options)
        fit = self.task.pack(self.network, self.config_, fitted, data, seed=seed)
        self._restore(fit)
        return fit

    @classmethod
    def _from_fit(cls, adata: AnnData, fit: Fit, *, key: str) -> Self:
        options = {name: fit.info[name] for name in ("time_key", "layer", "use_rep", "n_comps")}
        cls.setup_anndata(adata, split_key=fit.split_key, mask_var=None, lineages_key=lineages_key_of(fit), **options)
        model = cls(adata, METHODS.method_of(fit).name, METHODS.config_of(fit))
        model.task = replace(model.task, columns=fit.columns(adata.var_names, key=key))
        return model

    def _restore(self, fit: Fit) -> None:
        self._fitted = Fitted.of(fit)
        self.module = self._network.module(self._fitted)
