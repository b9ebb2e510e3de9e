"""Read and write the split column. No other module does.

A split maps names to partitions and never changes. Its hash covers all names and partitions, in an order that does
not depend on the rows. Dropping cells later leaves the split valid, because each remaining cell keeps its partition.
A cell in another partition, or a cell that was not there when the split was made, is an error.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from heldout._core import cells, keys
from heldout._core.ledger import splits_with_looks
from heldout._core.parents import parent_splits
from heldout._core.partition_names import adoption, renamed
from heldout._core.plain_json import DAMAGED, read_json
from heldout._core.store import actual, commit, section, some, suggest, undone_on_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from mudata import MuData

PARTITIONS = ("train", "val", "test", "unused")
"""The four partitions, in the order of their codes."""

NOTHING_HELD_OUT = (
    "The split was made without test cells, so no fit on it can be scored. Make another split with test cells "
    "(key_added=...), fit there and evaluate that fit. Then fit on all cells to predict new ones."
)
"""What to do if the split has no test cells."""

Axis = Literal["obs", "var"]


def digests(names: Iterable[str]) -> np.ndarray:
    """Return a 64-bit digest of each name, (n,) uint64. It is the same on every machine and version."""
    blake = hashlib.blake2b
    raw = b"".join(blake(str(name).encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(raw, dtype="<u8").astype(np.uint64)


@dataclass(frozen=True)
class Assignment:
    """Partition of each name: sorted digests of the names (n,) uint64 and their codes (n,) int8."""

    members: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, names: Iterable[str], codes: np.ndarray) -> Assignment:
        """Build from names and partition codes in any order."""
        members = digests(names)
        order = np.argsort(members, kind="stable")
        return cls(members[order], np.asarray(codes, dtype=np.int8)[order])

    @cached_property
    def hash(self) -> str:
        """Sha256 over all digests and codes."""
        return self.hash_of(*range(len(PARTITIONS)))

    def hash_of(self, *codes: int) -> str:
        """Sha256 over the members of the given partitions only, e.g. of the test set."""
        keep = np.isin(self.codes, codes)
        state = hashlib.sha256(self.members[keep].astype("<u8").tobytes())
        state.update(self.codes[keep].astype("i1").tobytes())
        return state.hexdigest()

    def members_in(self, partition: str) -> np.ndarray:
        """Return the digests of the names in a partition, sorted."""
        return self.members[self.codes == PARTITIONS.index(partition)]

    def set_hash(self, partition: str) -> str:
        """Sha256 over the members of a partition, as if they were test cells. The same cells have the same hash."""
        members = self.members_in(partition)
        return Assignment(members, np.full(len(members), PARTITIONS.index("test"), dtype=np.int8)).hash_of(
            PARTITIONS.index("test")
        )

    def lookup(self, names: Iterable[str]) -> np.ndarray:
        """Return the codes of the given names, (n,) int8; -1 for a name that is not in the assignment."""
        if not len(self.members):
            return np.full(len(list(names)), -1, dtype=np.int8)
        wanted = digests(names)
        at = np.searchsorted(self.members, wanted).clip(max=len(self.members) - 1)
        return np.where(self.members[at] == wanted, self.codes[at], -1).astype(np.int8)

    def stored(self) -> dict[str, np.ndarray]:
        """Return plain arrays for ``uns``."""
        return {"members": self.members, "codes": self.codes}

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> Assignment:
        """Read what :meth:`stored` returned."""
        members, codes = np.asarray(stored["members"]), np.asarray(stored["codes"])
        if members.ndim != 1 or members.shape != codes.shape or not {members.dtype.kind, codes.dtype.kind} <= set("iu"):
            msg = "members and codes must be integers of equal number"
            raise ValueError(msg)
        return cls(members.astype(np.uint64), codes.astype(np.int8))


@dataclass(frozen=True)
class Partition:
    """A checked split of the cells (or genes) of an AnnData.

    Make it with :func:`read_partition`. It returns masks and row numbers.
    """

    key: str
    axis: Axis
    codes: np.ndarray
    assignment: Assignment
    scheme: str
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """Hash of the split as it was made."""
        return self.assignment.hash

    @cached_property
    def test_hash(self) -> str:
        """Hash of the test set. Two splits with the same test set have the same one."""
        return self.assignment.set_hash("test")

    def mask(self, *partitions: str) -> np.ndarray:
        """Return a boolean mask (n,) of the rows in any of ``partitions``."""
        return np.isin(self.codes, [PARTITIONS.index(p) for p in partitions])

    def rows(self, *partitions: str) -> np.ndarray:
        """Return the numbers, ascending, of the rows in any of ``partitions``."""
        return np.flatnonzero(self.mask(*partitions))

    def counts(self) -> dict[str, int]:
        """Return the number of rows in each partition."""
        counts = np.bincount(self.codes, minlength=len(PARTITIONS))
        return dict(zip(PARTITIONS, counts.tolist(), strict=True))

    def missing(self, partition: str) -> int:
        """Return the number of names of a partition that were dropped after the split was made."""
        made = int((self.assignment.codes == PARTITIONS.index(partition)).sum())
        return made - self.counts()[partition]

    def require(self, *partitions: str, purpose: str) -> None:
        """Refuse an empty partition that is needed."""
        counts = self.counts()
        for name in partitions:
            if not counts[name]:
                msg = f"{purpose} needs cells in {name!r}, but {self.axis}[{self.key!r}] has {counts}."
                raise ValueError(f"{msg} {NOTHING_HELD_OUT}" if "test" in partitions and not self.has_test else msg)

    @property
    def has_test(self) -> bool:
        """Whether the split was made with test cells."""
        return bool(len(self.assignment.members_in("test")))

    @property
    def group_key(self) -> list[str] | None:
        """The obs columns whose values the split keeps together; None if it was not made by group."""
        group_key = self.params.get("group_key")
        return [group_key] if isinstance(group_key, str) else group_key


def write_partition(
    adata: AnnData | MuData,
    codes: np.ndarray,
    *,
    key: str,
    scheme: str,
    params: Mapping[str, Any],
    axis: Axis = "obs",
    assignment: Assignment | None = None,
) -> None:
    """Write the categorical column and its record.

    ``assignment`` is needed only if the split has more names than ``adata``. For a MuData, a split of cells is
    written to the MuData and to each modality, with the same hash.
    """
    names = adata.obs_names if axis == "obs" else adata.var_names
    assignment = Assignment.of(names, codes) if assignment is None else assignment
    write_partitions(adata, {key: NewSplit(codes, assignment, params)}, scheme=scheme, axis=axis)


@dataclass(frozen=True)
class NewSplit:
    """A split to write: codes of the names of an AnnData in their order (n,), the assignment, and the parameters."""

    codes: np.ndarray
    assignment: Assignment
    params: Mapping[str, Any]


def write_partitions(
    adata: AnnData | MuData, splits: Mapping[str, NewSplit], *, scheme: str, axis: Axis = "obs"
) -> None:
    """Write several splits by key, like :func:`write_partition`; either all of them or none."""
    planned = []
    for name, target in cells.targets(adata).items():
        of_target = splits
        if name is not None:
            of_target = {key: _of_modality(split, name, target) for key, split in splits.items()}
        planned.append((target, *_planned(target, of_target, scheme=scheme, axis=axis)))
    with ExitStack() as restored:
        for target, *_ in planned:
            actual(target)
            restored.enter_context(undone_on_error(target))
        for target, columns, sections in planned:
            commit(target, heldout=sections, **{axis: columns})


def _of_modality(split: NewSplit, name: str, adata: AnnData) -> NewSplit:
    codes = split.assignment.lookup(adata.obs_names)
    return NewSplit(codes, split.assignment, cells.params_of_modality(split.params, name, adata))


def _planned(
    adata: AnnData | MuData, splits: Mapping[str, NewSplit], *, scheme: str, axis: Axis
) -> tuple[dict[str, pd.Series], dict[str, Any]]:
    """Return the columns and the sections of ``uns["heldout"]`` that will be written."""
    frame = adata.obs if axis == "obs" else adata.var
    columns, records = {}, section(adata, keys.SPLITS)
    for key, split in splits.items():
        _check_key_is_free(adata, frame, key, axis)
        columns[key] = pd.Series(
            pd.Categorical.from_codes(np.asarray(split.codes), categories=list(PARTITIONS)), index=frame.index
        )
        records[key] = {
            "axis": axis,
            "scheme": scheme,
            "params": json.dumps(split.params, sort_keys=True),
            "hash": split.assignment.hash,
        }
    kept = keep_assignments(adata, splits=records)
    kept |= {split.assignment.hash: split.assignment.stored() for split in splits.values()}
    return columns, {keys.SPLITS: records, keys.ASSIGNMENTS: kept}


def _check_key_is_free(adata: AnnData | MuData, frame: pd.DataFrame, key: str, axis: Axis) -> None:
    """Refuse to overwrite a column that is not a split, or the record of a split of the other axis."""
    other: Axis = "var" if axis == "obs" else "obs"
    record = section(adata, keys.SPLITS).get(key)
    if isinstance(record, Mapping) and record.get("axis") == other and key in getattr(adata, other).columns:
        msg = f"key_added={key!r} is already a split in adata.{other}. Choose another name."
        raise ValueError(msg)
    if record is None and key in frame.columns and not frame[key].dropna().isin(PARTITIONS).all():
        msg = f"key_added={key!r} is a column of adata.{axis} that is not a split. Choose another name."
        raise ValueError(msg)


def keep_assignments(
    adata: AnnData,
    *,
    splits: Mapping[str, Any] | None = None,
    fits: Mapping[str, Any] | None = None,
    add: Iterable[Assignment] = (),
) -> dict[str, Any]:
    """Return the assignments that a split, a fit, its parent or the ledger refers to, including ``add``."""
    splits = section(adata, keys.SPLITS) if splits is None else splits
    fits = section(adata, keys.FITS) if fits is None else fits
    entries = [entry for entry in (*splits.values(), *fits.values()) if isinstance(entry, Mapping)]
    used = {str(entry.get(name)) for entry in entries for name in ("hash", "split_hash")}
    used |= parent_splits(fits.values()) | splits_with_looks(adata)
    known = section(adata, keys.ASSIGNMENTS)
    known |= {assignment.hash: assignment.stored() for assignment in add}
    return {name: stored for name, stored in known.items() if name in used}


def read_partition(adata: AnnData | MuData, key: str = "split", *, axis: Axis = "obs") -> Partition:
    """Read and check the split column ``key``.

    Raises
    ------
    ValueError
        If the column or its record is missing, or if the column no longer matches the record.
    """
    frame = adata.obs if axis == "obs" else adata.var
    if key not in frame.columns:
        splits = [k for k, r in section(adata, keys.SPLITS).items() if isinstance(r, Mapping) and r.get("axis") == axis]
        there = f"{suggest(key, splits)} Pass the name of a split as split_key."
        hint = there if splits else "Make one first, e.g. with heldout.pp.split_groups."
        msg = f"split_key={key!r} is not a column of adata.{axis}. {hint}"
        raise ValueError(msg)
    record = section(adata, keys.SPLITS).get(key)
    params = params_of(record, key)
    if record is None or record["axis"] != axis:
        msg = (
            f"adata.{axis}[{key!r}] has no record in uns['heldout']['splits'], so nothing proves how it was made. "
            f"{_adoption(frame, key, axis)}After anndata.concat, make the split again."
        )
        raise ValueError(msg)
    assignment = load_assignment(adata, record["hash"])
    codes = _codes(frame[key], key=key, axis=axis)
    _check_unchanged(frame.index, codes, assignment, key=key, axis=axis)
    return Partition(key, axis, codes, assignment, str(record["scheme"]), params)


def params_of(record: Any, key: str) -> dict[str, Any]:
    """Return the parameters of the record of a split. Refuse a record that was altered."""
    if record is None:
        return {}
    try:
        params = read_json(str(record["params"]))
        if isinstance(params, dict) and all(isinstance(record[name], str) for name in ("axis", "scheme", "hash")):
            return params
    except DAMAGED:
        pass
    msg = f"The record of the split {key!r} in uns['heldout']['splits'] was altered. Make the split again."
    raise ValueError(msg)


def inspect_partition(
    adata: AnnData, key: str, rename: Mapping[Any, str] | None = None
) -> tuple[np.ndarray, Partition | None, str]:
    """Read a column that can be an invalid split: codes (n,), -1 for other values; the partition; and the problem.

    It is for the audit, which reports on any split. All other code uses :func:`read_partition`.

    Raises
    ------
    ValueError
        If there is no such column, or ``rename`` does not fit the column.
    """
    try:
        partition = read_partition(adata, key)
    except ValueError as problem:
        if key not in adata.obs.columns:
            raise
        values = adata.obs[key]
        text = renamed(values, rename, PARTITIONS, key=key)
        known = text.where(text.isin(PARTITIONS), None)  # pandas 3 warns of values outside the categories
        codes = pd.Categorical(known, categories=list(PARTITIONS)).codes.astype(np.int8)
        return codes, None, str(problem)
    if rename:
        msg = f"rename={dict(rename)!r} is not needed, because adata.obs[{key!r}] is a recorded split. Leave it out."
        raise ValueError(msg)
    return partition.codes, partition, ""


def _adoption(frame: pd.DataFrame, key: str, axis: Axis) -> str:
    """Explain how to turn a column of cells into a split."""
    return "" if axis == "var" else f"To adopt your own column call {adoption(frame, key)}. "


def load_assignment(adata: AnnData, hash_: str) -> Assignment:
    """Fetch the assignment with this hash and check that its content still has this hash."""
    stored = section(adata, keys.ASSIGNMENTS).get(hash_)
    if stored is None:
        msg = f"The split with hash {hash_[:12]}… is not in uns['heldout']['assignments']. Make the split again."
        raise ValueError(msg)
    try:
        assignment = Assignment.load(stored)
        now = f"its hash is now {assignment.hash[:12]}…"
        if assignment.hash == hash_:
            return assignment
    except DAMAGED:
        now = "it cannot be read"
    msg = f"The stored split {hash_[:12]}… was altered: {now}. Make the split again."
    raise ValueError(msg)


def _codes(values: pd.Series, *, key: str, axis: Axis) -> np.ndarray:
    text = values.astype(object)
    bad = sorted({str(v) for v in text[~text.isin(PARTITIONS)].unique()})
    if bad:
        allowed = ", ".join(PARTITIONS)
        msg = f"adata.{axis}[{key!r}] may hold only {allowed}; it also has {some(bad)}. Make the split again."
        raise ValueError(msg)
    return pd.Categorical(text, categories=list(PARTITIONS)).codes.astype(np.int8)


def _check_unchanged(names: pd.Index, codes: np.ndarray, assignment: Assignment, *, key: str, axis: Axis) -> None:
    recorded = assignment.lookup(names)
    for rows, what in (
        (np.flatnonzero(recorded < 0), "were not there when the split was made"),
        (
            np.flatnonzero((recorded >= 0) & (recorded != codes)),
            "are in another partition than when the split was made",
        ),
    ):
        if len(rows):
            msg = (
                f"adata.{axis}[{key!r}] does not match its record: {len(rows)} of {len(names)} names {what} "
                f"(e.g. {some(names[rows])}). Make the split again on this AnnData."
            )
            raise ValueError(msg)
