"""From an AnnData and a split to what the perturbation methods see, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import store
from heldout._core.arrays import MatrixState, describe, get_matrix
from heldout._core.fits import Fit
from heldout._core.genes import DEFAULT, gene_columns
from heldout._core.lazy import to_memory
from heldout._core.method import Fitted
from heldout._core.parents import PARENTS
from heldout._core.types import is_dask
from heldout.splitting._read_screen import CONTROL, Screen, ScreenNames, reread_screen, screen_of
from heldout.tasks.perturbation import METHODS
from heldout.tasks.perturbation.interface import Data, Profiles
from heldout.tasks.perturbation.judging.calibration import calibrate, scale_of, seen_targets, stratum
from heldout.tasks.perturbation.judging.resampling import half_difference
from heldout.tasks.perturbation.observed import Cells, Measured, Observed
from heldout.tasks.perturbation.predictions import Controls
from heldout.tasks.perturbation.side_information import side_information
from heldout.tasks.perturbation.start import SEEN, foreign_parents, seen_pairs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from heldout._core.partition import Partition
    from heldout._core.types import MatrixOrDask
    from heldout.tasks.perturbation.pairs import Pairs
    from heldout.tasks.perturbation.predictions import Prediction
    from heldout.tasks.perturbation.side_information import Replacement
    from heldout.tasks.perturbation.start import Start

DOSES = "doses"
"""Name in ``info`` of a fit: the sorted doses of train, if the screen has doses."""

_SAMPLE = 2000


@dataclass(frozen=True)
class Task:
    """One screen with its split: which genes and cells, and how they are perturbed. Build it with :meth:`of`."""

    adata: AnnData
    partition: Partition
    screen: Screen
    columns: np.ndarray
    layer: str | None
    mask_var: str | None

    @classmethod
    def of(
        cls,
        adata: AnnData,
        partition: Partition,
        perturbation_key: str | None = None,
        *,
        control: str | Sequence[str] | None = None,
        targets: str | Mapping[str, str | Sequence[str]] | None = None,
        separator: str | None = "+",
        covariate_keys: str | Sequence[str] | None = None,
        dose_key: str | None = None,
        mask_var: str | None = DEFAULT,
        layer: str | None = None,
    ) -> Task:
        """Check the columns, the partitions and the values before long work starts."""
        partition.require("train", purpose="A perturbation method")
        screen = screen_of(
            adata,
            partition,
            perturbation_key,
            control=control,
            targets=targets,
            separator=separator,
            covariate_keys=covariate_keys,
            dose_key=dose_key,
        )
        task = cls(adata, partition, screen, gene_columns(adata, mask_var), layer, mask_var)
        task.check_train()
        check_logged(task.matrix(), layer)
        return task

    @property
    def genes(self) -> np.ndarray:
        """Names of the genes, (G,)."""
        return self.adata.var_names[self.columns].to_numpy(dtype=object)

    def matrix(self) -> MatrixOrDask:
        """The matrix, or the dask array."""
        return get_matrix(self.adata, self.layer, dask=True)

    @cached_property
    def cells(self) -> Measured:
        """All cells with their perturbations and contexts."""
        return Measured(self.matrix(), self.columns, self.screen, self.adata.obs_names)

    def observed(self, *partitions: str) -> Observed:
        """Pseudobulks of the cells of some partitions."""
        found = self.cells.observe(self.partition.mask(*partitions))
        bad = ~(
            np.isfinite(found.mean).all(axis=0)
            & (np.isfinite(found.control) | (found.control_n == 0)[:, None]).all(axis=0)
        )
        if bad.any():
            msg = (
                f"{int(bad.sum())} genes (e.g. {store.some(self.genes[bad])}) have NaN or infinite values. Find them "
                "with np.isfinite and drop or repair those cells or genes."
            )
            raise ValueError(msg)
        return found

    def data(self, train: Observed) -> Data:
        """What the methods may see, without side information."""
        cells, in_train, in_val = self.cells, self.partition.mask("train"), self.partition.mask("val")
        profiles = Profiles(
            pairs=train.pairs,
            change=train.change,
            n_cells=train.n_cells,
            control=train.control,
            half_difference=cache(lambda: half_difference(cells, in_train, train)),
            control_n=train.control_n,
        )
        contexts = tuple(self.screen.names.contexts)
        return Data(self.genes, profiles, cells=cache(lambda: Cells.of(cells, in_train, in_val)), contexts=contexts)

    def controls(self, mean: np.ndarray) -> Controls:
        """The train controls; their means are given, their cells are read from the matrix when they are needed."""
        is_control = self.partition.mask("train") & (self.screen.of_cell == CONTROL)

        def rows_of(context: int) -> np.ndarray:
            order = self.cells.order
            return order[(is_control & (self.screen.context == context))[order]]

        return Controls.of(self.cells.X, self.columns, mean, rows_of)

    def fit(
        self,
        method: str,
        config: Any = None,
        *,
        seed: int = 0,
        data: Data | None = None,
        replacement: Replacement | None = None,
        start: Start | None = None,
        trainer_options: Mapping[str, Any] | None = None,
    ) -> Fit:
        """Fit one method of the registry on the train perturbations, from ``start`` if it is given.

        ``trainer_options`` are options of Lightning's Trainer, for networks only.
        """
        config = METHODS[method].check_config(config)
        data = self.data(self.observed("train")) if data is None else data
        separator = self.screen.names.separator or "+"
        joined = {separator.join(members) for members in self.screen.perturbations}
        every = sorted(joined | {target for members in self.screen.perturbations for target in members})
        extra = side_information(self.adata, self.genes, every, config, replacement, separator=separator, seed=seed)
        implementation = METHODS.implementation(method)
        data = replace(data, **extra)
        if implementation.reads == "profiles":
            data = replace(data, cells=_no_cells)
        of_network = {} if trainer_options is None else {"trainer_options": trainer_options}
        begin = None if start is None else start.fitted
        fitted = implementation.fit(data, config, seed=seed, start=begin, **of_network)
        parents = [*([] if start is None else start.parents), *foreign_parents(self.adata, config)]
        info = {
            "names": self.screen.names.to_json(),
            "layer": self.layer,
            "mask_var": self.mask_var,
            "seen": sorted({target for targets in data.profiles.pairs.targets for target in targets}),
            **({} if data.profiles.pairs.dose is None else {DOSES: np.unique(data.profiles.pairs.dose).tolist()}),
            SEEN: seen_pairs(self.screen, self.partition.mask("train", "val")),
            **({PARENTS: [parent.to_json() for parent in parents]} if parents else {}),
        }
        arrays = {"control": data.profiles.control, "scale": scale_of(data.profiles.change)}
        return METHODS.to_fit(
            method, config, fitted, self.partition, seed=seed, genes=self.genes, info=info, arrays=arrays
        )

    def calibrated(self, fit: Fit) -> Fit:
        """Add intervals from the errors on the val perturbations; without val perturbations the fit is unchanged."""
        if not self.partition.mask("val").any():
            return fit
        val = self.observed("val")
        if not len(val.pairs):
            return fit
        prediction = predict(fit, val.pairs, self.controls(fit.arrays["control"]))
        error = val.mean - profiles(fit, val.pairs, prediction.change)
        widths, basis = calibrate(error, fit.arrays["scale"], strata_of(fit, val.pairs), val.number)
        arrays, info = {**fit.arrays, "half_widths": widths}, {**fit.info, "calibration": basis}
        same = {
            name: getattr(fit, name) for name in ("method", "config", "split_key", "split_hash", "genes", "history")
        }
        return Fit(**same, arrays=arrays, info=info)

    def check_train(self) -> None:
        """Refuse a split without train controls in every context that is used, or without perturbed train cells."""
        used = self.partition.mask("train", "val", "test")
        number, context, _ = self.screen.groups(used)
        train_number, train_context, _ = self.screen.groups(self.partition.mask("train"))
        having = set(train_context[train_number < 0].tolist())
        lacking = sorted(set(context[number >= 0].tolist()) - having)
        if lacking:
            names = self.screen.names
            where = "" if not names.covariate_keys else f" in {len(lacking)} contexts (e.g. {names.shown(lacking[0])})"
            msg = (
                f"There are no control cells ({store.some(names.control)}) in train{where}, and changes are measured "
                "from them. Drop these cells, or make a split with controls in train, e.g. with "
                "heldout.pp.split_perturbations."
            )
            raise ValueError(msg)
        if not (train_number >= 0).any():
            msg = "There are no perturbed cells in train. Check the split and perturbation_key."
            raise ValueError(msg)


def _no_cells() -> Cells:
    msg = 'A method with reads = "profiles" gets no cells. Set reads = "cells" in the class of the method.'
    raise TypeError(msg)


def task_of_fit(adata: AnnData, partition: Partition, fit: Fit, *, key: str) -> Task:
    """Rebuild the task of a stored fit, with the genes in the order of the fit."""
    names = ScreenNames.from_json(fit.info["names"])
    recorded = partition.scheme == "perturbations"
    if recorded:
        screen = screen_of(adata, partition, names.perturbation_key, dose_key=names.dose_key)
    else:
        screen = reread_screen(adata, partition, names)
    columns = fit.columns(adata.var_names, key=key)
    return Task(adata, partition, screen, columns, fit.info["layer"], fit.info["mask_var"])


def predict(fit: Fit, pairs: Pairs, controls: Controls | None = None) -> Prediction:
    """Predict with a stored fit; without ``controls`` only mean changes, from the control means of the fit."""
    controls = Controls.without_cells(fit.arrays["control"]) if controls is None else controls
    implementation = METHODS.implementation_of(fit)
    prediction: Prediction = implementation.predict(Fitted.of(fit), pairs, controls, seed=int(fit.config["seed"]))
    return prediction


def profiles(fit: Fit, pairs: Pairs, change: np.ndarray) -> np.ndarray:
    """Predicted profiles, (m × G): the mean of the train controls of the context plus the change."""
    return np.asarray(fit.arrays["control"][pairs.context] + change)


def strata_of(fit: Fit, pairs: Pairs) -> np.ndarray:
    """Stratum of each perturbation, by which intervals are calibrated, (m,)."""
    n_targets = np.array([len(targets) for targets in pairs.targets], dtype=np.int64)
    return stratum(n_targets, seen_targets(list(pairs.targets), set(fit.info["seen"])))


def check_logged(X: MatrixOrDask, layer: str | None, *, name: str | None = None) -> MatrixState:
    """Refuse raw counts and other values whose means are not those of log-normalised expression."""
    name = name or ("adata.X" if layer is None else f"adata.layers[{layer!r}]")
    sample = to_memory(X[:_SAMPLE]) if is_dask(X) else X
    state = describe(sample, name=name)
    if state.kind in ("counts", "normalised", "centred"):
        todo = {
            "counts": "Normalise and log first: scanpy.pp.normalize_total(adata, target_sum=1e4); "
            "scanpy.pp.log1p(adata)",
            "normalised": "Log first: scanpy.pp.log1p(adata)",
            "centred": "Pass the layer with the log-normalised values from before scaling",
        }[state.kind]
        msg = f"{name} holds {state}. Changes of expression need log-normalised values. {todo}."
        raise ValueError(msg)
    return state
