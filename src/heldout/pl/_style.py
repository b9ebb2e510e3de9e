"""Colours, axes and names that all plots share. Sizes depend on the rcParams of the user, which are never changed."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from heldout._core.leaks import TITLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

PARTITION_COLORS = {"train": "#5588BB", "val": "#E0A820", "test": "#A50F3C", "unused": "#D0D0D0"}
"""One colour per partition. They differ in lightness too, for colour-blind readers and for grey prints."""

CLASS_COLORS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB")
"""Paul Tol's bright scheme, for the classes of a label."""

INK = "#222222"
"""Colour of text and outlines."""

FAINT = "#8A8A8A"
"""Colour of lines and text that are there for comparison only."""


def new_axes(ax: Axes | None, figsize: tuple[float, float]) -> Axes:
    """The given axes, or the axes of a new figure that makes room for a legend next to the data."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=figsize, layout="constrained")[1]


def titled(title: str, leak: str) -> str:
    """Title of a picture of an evaluation; where it leaks, the first line says so."""
    return f"{TITLE}\n{title}".rstrip() if leak else title


def despine(ax: Axes, *keep: str) -> None:
    """Hide all spines except the named ones."""
    for side in ("left", "right", "top", "bottom"):
        ax.spines[side].set_visible(side in keep)


def legend_beside(ax: Axes, handles: Sequence[Any] | None = None, *, title: str | None = None) -> None:
    """Draw a legend to the right of the axes."""
    given = {} if handles is None else {"handles": list(handles)}
    legend = ax.legend(
        **given,
        title=title,
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        borderaxespad=0.0,
        frameon=False,
        fontsize="small",
        title_fontsize="small",
        alignment="left",
    )
    legend.get_title().set_color(INK)


def text_line(label: str) -> Any:
    """Legend entry without a symbol."""
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none", label=label)


def text_on(color: Any) -> str:
    """White or dark text colour, whichever has the higher WCAG contrast on ``color``."""
    from matplotlib.colors import to_rgb

    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.066 else INK


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
