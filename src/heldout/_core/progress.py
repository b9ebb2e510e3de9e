"""A progress bar that is shown in a terminal only."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


T = TypeVar("T")


def show_progress() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr.isatty()


def progress(items: Sequence[T], what: str) -> Iterable[T]:
    """Iterate over ``items`` with a progress bar labelled ``what``."""
    from tqdm.auto import tqdm

    return tqdm(items, desc=what, disable=not show_progress(), leave=False)
