"""The inner loop of reading a Matrix Market file; compiled, and it lets other threads run."""

from __future__ import annotations

from heldout._core.compiled import kept

N, LINE, FIELD, NUMBER, DIGITS, ROW, COLUMN, AT = range(8)
"""Slots of the state: entries so far, line, field of the line, number being read and its digits, indices, position."""

FINE, CHARACTER, FIELDS, RANGE, TOO_MANY, TOO_LARGE, UNORDERED = range(7)
"""What the loop ends with."""

_LARGEST = 2**24
"""Beyond, float32 does not hold every whole number; nor are there as many genes or cells in a file."""


@kept
def entries(text, state, rows, columns, lengths, counts, n_rows):  # type: ignore[no-untyped-def]
    """Read ``row column count`` lines out of bytes; the state carries a line that the window cuts in two.

    Written are the row and the count of each entry, and the number of entries of each column. The entries must come column
    after column, unless there is room in ``columns`` to say where each belongs.
    """
    any_order = len(columns) > 0
    n, line, field, number, digits, row, column, _ = state
    code, stopped = FINE, 0
    for at in range(len(text)):
        stopped = at
        character = text[at]
        if 48 <= character <= 57:
            number = number * 10 + (character - 48)
            digits += 1
            if number > _LARGEST:
                code = TOO_LARGE
                break
            continue
        if character != 32 and character != 10 and character != 9 and character != 13:
            code = CHARACTER
            break
        if digits > 0:
            if field == 0:
                if not 1 <= number <= n_rows:
                    code = RANGE
                    break
                row = number
            elif field == 1:
                if not 1 <= number <= len(lengths):
                    code = RANGE
                    break
                if number < column and not any_order:
                    code = UNORDERED
                    break
                column = number
            elif field == 2:
                if n >= len(rows):
                    code = TOO_MANY
                    break
                rows[n] = row - 1
                counts[n] = number
                if any_order:
                    columns[n] = column - 1
                lengths[column - 1] += 1
                n += 1
            field += 1
            number = 0
            digits = 0
        if character == 10:
            if field != 3 and field != 0:
                code = FIELDS
                break
            field = 0
            line += 1
    state[:] = (n, line, field, number, digits, row, column, stopped)
    return code
