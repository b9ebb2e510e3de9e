"""A published split, verified and put on the cells at hand."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from heldout._core import cells, store
from heldout._core.keys import check_key
from heldout._core.partition import PARTITIONS, Assignment, Axis, digests, write_partition
from heldout._core.split_table import DIGEST, NAMES, SCHEMA

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

_COLUMNS = ("partition", "split_hash", "record")
_UNUSED = PARTITIONS.index("unused")


def split_from(
    adata: AnnData | MuData,
    table: pd.DataFrame | str | os.PathLike[str],
    *,
    key_added: str = "split",
    missing: Literal["error", "unused"] = "error",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Put a published split on the cells at hand, after checking that the table is what was published.

    The hash is computed anew from the names and partitions of the table. The split that is written has the hash of
    the publication, also when only some of its cells are at hand; so a fit made on the published split is accepted.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), or for a table of cells a MuData, see :func:`split_groups`; its names must be
        those of the table, in any order.
    table
        What :func:`heldout.get.split_table` returned, or the path of it as ``.csv``, ``.csv.gz`` or ``.parquet`` (needs
        pyarrow). Read by yourself, a csv needs ``dtype=str, keep_default_na=False``.
    key_added
        Name of the new column.
    missing
        What to do with cells that the table does not list: ``error``, or put them into ``unused``. The split is then
        another one, with a hash of its own and the published hash in its parameters; its test set stays the same.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData (MuData) if ``copy=True``. Written are, for a table of genes to ``var`` instead of ``obs``:

    ``obs[key_added]``
        Categorical with the values train, val, test, unused.
    ``uns["heldout"]["splits"][key_added]``
        Scheme, parameters and hash of the publication. Where cells were put into ``unused``, the parameter
        ``split_from`` has the published hash and their number.
    ``uns["heldout"]["assignments"]``
        The partition of each name in the table, as digests, under the hash.

    Raises
    ------
    ValueError
        If the table was altered, lists a name twice, has columns or partitions that it should not have, lacks cells
        of ``adata``, or shares none with it.
    ImportError
        If the table is a parquet file and pyarrow is not installed.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> theirs = adata.copy()
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> ho.pp.split_from(theirs, ho.get.split_table(adata))
    >>> theirs.obs["split"].equals(adata.obs["split"])
    True
    """
    check_key("key_added", key_added)
    if missing not in ("error", "unused"):
        msg = f"missing={missing!r} must be 'error' or 'unused' (put cells that the table does not list there)."
        raise ValueError(msg)
    cells.check(adata)
    published = _Published.of(_read(table))
    if published.axis == "var":
        store.check_adata(adata)  # genes are of one modality, so there is nothing to write them to in a MuData
    adata = cells.start(adata, copy=copy)
    names = adata.obs_names if published.axis == "obs" else adata.var_names
    split = published.extended(names, missing=missing)
    made = split.assignment
    write_partition(
        adata,
        made.lookup(names),
        key=key_added,
        scheme=split.scheme,
        params=split.params,
        axis=split.axis,
        assignment=made,
    )
    _log_absent(published, names)
    return store.finish(adata, copy=copy)


@dataclass(frozen=True)
class _Published:
    """A table that passed all checks."""

    axis: Axis
    assignment: Assignment
    scheme: str
    params: dict[str, Any]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> _Published:
        axis = _axis(frame)
        _check_columns(frame, axis)
        assignment = _assignment(frame, NAMES[axis])
        hash_ = _only(frame["split_hash"], "split_hash")
        if assignment.hash != hash_:
            msg = (
                f"table was altered: its {len(frame)} names and partitions hash to {assignment.hash[:12]}…, but "
                f"split_hash says {hash_[:12]}…. Get the original file and pass its path; a csv read by yourself "
                "needs pd.read_csv(path, dtype=str, keep_default_na=False)."
            )
            raise ValueError(msg)
        record = _record(_only(frame["record"], "record"))
        return cls(axis, assignment, record["scheme"], record["params"])

    def extended(self, names: pd.Index, *, missing: str) -> _Published:
        """Return the split with the names it does not list in ``unused``, or refuse them."""
        new = names[self.assignment.lookup(names) < 0]
        if not len(new):
            return self
        if missing == "error" or len(new) == len(names):
            raise ValueError(self._lacking(new, names))
        members = np.concatenate([self.assignment.members, digests(new)])
        codes = np.append(self.assignment.codes, np.full(len(new), _UNUSED, dtype=np.int8))
        source = {"hash": self.assignment.hash, "n_missing": len(new)}
        return _Published(self.axis, _sorted(members, codes), self.scheme, {**self.params, "split_from": source})

    def _lacking(self, new: pd.Index, names: pd.Index) -> str:
        what = NAMES[self.axis]
        advice = (
            f"None is listed, so adata.{self.axis}_names are spelt in another way than in the table; rename them."
            if len(new) == len(names)
            else f"Drop them, or pass missing='unused' to put them into unused: no {what} of train, val or test moves."
        )
        return f"table does not list {len(new)} of the {len(names)} {what}s of adata (e.g. {store.some(new)}). {advice}"


def _read(table: pd.DataFrame | str | os.PathLike[str]) -> pd.DataFrame:
    """Table with a column of names, whatever it came from."""
    if isinstance(table, pd.DataFrame):
        return table.reset_index() if table.index.name in NAMES.values() else table
    if not isinstance(table, str | os.PathLike):
        msg = f"table must be a DataFrame or the path of a file, got {type(table).__name__}."
        raise TypeError(msg)
    path = os.fspath(table)
    if path.endswith((".csv", ".csv.gz")):
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    if not path.endswith(".parquet"):
        msg = f"table={path!r} must be a file .csv, .csv.gz or .parquet, as written from heldout.get.split_table."
        raise ValueError(msg)
    if importlib.util.find_spec("pyarrow") is None:
        msg = f"table={path!r} is a parquet file, and reading it needs pyarrow: pip install pyarrow, or use a csv."
        raise ImportError(msg)
    return _read(pd.read_parquet(path, engine="pyarrow"))


def _axis(frame: pd.DataFrame) -> Axis:
    axes = [axis for axis, name in NAMES.items() if name in frame.columns]
    if len(axes) != 1:
        msg = (
            "table must have its names in an index or column 'cell' (or 'gene' for a split of genes), exactly one of "
            f"them; it has the columns {store.some(frame.columns, 8)}. Write it with its index."
        )
        raise ValueError(msg)
    return axes[0]


def _check_columns(frame: pd.DataFrame, axis: Axis) -> None:
    lacking = [name for name in _COLUMNS if name not in frame.columns]
    if lacking:
        msg = (
            f"table lacks the column(s) {store.some(lacking)}; it has {store.some(frame.columns, 8)}. "
            "Make it with heldout.get.split_table. Lists of groups go to heldout.pp.split_assigned."
        )
        raise ValueError(msg)
    names = frame[NAMES[axis]]
    if names.isna().any():
        msg = (
            f"table has {int(names.isna().sum())} rows without a name. Pass the path of the file, or read it with "
            "pd.read_csv(path, dtype=str, keep_default_na=False), so that a name such as 'NA' stays a name."
        )
        raise ValueError(msg)


def _assignment(frame: pd.DataFrame, what: str) -> Assignment:
    """Assignment of the whole table; names and partitions are checked on the way."""
    partition = frame["partition"].astype(object)
    bad = ~partition.isin(PARTITIONS)
    if bad.any():
        found = sorted({str(value) for value in partition[bad].unique()})
        msg = f"table['partition'] may hold only {', '.join(PARTITIONS)}; it also has {store.some(found)}."
        raise ValueError(msg)
    names = frame[what].astype(object).astype(str)
    members = digests(names)
    unnamed = names.str.fullmatch(f"{DIGEST}[0-9a-f]{{16}}").to_numpy(dtype=bool)
    members[unnamed] = [int(name.removeprefix(DIGEST), base=16) for name in names[unnamed]]
    twice = pd.Series(members).duplicated().to_numpy()
    if twice.any():
        listed = names[twice].unique()
        msg = f"table lists {len(listed)} {what}s more than once (e.g. {store.some(listed)}). Get the original file."
        raise ValueError(msg)
    return _sorted(members, pd.Categorical(partition, categories=list(PARTITIONS)).codes)


def _sorted(members: np.ndarray, codes: np.ndarray) -> Assignment:
    order = np.argsort(members, kind="stable")
    return Assignment(members[order], np.asarray(codes, dtype=np.int8)[order])


def _only(values: pd.Series, name: str) -> str:
    """The one text of a column; ``record`` is empty in all rows but one."""
    found = [str(value) for value in values.dropna().unique() if str(value) or name != "record"]
    if len(found) != 1 or (name == "split_hash" and values.isna().any()):
        msg = (
            f"table[{name!r}] must hold one value, it has {len(found)}. Use the whole table of one split, as returned "
            "by heldout.get.split_table."
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
        msg = f"table has schema {schema}, this heldout reads up to {SCHEMA}. Upgrade: pip install -U heldout"
        raise ValueError(msg)
    return {"scheme": scheme, "params": params}


def _log_absent(published: _Published, names: pd.Index) -> None:
    """Say how many names of the table are not at hand: a smaller test set is another measurement."""
    members, codes = published.assignment.members, published.assignment.codes
    absent = np.bincount(codes[~np.isin(members, digests(names))], minlength=len(PARTITIONS))
    if absent.any():
        by_partition = ", ".join(f"{n} {name}" for name, n in zip(PARTITIONS, absent, strict=True) if n)
        what = NAMES[published.axis]
        store.logger.warning(
            "%d of the %d %ss of the table are not in adata (%s).", absent.sum(), len(codes), what, by_partition
        )
