"""Libraries in one file: 10x ``.h5`` (versions 2 and 3), ``.h5ad`` and ``.zarr``."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from heldout._core import store
from heldout._core.compressed import compressed
from heldout.reading import _tenx
from heldout.reading._library import GENE_EXPRESSION, Genes, LibraryError, LibrarySource, check_shape, checked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NOT_READ = (OSError, LookupError, ValueError, RuntimeError, AttributeError, TypeError, ArithmeticError, MemoryError)
"""Errors of h5py, zarr and anndata for a damaged file. h5py raises nearly every kind."""


def find(library: str, path: Path, known: dict[bytes, Genes]) -> LibrarySource:
    """Find a library, and read everything except its counts."""
    kind = kind_of(path)
    if kind == "mtx":
        return checked(_tenx.find(library, path, known))
    with _opened(library, path, kind) as root:
        barcodes, genes = _names_h5(library, path, root) if kind == "h5" else _names_anndata(root)
    return checked(LibrarySource(library, kind, path, barcodes, genes, _size(path)))


def read_counts(source: LibrarySource) -> sparse.csr_matrix:
    """Return the counts of a library, cells × genes."""
    if source.kind == "mtx":
        return _tenx.read_counts(source)
    with _opened(source.library, source.path, source.kind) as root:
        return _counts_h5(source, root) if source.kind == "h5" else _counts_anndata(source, root)


def kind_of(path: Path) -> str:
    """Return the kind of a library, from its files."""
    if path.suffix == ".zarr" or (path / "zarr.json").is_file() or (path / ".zgroup").is_file():
        return "zarr"
    return {".h5": "h5", ".hdf5": "h5", ".h5ad": "h5ad"}.get(path.suffix, "mtx")


def _size(path: Path) -> tuple[int, int]:
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    stats = [file.stat() for file in files]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


@contextmanager
def _opened(library: str, path: Path, kind: str) -> Iterator[Any]:
    """Open the root group. Any error names the library and the file."""
    import h5py
    import zarr

    if not path.exists():
        raise LibraryError(library, path, "it does not exist.")
    try:
        if kind == "zarr":
            yield zarr.open_group(path, mode="r")
        else:
            with h5py.File(path, "r") as root:
                yield root
    except LibraryError:
        raise
    except _NOT_READ as problem:
        what = f"it cannot be read as {kind} ({type(problem).__name__}: {problem}). Check that the file is complete."
        raise LibraryError(library, path, what) from problem


def _genome(library: str, path: Path, root: Any) -> Any:
    """Return the group of a 10x file with the counts: ``matrix``, or the only genome in version 2."""
    groups = ["matrix"] if "matrix" in root else list(root)
    if len(groups) != 1:
        raise LibraryError(library, path, f"it has {len(groups)} genomes ({store.some(groups)}), but it must have one.")
    return root[groups[0]]


def _names_h5(library: str, path: Path, root: Any) -> tuple[np.ndarray, Genes]:
    group = _genome(library, path, root)
    if "features" in group:
        features = group["features"]
        genes = Genes(*(_text(features[name]) for name in ("id", "name", "feature_type")))
    else:
        ids = _text(group["genes"])
        genes = Genes(ids, _text(group["gene_names"]), np.full(len(ids), GENE_EXPRESSION, dtype=object))
    return _text(group["barcodes"]), genes


def _text(dataset: Any) -> np.ndarray:
    return dataset.asstr()[:].astype(object) if dataset.dtype.kind == "O" else dataset[:].astype(str).astype(object)


def _counts_h5(source: LibrarySource, root: Any) -> sparse.csr_matrix:
    group = _genome(source.library, source.path, root)
    n_genes, n_cells = (int(n) for n in group["shape"][:])
    return _compressed(source, group, (n_cells, n_genes))


def _compressed(
    source: LibrarySource, group: Any, shape: tuple[int, int], *, by_column: bool = False
) -> sparse.csr_matrix:
    """Return a stored sparse matrix, after its sizes, indices and pointers were checked."""
    check_shape(source, shape)
    try:
        data, indices, indptr = (group[name] for name in ("data", "indices", "indptr"))
        return sparse.csr_matrix(compressed(data, indices, indptr, shape, by_column=by_column))
    except ValueError as problem:
        msg = f"its matrix is damaged: {problem} Download or copy the file again."
        raise source.error(msg) from problem


def _names_anndata(root: Any) -> tuple[np.ndarray, Genes]:
    from anndata.io import read_elem

    cells, table = read_elem(root["obs"]), read_elem(root["var"])
    names = table.index.to_numpy(dtype=str).astype(object)
    columns = {
        "gene_ids": names,
        "feature_types": np.full(len(names), GENE_EXPRESSION, dtype=object),
        **{name: table[name].astype(str).to_numpy(dtype=object) for name in table.columns},
    }
    genes = Genes(columns["gene_ids"], names, columns["feature_types"])
    return cells.index.to_numpy(dtype=str).astype(object), genes


def _counts_anndata(source: LibrarySource, root: Any) -> sparse.csr_matrix:
    from anndata.io import read_elem

    stored = root.get("X", None)
    attributes = {} if stored is None else stored.attrs
    kind = str(attributes.get("encoding-type", attributes.get("h5sparse_format", "")))
    if stored is None or kind == "null":  # anndata 0.12.0 wrote None as null
        msg = "it has no X. The counts must be in X."
        raise source.error(msg)
    if kind.startswith(("csr", "csc")):
        n_cells, n_genes = (int(n) for n in attributes["shape" if "shape" in attributes else "h5sparse_shape"])
        return _compressed(source, stored, (n_cells, n_genes), by_column=kind.startswith("csc"))
    check_shape(source, getattr(stored, "shape", ()))
    return sparse.csr_matrix(read_elem(stored))
