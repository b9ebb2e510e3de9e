"""The zarr store to which libraries are appended. It gets its name only when it is complete.

Until then, the store is built in the folder ``<name>.partial`` next to it, with a journal of the complete libraries.
Entries are written in full chunks that are never changed again. Entries that do not fill a chunk wait in the file of
the library. The journal is therefore correct after any interruption.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import warnings
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import keys
from heldout._core.plain_json import read_json
from heldout._core.stored_rows import StoredRows, fast, rows_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    import pandas as pd
    from scipy import sparse

CHUNK = 2**19
"""Number of entries of a chunk on disk: 2 MB of values and 2 MB of gene numbers before compression."""

_ROWS = 2**16
_RECORD = f"uns/{keys.UNS}/{keys.LIBRARIES}/record"
_JOURNAL = "journal.json"
_BUILT = (_JOURNAL, _JOURNAL + ".new", "store", "replaced")
_PARTS = ("X", "obs", "var", "uns")


def partial_of(out: Path) -> Path:
    """Return the folder in which a store is built."""
    return out.with_name(out.name + ".partial")


def is_zarr(path: Path) -> bool:
    """Return whether this folder is a zarr group or array."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


@dataclass
class Building:
    """A store that is being built.

    Parameters
    ----------
    out
        Final path of the store.
    config
        Options that decide the content. A restart must have the same options.
    done
        Record of each complete library: name, path, size, numbers of cells and entries, and counts of dropped cells.
    tail
        Values and gene numbers that do not fill a chunk yet.
    """

    out: Path
    config: dict[str, Any]
    done: list[dict[str, Any]] = field(default_factory=list)
    tail: tuple[np.ndarray, np.ndarray] = (np.empty(0, np.float32), np.empty(0, np.int32))

    @property
    def folder(self) -> Path:
        """Folder in which the store is built."""
        return partial_of(self.out)

    @classmethod
    def start(cls, out: Path, config: dict[str, Any]) -> Building:
        """Make the folder and an empty store.

        Raises
        ------
        OSError
            If the folder cannot be written.
        """
        building = cls(out, config)
        building.folder.mkdir(parents=True)
        try:
            building._create()
        except OSError:
            shutil.rmtree(building.folder, ignore_errors=True)
            raise
        return building

    def _create(self) -> None:
        import zarr
        from zarr.codecs import BloscCodec

        group = zarr.open_group(self.folder / "store", mode="w", zarr_format=3).create_group("X")
        by_bits = BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")
        by_bytes = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")
        for name, dtype, codec in (("data", np.float32, by_bits), ("indices", np.int32, by_bytes)):
            group.create_array(name, shape=(0,), dtype=dtype, chunks=(CHUNK,), compressors=codec)
        self._write_journal([])

    @classmethod
    def resume(cls, out: Path) -> Building | None:
        """Return the store that an interrupted call has left, or None."""
        try:
            journal = read_json((partial_of(out) / _JOURNAL).read_text())
            building = cls(out, journal["config"], journal["done"])
            if building.done:
                with np.load(building._file(len(building.done) - 1)) as last:
                    building.tail = (last["data"], last["indices"])
            building._cut()
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return building

    def _write_journal(self, done: list[dict[str, Any]]) -> None:
        text = json.dumps({"config": self.config, "done": done}, indent=1)
        _replace(self.folder / _JOURNAL, lambda stream: stream.write(text.encode()))

    def _file(self, number: int) -> Path:
        return self.folder / f"library_{number:05d}.npz"

    def _arrays(self) -> dict[str, Any]:
        import zarr

        with zarr.config.set(fast()):
            group: Any = zarr.open_group(self.folder / "store", mode="r+")["X"]
            return {name: group[name] for name in ("data", "indices")}

    @property
    def _n_stored(self) -> int:
        """Number of entries in full chunks of the complete libraries."""
        return sum(record["n_entries"] for record in self.done) - len(self.tail[0])

    def _cut(self) -> None:
        """Drop the entries of a library that is not complete."""
        for array in self._arrays().values():
            array.resize((self._n_stored,))

    def add(self, X: sparse.csr_matrix, columns: Mapping[str, np.ndarray], record: dict[str, Any]) -> None:
        """Append one library completely, or not at all."""
        waiting = len(self.tail[0])
        n_full = (waiting + X.nnz) // CHUNK * CHUNK
        cut = n_full - waiting if n_full else 0
        old = ((), ()) if n_full else self.tail
        tail = (np.concatenate([old[0], X.data[cut:]]), np.concatenate([old[1], X.indices[cut:]]))
        tail = (tail[0].astype(np.float32), tail[1].astype(np.int32))
        try:
            if n_full:
                self._append(X.data[:cut], X.indices[:cut])
            contents = {**columns, "lengths": np.diff(X.indptr), "data": tail[0], "indices": tail[1]}
            _replace(self._file(len(self.done)), lambda stream: np.savez(stream, **contents))
            done = [*self.done, {**record, "n_cells": X.shape[0], "n_entries": int(X.nnz)}]
            self._write_journal(done)
        except BaseException:
            with contextlib.suppress(OSError):  # this may fail on a full disk; the next call repeats it
                Building.resume(self.out)
            raise
        self.done, self.tail = done, tail

    def _append(self, data: np.ndarray, indices: np.ndarray) -> None:
        """Write the waiting entries and then these. Together they must fill chunks, except at the end of the store."""
        arrays, first = self._arrays(), self._n_stored
        for name, waiting, values in (("data", self.tail[0], data), ("indices", self.tail[1], indices)):
            array, head = arrays[name], CHUNK - len(waiting)
            array.resize((first + len(waiting) + len(values),))
            with _refusals():
                array[first : first + CHUNK] = np.concatenate([waiting, values[:head]])
                if len(values) > head:
                    array[first + CHUNK :] = values[head:]

    def columns(self) -> dict[str, np.ndarray]:
        """Return the values of the kept cells of all libraries."""
        parts = []
        for number in range(len(self.done)):
            with np.load(self._file(number)) as stored:
                parts.append({name: stored[name] for name in stored.files if name not in ("data", "indices")})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def finish(self, lengths: np.ndarray, obs: pd.DataFrame, var: pd.DataFrame, uns: dict[str, Any]) -> None:
        """Write the remaining entries and the tables, and give the store its final name."""
        import zarr
        from anndata.io import write_elem

        self._append(np.empty(0, np.float32), np.empty(0, np.int32))
        root: Any = zarr.open_group(self.folder / "store", mode="r+")
        group = root["X"]
        indptr = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        stored = group.create_array("indptr", shape=indptr.shape, dtype=np.int64, chunks=(_ROWS,), overwrite=True)
        stored[:] = indptr
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [len(obs), len(var)]})
        with warnings.catch_warnings():  # anndata 0.12 warns about a default of 0.13
            warnings.filterwarnings("ignore", "zarr v3 autosharding", UserWarning)
            for name, value in (("obs", obs), ("var", var), ("uns", uns)):
                write_elem(root, name, value)
        root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        if self.out.exists():
            if record_of(self.out) is None:
                msg = f"{self.out} was written by something else in the meantime. Move it"
                raise FileExistsError(msg)
            self.out.rename(self.folder / "replaced")
        (self.folder / "store").rename(self.out)
        shutil.rmtree(self.folder)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Raise an OSError for an error of the system, which the zarrs codec reports as text."""
    try:
        yield
    except RuntimeError as problem:
        number = re.search(r"os error (\d+)", str(problem))
        if number is None:
            raise
        raise OSError(int(number[1]), str(problem)) from problem


def _replace(path: Path, write: Any) -> None:
    """Write a file completely, or leave the old file."""
    new = path.with_name(path.name + ".new")
    try:
        with new.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def record_of(path: Path) -> dict[str, Any] | None:
    """Return how a complete store was made, or None if ``read_libraries`` has not made it.

    An AnnData that was opened from a store and written again has the record, too. It has more entries than a store.
    """
    import zarr

    try:
        text: Any = zarr.open_group(path, mode="r")[_RECORD]
        record: dict[str, Any] = read_json(text[()])
    except (OSError, KeyError, ValueError, TypeError):
        return None
    sections = path / "uns" / keys.UNS
    whole = _only(path, _PARTS) and _only(path / "uns", {keys.UNS}) and _only(sections, {keys.LIBRARIES})
    return record if whole and isinstance(record, dict) and {"config", "done"} <= set(record) else None


def is_partial(folder: Path) -> bool:
    """Whether a folder has only what an interrupted call leaves, so that it can be removed."""
    if not folder.is_dir() or not _only(folder, _BUILT, r"library_\d{5}\.npz(\.new)?"):
        return False
    names = {path.name for path in folder.iterdir()}
    if _JOURNAL in names:
        try:
            journal = read_json((folder / _JOURNAL).read_text())
        except (OSError, ValueError):
            return False
        if not isinstance(journal, dict) or set(journal) != {"config", "done"}:
            return False
    elif names - {"store", _JOURNAL + ".new"}:  # the journal is written first of all files
        return False
    return "store" not in names or _only(folder / "store", _PARTS)


def _only(folder: Path, names: Collection[str], pattern: str = "") -> bool:
    """Whether a folder has no files and folders except these and those of zarr."""
    allowed = re.compile("|".join([*map(re.escape, names), r"zarr\.json", r"zarr\..*\.partial", pattern]))
    return all(allowed.fullmatch(path.name) for path in folder.iterdir())


def open_lazily(path: Path, rows: int | None = None) -> Any:
    """Open a store as AnnData: ``X`` as a dask array of csr blocks, the rest in memory."""
    import zarr
    from anndata import AnnData
    from anndata.io import read_elem

    root: Any = zarr.open_group(path, mode="r")
    X = _lazy_rows(path, root["X"], rows)
    return AnnData(X, obs=read_elem(root["obs"]), var=read_elem(root["var"]), uns=read_elem(root["uns"]))


def _lazy_rows(path: Path, group: Any, rows: int | None) -> Any:
    """Return a dask array with blocks of ``rows`` rows. If None, a block has about three chunks on disk."""
    import dask.array as da
    from anndata.io import sparse_dataset

    n_obs, n_vars = (int(n) for n in group.attrs["shape"])
    stored = StoredRows(path, sparse_dataset(group))
    if rows is None:
        rows = 3 * CHUNK // max(1, stored.n_entries // max(n_obs, 1))
    rows = max(1, min(rows, n_obs))
    sizes = tuple(min(rows, n_obs - first) for first in range(0, n_obs, rows))
    meta = stored.kind((0, 0), dtype=stored.dtype)
    X: Any = da.map_blocks(partial(rows_of, stored), dtype=meta.dtype, chunks=(sizes, (n_vars,)), meta=meta)
    X.sum = partial(_sum, X)
    return X


def _sum(X: Any, axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False) -> Any:
    """Sum the stored rows. The sum of dask passes arguments to the blocks that sparse matrices of scipy refuse."""
    axes = {0, 1} if axis is None else {int(a) % 2 for a in np.atleast_1d(axis)}
    along = min(axes)
    sums = X.map_blocks(
        lambda block: np.asarray(block.sum(axis=along, dtype=np.float64)).reshape((1, -1) if along == 0 else (-1, 1)),
        dtype=np.float64,
        chunks=((1,) * X.numblocks[0], X.chunks[1]) if along == 0 else (X.chunks[0], (1,)),
        meta=np.empty((0, 0)),
    )
    return sums.sum(axis=tuple(axes), keepdims=keepdims)
