"""The scvi-tools style class of the gene forecasts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args

import numpy as np
import pandas as pd
from scvi.data.fields import LayerField, NumericalObsField

from heldout._core.method import Fitted
from heldout._core.model import HeldoutModel
from heldout._core.partition import read_partition
from heldout._core.threads import thread_policy
from heldout.tasks.forecast_genes import METHODS
from heldout.tasks.forecast_genes.config import GeneNetworkConfig
from heldout.tasks.forecast_genes.networks._method import pack, predict_network, train_network, unpack
from heldout.tasks.forecast_genes.networks._module import Architecture
from heldout.tasks.forecast_genes.task import Task, task_of_fit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout._core.rng import Rng


class GeneForecaster(HeldoutModel):
    """Forecast what unseen genes do at a later time, with LSTMs or feed-forward networks.

    An ensemble of small networks reads the pseudobulk of a gene at each time (mean, spread, share of expressing cells)
    with the real times, and corrects a linear forecast. Training sees the train genes of the split, and stopping sees
    val. Values of test genes at the target time are never read. :func:`heldout.tl.forecast_genes` runs this life cycle
    in one call. The state is kept inside the AnnData (:meth:`to_adata`, :meth:`from_adata`) and not in a pickle.

    Parameters
    ----------
    adata
        AnnData that :meth:`setup_anndata` was called on.
    config
        Options. If None, the defaults of :class:`heldout.model.GeneNetworkConfig` are used.
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

    _methods: ClassVar[Any] = METHODS
    _networks: ClassVar[tuple[str, ...]] = ("lstm", "feedforward", "lstm_published", "feedforward_published")
    _axis: ClassVar[Literal["obs", "var"]] = "var"

    def __init__(
        self, adata: AnnData, config: GeneNetworkConfig | None = None, *, architecture: Architecture = "lstm"
    ) -> None:
        super().__init__(adata)
        if architecture not in get_args(Architecture):
            msg = f"architecture={architecture!r} must be one of {', '.join(map(repr, get_args(Architecture)))}."
            raise ValueError(msg)
        self.config_ = GeneNetworkConfig() if config is None else config
        self.architecture_ = architecture
        split_key, options = self._setup_arguments()
        self.task = Task.of(adata, read_partition(adata, split_key, axis="var"), **options)
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
        """Register the columns to use. See :func:`heldout.tl.forecast_genes` for the meaning of each argument.

        Parameters
        ----------
        adata
            Annotated data, (n_obs × n_vars), with a split of genes.
        time_key
            Numeric column of ``obs``.
        at
            Target time. If None, the last time.
        history
            Times that are used. If None, all times before ``at``.
        group_key
            Column of ``obs`` with the library.
        n_replicates
            Number of bootstrap replicates of each time.
        split_key
            Column of ``var`` with the split of the genes.
        layer
            Layer to use instead of ``X``. If None, ``X`` is used.
        **kwargs
            For scvi-tools only, which passes ``source_registry`` when it loads.
        """
        arguments = cls._get_setup_method_args(**locals())
        asked = {name: value for name, value in arguments["setup_args"].items() if name != "split_key"}
        Task.of(adata, read_partition(adata, split_key, axis="var"), **asked)
        fields = [LayerField("X", layer, is_count_data=False), NumericalObsField("time", time_key)]
        cls._register(adata, fields, arguments, **kwargs)

    def train(
        self,
        max_epochs: int | None = None,
        accelerator: str = "cpu",
        devices: int | str | list[int] = 1,
        *,
        rng: Rng = 0,
        trainer_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Train on the train genes, stop on val, and keep the weights of the best epoch.

        Parameters
        ----------
        max_epochs
            Maximum number of epochs. If None, that of the config is used.
        accelerator
            ``"cpu"``, ``"gpu"`` or another accelerator of Lightning. These networks are so small that the CPU is
            usually faster.
        devices
            Number of devices, or which ones. Several devices need ``trainer_options={"strategy": "ddp"}`` in a script.
        rng
            Seed or Generator of bootstrap, initial weights and batches. The global state of torch does not change.
        trainer_options
            Further options of Lightning's Trainer.
        """
        super().train(max_epochs, accelerator, devices, rng=rng, trainer_options=trainer_options)

    @thread_policy()
    def predict(self) -> pd.DataFrame:
        """Predict the mean of each gene at the target time, and its change from the last time of the history.

        Returns
        -------
        One row for each gene, in the order of the AnnData, with the columns ``prediction`` and ``change``. Unused genes
        are left out.
        """
        fitted = Fitted.of(self._trained("predict"))
        history = self.task.history()
        change = predict_network(self.module, fitted, history)
        names = self.adata.var_names[self.task.genes]
        table = pd.DataFrame({"prediction": history.last + change, "change": change}, index=names)
        return table.loc[self.adata.var_names[np.sort(self.task.genes)]]

    def _train(self, *, seed: int, trainer_options: Mapping[str, Any]) -> Fit:
        data = self.task.data(seed=seed)
        self.module, preparation, history = train_network(
            self.architecture_, data, self.config_, seed=seed, trainer_options=trainer_options
        )
        published = "" if self.config_.residual else "_published"
        fitted = pack(self.module, preparation, self.config_, history)
        return self.task.pack(f"{self.architecture_}{published}", self.config_, fitted, seed=seed)

    @classmethod
    def _from_fit(cls, adata: AnnData, fit: Fit, *, key: str) -> Self:
        task_of_fit(adata, read_partition(adata, fit.split_key, axis="var"), fit)
        names = ("time_key", "at", "history", "group_key", "n_replicates", "layer")
        cls.setup_anndata(adata, split_key=fit.split_key, **{name: fit.info[name] for name in names})
        return cls(adata, METHODS.config_of(fit), architecture=fit.info["fitted"]["architecture"])

    def _restore(self, fit: Fit) -> None:
        self.module = unpack(Fitted.of(fit))

    def _summary(self) -> str:
        times = ", ".join(f"{time:g}" for time in self.task.times)
        return f"GeneForecaster: {self.architecture_} on {times} → {self.task.at:g}; {self.config_}"
