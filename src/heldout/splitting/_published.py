"""Read a published split table, and verify that it is unchanged."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from heldout._core import store
from heldout._core.partition import PARTITIONS, Assignment, Axis, digests
from heldout._core.split_table import DIGEST, NAMES, SCHEMA
from heldout._core.text_tables import pandas_options

_COLUMNS = ("partition", "split_hash", "record")
_UNUSED = PARTITIONS.index("unused")


@dataclass(frozen=True)
class PublishedSplit:
    """A split table that passed all checks."""

    axis: Axis
    assignment: Assignment
    scheme: str
    params: dict[str, Any]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> PublishedSplit:
        """Check the table, and build the split from it."""
        axis = _axis(frame)
        _check_columns(frame, axis)
        assignment = _assignment(frame, NAMES[axis])
        hash_ = _only(frame["split_hash"], "split_hash")
        if assignment.hash != hash_:
            msg = (
                f"table was altered. Its {len(frame)} names and partitions have the hash {assignment.hash[:12]}…, "
                f"but split_hash is {hash_[:12]}…. Get the original file and pass its path. If you read a csv file "
                "yourself, use pd.read_csv(path, dtype=str, keep_default_na=False)."
            )
            raise ValueError(msg)
        record = _record(_only(frame["record"], "record"))
        return cls(axis, assignment, record["scheme"], record["params"])

    def extended(self, names: pd.Index, *, missing: str) -> PublishedSplit:
        """Return the split with the names that it does not list in ``unused``, or refuse them."""
        new = names[self.assignment.lookup(names) < 0]
        if not len(new):
            return self
        if missing == "error" or len(new) == len(names):
            raise ValueError(self._lacking(new, names))
        members = np.concatenate([self.assignment.members, digests(new)])
        codes = np.append(self.assignment.codes, np.full(len(new), _UNUSED, dtype=np.int8))
        source = {"hash": self.assignment.hash, "n_missing": len(new)}
        return PublishedSplit(self.axis, _sorted(members, codes), self.scheme, {**self.params, "split_from": source})

    def _lacking(self, new: pd.Index, names: pd.Index) -> str:
        what = NAMES[self.axis]
        advice = (
            f"No name is listed, so adata.{self.axis}_names differ in spelling from the table. Rename them."
            if len(new) == len(names)
            else f"Drop them, or pass missing='unused' to put them into unused. No {what} of train, val or test moves."
        )
        return f"table lacks {len(new)} of the {len(names)} {what}s of adata (e.g. {store.some(new)}). {advice}"


def read_table(table: pd.DataFrame | str | os.PathLike[str]) -> pd.DataFrame:
    """Return the table with a column of names, from a DataFrame or a file."""
    if isinstance(table, pd.DataFrame):
        return table.reset_index() if table.index.name in NAMES.values() else table
    if not isinstance(table, str | os.PathLike):
        msg = f"table must be a DataFrame or the path of a file, got {type(table).__name__}."
        raise TypeError(msg)
    path = os.fspath(table)
    if path.endswith((".csv", ".csv.gz")):
        return pd.read_csv(path, dtype=str, keep_default_na=False, **pandas_options(path))
    if not path.endswith(".parquet"):
        msg = f"table={path!r} must be a .csv, .csv.gz or .parquet file with the table of heldout.get.split_table."
        raise ValueError(msg)
    if importlib.util.find_spec("pyarrow") is None:
        msg = f"table={path!r} is a parquet file, and reading it needs pyarrow: pip install pyarrow, or use a csv file."
        raise ImportError(msg)
    return read_table(pd.read_parquet(path, engine="pyarrow"))


def _axis(frame: pd.DataFrame) -> Axis:
    axes = [axis for axis, name in NAMES.items() if name in frame.columns]
    if len(axes) != 1:
        msg = (
            "table must have exactly one index or column of names: 'cell', or 'gene' for a split of genes. It has "
            f"the columns {store.some(frame.columns, 8)}. Write the table with its index."
        )
        raise ValueError(msg)
    return axes[0]


def _check_columns(frame: pd.DataFrame, axis: Axis) -> None:
    lacking = [name for name in _COLUMNS if name not in frame.columns]
    if lacking:
        msg = (
            f"table lacks the column(s) {store.some(lacking)}. It has {store.some(frame.columns, 8)}. Make the table "
            "with heldout.get.split_table. For lists of groups, use heldout.pp.split_assigned."
        )
        raise ValueError(msg)
    names = frame[NAMES[axis]]
    if names.isna().any():
        msg = (
            f"table has {int(names.isna().sum())} rows without a name. Pass the path of the file, or read it with "
            "pd.read_csv(path, dtype=str, keep_default_na=False). A name such as 'NA' then stays a name."
        )
        raise ValueError(msg)


def _assignment(frame: pd.DataFrame, what: str) -> Assignment:
    """Return the assignment of the whole table, after checking the names and partitions."""
    partition = frame["partition"].astype(object)
    bad = ~partition.isin(PARTITIONS)
    if bad.any():
        found = sorted({str(value) for value in partition[bad].unique()})
        msg = (
            f"table['partition'] must have only the values {', '.join(PARTITIONS)}, but it also has "
            f"{store.some(found)}. Get the original file."
        )
        raise ValueError(msg)
    names = frame[what].astype(object).astype(str)
    members = digests(names)
    unnamed = names.str.fullmatch(f"{DIGEST}[0-9a-f]{{16}}").to_numpy(dtype=bool)
    members[unnamed] = [int(name.removeprefix(DIGEST), base=16) for name in names[unnamed]]
    twice = pd.Series(members).duplicated().to_numpy()
    if twice.any():
        repeated = names[twice].unique()
        msg = (
            f"table lists {len(repeated)} {what}s more than once (e.g. {store.some(repeated)}). Get the original file."
        )
        raise ValueError(msg)
    return _sorted(members, pd.Categorical(partition, categories=list(PARTITIONS)).codes)


def _sorted(members: np.ndarray, codes: np.ndarray) -> Assignment:
    order = np.argsort(members, kind="stable")
    return Assignment(members[order], np.asarray(codes, dtype=np.int8)[order])


def _only(values: pd.Series, name: str) -> str:
    """Return the only text of a column. The column ``record`` is empty in all rows but one."""
    found = [str(value) for value in values.dropna().unique() if str(value) or name != "record"]
    if len(found) != 1 or (name == "split_hash" and values.isna().any()):
        msg = (
            f"table[{name!r}] must have one value, but it has {len(found)}. Use the whole table of one split, as "
            "returned by heldout.get.split_table."
        )
        raise ValueError(msg)
    return found[0]


def _record(text: str) -> dict[str, Any]:
    try:
        record = json.loads(text)
        schema, scheme, params = record["schema"], record["scheme"], record["params"]
        valid = isinstance(schema, int) and isinstance(scheme, str) and isinstance(params, dict)
    except (ValueError, KeyError, TypeError):
        valid = False
    if not valid:
        msg = f"table['record'] must be JSON with schema, scheme and params, got {text[:60]!r}. Get the original file."
        raise ValueError(msg)
    if schema > SCHEMA:
        msg = (
            f"table has schema {schema}, but this version of heldout reads up to schema {SCHEMA}. Upgrade: pip "
            "install -U heldout"
        )
        raise ValueError(msg)
    return {"scheme": scheme, "params": params}
