"""The inner loop of reading a Matrix Market file. It is compiled and releases the lock of the interpreter."""

from __future__ import annotations

from heldout._core.compiled import kept

N, LINE, FIELD, NUMBER, DIGITS, ROW, COLUMN, AT = range(8)
"""Slots of the state: entries so far, line, field of the line, current number, its digits, indices, position."""

FINE, CHARACTER, FIELDS, RANGE, TOO_MANY, TOO_LARGE, UNORDERED = range(7)
"""Codes with which the loop ends."""

_LARGEST = 2**24
"""Largest number in a file. float32 stores integers exactly up to here, and no file has more genes or cells."""


@kept
def entries(text, state, rows, columns, lengths, counts, n_rows):  # type: ignore[no-untyped-def]
    """Read ``row column count`` lines from bytes. The state carries a line that is cut by the end of the window.

    The function writes the row and the count of each entry, and the number of entries of each column. The entries must
    be sorted by column, unless ``columns`` has room for the column of each entry.
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
