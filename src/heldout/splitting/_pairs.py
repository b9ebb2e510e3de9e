"""Units that are measured under several labels, and values that stand for cells without a group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.placeholders import is_placeholder
from heldout._core.store import factorize, some, suggest
from heldout.splitting._groups import Groups, name_list

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd


def kept_cells(columns: Mapping[str, np.ndarray], unused: Sequence[str] | None) -> np.ndarray | None:
    """Return the mask of the cells that are split, (n,). None if all are.

    Parameters
    ----------
    columns
        The columns that make up the groups, (n,) text each.
    unused
        Values of any of these columns whose cells are left out. If None, placeholders are refused.
    """
    if unused is None:
        for key, column in columns.items():
            _refuse_placeholders(key, column)
        return None
    every = sorted(set().union(*columns.values()))
    for name in unused:
        if name not in every:
            msg = f"unused={name!r} is not a value of {' or '.join(columns)}. {suggest(name, every)}"
            raise ValueError(msg)
    if not unused:
        return None
    kept: np.ndarray = ~np.any([np.isin(column, list(unused)) for column in columns.values()], axis=0)
    if not kept.any():
        msg = f"unused={some(unused)} leaves no cells to split. Name fewer values."
        raise ValueError(msg)
    return kept


def left_out(key: str, column: np.ndarray, lists: Mapping[str, Sequence[str]], unused: Any) -> list[str]:
    """Return the values whose cells are left out of a split by lists. Refuse placeholders in the lists.

    Parameters
    ----------
    key, column
        Name of the column, and its value for each cell, (n,) text.
    lists
        Listed values of each partition.
    unused
        Values to leave out. If None, the placeholders, which must not be listed.
    """
    listed = {name: partition for partition, names in lists.items() for name in names}
    if unused is None:
        _refuse_placeholders(key, column[np.isin(column, list(listed))])
        return sorted({name for name in column if is_placeholder(name)})
    names = name_list(unused)
    both = [name for name in names if name in listed]
    if both:
        msg = (
            f"unused={names} has {both[0]!r}, which is also listed in {listed[both[0]]!r}. Remove it from one of them."
        )
        raise ValueError(msg)
    return names


def _refuse_placeholders(key: str, column: np.ndarray) -> None:
    names, codes = factorize(column)
    found = [i for i, name in enumerate(names) if is_placeholder(str(name))]
    if found:
        counts = np.bincount(codes)
        shown = ", ".join(f"{names[i]!r} ({counts[i]} cells)" for i in found)
        values = [str(names[i]) for i in found]
        msg = (
            f"The column {key!r} has {shown}. Such values stand for cells without a known group, and their cells can "
            f"belong to any group. Leave them out with unused={values}. If they are groups, pass unused=()."
        )
        raise ValueError(msg)


def pairs_of(groups: Groups, values: np.ndarray, *, pair_key: str, label_key: str) -> Groups:
    """Return the pairs as groups, from the pair of each cell. Refuse a pair that lacks a label.

    Raises
    ------
    ValueError
        If a group is in two pairs, or if a pair does not have every label.
    """
    Groups.of(groups.names[groups.of_cell], values, argument=f"pair_key={pair_key!r}")
    pairs = Groups.of(values)
    assert groups.labels is not None
    classes, label = factorize(groups.labels)
    has = np.zeros((len(pairs.names), len(classes)), dtype=bool)
    has[pairs.of_cell, label[groups.of_cell]] = True
    lacking = np.flatnonzero(~has.all(axis=1))
    if len(lacking):
        first = lacking[0]
        names = [str(name) for name in pairs.names[lacking]]
        shown = f"unused={names}" if len(names) <= 8 else f"their names in unused (e.g. {some(names)})"
        msg = (
            f"{len(names)} of {len(pairs.names)} values of pair_key={pair_key!r} lack a value of "
            f"label_key={label_key!r}. For example, {names[0]!r} has only {some(classes[has[first]])}. Leave them out "
            f"with {shown}, or leave pair_key out if the design is not paired."
        )
        raise ValueError(msg)
    return pairs


def several_labels_advice(
    columns: Mapping[str, np.ndarray], labels: np.ndarray, *, label_key: str, obs: pd.DataFrame | None
) -> str:
    """Return the next steps where a unit has several labels, with the arguments filled in.

    The unit is the first of the columns that make up the groups, (n,) text each, whose values have several labels.
    """
    mixed = (key for key, column in columns.items() if max(_n_labels(column, labels).values()) > 1)
    group_key = next(mixed, next(iter(columns)))
    groups = columns[group_key]
    sample = None if obs is None else sample_column(groups, labels, obs, {group_key, label_key})
    start = ""
    if sample is None:
        sample = "sample"
        start = (
            f"Make a column of samples first: adata.obs['sample'] = adata.obs[{group_key!r}].astype(str) + ' ' + "
            f"adata.obs[{label_key!r}].astype(str). "
        )
    counts = _n_labels(groups, labels)
    most = max(counts, key=lambda name: counts[name])
    return (
        f"If each {group_key} was measured with several labels (a paired design, for example before and after "
        f"treatment, or a day with both classes), a finer group_key alone puts cells of one {group_key} into train and "
        f"into test. {start}For shares or folds of whole pairs, use split_groups(adata, {sample!r}, {label_key!r}, "
        f"pair_key={group_key!r}) or folds(adata, {sample!r}, {label_key!r}, pair_key={group_key!r}). To hold out a "
        f"{group_key} that you name, use split_matched(adata, {sample!r}, {group_key!r}, label_key={label_key!r}, "
        f"test={most!r}). To hold out each in turn, use folds(adata, {sample!r}, {label_key!r}, "
        f"scheme='leave_one_match_out', match_key={group_key!r}). If a {group_key} should have one label, check the "
        "two columns."
    )


def _n_labels(groups: np.ndarray, labels: np.ndarray) -> dict[str, int]:
    names, group = factorize(groups)
    _, label = factorize(labels)
    counts = np.bincount(np.unique(np.stack([group, label]), axis=1)[0])
    return {str(name): int(n) for name, n in zip(names, counts, strict=True)}


def sample_column(groups: np.ndarray, labels: np.ndarray, obs: pd.DataFrame, known: set[str]) -> str | None:
    """Return the column whose values each have one group and one label, with the fewest values; None without one."""
    units = [f"{group} {label}" for group, label in zip(groups, labels, strict=True)]
    _, unit = factorize(np.array(units, dtype=object))
    best: tuple[int, str] | None = None
    for key in obs.columns:
        values = obs[key]
        if key in known or not isinstance(key, str) or values.dtype.kind in "fbmM" or values.isna().any():
            continue
        n = values.nunique()
        if unit.max() < n <= len(values) / 2 and (best is None or n < best[0]):
            _, code = factorize(values.astype(str).to_numpy(dtype=object))
            if len(np.unique(np.stack([code, unit]), axis=1).T) == n:
                best = (n, key)
    return None if best is None else best[1]
