"""Words for the sentences of the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core.words import plural

if TYPE_CHECKING:
    from heldout.auditing._case import Case


def singular(name: str) -> str:
    """A group in words: ``library``, or ``group (sample_id)`` if the name is not a plain word."""
    return name if name.isalpha() and name.islower() else f"group ({name})"


def many(name: str) -> str:
    """Several groups in words: ``libraries``, or ``groups (sample_id)`` if the name is not a plain word."""
    return plural(name) if name.isalpha() and name.islower() else f"groups ({name})"


def unit_in_words(case: Case) -> str:
    """A unit in words: a group, or a sample of a group that has several labels."""
    return f"sample ({case.unit} and {case.label_key})" if case.units.paired else singular(case.unit)


def units_in_words(case: Case) -> str:
    """Several units in words: the groups, or the samples of groups that have several labels."""
    return f"samples ({case.unit} and {case.label_key})" if case.units.paired else many(case.unit)


def not_constant(case: Case, key: str) -> str:
    """Why a covariate cannot be used."""
    return f"{key} varies within a {unit_in_words(case)}, or has missing values."


def numbered(case: Case, n: int) -> str:
    """A number of units in words, e.g. ``1 library`` or ``2 libraries``."""
    return f"{n:,} {unit_in_words(case) if n == 1 else units_in_words(case)}"
