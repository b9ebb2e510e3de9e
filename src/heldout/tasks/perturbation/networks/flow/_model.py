"""The scvi-tools style class of the flow of perturbed cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from scvi.data.fields import CategoricalObsField, LayerField

from heldout._core.genes import DEFAULT
from heldout._core.method import Fitted
from heldout._core.model import HeldoutModel
from heldout._core.partition import read_partition
from heldout._core.threads import thread_policy
from heldout.splitting._read_screen import ScreenNames
from heldout.tasks.perturbation import METHODS
from heldout.tasks.perturbation.predict import predicted_cells
from heldout.tasks.perturbation.task import Task, task_of_fit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout._core.rng import Rng
    from heldout.tasks.perturbation.config_networks import PerturbationFlowConfig


class PerturbationFlow(HeldoutModel):
    """Generate cells of perturbations by conditional flow matching, in the space of genes.

    Training sees the train cells of the split, stopping sees the perturbed val cells, and test is never read. Most
    users want :func:`heldout.tl.perturbation` with ``method="flow"``, which runs this life cycle in one call. The state
    is kept inside the AnnData (:meth:`to_adata`, :meth:`from_adata`) and not in a pickle.

    Parameters
    ----------
    adata
        AnnData that :meth:`setup_anndata` was called on.
    config
        Options, a :class:`heldout.model.PerturbationFlowConfig`. If None, the defaults are used.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.perturbations_simulated(n_singles=12, n_doubles=8, n_genes=100, n_cells=20)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.5)
    >>> ho.model.PerturbationFlow.setup_anndata(adata, "perturbation")
    >>> model = ho.model.PerturbationFlow(adata, ho.model.PerturbationFlowConfig(width=16, max_epochs=1))
    >>> model.train()
    >>> model.predict(n_cells=5).shape
    (20, 100)
    >>> model.to_adata(adata)
    >>> again = ho.model.PerturbationFlow.from_adata(adata)
    """

    _methods: ClassVar[Any] = METHODS
    _networks: ClassVar[tuple[str, ...]] = ("flow",)

    def __init__(self, adata: AnnData, config: PerturbationFlowConfig | None = None) -> None:
        super().__init__(adata)
        self.config_ = METHODS["flow"].check_config(config)
        split_key, options = self._setup_arguments()
        self.task = Task.of(adata, read_partition(adata, split_key), **options)
        self._network = METHODS["flow"].load()()
        self._model_summary_string = f"PerturbationFlow: {len(self.task.columns)} genes; {self.config_}"
        self.init_params_ = self._get_init_params(locals())

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        perturbation_key: str,
        *,
        control: str | Sequence[str] | None = None,
        targets: Mapping[str, str | Sequence[str]] | None = None,
        separator: str | None = "+",
        covariate_keys: str | Sequence[str] | None = None,
        dose_key: str | None = None,
        split_key: str = "split",
        mask_var: str | None = DEFAULT,
        layer: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Register the columns to use. See :func:`heldout.tl.perturbation` for the meaning of each argument.

        Parameters
        ----------
        adata
            Annotated data, (n_obs × n_vars), log-normalised, with a split.
        perturbation_key
            Column of ``obs`` with the perturbation of each cell.
        control
            Name(s) of the controls. If None, those of the split, or ``"control"``.
        targets
            Targets of each name (guide).
        separator
            Text between the targets of a combination. None if each name is one target.
        covariate_keys
            Column(s) of ``obs`` that make up the context.
        dose_key
            Numeric column of ``obs`` with the dose.
        split_key
            Column of ``obs`` with the split.
        mask_var
            Bool column of ``var`` with the genes to use. The default is used if it exists; None uses all genes.
        layer
            Layer to use instead of ``X``. If None, ``X`` is used.
        **kwargs
            For scvi-tools only, which passes ``source_registry`` when it loads.
        """
        arguments = cls._get_setup_method_args(**locals())
        asked = {name: value for name, value in arguments["setup_args"].items() if name != "split_key"}
        Task.of(adata, read_partition(adata, split_key), **asked)
        fields = [LayerField("X", layer, is_count_data=False), CategoricalObsField("perturbation", perturbation_key)]
        cls._register(adata, fields, arguments, **kwargs)

    @thread_policy()
    def predict(
        self,
        perturbations: Sequence[str] | None = None,
        *,
        contexts: Sequence[Any] | None = None,
        n_cells: int = 200,
        rng: Rng = 0,
    ) -> AnnData:
        """Generate cells. See :func:`heldout.tl.predict_cells`.

        Parameters
        ----------
        perturbations
            Names of the perturbations. If None, those of the test cells.
        contexts
            Values of the covariates of the contexts. If None, all contexts.
        n_cells
            Cells of each perturbation in each context.
        rng
            Seed or Generator of the draws.

        Returns
        -------
        A new AnnData with ``n_cells`` rows for each perturbation and context, log-normalised expression in ``X``.
        """
        return predicted_cells(
            self.adata,
            self._trained("predict"),
            key="of this model",
            perturbations=perturbations,
            contexts=contexts,
            n_cells=n_cells,
            rng=rng,
        )

    def _train(self, *, seed: int, trainer_options: Mapping[str, Any]) -> Fit:
        fit = self.task.fit("flow", self.config_, seed=seed, trainer_options=trainer_options)
        fit = self.task.calibrated(fit)
        self._restore(fit)
        return fit

    @classmethod
    def _from_fit(cls, adata: AnnData, fit: Fit, *, key: str) -> Self:
        names, partition = ScreenNames.from_json(fit.info["names"]), read_partition(adata, fit.split_key)
        options: dict[str, Any] = {}
        if partition.scheme != "perturbations":  # a split of perturbations knows these
            options = {
                "control": names.control,
                "targets": {name: list(of_name) for name, of_name in names.known.items()} or None,
                "separator": names.separator,
                "covariate_keys": names.covariate_keys or None,
                "dose_key": names.dose_key,
            }
        layer, split_key = fit.info["layer"], fit.split_key
        cls.setup_anndata(adata, names.perturbation_key, split_key=split_key, mask_var=None, layer=layer, **options)
        model = cls(adata, METHODS.config_of(fit))
        model.task = task_of_fit(adata, partition, fit, key=key)
        return model

    def _restore(self, fit: Fit) -> None:
        self.module = self._network.module(Fitted.of(fit))
