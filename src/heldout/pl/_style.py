"""Colours, marks and names that all plots share. Layout and sizes are in ``_layout``."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any
from zlib import crc32

from heldout._core.leaks import TITLE
from heldout._core.settings import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

PARTITION_MARKS = {"train": "o", "val": "s", "test": "D", "unused": "."}
"""One shape per partition."""

CLASS_MARKS = ("o", "s", "^", "D", "v", "P", "X")
"""One shape per class, in the order of the colours."""

CLASS_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (2, 1)), (0, (6, 1.5, 1.5, 1.5)))
"""Line styles of classes and methods, in the order of the colours."""

FAINT = "#8A8A8A"
"""Colour of baselines, and of lines and text for comparison. It is seen on white and on black."""


_DARK = "#222222"
"""Text on light fills."""


def partition_color(name: str) -> str:
    """Colour of a partition in all pictures."""
    return settings.partition_colors[name]


def class_color(number: int) -> str:
    """Colour of a class or a method by its number; the colours repeat."""
    return settings.class_colors[number % len(settings.class_colors)]


def model_color() -> str:
    """Colour of the judged method. Baselines have the colour ``FAINT``."""
    return class_color(0)


def ink() -> str:
    """Colour of text and outlines: the text colour of the rcParams, so that dark styles work."""
    from matplotlib import rcParams
    from matplotlib.colors import to_hex

    return to_hex(rcParams["text.color"])


def paper(ax: Axes) -> str:
    """Colour behind the data. Behind a transparent figure, white or black, whichever the text can be read on."""
    from matplotlib.colors import to_hex, to_rgba

    for colour in (ax.get_facecolor(), ax.figure.figure.get_facecolor()):
        if to_rgba(colour)[3] == 1:
            return to_hex(colour)
    return "#ffffff" if text_on(ink()) == "white" else "#000000"


def method_looks(names: Sequence[str]) -> dict[str, tuple[str, Any]]:
    """Colour and line style of each method. A name has the same look in every figure, unless two names want the same.

    Parameters
    ----------
    names
        Names of methods.
    """
    taken: dict[str, int] = {}
    n = len(settings.class_colors) - 1
    for name in sorted(set(names)):
        wanted = crc32(name.encode()) % n
        free = [number % n for number in range(wanted, wanted + n) if number % n not in taken.values()]
        taken[name] = free[0] if free else wanted
    return {name: (class_color(number), CLASS_DASHES[number % len(CLASS_DASHES)]) for name, number in taken.items()}


def method_name(name: str) -> str:
    """Name of a method as a reader sees it."""
    return name.replace("_", " ")


def titled(title: str, leak: str) -> str:
    """Title of a picture of an evaluation; where it leaks, the first line says so."""
    return f"{TITLE}\n{title}".rstrip() if leak else title


def despine(ax: Axes, *keep: str) -> None:
    """Hide all spines except the named ones."""
    for side in ("left", "right", "top", "bottom"):
        ax.spines[side].set_visible(side in keep)


def text_line(label: str) -> Any:
    """Legend entry without a symbol."""
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none", label=label)


def text_on(color: Any) -> str:
    """White or dark text colour, whichever has the higher WCAG contrast on ``color``."""
    from matplotlib.colors import to_rgb

    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.066 else _DARK


def natural(name: str) -> list[tuple[int, float, str]]:
    """Sorting key that puts ``SAMP2`` before ``SAMP10``."""
    parts = re.split(r"(\d+)", name)
    return [(0, float(part), "") if part.isdigit() else (1, 0.0, part) for part in parts if part]


def by_number(names: Sequence[str]) -> list[str]:
    """Names sorted as numbers if all are numbers. Otherwise the order is unchanged."""
    try:
        return sorted(names, key=float)
    except ValueError:
        return list(names)


def shorten(names: Sequence[str]) -> tuple[str, list[str]]:
    """Split names into their common prefix and the rest of each name.

    The prefix must have at least three characters, and end before a number or after a separator, so that no word is
    split. ``GSM8325046, GSM8325057`` gives ``GSM83250`` and ``46, 57``. ``control, conduit`` is unchanged.
    """
    prefix = os.path.commonprefix(list(names)) if len(names) > 1 else ""
    if any(len(name) == len(prefix) for name in names):
        prefix = prefix[:-1]
    if not all(name[len(prefix) :].isdigit() for name in names):
        prefix = "".join(re.findall(r".*[^0-9A-Za-z]", prefix)[:1])
    if len(prefix) < 3:
        prefix = ""
    return prefix, [name[len(prefix) :] for name in names]
