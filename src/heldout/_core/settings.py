"""Settings of heldout in this process: threads, messages, progress and colours."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from heldout._core.checks import check_choice, check_integer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}
"""Levels of messages by name."""

_OF_SCANPY = ("error", "warning", "info", "info", "debug")
"""Levels by the numbers of scanpy, where 3 adds hints."""

PARTITION_COLORS = {"train": "#5588BB", "val": "#E0A820", "test": "#B8174A", "unused": "#B9B9B9"}
"""One colour per partition. They differ in lightness too, for grey prints, and are seen on white and on black."""

CLASS_COLORS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB")
"""Paul Tol's bright scheme, for the classes of a label and for methods."""

FEWEST_COLORS = 4
"""Number of colours that a picture can need: classes of genetic interactions."""

_MOST = 4096
"""Largest number of threads of the setting. Libraries fail on numbers that no machine has."""


class Settings:
    """Settings of heldout in this process; ``heldout.settings`` is the only instance. None restores a default.

    Attributes
    ----------
    n_jobs
        Number of threads of every fit, prediction and evaluation. If None, the default, the environment decides: the
        first of ``OMP_NUM_THREADS``, ``OPENBLAS_NUM_THREADS`` and ``MKL_NUM_THREADS`` that is set. If none of them is
        set, small networks and other small products use one thread, and everything else uses all physical cores. -1
        stands for all physical cores. Inside a call of heldout, the number holds for torch, for the linear algebra of
        numpy and scipy, for scikit-learn and for numba. When the call ends, also with an error, their numbers are
        restored.
    verbosity
        Messages on standard error: ``"error"``, ``"warning"``, ``"info"`` or ``"debug"``, or a number as in scanpy (0,
        1, 2 or 3, 4). ``"info"`` adds a line for each stage of long work where no progress bar is shown, and
        ``"debug"`` a line for each stage inside another. If None, the default, :mod:`logging` decides, which shows
        warnings unless the program says something else. Messages have the logger ``heldout``.
    progress
        Whether progress bars are shown. If None, the default, they are shown in terminals and notebooks, unless
        ``TQDM_DISABLE`` is set.
    partition_colors
        Colour of each partition in all pictures: a dictionary with some or all of ``train``, ``val``, ``test`` and
        ``unused``. The others keep their colours. Colours are those of matplotlib.
    class_colors
        At least four colours for classes and methods, in their order. The first one is that of the judged method.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.settings.n_jobs = 2
    >>> ho.settings.partition_colors = {"test": "black"}
    >>> ho.settings
    settings of heldout
      n_jobs            2
      verbosity         None
      progress          None
      partition_colors  train #5588bb, val #e0a820, test #000000, unused #b9b9b9
      class_colors      #4477aa, #ee6677, #228833, #ccbb44, #66ccee, #aa3377, #bbbbbb
    >>> ho.settings.n_jobs = ho.settings.partition_colors = None
    """

    __slots__ = ("_class_colors", "_n_jobs", "_partition_colors", "_progress", "_verbosity")

    def __init__(self) -> None:
        self._n_jobs: int | None = None
        self._verbosity: str | None = None
        self._progress: bool | None = None
        self._partition_colors = dict(PARTITION_COLORS)
        self._class_colors: tuple[str, ...] = CLASS_COLORS

    @property
    def n_jobs(self) -> int | None:
        """Number of threads, -1 for all physical cores, or None for the default."""
        return self._n_jobs

    @n_jobs.setter
    def n_jobs(self, value: int | None) -> None:
        if value is not None and value != -1:
            value = check_integer(value, "settings.n_jobs", least=1, or_else="-1 for all cores, or None")
            check_integer(value, "settings.n_jobs", most=_MOST)
        self._n_jobs = value

    @property
    def verbosity(self) -> str | None:
        """Name of the lowest level of messages that are shown, or None if logging decides."""
        return self._verbosity

    @verbosity.setter
    def verbosity(self, value: str | int | None) -> None:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(_OF_SCANPY):
            value = _OF_SCANPY[value]
        if value is not None and value not in LEVELS:
            allowed = ", ".join(f'"{name}"' for name in LEVELS)
            msg = f"settings.verbosity={value!r} must be one of {allowed}, 0 to {len(_OF_SCANPY) - 1}, or None"
            raise ValueError(msg)
        _show_messages(None if value is None else LEVELS[str(value)])
        self._verbosity = None if value is None else str(value)

    @property
    def progress(self) -> bool | None:
        """Whether progress bars are shown, or None for terminals and notebooks only."""
        return self._progress

    @progress.setter
    def progress(self, value: bool | None) -> None:
        if value not in (True, False, None) or not isinstance(value, bool | None):
            msg = f"settings.progress={value!r} must be True, False or None"
            raise ValueError(msg)
        self._progress = value

    @property
    def partition_colors(self) -> dict[str, str]:
        """Colour of each partition, as ``#rrggbb``."""
        return dict(self._partition_colors)

    @partition_colors.setter
    def partition_colors(self, value: Mapping[str, Any] | None) -> None:
        chosen = {} if value is None else dict(value)
        for name in chosen:
            check_choice(name, "a key of settings.partition_colors", list(PARTITION_COLORS))
        self._partition_colors = PARTITION_COLORS | {name: _hex(c, "partition_colors") for name, c in chosen.items()}

    @property
    def class_colors(self) -> tuple[str, ...]:
        """Colours of classes and methods, as ``#rrggbb``."""
        return self._class_colors

    @class_colors.setter
    def class_colors(self, value: Sequence[Any] | None) -> None:
        chosen = list(CLASS_COLORS if value is None else value)
        if isinstance(value, str) or len(chosen) < FEWEST_COLORS:
            msg = f"settings.class_colors={value!r} must be a list of at least {FEWEST_COLORS} colours, or None"
            raise ValueError(msg)
        self._class_colors = CLASS_COLORS if value is None else tuple(_hex(c, "class_colors") for c in chosen)

    def __repr__(self) -> str:
        shown = {
            "n_jobs": self.n_jobs,
            "verbosity": self.verbosity,
            "progress": self.progress,
            "partition_colors": ", ".join(f"{name} {c.lower()}" for name, c in self.partition_colors.items()),
            "class_colors": ", ".join(self.class_colors).lower(),
        }
        return "\n".join(["settings of heldout", *(f"  {name:<16}  {value}" for name, value in shown.items())])


def _hex(colour: Any, name: str) -> str:
    from matplotlib.colors import to_hex

    try:
        return to_hex(colour)
    except (TypeError, ValueError) as problem:
        msg = f"settings.{name}: {colour!r} is not a colour of matplotlib, such as '#4477aa' or 'black'"
        raise ValueError(msg) from problem


class _StandardError(logging.Handler):
    """Write messages to standard error, unless the program has configured logging, which then shows them itself."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        if not logging.getLogger().handlers:
            sys.stderr.write(f"{self.format(record)}\n")


_handler = _StandardError()


def _show_messages(level: int | None) -> None:
    logger = logging.getLogger("heldout")
    logger.removeHandler(_handler)
    if level is not None:
        logger.addHandler(_handler)
    logger.setLevel(logging.NOTSET if level is None else level)


settings = Settings()
