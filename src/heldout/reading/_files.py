"""Libraries in one file: 10x ``.h5`` (versions 2 and 3), ``.h5ad`` and ``.zarr``."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from heldout._core import store
from heldout._core.compressed import compressed
from heldout.reading import _tenx
from heldout.reading._anndata_parts import genes_of, place_of_counts, table_of
from heldout.reading._library import GENE_EXPRESSION, Genes, LibraryError, LibrarySource, check_shape, checked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

logger = logging.getLogger("heldout")

_NOT_READ = (OSError, LookupError, ValueError, RuntimeError, AttributeError, TypeError, ArithmeticError, MemoryError)
"""Errors of h5py, zarr and anndata for a damaged file. h5py raises nearly every kind."""


def find(library: str, path: Path, known: dict[bytes, Genes], genome: str | None = None) -> LibrarySource:
    """Find a library, and read everything except its counts. ``genome`` chooses among those of a 10x h5."""
    kind = kind_of(path)
    if kind == "mtx":
        return checked(_tenx.find(library, path, known))
    with _opened(library, path, kind) as root:
        chosen = None
        if kind == "h5" and not {"X", "obs", "var"} <= set(root):
            where, barcodes, genes, chosen = _names_h5(library, path, root, genome)
        else:
            kind = "zarr" if kind == "zarr" else "h5ad"
            where, var = place_of_counts(root)
            barcodes = table_of(root, "obs").index.to_numpy(dtype=str).astype(object)
            genes = genes_of(table_of(root, var))
            if where != "X":
                logger.info("library %r: X of %s has no counts, so the counts are read from %s.", library, path, where)
    return checked(LibrarySource(library, kind, path, barcodes, genes, _size(path), where=where, chosen=chosen))


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


def _genome(library: str, path: Path, root: Any, genome: str | None) -> str:
    """Return the group of a 10x file with the counts: ``matrix``, or one of the genomes of version 2."""
    if "matrix" in root:
        return "matrix"
    groups = [name for name in root if "indptr" in getattr(root[name], "keys", tuple)()] if genome is None else [genome]
    if len(groups) == 1 and groups[0] in root:
        return groups[0]
    if genome is None and len(groups) > 1:
        what = f"it has {len(groups)} genomes ({store.some(groups)}). Pass genome={groups[0]!r} to choose it."
    elif genome is None:
        what = f"it has no counts of 10x, only {store.some(root)}. Give the filtered_feature_bc_matrix.h5 or an .h5ad."
    else:
        what = f"genome={genome!r} is not in it. It has {store.some(root)}."
    raise LibraryError(library, path, what)


def _names_h5(
    library: str, path: Path, root: Any, genome: str | None
) -> tuple[str, np.ndarray, Genes, np.ndarray | None]:
    """Return the group with the counts, barcodes, genes, and a mask of the genes of the chosen genome."""
    where = _genome(library, path, root, genome)
    group = root[where]
    if "features" not in group:
        ids = _text(group["genes"])
        genes = Genes(ids, _text(group["gene_names"]), np.full(len(ids), GENE_EXPRESSION, dtype=object))
        return where, _text(group["barcodes"]), genes, None
    features = group["features"]
    genes = Genes(*(_text(features[name]) for name in ("id", "name", "feature_type")))
    chosen = None
    if genome is not None and "genome" in features:
        of_gene = _text(features["genome"])
        chosen = of_gene == genome
        if not chosen.any():
            what = f"genome={genome!r} is not in it. It has {store.some(sorted(set(of_gene)))}."
            raise LibraryError(library, path, what)
    return where, _text(group["barcodes"]), genes, chosen


def _text(dataset: Any) -> np.ndarray:
    return dataset.asstr()[:].astype(object) if dataset.dtype.kind == "O" else dataset[:].astype(str).astype(object)


def _counts_h5(source: LibrarySource, root: Any) -> sparse.csr_matrix:
    group = root[source.where]
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


def _counts_anndata(source: LibrarySource, root: Any) -> sparse.csr_matrix:
    from anndata.io import read_elem

    stored = root.get(source.where, None)
    attributes = {} if stored is None else stored.attrs
    kind = str(attributes.get("encoding-type", attributes.get("h5sparse_format", "")))
    if stored is None or kind == "null":  # anndata 0.12.0 wrote None as null
        msg = "it has no X. The counts must be in X, layers['counts'] or raw.X."
        raise source.error(msg)
    if kind.startswith(("csr", "csc")):
        n_cells, n_genes = (int(n) for n in attributes["shape" if "shape" in attributes else "h5sparse_shape"])
        return _compressed(source, stored, (n_cells, n_genes), by_column=kind.startswith("csc"))
    check_shape(source, getattr(stored, "shape", ()))
    return sparse.csr_matrix(read_elem(stored))
