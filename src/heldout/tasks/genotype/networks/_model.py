"""The scvi-tools style class of the genotype wing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scvi.data import AnnDataManager
from scvi.data.fields import CategoricalObsField, LayerField
from scvi.model.base import BaseModelClass

from heldout._core.chain import check_steps
from heldout._core.fits import Fit, check_split, read_fit, write_fit
from heldout._core.keys import check_key
from heldout._core.no_pickle import NoPickle
from heldout._core.partition import read_partition
from heldout._core.rng import Rng, seed_of
from heldout._core.training import local_seed
from heldout.tasks.genotype.config import AttentionConfig, MLPConfig
from heldout.tasks.genotype.interface import Fitted
from heldout.tasks.genotype.networks._method import (
    build_module,
    config_of,
    fit_members,
    pack,
    unpack_members,
)
from heldout.tasks.genotype.task import Task, check_prepared, predict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData


class GenotypeClassifier(NoPickle, BaseModelClass):
    """Classify cells as coming from one of two or more groups of people, e.g. patients and controls.

    The class of the options chooses the network. Model A is a multilayer perceptron, [linear → batch norm → activation → dropout] × depth with a sigmoid (softmax for
    more than two classes) and cross-entropy. With ``auxiliary_key`` it is Model B: the same trunk with a second,
    softmax head, loss = label loss + alpha × auxiliary loss. :class:`heldout.model.AttentionConfig` makes it classify whole groups, by gated attention
    over their cells. Training sees the train cells of the split, stopping sees
    val, test is never read.

    Most users want :func:`heldout.tl.genotype`, which runs this life cycle in one call. It differs from other
    scvi-tools models in three ways: the split is a column of ``obs``; the state is kept inside the AnnData
    (:meth:`to_adata`, :meth:`from_adata`) and not in a pickle; Adam runs with the eps of torch (1e-8) and without weight
    decay.

    Parameters
    ----------
    adata
        AnnData that :meth:`setup_anndata` was called on.
    config
        Options, a :class:`heldout.model.MLPConfig` (its defaults if not given) or :class:`heldout.model.AttentionConfig`.

    Notes
    -----
    The LMNA classifier study built these models in Keras; here they are torch's. So initial weights (Kaiming uniform, not
    Glorot), batch norm (momentum 0.1 and eps 1e-5, not 0.01 and 1e-3) and Adam (eps 1e-8, not 1e-7) differ, and the day
    head has an output for each day that train contains, not for all seven: the others could never be learnt.

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

    def __init__(self, adata: AnnData, config: MLPConfig | None = None) -> None:
        super().__init__(adata)
        self.config_ = MLPConfig() if config is None else config
        self.seed_ = 0
        self.history_table_ = pd.DataFrame()
        arguments = self.adata_manager.registry["setup_args"]
        self.task = Task.of(
            adata,
            read_partition(adata, arguments["split_key"]),
            **{name: value for name, value in arguments.items() if name != "split_key"},
        )
        with local_seed(0):  # replaced by train(), which seeds it
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
        """Register the columns to use; see :func:`heldout.tl.genotype` for what each argument means.

        Parameters
        ----------
        adata
            Annotated data, (n_obs × n_vars), with a split.
        label_key
            Column of ``obs`` that is predicted.
        auxiliary_key
            Column of ``obs`` for the second head.
        group_key
            Column(s) of ``obs`` with the independent unit; taken from the split if not given.
        split_key
            The split.
        mask_var
            Bool column of ``var`` with the genes to use.
        layer
            Layer to use instead of ``X``.
        **kwargs
            Only for scvi-tools itself, which passes ``source_registry`` when it loads.
        """
        arguments = cls._get_setup_method_args(**locals())
        partition = read_partition(adata, split_key)
        asked = {name: value for name, value in arguments["setup_args"].items() if name != "split_key"}
        Task.of(adata, partition, **asked)
        fields = [LayerField("X", layer, is_count_data=False), CategoricalObsField("labels", label_key)]
        if auxiliary_key is not None:
            fields.append(CategoricalObsField("auxiliary", auxiliary_key))
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
        """Train on the train cells, stop on val, keep the best epoch's weights.

        Parameters
        ----------
        max_epochs
            Most epochs; those of the config if not given.
        rng
            Seed or Generator of initial weights, dropout and batches; torch's global state is left alone.
        trainer_options
            Options of Lightning's Trainer (``accelerator``, ``devices``, ``strategy``, …). With ``strategy="ddp"`` in a
            script, several devices share out the rows of each batch.

        Raises
        ------
        ValueError
            If the strategy forks or spawns processes, which would keep weights and history to themselves.
        """
        if max_epochs is not None:
            self.config_ = replace(self.config_, max_epochs=max_epochs)
        check_steps(self.adata, self.task.partition)
        self.seed_ = seed_of(rng)
        data = self.task.data("genes")
        self.members_, history = fit_members(data, self.config_, seed=self.seed_, trainer_options=trainer_options)
        self.module = self.members_[0]
        self._finish(history)

    def predict(self, adata: AnnData | None = None) -> pd.DataFrame:
        """Probabilities of the classes.

        Parameters
        ----------
        adata
            Cells prepared as those of the model; its own if not given. Genes may stand in another order.

        Returns
        -------
        One row a cell, one column a class, float32.

        Raises
        ------
        ValueError
            If genes are missing, or the cells were prepared otherwise.
        """
        self._check_trained("predict")
        adata = self.adata if adata is None else adata
        fit = self._fit()
        check_prepared(fit, adata, key="of this model", layer=self.task.layer)
        log_probability = predict(fit, adata, key="of this model", layer=self.task.layer)
        return pd.DataFrame(np.exp(log_probability), index=adata.obs_names, columns=self.task.classes)

    def to_adata(self, adata: AnnData, key: str = "genotype") -> None:
        """Store the trained model inside an AnnData, as arrays and JSON.

        Parameters
        ----------
        adata
            An AnnData with the split that was trained on. Written are ``uns["heldout"]["fits"][key]`` and
            ``uns["heldout"]["assignments"]``.
        key
            Name of the fit.

        Raises
        ------
        ValueError
            If the model is not trained, or ``adata`` has another split.
        """
        check_key("key", key)
        self._check_trained("to_adata")
        fit, partition = self._fit(), read_partition(adata, self.task.partition.key)
        check_split(adata, fit, partition, key=key)
        write_fit(adata, key, fit, partition)

    @classmethod
    def from_adata(cls, adata: AnnData, key: str = "genotype") -> GenotypeClassifier:
        """Rebuild a model that :meth:`to_adata` or :func:`heldout.tl.genotype` stored.

        Parameters
        ----------
        adata
            The AnnData with the fit, its split and its labels.
        key
            Name of the fit.

        Raises
        ------
        ValueError
            If the fit is not there, is not of this class, or was made on another split, genes or preparation.
        """
        fit = read_fit(adata, key)
        if fit.method not in ("genotype.mlp", "genotype.attention"):
            msg = f"The fit {key!r} is a {fit.method}, not a network. Predict with heldout.tl.predict(adata, {key!r})."
            raise ValueError(msg)
        check_split(adata, fit, read_partition(adata, fit.split_key), key=key)
        info = fit.info
        names = ("label_key", "auxiliary_key", "group_key", "layer")
        cls.setup_anndata(adata, split_key=fit.split_key, mask_var=None, **{name: info[name] for name in names})
        options = {name: value for name, value in fit.config.items() if name != "seed"}
        model = cls(adata, config_of(options))
        if model.task.classes != info["classes"]:
            msg = f"The fit {key!r} knows the classes {info['classes']}, adata has {model.task.classes}."
            raise ValueError(msg)
        model.task = replace(model.task, columns=fit.columns(adata.var_names, key=key))
        model.members_ = unpack_members(Fitted(fit.arrays, info["fitted"], fit.history))
        model.module = model.members_[0]
        model._model_summary_string = model._summary()
        model.seed_ = int(fit.config["seed"])
        model._finish(fit.history)
        return model

    def _summary(self) -> str:
        heads = " and ".join(filter(None, [self.task.label_key, self.task.auxiliary_key]))
        return f"GenotypeClassifier: {len(self.task.columns)} genes → {heads}; {self.config_}"

    def _check_trained(self, verb: str) -> None:
        if not self.is_trained_:
            msg = f"The model is not trained. Call train() before {verb}()."
            raise ValueError(msg)

    def _finish(self, history: pd.DataFrame) -> None:
        """Set what scvi-tools sets after training."""
        self.history_table_ = history
        self.history_ = {name: history[["epoch", name]].set_index("epoch") for name in history.columns[1:]}
        self.train_indices_ = self.task.partition.rows("train")
        self.validation_indices_ = self.task.partition.rows("val")
        self.test_indices_ = self.task.partition.rows("test")
        self.is_trained_ = True

    def _fit(self) -> Fit:
        fitted = pack(self.members_, self.config_, self.history_table_)
        method = "attention" if isinstance(self.config_, AttentionConfig) else "mlp"
        return self.task.pack(method, "genes", self.config_, fitted, seed=self.seed_)
