"""The units above a group: blocks within which labels can be exchanged, and the levels of claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout._core import store
from heldout.tasks.genotype.claims import Hierarchy
from heldout.tasks.genotype.task import group_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from heldout._core.partition import Partition


@dataclass(frozen=True)
class ExchangeBlocks:
    """Blocks within which labels of groups can be exchanged: the block number of each group name."""

    key: str
    number: dict[str, int]

    def of_groups(self, names: np.ndarray) -> np.ndarray:
        """Block number of each named group, (G,)."""
        return np.array([self.number[name] for name in names], dtype=int)


def blocks_of(
    adata: AnnData, split: Partition, groups: np.ndarray, labels: np.ndarray, block_key: str | None
) -> ExchangeBlocks | None:
    """Find the blocks within which labels can be exchanged.

    They are the values of ``block_key``. If it is None, they are the pairs of the split, or the groups of the split
    where one of them has several labels, or else the values of the column that the split was matched on.

    Parameters
    ----------
    adata, split
        The cells and their split.
    groups
        Name of the judged unit of each cell, (n_obs,).
    labels
        Class number of each cell, -1 for cells that are not used.
    block_key
        Column, or None.

    Raises
    ------
    ValueError
        If a group lies in two blocks.
    """
    used = labels >= 0
    if block_key is not None:
        values = store.as_names(store.column(adata, block_key, argument="block_key"))
        found = _value_of_group(groups[used], values[used])
        if found is None:
            msg = (
                f"block_key={block_key!r} has several values within a group, but each group must be in one "
                "block. Pass a coarser column, or a finer group_key."
            )
            raise ValueError(msg)
        return _numbered(block_key, found)
    paired = split.params.get("pair_key")
    if paired in adata.obs.columns and not adata.obs[paired][used].isna().any():
        found = _value_of_group(groups[used], store.as_names(adata.obs[paired])[used])
        if found is not None:
            return _numbered(str(paired), found)
    split_keys = [name for name in split.group_key or [] if name in adata.obs.columns]
    if split_keys:
        values = group_names(adata, split_keys)
        found = _value_of_group(groups[used], values[used])
        _, number = store.factorize(values[used])
        several = len(np.unique(np.stack([number, labels[used]]), axis=1).T) > len(np.unique(number))
        if found is not None and several:
            return _numbered("+".join(split_keys), found)
    match_key = split.params.get("match_key")
    if match_key in adata.obs.columns and not adata.obs[match_key][used].isna().any():
        found = _value_of_group(groups[used], store.as_names(adata.obs[match_key])[used])
        return None if found is None else _numbered(str(match_key), found)
    return None


def hierarchy_of(
    adata: AnnData,
    split: Partition,
    groups: np.ndarray,
    rows: np.ndarray,
    unit: str,
    claim_keys: Sequence[str] | None,
) -> Hierarchy:
    """Declared levels of the evaluated groups, finest first. The first level is always the groups themselves.

    Raises
    ------
    ValueError
        If a column is missing, or a unit lies in two units of a coarser level.
    """
    names, of_cell = store.factorize(groups[rows])
    train = split.rows("train")
    levels = [(unit, groups)]
    for key in [claim_keys] if isinstance(claim_keys, str) else claim_keys or []:
        if key == unit:
            continue
        values = store.as_names(store.column(adata, key, argument="claim_keys"))
        finer, below = levels[-1]
        if _value_of_group(below[rows], values[rows]) is None:
            msg = (
                f"claim_keys: {finer!r} is not nested in {key!r}, a unit of it has several values. List the levels "
                "from the finest to the coarsest, e.g. ['library', 'line', 'donor']."
            )
            raise ValueError(msg)
        levels.append((key, values))
    first = np.zeros(len(names), dtype=int)
    first[of_cell] = rows
    return Hierarchy(
        names=[name for name, _ in levels],
        units=[values[first] for _, values in levels],
        seen=[np.isin(values[first], values[train]) for _, values in levels],
    )


def _value_of_group(groups: np.ndarray, values: np.ndarray) -> dict[str, str] | None:
    """Value of each group. None if a group has several values."""
    names, number = store.factorize(groups)
    options, code = store.factorize(values)
    first = np.zeros(len(names), dtype=int)
    first[number] = code
    if not np.array_equal(first[number], code):
        return None
    return dict(zip(names.tolist(), options[first].tolist(), strict=True))


def _numbered(key: str, of_group: dict[str, str]) -> ExchangeBlocks:
    numbers = {name: i for i, name in enumerate(sorted(set(of_group.values())))}
    return ExchangeBlocks(key, {group: numbers[value] for group, value in of_group.items()})
