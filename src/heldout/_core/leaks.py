"""Units on both sides of a split. A score on such a split is no evidence, so it has no interval, p or verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from heldout._core import keys, store
from heldout._core.partition import PARTITIONS
from heldout._core.plain_json import DAMAGED, read_json
from heldout._core.unit_columns import ORGANISM_WORDS, SAMPLE_WORDS, is_unit, plain
from heldout._core.words import first_few

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from anndata import AnnData

    from heldout._core.partition import Partition

LEAKS = "leaks"
"""The verdict where units are on both sides of the split."""

LEAK = "leak"
"""Name in the record of an evaluation of the sentence that says which units are on both sides."""

TITLE = "LEAKS: units are on both sides of the split"
"""First line of a picture of an evaluation that leaks."""

_INFERENCE = (
    "ci_low",
    "ci_high",
    "p_value",
    "p_mid",
    "p_smallest",
    "difference_low",
    "difference_high",
    "difference_p",
)

_NO_EVIDENCE = "A score on them is no evidence about new data, so there is no interval, no p-value and no verdict."


class Crossing(NamedTuple):
    """Values of a column that are in the scored partition and on the other side, and how many it has there."""

    names: np.ndarray
    n_scored: int


def other_side(partition: str) -> tuple[str, ...]:
    """Partitions that a method may learn from when ``partition`` is scored. Empty for train."""
    return {"test": ("train", "val"), "val": ("train",)}.get(partition, ())


def crossing(values: np.ndarray, codes: np.ndarray, partition: str) -> Crossing:
    """Find the values on both sides.

    Parameters
    ----------
    values
        Name of the unit of each cell, (n,) text.
    codes
        Partition code of each cell, (n,).
    partition
        The partition that is scored.
    """
    scored = pd.unique(values[codes == PARTITIONS.index(partition)])
    seen = pd.unique(values[np.isin(codes, [PARTITIONS.index(name) for name in other_side(partition)])])
    return Crossing(np.sort(scored[np.isin(scored, seen)]), len(scored))


def leak_of_units(
    split: Partition, partition: str, units: Iterable[tuple[str, np.ndarray]], *, among: np.ndarray | None = None
) -> str:
    """Say which declared units are on both sides; empty if none is.

    Parameters
    ----------
    split, partition
        The split, and the partition that is scored.
    units
        Name of each kind of unit, and the unit of each cell (or gene), (n,) text.
    among
        Mask (n,) of the cells that have a unit. If None, all cells have.
    """
    rows = slice(None) if among is None else among
    sentences = (
        leak_of_codes(split.codes[rows], values[rows], name=name, partition=partition) for name, values in units
    )
    return next((f"{sentence} {_NO_EVIDENCE}" for sentence in sentences if sentence), "")


def leak_of_codes(codes: np.ndarray, values: np.ndarray, *, name: str, partition: str = "test") -> str:
    """Count the units on both sides in a sentence, from the partition code and the unit of each cell; empty if none."""
    found = crossing(values, codes, partition)
    return _on_both_sides(name, found, partition) if len(found.names) else ""


def leak_of_group(adata: AnnData, split: Partition, partition: str) -> str:
    """Say which groups that the split was made by are on both sides, because obs was changed; empty if none is."""
    columns = [name for name in split.group_key or [] if name in adata.obs.columns]
    return leak_of_units(split, partition, [(name, store.as_names(adata.obs[name])) for name in columns])


def leak_of_undeclared(
    adata: AnnData,
    split: Partition,
    partition: str,
    *,
    labels: np.ndarray,
    n_units: int,
    known: Collection[str | None],
) -> str:
    """Say which units that nobody declared are on both sides; empty if none is.

    A column counts if it is named like a unit and has more values than there are declared units, so that the declared
    unit is not the independent one. A column of organisms counts also if it is coarser, as with several samples of a
    patient, and if the label of a patient in test is the label of the same patient in train.

    Parameters
    ----------
    adata, split, partition
        The cells, their split, and the partition that is scored.
    labels
        Class number of each cell, (n,), -1 for cells without a class.
    n_units
        Number of declared units among the cells with a class.
    known
        Columns that were declared, as units or as something else.
    """
    used = (labels >= 0) & np.isin(split.codes, [PARTITIONS.index(p) for p in (partition, *other_side(partition))])
    for key in adata.obs.columns:
        if not isinstance(key, str) or key in known or not is_unit(adata.obs[key], key):
            continue
        rows = used & adata.obs[key].notna().to_numpy()
        values = store.as_names(adata.obs[key])
        found = crossing(values[rows], split.codes[rows], partition)
        if len(found.names) and makes_invalid(key, values[rows], labels[rows], found.names, n_units):
            text = f"The column {key} looks like the independent unit, but was not declared."
            advice = f"Make a split with it: heldout.pp.split_groups(adata, {key!r}, ...)."
            return f"{text} {_on_both_sides(key, found, partition)} {_NO_EVIDENCE} {advice}"
    return ""


def makes_invalid(key: str, values: np.ndarray, labels: np.ndarray, both: np.ndarray, n_units: int) -> bool:
    """Whether units of an undeclared column on both sides make a score over the declared units invalid.

    The evaluation has no verdict then, and the audit fails. Other columns on both sides are warnings of the audit.

    Parameters
    ----------
    key
        Name of the column.
    values, labels
        Unit (text) and class number of each cell that has both, (n,).
    both
        Names of the units on both sides.
    n_units
        Number of declared units.
    """
    organism = bool(ORGANISM_WORDS.search(plain(key)))
    if not organism and not SAMPLE_WORDS.search(plain(key)):
        return False
    if len(pd.unique(values)) > n_units:
        return True
    frame = pd.DataFrame({"unit": values, "label": labels}).drop_duplicates()
    return organism and bool((frame.loc[frame["unit"].isin(both), "unit"].value_counts() == 1).any())


def _on_both_sides(name: str, found: Crossing, partition: str) -> str:
    n = len(found.names)
    also = "is also" if n == 1 else "are also"
    sides = " or ".join(other_side(partition))
    return f"{n} of {found.n_scored} values of {name} in {partition} {also} in {sides} ({first_few(found.names)})."


def without_inference(table: pd.DataFrame) -> pd.DataFrame:
    """A table without intervals and p-values, with the verdict ``leaks`` in each row and as the first column."""
    table = table.assign(**{name: np.nan for name in _INFERENCE if name in table}, verdict=LEAKS)
    if "p_kind" in table:
        table["p_kind"] = ""
    return table[["verdict", *(name for name in table.columns if name != "verdict")]]


def leaking_claims(claims: pd.DataFrame, leak: str) -> pd.DataFrame:
    """Claims of a genotype evaluation that leaks: none is tested."""
    unknown = dict.fromkeys(("p_value", "p_smallest", *(name for name in claims if name.startswith("pair_"))), np.nan)
    return claims.assign(status=LEAKS, reason=leak, **unknown)


def leak_of(about: dict[str, Any]) -> str:
    """The sentence that says which units are on both sides, from the record of an evaluation; empty if none is."""
    return str(about.get(LEAK, ""))


def leak_of_stored(adata: AnnData, key: str) -> str:
    """The same for the evaluation or comparison ``key``; empty if it does not leak or was made by an older version."""
    for name in (keys.EVALUATIONS, keys.COMPARISONS):
        entry = store.section(adata, name).get(key)
        if entry is None:
            continue
        if isinstance(entry, pd.DataFrame) or "json" not in entry:
            return ""
        try:
            return leak_of(dict(read_json(str(entry["json"]))))
        except DAMAGED as error:
            msg = f"The record of {key!r} in uns['heldout'][{name!r}] was altered. Evaluate the fit again."
            raise ValueError(msg) from error
    return ""
