"""Tables in text files as people have them: any usual encoding and separator, and values that stay what they say."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import logging
import lzma
import re
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core.words import first_few

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

logger = logging.getLogger("heldout")

_OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_EXCEL = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_WINDOW = 2**20
_SEPARATORS = ("\t", ";", ",", "|")
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,14})")
"""Longer integers are identifiers, as are those with leading zeros."""
_DECIMAL = re.compile(r"-?((0|[1-9]\d{0,14})(\.\d*)?|\.\d+)(e[-+]?\d+|E[-+]\d+)?|-?[iI]nf")
"""A number as programs write it. ``1E5`` is the name of a well."""
_MISSING = {"na", "n/a", "nan", "null", "none", "missing", ".", "-", "#n/a", "<na>"}
"""Words for a missing value in a column of numbers, in lower case. In a column of text, they are names."""


def _opener(path: str | Path) -> Any:
    """Return the function that opens this file, from its first bytes."""
    with Path(path).open("rb") as stream:
        magic = stream.read(8)
    return next((opener for start, opener in _OPENERS.items() if magic.startswith(start)), open)


def encoding_of(path: str | Path) -> str:
    """Return the encoding of a text file: by its byte order mark, else UTF-8, else Windows-1252 with a warning.

    Raises
    ------
    ValueError
        If the file is not text.
    """
    with _opener(path)(path, "rb") as stream:
        return _encoding(iter(lambda: stream.read(_WINDOW), b""), path)


def _encoding(blocks: Iterator[bytes], path: str | Path) -> str:
    head = next(blocks, b"")
    if head.startswith(_EXCEL):
        msg = (
            f"{path} is an Excel or zip file, not text. Save the table as csv (UTF-8), or read it yourself with "
            "pandas.read_excel and pass the DataFrame."
        )
        raise ValueError(msg)
    marked = next((encoding for mark, encoding in _BOMS if head.startswith(mark)), None) or _without_mark(head[:2048])
    if marked:
        return marked
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for block in chain([head], blocks):
            if b"\x00" in block:
                msg = f"{path} is not a text file. It has bytes of value 0. Save the table as csv (UTF-8)."
                raise ValueError(msg)
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        logger.warning("%s is not UTF-8 and is read as Windows-1252. Check names with accents.", path)
        return "cp1252"
    return "utf-8"


def _without_mark(head: bytes) -> str | None:
    """Return the kind of UTF-16 if each second byte is 0, as in Latin text."""
    even, odd = head[0::2], head[1::2]
    if len(head) < 4 or 0 not in head:
        return None
    if odd.count(0) > 0.8 * len(odd) and 0 not in even:
        return "utf-16-le"
    return "utf-16-be" if even.count(0) > 0.8 * len(even) and 0 not in odd else None


def decoded(content: bytes, path: str | Path) -> str:
    """Return the text of the bytes of a file, without a byte order mark."""
    encoding = _encoding(iter([content]), path)
    errors = "replace" if encoding == "cp1252" else "strict"  # five bytes have no meaning in Windows-1252
    return content.decode(encoding, errors=errors).removeprefix("\ufeff")


def read_text(path: str | Path) -> str:
    """Return the text of a plain or compressed file (gzip, bz2, xz), without a byte order mark."""
    with _opener(path)(path, "rb") as stream:
        return decoded(stream.read(), path)


def pandas_options(path: str | Path) -> dict[str, Any]:
    """Return the encoding and the separator of a file as arguments of :func:`pandas.read_csv`.

    The separator is that of the file name (a tab for ``.tsv``), unless it splits nothing.
    """
    encoding = encoding_of(path)
    errors = "replace" if encoding == "cp1252" else "strict"
    with _opener(path)(path, "rt", encoding=encoding, errors=errors) as stream:
        header = stream.readline()
    usual = "," if ".csv" in Path(path).suffixes else "\t"
    return {"encoding": encoding, "encoding_errors": errors, "sep": usual if usual in header else separator_of(header)}


def separator_of(header: str, needed: Sequence[str] = ()) -> str:
    """Return the separator that splits a header into the most needed names, and then into the most fields."""

    def gain(separator: str) -> tuple[int, int]:
        fields = [field.strip() for field in next(csv.reader([header], delimiter=separator), [])]
        return len(set(needed) & set(fields)), len(fields)

    return max(_SEPARATORS, key=gain)


def read_text_table(path: str | Path, name: str, needed: Sequence[str]) -> pd.DataFrame:
    """Read a table with a header. Columns of plain numbers become numbers, all other values stay as they are written.

    Only an empty cell is missing. ``None``, ``NA`` and ``001`` are text. In a column where all other values are
    numbers, words for a missing value are missing.

    Parameters
    ----------
    path
        The file. Its encoding is found, and its separator is a comma, a semicolon, a tab or ``|``.
    name
        Name of the argument, for errors.
    needed
        Columns that the table must have. They stay text.
    """
    lines = read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    declared = re.match(r"\s*sep=(.)\n", lines, re.IGNORECASE)  # Excel writes the separator on the first line
    lines = lines[declared.end() :] if declared else lines
    separator = declared[1] if declared else separator_of(lines.lstrip("\n").split("\n", 1)[0], needed)
    reader = csv.reader(io.StringIO(lines), delimiter=separator, strict=True)
    try:
        rows = [(reader.line_num + bool(declared), [cell.strip() for cell in row]) for row in reader]
    except csv.Error as problem:
        msg = f"{name}={str(path)!r} cannot be read near line {reader.line_num} ({problem}). Check its quotation marks."
        raise ValueError(msg) from problem
    numbered = [(number, row) for number, row in rows if any(row)]
    if not numbered:
        msg = f"{name}={str(path)!r} is empty. Its first line must have the names of the columns."
        raise ValueError(msg)
    header = _trimmed(numbered[0][1])
    _check_header(header, name, path)
    for number, row in numbered[1:]:
        if len(_trimmed(row)) > len(header):
            msg = (
                f"{name}={str(path)!r} has {len(_trimmed(row))} fields in line {number}, but {len(header)} columns. "
                f"Put values that contain {separator!r} into quotation marks."
            )
            raise ValueError(msg)
    cells = [(row + [""] * len(header))[: len(header)] for _, row in numbered[1:]]
    columns = {column: [row[i] for row in cells] for i, column in enumerate(header)}
    return pd.DataFrame(
        {column: _typed(column, values, separator, text=column in needed) for column, values in columns.items()},
        columns=header,
    )


def _trimmed(row: list[str]) -> list[str]:
    """Return the row without empty cells at its end, which spreadsheets add."""
    return row[: max((i + 1 for i, cell in enumerate(row) if cell), default=0)]


def _check_header(header: list[str], name: str, path: str | Path) -> None:
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        what = "an empty name" if twice == [""] else first_few(map(repr, twice))
        msg = f"{name}={str(path)!r} has several columns named {what}. Give each column its own name."
        raise ValueError(msg)


def _typed(column: str, values: list[str], separator: str, *, text: bool) -> Any:
    """Return integers, decimals, booleans or text, with empty cells as missing."""
    as_text = np.array([value or None for value in values], dtype=object)
    if text:
        return as_text
    if separator == ";":  # where a semicolon separates, a comma is the decimal point
        values = [re.sub(r"^(-?\d+),(\d+)$", r"\1.\2", value) for value in values]
    words = {value for value in values if value and value.lower() not in _MISSING}
    if words and all(_DECIMAL.fullmatch(word) for word in words):
        lacking = [value for value in values if value and value not in words]
        if lacking:
            logger.info("Column %r has numbers; %s is read as missing.", column, first_few(map(repr, set(lacking))))
        whole = all(_INTEGER.fullmatch(value) for value in values)
        if whole:
            return np.array([int(value) for value in values], dtype=np.int64)
        return np.array([float(value) if value in words else np.nan for value in values])
    if {value.lower() for value in values} <= {"true", "false"} and values:
        return np.array([value.lower() == "true" for value in values])
    kept = sorted({value for value in values if value.lower() in _MISSING})
    if kept:
        logger.info(
            "Column %r has the value %s, kept as text. An empty cell is missing.", column, first_few(map(repr, kept))
        )
    return as_text
