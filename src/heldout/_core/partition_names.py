"""Names of partitions in columns that were made elsewhere, such as ``tr``, ``Test`` and ``validation``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pandas as pd

from heldout._core.store import as_names
from heldout._core.unit_columns import ORGANISM_WORDS, is_unit, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

PARTITION_NAMES = {
    "train": ("train", "training", "tr", "trn", "trainset", "fit", "seen"),
    "val": ("val", "valid", "validation", "va", "dev"),
    "test": ("test", "testing", "te", "tst", "testset", "heldout", "holdout", "ood", "eval", "unseen"),
    "unused": ("unused", "none", "exclude", "excluded", "drop"),
}
"""Names of each partition in data of other tools, in lower case and without other characters than letters."""


def partition_of_name(name: str) -> str | None:
    """Partition that a value names, e.g. ``train`` for ``Tr``; None if it is not a name of a partition."""
    word = re.sub(r"[^a-z]", "", str(name).lower())
    return next((partition for partition, words in PARTITION_NAMES.items() if word in words), None)


def lists_of(values: pd.Series) -> dict[str, list[str]]:
    """Values of a column by the partition that they name; empty lists where no value names it."""
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for name in sorted(set(as_names(values.dropna()))):
        partition = partition_of_name(name)
        if partition in lists:
            lists[partition].append(name)
    return lists


def adoption(frame: pd.DataFrame, key: str) -> str:
    """Call that turns the column ``key`` of obs into a split, with the lists and the unit as far as they are known."""
    named = {name: values for name, values in lists_of(frame[key]).items() if values}
    lists = ", ".join(f"{name}={values!r}" for name, values in named.items()) or "train=[...], test=[...]"
    return f"heldout.pp.split_assigned(adata, {key!r}, {lists}, unit_key={_unit_of(frame, key)}, key_added='split')"


def _unit_of(frame: pd.DataFrame, key: str) -> str:
    units = [name for name in frame.columns if isinstance(name, str) and name != key and is_unit(frame[name], name)]
    organisms = [name for name in units if ORGANISM_WORDS.search(plain(name))]
    return repr([*organisms, *units][0]) if units else "..."


def renamed(values: pd.Series, rename: Mapping[object, str] | None, allowed: tuple[str, ...], *, key: str) -> pd.Series:
    """Return the column with its values renamed to partitions.

    Raises
    ------
    ValueError
        If ``rename`` has a value that the column does not have, or renames to something else than a partition.
    """
    text = values.astype(object)
    if not rename:
        return text
    names = pd.Series(as_names(values), index=values.index, dtype=object).where(values.notna().to_numpy(), None)
    wanted = {str(as_names([old])[0]): new for old, new in rename.items()}
    for old, new in wanted.items():
        if old not in set(names.dropna()):
            msg = f"rename has {old!r}, which is not a value of adata.obs[{key!r}]. It has {found_values(values)}."
            raise ValueError(msg)
        if new not in allowed:
            msg = f"rename={dict(rename)!r}: {new!r} must be one of {', '.join(map(repr, allowed))}."
            raise ValueError(msg)
    return names.map(lambda name: wanted.get(name, name))


def found_values(values: pd.Series) -> str:
    """Values of a column with their numbers of cells, the most frequent value first."""
    counts = pd.Series(as_names(values)).value_counts()
    return ", ".join(f"{name!r} ({n} cells)" for name, n in counts.iloc[:5].items()) + (
        f" and {len(counts) - 5} more" if len(counts) > 5 else ""
    )


def suggested_rename(values: pd.Series) -> str:
    """Argument ``rename`` for a column whose values are not partitions, e.g. ``{'te': 'test', 'tr': 'train'}``."""
    names = sorted(set(as_names(values.dropna())))
    found = {name: partition for name in names if (partition := partition_of_name(name)) not in (None, name)}
    return repr(found or dict.fromkeys(names[:3], "..."))
