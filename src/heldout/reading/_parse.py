"""The inner loop of reading a Matrix Market file; compiled, and it lets other threads run."""

from __future__ import annotations

from heldout._core.compiled import kept

N, LINE, FIELD, NUMBER, DIGITS, ROW, COLUMN, AT = range(8)
"""Slots of the state: entries so far, line, field of the line, number being read and its digits, indices, position."""

FINE, CHARACTER, FIELDS, RANGE, TOO_MANY, TOO_LARGE = range(6)
"""What the loop ends with."""

_LARGEST = 2**24
"""Beyond, float32 does not hold every whole number; nor are there as many genes or cells in a file."""


@kept
def entries(text, state, rows, columns, counts, n_rows, n_columns):  # type: ignore[no-untyped-def]
    """Read ``row column count`` lines out of bytes; the state carries a line that the window cuts in two."""
    for at in range(len(text)):
        character = text[at]
        if 48 <= character <= 57:
            state[NUMBER] = state[NUMBER] * 10 + (character - 48)
            state[DIGITS] += 1
            if state[NUMBER] > _LARGEST:
                state[AT] = at
                return TOO_LARGE
            continue
        if character != 32 and character != 10 and character != 9 and character != 13:
            state[AT] = at
            return CHARACTER
        if state[DIGITS] > 0:
            if state[FIELD] == 0:
                state[ROW] = state[NUMBER]
            elif state[FIELD] == 1:
                state[COLUMN] = state[NUMBER]
            elif state[FIELD] == 2:
                n = state[N]
                if n >= len(rows):
                    state[AT] = at
                    return TOO_MANY
                if not (1 <= state[ROW] <= n_rows and 1 <= state[COLUMN] <= n_columns):
                    state[AT] = at
                    return RANGE
                rows[n] = state[ROW] - 1
                columns[n] = state[COLUMN] - 1
                counts[n] = state[NUMBER]
                state[N] = n + 1
            state[FIELD] += 1
            state[NUMBER] = 0
            state[DIGITS] = 0
        if character == 10:
            if state[FIELD] != 3 and state[FIELD] != 0:
                state[AT] = at
                return FIELDS
            state[FIELD] = 0
            state[LINE] += 1
    return FINE
