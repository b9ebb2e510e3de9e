"""Which tests are slow."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def slow_tests(seconds: Mapping[str, float], limit: float) -> list[str]:
    """Names of the tests that take longer than ``limit``, sorted.

    A function is named as a whole if at least half of its cases are slow; otherwise its slow cases are named.
    """
    cases = defaultdict(list)
    for name in seconds:
        cases[name.split("[")[0]].append(name)
    found = []
    for function, names in cases.items():
        slow = [name for name in names if seconds[name] > limit]
        found += [function] if 2 * len(slow) >= len(names) and slow else slow
    return sorted(found)
