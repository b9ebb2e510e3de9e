"""Progress of long work: a bar in terminals and notebooks, and lines of log everywhere else."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, TypeVar

from heldout._core.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

logger = logging.getLogger("heldout")

T = TypeVar("T")

EVERY = 10.0
"""Seconds between two lines of log about one stage."""


def show_progress() -> bool:
    """Whether progress bars are shown: the setting, or else in terminals and notebooks."""
    if settings.progress is not None:
        return settings.progress
    if os.environ.get("TQDM_DISABLE", "").strip().lower() not in {"", "0", "false"}:
        return False
    return sys.stderr.isatty() or _in_a_notebook()


def _in_a_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def progress(items: Sequence[T], what: str) -> Iterator[T]:
    """Iterate over ``items`` with a progress bar labelled ``what``, or with lines of log where no bar is shown."""
    if show_progress():
        with warnings.catch_warnings():  # without widgets a notebook gets the bar of terminals
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm
        yield from tqdm(items, desc=what, leave=False)
        return
    with Stage(what, len(items)) as stage:
        for item in items:
            yield item
            stage.step()


class Stage:
    """Lines of log about one stage of work: one when it begins, and then at most one in ``EVERY`` seconds.

    A stage inside another stage logs at the level ``debug``.
    """

    def __init__(self, what: str, n: int) -> None:
        self._what, self._n, self._done = what, n, 0
        self._level = logging.INFO

    def __enter__(self) -> Stage:
        self._level = logging.DEBUG if _open.number else logging.INFO
        _open.number += 1
        self._start = self._last = time.monotonic()
        if self._n:
            logger.log(self._level, "%s: %d", self._what, self._n)
        return self

    def step(self) -> None:
        """Count one more item."""
        self._done += 1
        now = time.monotonic()
        if now - self._last >= EVERY:
            self._last = now
            logger.log(self._level, "%s: %d of %d, %.0f s", self._what, self._done, self._n, now - self._start)

    def __exit__(self, *_: object) -> None:
        _open.number -= 1


class _Open(threading.local):
    """Number of stages that are open in this thread of Python."""

    number = 0


_open = _Open()
