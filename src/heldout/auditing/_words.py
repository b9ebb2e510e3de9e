"""Words for the sentences of the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core.words import plural

if TYPE_CHECKING:
    from heldout.auditing._case import Case


def many(name: str) -> str:
    """Several groups in words: ``libraries``, ``donors``, and ``groups (sample_id)`` where the name is no plain word."""
    if not name.isalpha() or not name.islower():
        return f"groups ({name})"
    return plural(name)


def units_in_words(case: Case) -> str:
    """Several units in words: the groups, or the samples of groups that have several labels."""
    return f"samples ({case.unit} and {case.label_key})" if case.units.paired else many(case.unit)
