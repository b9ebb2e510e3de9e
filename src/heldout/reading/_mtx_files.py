"""Find a Matrix Market file, and the files with its barcodes and genes, under the names that programs give them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core import store
from heldout.reading._library import LibraryError

if TYPE_CHECKING:
    from pathlib import Path

_MATRIX = ("matrix.mtx.gz", "matrix.mtx")
_ANY = (".mtx.gz", ".mtx")
BARCODES = ("barcodes.tsv", "barcodes.txt")
GENES = ("features.tsv", "genes.tsv", "features.txt", "genes.txt")
_BREAKS = "_-."
_ALLOWED = "A library is a 10x folder (or the prefix of its files), an .mtx file, a 10x .h5, an .h5ad or a .zarr."
_OTHER = {
    (".tar", ".tar.gz", ".tgz", ".zip", ".tar.bz2"): "it is an archive. Unpack it first.",
    (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz", ".xlsx"): (
        "it is a table. Read it with pandas, put the counts into an AnnData (cells × genes), and write it with "
        "write_h5ad."
    ),
    (".rds", ".rdata", ".rda", ".h5seurat"): "it is a file of R. Export it as .h5ad or as a 10x folder.",
    (".loom",): "it is a loom file. Read it with anndata.io.read_loom, and write it with write_h5ad.",
    (".h5mu",): "it is a MuData. Write its RNA with mdata['rna'].write_h5ad(...), and give that file.",
    (".bam", ".fastq", ".fastq.gz", ".fq.gz"): "it has reads, not counts. Count them first.",
}


def matrix_file(library: str, path: Path) -> Path:
    """Return the matrix file of a 10x folder, of a GEO-style prefix such as ``raw/GSM8325046``, or the file itself.

    A folder without ``matrix.mtx`` may have one matrix of another name.
    """
    if path.is_file():
        found = [path] if path.name.endswith(_ANY) else []
    else:
        folder, prefix = (path, "") if path.is_dir() else (path.parent, path.name)
        inside = sorted(folder.iterdir()) if folder.is_dir() else []
        every = [p for p in inside if p.name.startswith(prefix) and p.name.endswith(_ANY)]
        found = [p for p in every if p.name.endswith(_MATRIX)] or every
    if len(found) == 1:
        return found[0]
    if found:
        first = str(found[0]).removesuffix(".gz").removesuffix("matrix.mtx")
        what = (
            f"{len(found)} matrices match ({store.some([p.name for p in found])}). Give the prefix or the path of one, "
            f"for example {first!r}."
        )
        raise LibraryError(library, path, what)
    raise LibraryError(library, path, f"{_no_matrix(path)} {_ALLOWED}")


def _no_matrix(path: Path) -> str:
    if path.is_file():
        name = path.name.lower()
        known = (what for endings, what in _OTHER.items() if name.endswith(endings))
        return next(known, "it is not a matrix of counts.")
    if not path.exists():
        return "it does not exist." + (" Write / instead of \\ in paths." if "\\" in str(path) else "")
    deeper = [p.parent for ending in _ANY for p in sorted(path.glob(f"*/*{ending}"))]
    if deeper:
        return f"it has no matrix.mtx, but folders in it have one. Give one of these: {store.some(deeper)}."
    single = sorted(p for kind in ("*.h5", "*.h5ad") for p in path.glob(kind))
    more = f" It has {store.some([p.name for p in single])}. Give the path of that file." if single else ""
    return f"it has no matrix.mtx or matrix.mtx.gz.{more}"


def prefixes_of(matrix: Path) -> list[str]:
    """Return what may precede ``barcodes.tsv`` next to this matrix, the longest first.

    For ``GSM1_matrix.mtx`` it is ``GSM1_`` alone. For ``GSM1_raw_counts.mtx`` it is the whole name, ``GSM1_raw_``,
    ``GSM1_``, or nothing.
    """
    name = matrix.name.removesuffix(".gz")
    if name.endswith("matrix.mtx"):
        return [name.removesuffix("matrix.mtx")]
    stem = name.removesuffix(".mtx")
    cut = [stem[: i + 1] for i, character in enumerate(stem) if character in _BREAKS]
    return [*(stem + between for between in _BREAKS), *cut[::-1], ""]


def file_next_to(library: str, matrix: Path, names: tuple[str, ...]) -> Path:
    """Return the file of names next to a matrix."""
    prefixes = prefixes_of(matrix)
    for prefix in prefixes:
        for name in names:
            for ending in (".gz", ""):
                if (path := matrix.with_name(prefix + name + ending)).is_file():
                    return path
    what = f"there is no {prefixes[-1]}{' or '.join(names[:2])} (.gz or not) next to {matrix.name}."
    raise LibraryError(library, matrix.parent, what)
