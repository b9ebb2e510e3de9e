"""Nouns, numbers and lists of names for sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_SIBILANTS = ("s", "x", "z", "ch", "sh")


def plural(noun: str) -> str:
    """Plural of a noun of plain English words, or of ``sample_id group``. Other names and two letters are unchanged."""
    if noun.endswith(" group"):
        return f"{noun}s"
    if not noun.replace(" ", "").isalpha() or len(noun) < 3:
        return noun
    if noun.endswith("y") and noun[-2:-1] not in set("aeiou"):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(_SIBILANTS) else f"{noun}s"


def counted(n: int, noun: str) -> str:
    """A number with its noun, e.g. ``2 libraries`` or ``1,200 cells``."""
    return f"{n:,} {noun if n == 1 else plural(noun)}"


def first_few(names: Iterable[Any], limit: int = 3) -> str:
    """The first few names, and how many more there are, e.g. ``A, B, C and 4 more``."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more
