"""The units above a group: blocks within which labels could have been exchanged, and levels that a claim may name."""

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
class Blocks:
    """Block number of each group name."""

    key: str
    number: dict[str, int]

    def of_groups(self, names: np.ndarray) -> np.ndarray:
        """Block number of each named group, (G,)."""
        return np.array([self.number[name] for name in names], dtype=int)


def blocks_of(
    adata: AnnData, split: Partition, groups: np.ndarray, labels: np.ndarray, block_key: str | None
) -> Blocks | None:
    """Blocks by a column; if none is given, by the group of the split where that has both labels, else its match column.

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
        found = _one_a_group(groups[used], values[used])
        if found is None:
            msg = (
                f"block_key={block_key!r} has several values within a group; labels of groups are exchanged within "
                "blocks, "
                "so each group lies in one. Pass a coarser column, or a finer group_key."
            )
            raise ValueError(msg)
        return _numbered(block_key, found)
    split_keys = [name for name in split.group_key or [] if name in adata.obs.columns]
    if split_keys:
        values = group_names(adata, split_keys)
        found = _one_a_group(groups[used], values[used])
        _, number = store.factorize(values[used])
        several = len(np.unique(np.stack([number, labels[used]]), axis=1).T) > len(np.unique(number))
        if found is not None and several:
            return _numbered("+".join(split_keys), found)
    match_key = split.params.get("match_key")
    if match_key in adata.obs.columns and not adata.obs[match_key][used].isna().any():
        found = _one_a_group(groups[used], store.as_names(adata.obs[match_key])[used])
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
    """Declared levels of the judged groups, finest first; the groups themselves are always the first.

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
        if _one_a_group(below[rows], values[rows]) is None:
            msg = (
                f"claim_keys: {finer!r} is not nested in {key!r}, a unit of it has several values. List the levels "
                "from the "
                "finest to the coarsest, e.g. ['library', 'line', 'donor']."
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


def _one_a_group(groups: np.ndarray, values: np.ndarray) -> dict[str, str] | None:
    """The value of each group; None if one has several."""
    names, number = store.factorize(groups)
    options, code = store.factorize(values)
    first = np.zeros(len(names), dtype=int)
    first[number] = code
    if not np.array_equal(first[number], code):
        return None
    return dict(zip(names.tolist(), options[first].tolist(), strict=True))


def _numbered(key: str, of_group: dict[str, str]) -> Blocks:
    numbers = {name: i for i, name in enumerate(sorted(set(of_group.values())))}
    return Blocks(key, {group: numbers[value] for group, value in of_group.items()})
