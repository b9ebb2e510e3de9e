"""Read and check the stored predictions of one partition for the ROC curve and the confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout._core import store
from heldout._core.fits import check_split, latest_fit, read_header
from heldout._core.keys import PredictionKeys
from heldout._core.ledger import was_evaluated
from heldout._core.looks import needs_look
from heldout._core.partition import read_partition
from heldout.metrics import group_log_probability
from heldout.tasks.genotype.features import code
from heldout.tasks.genotype.task import group_labels, group_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

SCORED = ("train", "val", "test")


@dataclass(frozen=True)
class PredictedUnits:
    """Cells or groups: the name of the unit, true classes (n,) and log-probabilities (n × n_classes)."""

    unit: str
    labels: np.ndarray
    log_probability: np.ndarray

    @property
    def n(self) -> int:
        """Number of units."""
        return len(self.labels)


@dataclass(frozen=True)
class Predicted:
    """Predictions of a fit for the cells of one partition, and for their groups if groups are known.

    ``group_numbers`` is the number of the group of each cell, (n_cells,), empty if no group is known.
    """

    key: str
    method: str
    classes: list[str]
    partition: str
    cells: PredictedUnits
    groups: PredictedUnits | None
    group_names: np.ndarray
    group_numbers: np.ndarray


def read_predicted(
    adata: AnnData, key: str | None, partition: str, group_key: str | Sequence[str] | None = None
) -> Predicted:
    """Read the predictions that :func:`heldout.tl.predict` stored, without a key those of the last genotype fit.

    Raises
    ------
    ValueError
        If the fit is not a classifier or was made on another split, if its predictions or labels are missing, if the
        partition is empty, if a group has two labels, or if ``partition="test"`` and the fit was not evaluated.
    """
    store.check_adata(adata)
    if partition not in SCORED:
        msg = f"partition={partition!r} must be one of {', '.join(SCORED)}."
        raise ValueError(msg)
    key = latest_fit(adata, ["genotype"], purpose="that predicts classes") if key is None else key
    fit = read_header(adata, key)
    if "classes" not in fit.info:
        msg = f"Fit {key!r} ({fit.method}) does not predict classes. Pass the key of a fit of heldout.tl.genotype."
        raise ValueError(msg)
    split = read_partition(adata, fit.split_key)
    check_split(adata, fit, split, key=key)
    split.require(partition, purpose=f"A plot of partition={partition!r}")
    if needs_look(adata, split, partition) and not was_evaluated(adata, fit.hash, partition):
        call, other = f"heldout.tl.evaluate(adata, {key!r})", ", or pass partition='val'"
        if partition == "val":
            call, other = f"heldout.tl.evaluate(adata, {key!r}, partition='val')", ""
        msg = (
            f"Fit {key!r} was not evaluated on {partition} yet. Plotting results of test cells counts as a look. Run "
            f"{call} first, which records the look{other}."
        )
        raise ValueError(msg)
    slot = PredictionKeys(key).log_probability
    if slot not in adata.obsm:
        msg = f"Fit {key!r} has no predictions in this AnnData. Run heldout.tl.predict(adata, {key!r})."
        raise ValueError(msg)
    rows = split.rows(partition)
    labels = _labels(adata, fit.info["label_key"], fit.info["classes"], rows)
    cells = PredictedUnits("cell", labels, np.asarray(adata.obsm[slot])[rows])
    group_key = group_key or fit.info["group_key"]
    if group_key is None:
        return Predicted(
            key,
            fit.method,
            fit.info["classes"],
            partition,
            cells,
            None,
            np.array([], dtype=object),
            np.array([], dtype=int),
        )
    columns = [group_key] if isinstance(group_key, str) else list(group_key)
    names, numbers = store.factorize(group_names(adata, columns)[rows])
    of_group = group_labels(names, numbers, labels, fit.info["classes"])
    groups = PredictedUnits("+".join(columns), of_group, group_log_probability(cells.log_probability, numbers))
    return Predicted(key, fit.method, fit.info["classes"], partition, cells, groups, names, numbers)


def class_number(predicted: Predicted, label: str | None) -> int:
    """Number of the class that is plotted: the given one, or the second of two.

    Raises
    ------
    ValueError
        If there is no such class, or no class is given and there are more than two.
    """
    if label is None and len(predicted.classes) == 2:
        return 1
    if label is None:
        msg = (
            f"label=None: the fit has {len(predicted.classes)} classes. Pass one of {store.some(predicted.classes, 8)}."
        )
        raise ValueError(msg)
    if label not in predicted.classes:
        msg = f"label={label!r} is not a class of the fit. {store.suggest(label, predicted.classes)}"
        raise ValueError(msg)
    return predicted.classes.index(label)


def _labels(adata: AnnData, label_key: str, classes: list[str], rows: np.ndarray) -> np.ndarray:
    series = store.column(adata, label_key, argument="label_key", allow_missing=True).iloc[rows]
    names = np.where(series.isna(), "", store.as_names(series))
    labels = code(names, classes)
    if (labels < 0).any():
        others = sorted(set(names[labels < 0]))
        msg = (
            f"adata.obs[{label_key!r}] has {store.some(others)} in {int((labels < 0).sum())} of {len(rows)} cells. The "
            f"classes of the fit are {store.some(classes, 8)}. Correct the column or fit again."
        )
        raise ValueError(msg)
    return labels
