"""Probabilities of classes that another tool predicted: read them, and find the fold that held out each cell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import keys, store
from heldout._core.partition import PARTITIONS, Assignment, Partition, read_partition
from heldout._core.words import counted
from heldout.tasks.genotype.estimators.adapters import limited

if TYPE_CHECKING:
    from anndata import AnnData

_UNNAMED = ""
"""Name of the column of an array or of a Series without a name. It says nothing about its class."""

_OF_SUM = 1e-3
"""Probabilities of a row may differ from the sum 1 by this."""


@dataclass(frozen=True)
class HeldOutCells:
    """The cells to score, with the unit and the fold of each.

    Parameters
    ----------
    cells
        Name of each cell, (n_obs,).
    groups
        Name of the group of each cell, (n_obs,).
    fold
        Name of the fold in which each cell was held out, (n_obs,). Empty for cells that are not scored.
    classes
        Names of the classes.
    positive
        Class whose probability a single column has. None is the second class.
    """

    cells: np.ndarray
    groups: np.ndarray
    fold: np.ndarray
    classes: list[str]
    positive: str | None = None

    def __post_init__(self) -> None:
        if self.positive is None:
            return
        if len(self.classes) != 2:
            msg = (
                f"positive_class={self.positive!r} is for two classes, but there are {len(self.classes)}. Leave it "
                "out, and pass a column for each class."
            )
            raise ValueError(msg)
        if self.positive not in self.classes:
            msg = f"positive_class={self.positive!r} must be one of the classes {store.some(self.classes)}."
            raise ValueError(msg)

    @property
    def rows(self) -> np.ndarray:
        """Numbers of the scored cells."""
        return np.flatnonzero(self.fold != "")


def named_probabilities(predicted: Any) -> dict[str, Any]:
    """Predictions by name of the model; those of a single model get the name ``predicted``.

    Raises
    ------
    ValueError
        If there are none.
    """
    if not isinstance(predicted, Mapping):
        return {"predicted": predicted}
    if not predicted:
        msg = "predicted={} is empty. Pass probabilities, or a mapping of names of models to probabilities."
        raise ValueError(msg)
    return {str(name): values for name, values in predicted.items()}


def read_folds(adata: AnnData, fold_key: str | None, split_key: str) -> list[Partition]:
    """Splits whose test cells are scored: folds of :func:`heldout.pp.folds`, values of a column, or one split.

    Raises
    ------
    ValueError
        If there are no such folds, or a column has fewer than two values.
    """
    if fold_key is None:
        split = read_partition(adata, split_key)
        split.require("train", "test", purpose="A score of probabilities")
        return [split]
    if fold_key not in adata.obs.columns:
        recorded = store.section(adata, keys.SPLITS)
        if f"{fold_key}_0" not in recorded:
            options = [*adata.obs.columns, *(name.removesuffix("_0") for name in recorded if name.endswith("_0"))]
            msg = (
                f"fold_key={fold_key!r} is neither a column of adata.obs nor the key_added of heldout.pp.folds. "
                f"{store.suggest(fold_key, options)}"
            )
            raise ValueError(msg)
        names = read_partition(adata, f"{fold_key}_0").params["folds"]
        return [read_partition(adata, name) for name in names]
    return _of_column(adata, fold_key)


def _of_column(adata: AnnData, fold_key: str) -> list[Partition]:
    series = store.column(adata, fold_key, argument="fold_key", allow_missing=True)
    there = series.notna().to_numpy()
    names = store.as_names(series)
    folds = [name for name in store.ordered_names(series[there]) if name]
    if set(folds) <= set(PARTITIONS) or len(folds) < 2:
        msg = (
            f"fold_key={fold_key!r} has the values {store.some(folds)}. It must say in which of two or more folds each "
            "cell was held out; cells without a fold have a missing value. For one split pass split_key, and for folds "
            "of heldout.pp.folds their key_added."
        )
        raise ValueError(msg)
    test, train, unused = (PARTITIONS.index(name) for name in ("test", "train", "unused"))
    columns = [f"{fold_key}={fold}" for fold in folds]
    found = []
    for fold, column in zip(folds, columns, strict=True):
        codes = np.where(there, np.where(names == fold, test, train), unused).astype(np.int8)
        params = {"folds": columns}
        found.append(Partition(column, "obs", codes, Assignment.of(adata.obs_names, codes), "given", params))
    return found


def fold_of_cells(adata: AnnData, splits: Sequence[Partition]) -> np.ndarray:
    """Name of the fold in which each cell is a test cell, (n_obs,), empty for none.

    Raises
    ------
    ValueError
        If a cell was held out in several folds.
    """
    fold: np.ndarray = np.full(adata.n_obs, "", dtype=object)
    for split in splits:
        rows = split.rows("test")
        if (twice := rows[fold[rows] != ""]).size:
            msg = (
                f"{counted(len(twice), 'cell')} (e.g. {store.some(adata.obs_names[twice])}) are test cells of several "
                "folds, but each needs one out-of-fold probability. Use folds in which each group is held out once."
            )
            raise ValueError(msg)
        fold[rows] = split.key
    return fold


def log_probabilities(adata: AnnData, name: str, values: Any, scored: HeldOutCells) -> tuple[np.ndarray, bool]:
    """Log-probabilities of the scored cells, (n × n_classes), and whether they were given for groups.

    Raises
    ------
    TypeError
        If ``values`` is of another type.
    ValueError
        If cells are missing, or values are not probabilities with the sum 1.
    """
    frame, of_groups = _aligned(adata, name, values, scored)
    table = _by_class(name, frame, scored.classes, scored.positive)
    finite = np.isfinite(table).all(axis=1)
    if not finite.all():
        msg = (
            f"predicted[{name!r}] has no number for {int((~finite).sum())} of {len(table)} scored cells (e.g. "
            f"{store.some(scored.cells[scored.rows][~finite])}). Every cell with a fold needs a probability. Cells "
            "that are not to be scored have a missing fold."
        )
        raise ValueError(msg)
    total = table.sum(axis=1)
    wrong = (table < 0).any(axis=1) | (table > 1).any(axis=1) | (abs(total - 1) > _OF_SUM)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        msg = (
            f"predicted[{name!r}] has {int(wrong.sum())} of {len(table)} rows that are not probabilities with the sum "
            f"1, e.g. {np.round(table[first], 4).tolist()} for {scored.cells[scored.rows][first]!r}. Convert log-odds "
            "with 1 / (1 + exp(-x)), and log-probabilities with exp(x)."
        )
        raise ValueError(msg)
    with np.errstate(divide="ignore"):
        return limited(np.log(table / total[:, None])), of_groups


def _aligned(adata: AnnData, name: str, values: Any, scored: HeldOutCells) -> tuple[pd.DataFrame, bool]:
    """One row for each scored cell, and whether rows were given for groups."""
    if isinstance(values, str):
        values = _slot(adata, name, values)
    elif isinstance(values, list | tuple) and values and all(isinstance(part, str) for part in values):
        values = pd.DataFrame({part: store.column(adata, part, argument=f"predicted[{name!r}]") for part in values})
        values.columns = scored.classes if values.shape[1] == len(scored.classes) else values.columns
    if isinstance(values, pd.Series):
        values = values.to_frame(_UNNAMED if values.name is None else values.name)
    if not isinstance(values, pd.DataFrame):
        table = np.asarray(values)
        if table.dtype.kind not in "fiub" or table.ndim not in (1, 2):
            msg = (
                f"predicted[{name!r}] is a {type(values).__name__}. It must be a Series, DataFrame or array of "
                "probabilities, or the name of a column of obs or of an entry of obsm."
            )
            raise TypeError(msg)
        if len(table) != adata.n_obs:
            msg = (
                f"predicted[{name!r}] has {len(table)} rows, but adata has {adata.n_obs} cells. Pass a row for each "
                "cell, or a Series or DataFrame whose index has the names of cells or groups."
            )
            raise ValueError(msg)
        width = 1 if table.ndim == 1 else table.shape[1]
        columns = scored.classes if width == len(scored.classes) else [_UNNAMED] if width == 1 else None
        values = pd.DataFrame(table, index=adata.obs_names, columns=columns)
    return _on_rows(name, values, scored)


def _on_rows(name: str, values: pd.DataFrame, scored: HeldOutCells) -> tuple[pd.DataFrame, bool]:
    index = pd.Index(store.as_names(pd.Series(values.index)))
    if not index.is_unique:
        msg = f"predicted[{name!r}] has {int(index.duplicated().sum())} rows with the name of another row."
        raise ValueError(msg)
    wanted = {False: scored.cells[scored.rows], True: scored.groups[scored.rows]}
    found = {of_groups: index.get_indexer(rows) for of_groups, rows in wanted.items()}
    for of_groups in (False, True):
        if (found[of_groups] >= 0).all():
            return values.iloc[found[of_groups]], of_groups
    nearest = bool((found[True] >= 0).sum() > (found[False] >= 0).sum())
    absent = pd.unique(wanted[nearest][found[nearest] < 0])
    kind = "group" if nearest else "cell"
    msg = (
        f"predicted[{name!r}] has no row for {counted(len(absent), f'scored {kind}')} (e.g. {store.some(absent)}). Its "
        f"index has, for example, {store.some(index)}. It must have the names of all scored cells (adata.obs_names) or "
        "of all their groups."
    )
    raise ValueError(msg)


def _slot(adata: AnnData, name: str, key: str) -> Any:
    if key in adata.obs.columns:
        return adata.obs[key]
    if key in adata.obsm:
        return adata.obsm[key]
    msg = (
        f"predicted[{name!r}]={key!r} is neither a column of adata.obs nor an entry of adata.obsm. "
        f"{store.suggest(key, [*adata.obs.columns, *adata.obsm])}"
    )
    raise ValueError(msg)


def _by_class(name: str, frame: pd.DataFrame, classes: list[str], positive: str | None) -> np.ndarray:
    """Probability of each class, (n × n_classes) float64.

    A single column is that of the positive class, by default the second of two classes.
    """
    try:
        values = frame.to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        msg = f"predicted[{name!r}] has values that are not numbers, with the types {store.some(frame.dtypes)}."
        raise TypeError(msg) from None
    if values.shape[1] == 1 and len(classes) == 2:
        if positive is None:
            _check_second_class(name, str(frame.columns[0]), classes)
        of_second = 1 - values if positive == classes[0] else values
        return np.concatenate([1 - of_second, of_second], axis=1)
    columns = list(store.as_names(pd.Series(frame.columns)))
    if sorted(columns) != sorted(classes):
        single = f", or one column with the probability of {classes[1]!r}" if len(classes) == 2 else ""
        given = "a single column" if len(columns) == 1 else f"the columns {store.some(columns, 8)}"
        msg = (
            f"predicted[{name!r}] has {given}, but must have one for each of the classes "
            f"{store.some(classes, 8)}{single}."
        )
        raise ValueError(msg)
    return values[:, [columns.index(each) for each in classes]]


def _check_second_class(name: str, column: str, classes: list[str]) -> None:
    """Refuse a single column that is named after the first class, because it would be read as that of the second.

    Raises
    ------
    ValueError
        If the name has the first class as a word, and not the second one.
    """
    first, second = (f"_{_plain(each)}_" in f"_{_plain(column)}_" for each in classes)
    if first and not second:
        msg = (
            f"predicted[{name!r}] is the column {column!r}, but a single column is read as the probability of "
            f"{classes[1]!r}, the second of the classes {store.some(classes)}. Pass positive_class={classes[0]!r} if "
            f"it is the probability of {classes[0]!r}, or positive_class={classes[1]!r} if it is not."
        )
        raise ValueError(msg)


def _plain(name: str) -> str:
    """The words of a name, in lower case and joined by underscores."""
    return re.sub(r"[\W_]+", "_", name.casefold())
