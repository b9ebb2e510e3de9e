"""Number the looks at test cells, and find test cells of one split in the partitions of another."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from heldout._core import keys
from heldout._core.ledger import read_ledger
from heldout._core.partition import load_assignment, params_of
from heldout._core.store import section
from heldout._core.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from heldout._core.partition import Partition

logger = logging.getLogger("heldout")


class ScoredSet(NamedTuple):
    """A set of cells that a fit is scored on: name, method and hash of the fit, its split, and the partition."""

    key: str
    method: str
    fit: str
    split: Partition
    partition: str = "test"


@dataclass(frozen=True)
class Look:
    """A look at test cells, and the looks before it.

    Parameters
    ----------
    number
        Number of this look, from 1: one more than the earlier looks at any of these cells.
    new
        False if the same fit was scored on the same units before.
    overlapping
        Number of earlier looks at other sets that have some of these cells.
    shared
        Largest number of these cells that one of the other sets has.
    n_cells
        Number of cells of this set.
    elsewhere
        Names of the splits whose test cells were scored, with their number, if the partition is not test.
    """

    number: int
    new: bool
    overlapping: int
    shared: int
    n_cells: int
    elsewhere: Mapping[str, int]

    @property
    def words(self) -> str:
        """Which look this is, for the report."""
        cells = f"test cells of the split {', '.join(map(repr, self.elsewhere))}" if self.elsewhere else "this test set"
        if not self.overlapping:
            return f"look {self.number} at {cells}"
        return (
            f"look {self.number} at {cells}; {counted(self.overlapping, 'earlier look')} "
            f"{'was' if self.overlapping == 1 else 'were'} at other sets with up to {self.shared} of these "
            f"{self.n_cells} cells"
        )


def next_look(adata: AnnData, scored: ScoredSet, *, judged: str = "") -> tuple[pd.DataFrame, Look]:
    """Return the ledger with one more row, and the look."""
    ledger, looks = next_looks(adata, [scored], judged=judged)
    return ledger, looks[0]


def next_looks(adata: AnnData, scored: Sequence[ScoredSet], *, judged: str = "") -> tuple[pd.DataFrame, list[Look]]:
    """Return the ledger with more rows, and the look of each.

    Looks at other sets count if they have some of the cells, and if another fit was scored on them.

    Parameters
    ----------
    adata
        AnnData with the ledger, if there is one.
    scored
        The sets of cells that are scored.
    judged
        Digest of what was judged, see :func:`heldout._core.ledger.judged_digest`. If it is empty, each look is a new
        one.
    """
    rows = read_ledger(adata).to_dict("records")
    looks = []
    for one_set in scored:
        test_set = one_set.split.assignment.set_hash(one_set.partition)
        here = [row for row in rows if row["test_set"] == test_set]
        again = [row for row in here if judged and row["fit"] == one_set.fit and row["judged"] == judged]
        earlier = rows[: rows.index(again[0])] if again else rows
        others = [row for row in earlier if row["test_set"] != test_set and row["fit"] != one_set.fit]
        shared = shared_cells(adata, one_set.split, one_set.partition, others)
        overlapping = {(row["test_set"], row["look"]) for row in others if (row["split"], row["partition"]) in shared}
        before = {row["look"] for row in here}
        number = again[0]["look"] if again else max(len(before) + len(overlapping), max(before, default=0)) + 1
        look = Look(
            number,
            not again,
            len(overlapping),
            max(shared.values(), default=0),
            len(one_set.split.assignment.members_in(one_set.partition)),
            {} if one_set.partition == "test" else held_out_elsewhere(adata, one_set.split, one_set.partition),
        )
        rows.append(
            {
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "key": one_set.key,
                "method": one_set.method,
                "fit": one_set.fit,
                "split": one_set.split.hash,
                "partition": one_set.partition,
                "test_set": test_set,
                "judged": judged,
                "look": number,
            }
        )
        looks.append(look)
    return pd.DataFrame(rows).rename(index=str), looks


def report_look(look: Look, key: str) -> None:
    """Warn about a look that is not the first, or that is at val."""
    if not look.new:
        logger.info("the fit %r was scored on these cells before: this is still %s", key, look.words)
    elif look.elsewhere:
        logger.warning(
            "%s val cells are test cells of the split %s, so this is %s. Choose between models on val cells that no "
            "split tests",
            max(look.elsewhere.values()),
            ", ".join(map(repr, look.elsewhere)),
            look.words,
        )
    elif look.overlapping:
        logger.warning("this is %s. Choose between models on val, not on test", look.words)
    elif look.number > 1:
        logger.warning("this is look %d at the same test set; choose between models on val, not on test", look.number)


def shared_cells(
    adata: AnnData, split: Partition, partition: str, rows: Sequence[Mapping[Any, Any]]
) -> dict[tuple[str, str], int]:
    """Number of the cells of a partition that each set of the ledger has, by hash of the split and partition.

    Sets without any of these cells, and sets whose split is not stored, are left out.
    """
    members = split.assignment.members_in(partition)
    shared = {}
    for name in dict.fromkeys((row["split"], row["partition"]) for row in rows):
        try:
            other = load_assignment(adata, name[0]).members_in(name[1])
        except ValueError:  # the split was replaced by a version that did not keep it
            continue
        if n := int(np.isin(members, other, assume_unique=True).sum()):
            shared[name] = n
    return shared


def held_out_elsewhere(adata: AnnData, split: Partition, partition: str = "val") -> dict[str, int]:
    """Number of cells of a partition that are test cells of another split of this AnnData, by name of that split.

    Folds of one cross-validation do not count: each fold has its choices made on its own val.
    """
    members = split.assignment.members_in(partition)
    folds = split.params.get("folds")
    found: dict[str, int] = {}
    for key, record in section(adata, keys.SPLITS).items():
        if not isinstance(record, Mapping) or record.get("axis") != split.axis or record.get("hash") == split.hash:
            continue
        try:
            if folds is not None and params_of(record, key).get("folds") == folds:
                continue
            tested = load_assignment(adata, record["hash"]).members_in("test")
        except ValueError:  # an altered record is reported where it is used
            continue
        if n := int(np.isin(members, tested, assume_unique=True).sum()):
            found[str(key)] = n
    return found


def needs_look(adata: AnnData, split: Partition, partition: str) -> bool:
    """Whether scores on this partition are counted: on test, and on val if another split tests some of its cells."""
    return partition == "test" or (partition == "val" and bool(held_out_elsewhere(adata, split)))
