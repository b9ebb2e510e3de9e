"""Count the cells of each group in each partition for the plot of a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core import store
from heldout._core.partition import PARTITIONS
from heldout.pl._style import by_number, natural
from heldout.splitting._components import components

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from heldout._core.partition import Partition

UNKNOWN = "not known"


@dataclass(frozen=True)
class SplitLayout:
    """The groups of a split in the order of the plot.

    Parameters
    ----------
    table
        One row per group, match value and label, in the order of the plot. The columns are ``group``, ``match`` and
        ``label`` (text), and the number of cells in each partition.
    unit, match, label
        Names of the columns of ``obs``. ``match`` and ``label`` can be None.
    matches, labels
        Match values and labels in the order of the plot.
    controls
        Groups that are controls of a screen. They are no perturbations, and cells of one control can be in all
        partitions.
    counted
        What is counted in each partition: cells or genes.
    """

    table: pd.DataFrame
    unit: str
    match: str | None
    label: str | None
    matches: list[str]
    labels: list[str]
    controls: tuple[str, ...] = ()
    counted: str = "cell"


def gene_layout(partition: Partition, modules: np.ndarray | None) -> SplitLayout:
    """Count the genes of each module in each partition; without modules, each partition is one bar."""
    names = np.array(PARTITIONS, dtype=object)[partition.codes]
    group = names if modules is None else modules.astype(str)
    frame = pd.DataFrame({"group": group, "partition": names})
    table = frame.groupby(["group", "partition"]).size().unstack("partition", fill_value=0)
    table = table.reindex(columns=list(PARTITIONS), fill_value=0).rename_axis(columns=None).reset_index()
    table.insert(1, "match", "")
    table.insert(2, "label", "")
    unit = "partition" if modules is None else "module"
    return SplitLayout(_sorted(table, [""], [""]), unit, None, None, [""], [""], counted="gene")


def split_layout(
    adata: AnnData,
    partition: Partition,
    *,
    group_key: str | Sequence[str] | None = None,
    match_key: str | None = None,
    label_key: str | None = None,
) -> SplitLayout:
    """Count the cells of each group, match value and label in each partition."""
    by_time = group_key is None and partition.group_key is None and "time_key" in partition.params
    columns = _columns(partition) if group_key is None else [group_key] if isinstance(group_key, str) else [*group_key]
    label_key = label_key or partition.params.get("label_key")
    match_key = match_key or partition.params.get("match_key")
    names = [store.as_names(store.column(adata, name, argument="group_key")) for name in columns]
    matches, match = _text(adata, match_key, argument="match_key")
    labels, label = _text(adata, label_key, argument="label_key")
    frame = pd.DataFrame({"group": components(*names).astype(str), "match": match, "label": label})
    frame["partition"] = np.array(PARTITIONS, dtype=object)[partition.codes]
    table = frame.groupby(["group", "match", "label", "partition"]).size().unstack("partition", fill_value=0)
    table = table.reindex(columns=list(PARTITIONS), fill_value=0).rename_axis(columns=None).reset_index()
    table = _sorted(table, matches, labels, by_partition=not by_time)
    screen = columns == [partition.params.get("perturbation_key")]
    named = partition.params.get("control") or [] if screen else []
    controls = tuple(str(name) for name in ([named] if isinstance(named, str) else named))
    return SplitLayout(table, "+".join(columns), match_key, label_key, matches, labels, controls)


def _columns(partition: Partition) -> list[str]:
    """Columns of what the split holds out: groups, time points, or perturbations in their contexts."""
    params = partition.params
    if partition.group_key:
        return list(partition.group_key)
    if isinstance(params.get("time_key"), str):
        return [params["time_key"]]
    if isinstance(params.get("perturbation_key"), str):
        return [params["perturbation_key"]]
    msg = (
        "group_key=None: the split was not made by group, so no group is known. Pass group_key, the obs column of "
        "the independent unit."
    )
    raise ValueError(msg)


def test_title(layout: SplitLayout) -> str:
    """Title with the classes of the test set at each match value, e.g. ``test: day 19 (control, patient)``."""
    inside = layout.table[layout.table["test"] > 0]
    parts = []
    for value in layout.matches:
        present = set(inside.loc[inside["match"] == value, "label"])
        named = [name for name in layout.labels if name in present]
        if named:
            only = " only" if len(named) == 1 and len(layout.labels) > 1 else ""
            parts.append(f"{value} ({', '.join(named)}{only})" if layout.label else value)
    if not parts:
        return "no test set"
    more = f" and {len(parts) - 4} more" if len(parts) > 4 else ""
    name = "" if str(layout.match).lower() in parts[0].lower() else f"{layout.match} "
    return f"test: {name}{', '.join(parts[:4])}{more}"


def _text(adata: AnnData, key: str | None, *, argument: str) -> tuple[list[str], np.ndarray]:
    """Distinct values in the order of the plot, and the value of each cell, as text. Without a column, empty text."""
    if key is None:
        return [""], np.full(adata.n_obs, "", dtype=object)
    series = store.column(adata, key, argument=argument, allow_missing=True)
    missing = series.isna().to_numpy()
    ordered = by_number(store.ordered_names(series.dropna()))
    if not isinstance(series.dtype, pd.CategoricalDtype):
        ordered = by_number(sorted(ordered, key=natural))
    names = np.full(len(series), UNKNOWN, dtype=object)
    names[~missing] = store.as_names(series[~missing])
    return [*ordered, *([UNKNOWN] if missing.any() else [])], names


def _sorted(table: pd.DataFrame, matches: list[str], labels: list[str], *, by_partition: bool = True) -> pd.DataFrame:
    """Sort by label, match value, partition and name. Numbers in names are sorted by size."""
    held = table[list(PARTITIONS)].to_numpy().argmax(axis=1) * by_partition
    order = sorted(
        range(len(table)),
        key=lambda i: (
            labels.index(table["label"][i]),
            matches.index(table["match"][i]),
            held[i],
            natural(table["group"][i]),
        ),
    )
    return table.iloc[order].reset_index(drop=True)
