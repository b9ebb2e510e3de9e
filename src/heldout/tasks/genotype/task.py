"""Build the data that genotype methods see from an AnnData and a split, and predict with stored fits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import store
from heldout._core.arrays import describe, describe_train, get_matrix, take
from heldout._core.chain import scaled_with, state_from_json, state_to_json
from heldout._core.genes import gene_columns
from heldout._core.method import Fitted
from heldout.splitting._components import components
from heldout.tasks.genotype import METHODS
from heldout.tasks.genotype.estimators.adapters import kept_predictions
from heldout.tasks.genotype.features import OF_GENES, Covariate, code, describe_covariates, features_of, qc_columns
from heldout.tasks.genotype.interface import Data
from heldout.tasks.genotype.rows import predict_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

    from heldout._core.arrays import MatrixState
    from heldout._core.fits import Fit
    from heldout._core.partition import Partition
    from heldout._core.types import MatrixOrDask


@dataclass(frozen=True)
class Task:
    """A genotype question on one AnnData: which labels, genes and units.

    Build it with :meth:`of`, which checks the input before any long computation.
    """

    adata: AnnData
    partition: Partition
    label_key: str
    classes: list[str]
    labels: np.ndarray
    columns: np.ndarray
    layer: str | None
    group_key: list[str] | None
    groups: np.ndarray | None
    auxiliary_key: str | None
    auxiliary_classes: list[str]
    auxiliary: np.ndarray | None
    covariates: list[Covariate]
    cell_types: Covariate | None
    _data: dict[str, Data] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        adata: AnnData,
        partition: Partition,
        *,
        label_key: str,
        auxiliary_key: str | None = None,
        group_key: str | Sequence[str] | None = None,
        covariate_keys: Sequence[str] | None = None,
        cell_type_key: str | None = None,
        mask_var: str | None = "highly_variable",
        layer: str | None = None,
    ) -> Task:
        """Check the columns, and number the classes."""
        partition.require("train", purpose="A genotype fit")
        used = partition.mask("train", "val", "test")
        series = store.column(adata, label_key, argument="label_key", allow_missing=True)
        if series[used].isna().any():
            store.column(adata[used], label_key, argument="label_key")
        names = store.as_names(series)
        train = partition.mask("train")
        classes = [name for name in store.ordered_names(series[used]) if name in set(names[used])]
        absent = sorted(set(classes) - set(names[train]))
        if len(set(names[train])) < 2 or absent:
            also = f", but val and test also have {store.some(absent)}" if absent else ""
            msg = (
                f"train has only {store.some(sorted(set(names[train])))} of label_key={label_key!r}{also}. A "
                "classifier needs every class in train. Make another split, with label_key= to keep all classes in "
                "train."
            )
            raise ValueError(msg)
        labels = code(names, classes)
        labels[~used] = -1
        auxiliary_classes, auxiliary = _auxiliary(adata, auxiliary_key, train)
        group_keys = [group_key] if isinstance(group_key, str) else group_key or partition.group_key
        return cls(
            adata=adata,
            partition=partition,
            label_key=label_key,
            classes=classes,
            labels=labels,
            columns=gene_columns(adata, mask_var),
            layer=layer,
            group_key=None if group_keys is None else list(group_keys),
            groups=None if group_keys is None else group_numbers(adata, group_keys),
            auxiliary_key=auxiliary_key,
            auxiliary_classes=auxiliary_classes,
            auxiliary=auxiliary,
            covariates=describe_covariates(adata, covariate_keys or [], train, argument="covariate_keys"),
            cell_types=None
            if cell_type_key is None
            else describe_covariates(adata, [cell_type_key], train, argument="cell_type_key", classes=True)[0],
        )

    @property
    def units(self) -> np.ndarray | None:
        """Number of the unit of each cell: groups that the split keeps together. None if groups are not known."""
        if self.group_key is None:
            return None
        kept_together = [key for key in self.partition.group_key or () if key in self.adata.obs]
        return group_numbers(self.adata, list(dict.fromkeys([*self.group_key, *kept_together])))

    def data(self, features: str) -> Data:
        """Arrays for a method that reads ``features``: genes, QC measures, covariates or cell types."""
        if features not in self._data:
            self._data[features] = self._read(features)
        return self._data[features]

    def _read(self, features: str) -> Data:
        X: MatrixOrDask = (
            take(get_matrix(self.adata, self.layer, dask=True), None, self.columns)
            if features in OF_GENES
            else features_of(self.adata, features, self._described(features), layer=self.layer)
        )
        return Data(
            X=X,
            labels=self.labels,
            n_classes=len(self.classes),
            train=self.partition.rows("train"),
            val=self.partition.rows("val"),
            groups=self.groups,
            units=self.units,
            auxiliary=self.auxiliary,
            n_auxiliary=len(self.auxiliary_classes),
            genes=self.adata.var_names[self.columns].to_numpy(dtype=object) if features in OF_GENES else None,
            cell_types=None if self.cell_types is None else self.cell_types.codes(self.adata),
            n_cell_types=0 if self.cell_types is None else len(self.cell_types.levels),
        )

    def _described(self, features: str) -> dict[str, Any]:
        """What is needed to read the same features from other cells, as JSON values."""
        if features == "covariates" and not self.covariates:
            msg = (
                "covariate_logistic needs covariates. Pass covariate_keys, columns of obs such as the day or the batch."
            )
            raise ValueError(msg)
        if features == "cell_types" and self.cell_types is None:
            msg = (
                "composition_logistic needs cell types. Pass cell_type_key, a column of obs with the type of each cell."
            )
            raise ValueError(msg)
        return {
            "qc_columns": qc_columns(self.adata) if features == "qc" else [],
            "covariates": [asdict(covariate) for covariate in self.covariates],
            "cell_types": None if self.cell_types is None else asdict(self.cell_types),
        }

    def pack(self, method: str, features: str, config: Any, fitted: Fitted, *, seed: int) -> Fit:
        """Turn the result of a method into a fit that can be stored."""
        X = get_matrix(self.adata, self.layer, dask=True)
        info = {
            "label_key": self.label_key,
            "classes": self.classes,
            "group_key": self.group_key,
            "auxiliary_key": self.auxiliary_key,
            "auxiliary_classes": self.auxiliary_classes,
            "layer": self.layer,
            "features": features,
            **self._described(features),
            "input": state_to_json(describe_train(X, self.partition.mask("train"))[1]),
            "scaled_with": scaled_with(self.adata, self.layer),
        }
        genes = self.adata.var_names[self.columns].to_numpy(dtype=object) if features in OF_GENES else np.array([])
        return METHODS.to_fit(method, config, fitted, self.partition, seed=seed, genes=genes, info=info)


def group_numbers(adata: AnnData, group_key: str | Sequence[str]) -> np.ndarray:
    """Group number of each cell. Groups are numbered in the order of their names."""
    return store.factorize(group_names(adata, group_key))[1]


def group_names(adata: AnnData, group_key: str | Sequence[str]) -> np.ndarray:
    """Name of the group of each cell, (n_obs,) text."""
    group_keys = [group_key] if isinstance(group_key, str) else group_key
    columns = [store.as_names(store.column(adata, key, argument="group_key")) for key in group_keys]
    return components(*columns)


def group_labels(names: np.ndarray, groups: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Class number of each group, (G,), from those of its cells.

    Raises
    ------
    ValueError
        If a group has cells of two classes.
    """
    of_group = np.zeros(len(names), dtype=np.int64)
    of_group[groups] = labels
    wrong = np.flatnonzero(of_group[groups] != labels)
    if len(wrong):
        first = groups[wrong[0]]
        both = [classes[i] for i in np.unique(labels[groups == first])]
        msg = (
            f"{len(np.unique(groups[wrong]))} of {len(names)} groups have cells of two classes (e.g. {names[first]!r} "
            f"has {store.some(both)}), so these groups have no label. Pass a finer group_key, e.g. the library."
        )
        raise ValueError(msg)
    return of_group


def predict(fit: Fit, adata: AnnData, *, key: str, layer: str | None = None) -> np.ndarray:
    """Log-probabilities of all cells with a stored fit, (n_obs × n_classes) float32."""
    implementation, fitted = METHODS.implementation_of(fit), Fitted.of(fit)
    genes = fit.info["features"] in OF_GENES
    columns = fit.columns(adata.var_names, key=key) if genes else None
    X = (
        get_matrix(adata, layer, dask=True)
        if genes
        else features_of(adata, fit.info["features"], fit.info, layer=layer)
    )
    if METHODS.is_adapter(METHODS.method_of(fit).name) and not fitted.info["linear"]:
        return kept_predictions(fitted, adata, take(X, None, columns), key=key)
    if not implementation.by_group:
        return predict_all(implementation, fitted, X, None, columns)
    if fit.info["group_key"] is None:
        msg = f"The fit {key!r} predicts whole groups, but it has no group_key. Fit again, with group_key."
        raise ValueError(msg)
    known = fit.info["features"] == "genes_and_types" and fit.info["cell_types"] is not None
    types = Covariate(**fit.info["cell_types"]).codes(adata) if known else None
    return predict_all(implementation, fitted, X, group_numbers(adata, fit.info["group_key"]), columns, types)


def shown_name(fit: Fit) -> str:
    """Name of the method of a fit in tables: that of the registry, or the class of an estimator."""
    name = METHODS.method_of(fit).name
    return str(fit.info["fitted"]["name"]) if METHODS.is_adapter(name) else name


def _auxiliary(adata: AnnData, auxiliary_key: str | None, train: np.ndarray) -> tuple[list[str], np.ndarray | None]:
    if auxiliary_key is None:
        return [], None
    series: pd.Series = store.column(adata, auxiliary_key, argument="auxiliary_key")
    names = store.as_names(series)
    classes = [name for name in store.ordered_names(series) if name in set(names[train])]
    if len(classes) < 2:
        msg = (
            f"auxiliary_key={auxiliary_key!r} has only one value in train ({classes[0]!r}); an auxiliary head needs "
            "two. Leave it out, or choose another column."
        )
        raise ValueError(msg)
    return classes, code(names, classes)


def check_prepared(fit: Fit, adata: AnnData, *, key: str, layer: str | None) -> None:
    """Refuse cells that were not prepared as the cells that the fit was trained on."""
    if fit.info["features"] not in OF_GENES:
        return
    before, now = state_from_json(fit.info["input"]), describe(get_matrix(adata, layer, dask=True))
    if fit.info["scaled_with"] != scaled_with(adata, layer):
        was = "scaled" if fit.info["scaled_with"] else "not scaled"
        differs = f"The fit {key!r} was trained on a matrix that was {was} by pp.scale; adata was prepared differently"
    elif _conflict(before, now):
        differs = f"The fit {key!r} was trained on {before}; adata holds {now}"
    else:
        return
    msg = (
        f"{differs}. Prepare these cells in the same way: call heldout.pp.replay(adata, reference) on the raw cells, "
        "with the AnnData that the fit was made on as reference."
    )
    raise ValueError(msg)


def _conflict(before: MatrixState, now: MatrixState) -> bool:
    """Whether two matrices were prepared differently. If genes are missing, a common total cannot be seen."""
    if "counts" in (before.kind, now.kind) or (before.total and now.total):
        return before.kind != now.kind or not np.isclose(before.total or 0, now.total or 0, rtol=1e-2)
    return False
