"""Words for the sentences of the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heldout.auditing._case import Case

_SIBILANTS = ("s", "x", "z", "ch", "sh")


def many(name: str) -> str:
    """Several groups in words: ``libraries``, ``donors``, and ``groups (sample_id)`` where the name is no plain word."""
    if not name.isalpha() or not name.islower():
        return f"groups ({name})"
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(_SIBILANTS) else f"{name}s"


def units_in_words(case: Case) -> str:
    """Several units in words: the groups, or the samples of groups that have several labels."""
    return f"samples ({case.unit} and {case.label_key})" if case.units.paired else many(case.unit)
