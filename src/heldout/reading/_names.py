"""Files with one barcode or one gene in each line, as 10x writes them and as R writes them."""

from __future__ import annotations

import csv


def fields(text: str) -> list[list[str]]:
    """Return the fields of each line without quotation marks.

    Fields are separated by tabs. Where no line has a tab, ``write.table`` and ``write.csv`` of R have written commas
    or spaces, with quotation marks around the text. Row numbers that R puts first are left out.
    """
    lines = [line for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line]
    quoted = '"' in text
    if not quoted or "\t" in text:
        rows = [[_bare(cell) for cell in line.split("\t")] for line in lines]
    else:
        separator = "," if all(line.count('","') for line in lines) or " " not in text else " "
        rows = [list(row) for row in csv.reader(lines, delimiter=separator)]
    return _without_numbers(rows) if quoted else rows


def _bare(cell: str) -> str:
    """Return a cell without the quotation marks around it."""
    return cell[1:-1].replace('""', '"') if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def _without_numbers(rows: list[list[str]]) -> list[list[str]]:
    numbered = all(len(row) > 1 for row in rows) and [row[0] for row in rows] == [str(i + 1) for i in range(len(rows))]
    return [row[1:] for row in rows] if numbered else rows
