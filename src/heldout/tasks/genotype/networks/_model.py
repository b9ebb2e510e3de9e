"""The scvi-tools style class of the genotype wing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd
from scvi.data.fields import CategoricalObsField, LayerField

from heldout._core.method import Fitted
from heldout._core.model import HeldoutModel
from heldout._core.partition import read_partition
from heldout._core.threads import thread_policy
from heldout._core.training import local_seed
from heldout.tasks.genotype import METHODS
from heldout.tasks.genotype.config import AttentionConfig, MLPConfig
from heldout.tasks.genotype.networks._method import build_module, fit_members, unpack_members
from heldout.tasks.genotype.task import Task, check_prepared, predict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from heldout._core.fits import Fit


class GenotypeClassifier(HeldoutModel):
    """Classify cells by the class of the person they come from, e.g. patients and controls.

    The class of the options chooses the network. :class:`heldout.model.MLPConfig` makes Model A, a multilayer
    perceptron: [linear → batch norm → activation → dropout] × depth, a sigmoid (softmax for more than two classes), and
    cross-entropy. With ``auxiliary_key`` it makes Model B: the same trunk with a second, softmax head, and loss = label
    loss + alpha × auxiliary loss. :class:`heldout.model.AttentionConfig` makes a network that classifies whole groups,
    by gated attention over their cells. Training sees the train cells of the split. The log-loss of left-out groups
    decides when it stops: of the groups of val, or, if val does not have every class, of inner folds over the groups of
    train. Test is never read.

    Most users want :func:`heldout.tl.genotype`, which runs this life cycle in one call. The class differs from other
    scvi-tools models in three ways. The split is a column of ``obs``. The state is kept inside the AnnData
    (:meth:`to_adata`, :meth:`from_adata`) and not in a pickle. Adam runs with the eps of torch (1e-8) and decoupled
    weight decay.

    Parameters
    ----------
    adata
        AnnData that :meth:`setup_anndata` was called on.
    config
        Options, a :class:`heldout.model.MLPConfig` or :class:`heldout.model.AttentionConfig`. If None, the defaults of
        MLPConfig are used.

    Notes
    -----
    The LMNA classifier study built these models in Keras, with other options; ``grid="lmna"`` of
    :func:`heldout.tl.sweep` has those of the study. Here they are built in torch. So some details differ: initial
    weights (Kaiming uniform, not Glorot), batch norm (momentum 0.1 and eps 1e-5, not 0.01 and 1e-3) and Adam
    (eps 1e-8, not 1e-7). The day head has an output for each day in train, not for all seven days, because other days
    cannot be learnt.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.scale(adata)
    >>> ho.model.GenotypeClassifier.setup_anndata(adata, label_key="genotype")
    >>> model = ho.model.GenotypeClassifier(adata, ho.model.MLPConfig(max_epochs=2))
    >>> model.train()
    >>> model.predict().columns.tolist()
    ['control', 'patient']
    >>> model.to_adata(adata, "genotype")
    >>> again = ho.model.GenotypeClassifier.from_adata(adata, "genotype")
    """

    _methods: ClassVar[Any] = METHODS
    _networks: ClassVar[tuple[str, ...]] = ("mlp", "attention")

    def __init__(self, adata: AnnData, config: MLPConfig | None = None) -> None:
        super().__init__(adata)
        self.config_ = MLPConfig() if config is None else config
        split_key, options = self._setup_arguments()
        self.task = Task.of(adata, read_partition(adata, split_key), **options)
        with local_seed(0):  # train() replaces it
            self.module = build_module(
                len(self.task.columns), len(self.task.classes), self.config_, len(self.task.auxiliary_classes)
            )
        self.members_ = [self.module]
        self._model_summary_string = self._summary()
        self.init_params_ = self._get_init_params(locals())

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        label_key: str = "genotype",
        *,
        auxiliary_key: str | None = None,
        group_key: str | Sequence[str] | None = None,
        split_key: str = "split",
        mask_var: str | None = "highly_variable",
        layer: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Register the columns to use. See :func:`heldout.tl.genotype` for the meaning of each argument.

        Parameters
        ----------
        adata
            Annotated data, (n_obs × n_vars), with a split.
        label_key
            Column of ``obs`` that is predicted.
        auxiliary_key
            Column of ``obs`` for the second head.
        group_key
            Column(s) of ``obs`` with the independent unit; if None, that of the split is used.
        split_key
            Column of ``obs`` with the split.
        mask_var
            Bool column of ``var`` with the genes to use. If None, all genes are used.
        layer
            Layer to use instead of ``X``. If None, ``X`` is used.
        **kwargs
            For scvi-tools only, which passes ``source_registry`` when it loads.
        """
        arguments = cls._get_setup_method_args(**locals())
        asked = {name: value for name, value in arguments["setup_args"].items() if name != "split_key"}
        Task.of(adata, read_partition(adata, split_key), **asked)
        fields = [LayerField("X", layer, is_count_data=False), CategoricalObsField("labels", label_key)]
        if auxiliary_key is not None:
            fields.append(CategoricalObsField("auxiliary", auxiliary_key))
        cls._register(adata, fields, arguments, **kwargs)

    @thread_policy()
    def predict(self, adata: AnnData | None = None) -> pd.DataFrame:
        """Predict the probabilities of the classes.

        Parameters
        ----------
        adata
            Cells that were prepared in the same way as those of the model. If None, the cells of the model are used.
            Genes may be in another order.

        Returns
        -------
        One row for each cell, one column for each class, float32.

        Raises
        ------
        ValueError
            If genes are missing, or the cells were prepared differently.
        """
        fit = self._trained("predict")
        adata = self.adata if adata is None else adata
        check_prepared(fit, adata, key="of this model", layer=self.task.layer)
        log_probability = predict(fit, adata, key="of this model", layer=self.task.layer)
        return pd.DataFrame(np.exp(log_probability), index=adata.obs_names, columns=self.task.classes)

    def _train(self, *, seed: int, trainer_options: Mapping[str, Any]) -> Fit:
        self.members_, fitted = fit_members(
            replace(self.task).data("genes"), self.config_, seed=seed, trainer_options=trainer_options
        )
        self.module = self.members_[0]
        method = "attention" if isinstance(self.config_, AttentionConfig) else "mlp"
        return self.task.pack(method, "genes", self.config_, fitted, seed=seed)

    @classmethod
    def _from_fit(cls, adata: AnnData, fit: Fit, *, key: str) -> Self:
        names = ("label_key", "auxiliary_key", "group_key", "layer")
        cls.setup_anndata(adata, split_key=fit.split_key, mask_var=None, **{name: fit.info[name] for name in names})
        model = cls(adata, METHODS.config_of(fit))
        if model.task.classes != fit.info["classes"]:
            msg = (
                f"The fit {key!r} has the classes {fit.info['classes']}, adata has {model.task.classes}. Use the "
                "AnnData that the fit was made on, or fit again."
            )
            raise ValueError(msg)
        model.task = replace(model.task, columns=fit.columns(adata.var_names, key=key))
        return model

    def _restore(self, fit: Fit) -> None:
        self.members_ = unpack_members(Fitted.of(fit), self.config_)
        self.module = self.members_[0]
        self._model_summary_string = self._summary()

    def _summary(self) -> str:
        heads = " and ".join(filter(None, [self.task.label_key, self.task.auxiliary_key]))
        return f"GenotypeClassifier: {len(self.task.columns)} genes → {heads}; {self.config_}"
