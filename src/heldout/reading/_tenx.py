"""10x folders: ``matrix.mtx``, ``barcodes.tsv`` and ``features.tsv`` or ``genes.tsv``.

Each file may be plain or gzipped, and may have a prefix.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from isal import igzip, igzip_lib
from scipy import sparse

from heldout._core.text_tables import decoded
from heldout.reading._library import GENE_EXPRESSION, Genes, LibraryError, LibrarySource
from heldout.reading._mtx_files import BARCODES, GENES, file_next_to, matrix_file
from heldout.reading._names import fields

if TYPE_CHECKING:
    from pathlib import Path

_WINDOW = 2**22
_DENSEST = 1032
"""Largest number of bytes that one byte of a gzip file can stand for. An entry has at least 6 bytes: ``1 1 1``."""
_REAL = ("real", "double", "float")


def open_text(path: Path) -> IO[bytes]:
    """Open a plain or gzipped file for reading bytes, whatever the ending of its name."""
    return igzip.open(path, "rb") if _gzipped(path) else path.open("rb")


def _gzipped(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


_ISAL: Any = igzip_lib.IsalError
BROKEN: tuple[type[Exception], ...] = (EOFError, OSError, zlib.error, _ISAL)
"""Errors of a truncated or damaged gzip file."""

_NOT_PARSED: tuple[type[Exception], ...] = (*BROKEN, ValueError, OverflowError)


def find(library: str, path: Path, known: dict[bytes, Genes]) -> LibrarySource:
    """Find the three files, and read the barcodes, the genes and the header of the matrix.

    ``known`` has the gene lists that were read before, so that equal lists are kept once.
    """
    matrix = matrix_file(library, path)
    named = file_next_to(library, matrix, BARCODES)
    barcodes = [row[0] for row in _fields(library, named, _bytes(library, named))]
    features = file_next_to(library, matrix, GENES)
    genes = _genes(library, features, known)
    stat = matrix.stat()
    size = (stat.st_size, stat.st_mtime_ns)
    source = LibrarySource(library, "mtx", matrix, np.array(barcodes, dtype=object), genes, size, named, features)
    with _open(source) as stream:
        _header(source, stream)
    return source


def _bytes(library: str, path: Path) -> bytes:
    try:
        with open_text(path) as stream:
            return stream.read()
    except BROKEN as problem:
        raise LibraryError(library, path, _unreadable(problem)) from problem


def _unreadable(problem: Exception) -> str:
    if isinstance(problem, EOFError):
        return "the gzip file ends in the middle. Download or copy it again."
    return f"it cannot be read ({problem or type(problem).__name__}). Download or copy it again."


def _fields(library: str, path: Path, content: bytes) -> list[list[str]]:
    try:
        return fields(decoded(content, path))
    except ValueError as problem:
        raise LibraryError(library, path, f"it is not text ({problem}).") from problem


def _genes(library: str, path: Path, known: dict[bytes, Genes]) -> Genes:
    content = _bytes(library, path)
    if content not in known:
        table = _fields(library, path, content)
        known[content] = Genes(
            np.array([row[0] for row in table], dtype=object),
            np.array([row[1] if len(row) > 1 else row[0] for row in table], dtype=object),
            np.array([row[2] if len(row) > 2 else GENE_EXPRESSION for row in table], dtype=object),
        )
    return known[content]


@dataclass(frozen=True)
class _Header:
    n_entries: int
    integer: bool
    n_lines: int


def _open(source: LibrarySource) -> IO[bytes]:
    try:
        return open_text(source.path)
    except OSError as problem:
        raise source.error(_unreadable(problem)) from problem


def _header(source: LibrarySource, stream: IO[bytes]) -> _Header:
    """Read the lines before the entries, and compare their counts with the barcodes and genes."""
    try:
        first = stream.readline()
        n_lines, line = 1, b"%"
        while line.startswith(b"%") or (line and not line.strip()):
            line = stream.readline()
            n_lines += 1
    except BROKEN as problem:
        raise source.error(_unreadable(problem)) from problem
    words = first.decode(errors="replace").lower().split()
    if len(words) != 5 or words[:3] != ["%%matrixmarket", "matrix", "coordinate"] or words[4] != "general":
        msg = f"its first line is {first[:60]!r}, but it must be '%%MatrixMarket matrix coordinate integer general'."
        raise source.error(msg)
    if words[3] not in {"integer", *_REAL}:
        msg = f"its values are declared as {words[3]!r}, but counts are integer."
        raise source.error(msg)
    try:
        n_genes, n_cells, n_entries = (int(word) for word in line.split())
    except ValueError as problem:
        msg = f"line {n_lines} is {line[:60]!r}, but it must have the numbers of genes, cells and entries."
        raise source.error(msg) from problem
    if n_entries < 0:
        msg = f"line {n_lines} is {line[:60]!r}, but the number of entries must be >= 0."
        raise source.error(msg)
    if (n_genes, n_cells) != (len(source.genes), len(source.barcodes)):
        more = _likely(n_genes, n_cells, source)
        msg = (
            f"its header has {n_genes} genes and {n_cells} cells, but {source.genes_in} has {len(source.genes)} "
            f"genes and {source.barcodes_in} has {len(source.barcodes)} barcodes. The files are from different runs, "
            f"or a file is truncated.{more}"
        )
        raise source.error(msg)
    if n_entries > n_genes * n_cells:
        msg = f"its header has {n_entries} entries, but there are only {n_genes * n_cells} pairs of a gene and a cell."
        raise source.error(msg)
    most = source.path.stat().st_size * (_DENSEST if _gzipped(source.path) else 1)
    if 6 * n_entries > most + 1:
        msg = f"its header has {n_entries} entries, but the file is too short for them. The file is truncated."
        raise source.error(msg)
    return _Header(n_entries, words[3] == "integer", n_lines)


def _likely(n_genes: int, n_cells: int, source: LibrarySource) -> str:
    """Return a sentence about the likely reason, if the numbers show it."""
    if n_cells == len(source.genes):
        return " The matrix seems to be cells × genes. Transpose it."
    for n, names, path in (
        (n_genes, source.genes.ids, source.genes_in),
        (n_cells, source.barcodes, source.barcodes_in),
    ):
        if len(names) == n + 1 and path is not None:
            return f" The first line of {path.name} ({names[0]!r}) may be a header. Remove it if it is one."
    return ""


def read_counts(source: LibrarySource) -> sparse.csr_matrix:
    """Return the counts, cells × genes."""
    with _open(source) as stream:
        header = _header(source, stream)
        if not header.integer:
            return _read_real(source, header)
        found = _entries(source, stream, header)
    if found is None:
        with _open(source) as stream:
            found = _entries(source, stream, _header(source, stream), any_order=True)
    assert found is not None
    return found


def _entries(
    source: LibrarySource, stream: IO[bytes], header: _Header, *, any_order: bool = False
) -> sparse.csr_matrix | None:
    """Return the counts of a file of integers, or None if entries must be sorted by cell and are not."""
    from heldout.reading import _parse

    n, shape = header.n_entries, (len(source.barcodes), len(source.genes))
    genes, counts, cells = np.empty(n, np.int32), np.empty(n, np.float32), np.empty(n * any_order, np.int32)
    lengths, state = np.zeros(shape[0], np.int32), np.zeros(8, dtype=np.int64)
    state[_parse.LINE] = header.n_lines
    try:
        window = stream.read(_WINDOW)
        while window:
            following = stream.read(_WINDOW)
            text = window if following or window.endswith(b"\n") else window + b"\n"
            code = _parse.entries(np.frombuffer(text, dtype=np.uint8), state, genes, cells, lengths, counts, shape[1])
            if code == _parse.UNORDERED:
                return None
            if code != _parse.FINE:
                raise source.error(_wrong_line(code, text, state, n))
            window = following
    except BROKEN as problem:
        raise source.error(_unreadable(problem)) from problem
    if state[_parse.N] != n:
        msg = f"its header has {n} entries, but {state[_parse.N]} follow. The file is truncated."
        raise source.error(msg)
    if any_order:
        order = np.argsort(cells, kind="stable")
        genes, counts = genes[order], counts[order]
    return sparse.csr_matrix((counts, genes, _indptr(lengths)), shape=shape)


def _indptr(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)


def _wrong_line(code: int, text: bytes, state: np.ndarray, n: int) -> str:
    from heldout.reading import _parse

    if code == _parse.TOO_MANY:
        return f"its header has {n} entries, but more follow."
    at = int(state[_parse.AT])
    line = text[text.rfind(b"\n", 0, at) + 1 :].split(b"\n", 1)[0][:60].decode(errors="replace")
    what = {
        _parse.CHARACTER: "is not 'gene cell count' with integers >= 0",
        _parse.FIELDS: "does not have the three numbers 'gene cell count'",
        _parse.RANGE: "names a gene or cell beyond the numbers in the header",
        _parse.TOO_LARGE: "has a number above 16,777,216",
    }[code]
    return f"line {int(state[_parse.LINE]) + 1} ({line!r}) {what}."


def _declared_real(stream: IO[bytes]) -> IO[bytes]:
    """Return the file with ``real`` in its first line. STARsolo writes ``float``, which is not a word of the format."""
    first = stream.readline()
    if first.lower().split()[3] == b"real":
        stream.seek(0)
        return stream
    return io.BytesIO(b"%%MatrixMarket matrix coordinate real general\n" + stream.read())


def _read_real(source: LibrarySource, header: _Header) -> sparse.csr_matrix:
    """Read a file that is declared as real with the parser of scipy. Its values are checked later."""
    from scipy.io import mmread

    try:
        with open_text(source.path) as stream:
            found = mmread(_declared_real(stream))
    except _NOT_PARSED as problem:
        raise source.error(_unreadable(problem)) from problem
    if found.nnz != header.n_entries:
        msg = f"its header has {header.n_entries} entries, but {found.nnz} follow."
        raise source.error(msg)
    cells = found.T.tocoo()
    order = np.lexsort((cells.col, cells.row))
    indptr = _indptr(np.bincount(cells.row, minlength=cells.shape[0]))
    return sparse.csr_matrix((cells.data[order], cells.col[order], indptr), shape=cells.shape)
