"""How many examples a property test tries: a third in every run, all of them with ``--hypothesis-profile=full``."""

from __future__ import annotations

from hypothesis import settings


def properties(n: int) -> settings:
    """Settings of a test with ``n`` examples in the full profile (conftest.py), the same examples on every machine."""
    share = settings.default.max_examples / 100
    return settings(max_examples=max(round(n * share), min(n, 10)), deadline=None, derandomize=True, database=None)
