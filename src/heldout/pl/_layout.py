"""The layout of every picture: new axes, sizes from the size of a panel, words that wrap, and keys above the data.

A picture works as a whole figure and as one panel among others. Text sizes, lines and marks follow the rcParams, and
shrink with the panel. The rcParams are never changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from heldout.pl._words import width_of, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox, Transform

SMALLEST = 5.0
"""Text of a panel does not shrink below this size in points, the least size that journals print."""

_PAD = 3.0
"""Space at the edges of a panel, in points."""

_SHAPE = 1.35
"""Width over height of a pleasant panel."""

_HANDLE, _TEXT_PAD, _BETWEEN = 1.1, 0.4, 1.1
"""Width of the mark of a key, space before its text and space between columns, in font sizes."""

_NARROWEST = 11.5
"""Least width of a key to the right of the axes, in font sizes."""

_SIDE_PAD = 0.9
"""Space between the axes and a key to the right of them, in font sizes."""


class Inches(NamedTuple):
    """Width and height."""

    width: float
    height: float


@dataclass(frozen=True)
class Sizes:
    """Sizes of a panel in points: text, tick labels, axis labels, small text, and the width of lines and marks."""

    text: float
    tick: float
    label: float
    small: float
    line: float
    mark: float


def new_axes(ax: Axes | None, figsize: tuple[float, float] | None) -> Axes:
    """The given axes, or the axes of a new figure of this size; without a size, of the size in the rcParams."""
    if ax is not None:
        _only_size_of_new(figsize, "ax")
        _use_layout(ax)
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=checked_size(figsize), layout="constrained")[1]


def new_panels(
    axes: Sequence[Axes] | None,
    figsize: tuple[float, float] | None,
    n: int,
    *,
    what: str,
) -> np.ndarray:
    """The given axes, or n panels of a new figure, in as many columns as suit its shape.

    Parameters
    ----------
    axes
        Axes that the user passes. Their number must be n.
    figsize
        Size of a new figure in inches. If None, the size in the rcParams.
    n
        Number of panels.
    what
        What the panels are, for the error message, e.g. ``"two Axes, for loss and accuracy"``.
    """
    if axes is not None:
        _only_size_of_new(figsize, "axes")
        panels = np.asarray(axes, dtype=object).ravel()
        if len(panels) != n:
            msg = f"axes must be {what}, got {len(panels)}."
            raise ValueError(msg)
        for ax in panels:
            _use_layout(ax)
        return panels
    import matplotlib.pyplot as plt

    size = checked_size(figsize)
    width, height = size or plt.rcParams["figure.figsize"]
    columns = min(range(1, n + 1), key=lambda c: abs(np.log(width / c * ceil(n / c) / height / _SHAPE)))
    rows = ceil(n / columns)
    figure, grid = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for ax in grid.ravel()[n:]:
        figure.delaxes(ax)
    return grid.ravel()[:n]


def checked_size(figsize: tuple[float, float] | None) -> tuple[float, float] | None:
    """The size of a new figure; raises a ValueError if it is not two numbers > 0."""
    if figsize is None:
        return None
    numbers = np.asarray(figsize, dtype=float).ravel() if np.ndim(figsize) == 1 else np.array([])
    if len(numbers) != 2 or not (numbers > 0).all() or not np.isfinite(numbers).all():
        msg = f"figsize={figsize!r} must be two numbers > 0, the width and the height in inches, or None."
        raise ValueError(msg)
    return float(numbers[0]), float(numbers[1])


def _only_size_of_new(figsize: object, argument: str) -> None:
    if figsize is not None:
        msg = (
            f"figsize={figsize!r} is the size of a new figure and cannot be combined with {argument}. Pass one of them."
        )
        raise ValueError(msg)


def _use_layout(ax: Axes) -> None:
    """Let matplotlib make room for labels, unless the figure of the user has its layout already."""
    figure: Any = ax.figure.figure
    if figure.get_layout_engine() is None and ax.get_subplotspec() is not None:
        figure.set_layout_engine("constrained")


def room_of(ax: Axes) -> Inches:
    """Width and height of the panel with its labels: the part of the grid for these axes."""
    figure: Any = ax.figure
    box = _slot(ax) or ax.get_position(original=True)
    return Inches(box.width * figure.bbox.width / figure.dpi, box.height * figure.bbox.height / figure.dpi)


def panel_of(ax: Axes) -> Transform:
    """The transform from shares of the panel with its labels to the figure: (0, 1) is its upper left corner."""
    from matplotlib.transforms import BboxTransformTo, TransformedBbox

    figure: Any = ax.figure
    slot = _slot(ax)
    return ax.transAxes if slot is None else BboxTransformTo(TransformedBbox(slot, figure.transSubfigure))


def _slot(ax: Axes) -> Bbox | None:
    """The part of the figure for these axes, in shares of the figure. None if the axes are not in a plain grid."""
    from matplotlib.gridspec import GridSpec
    from matplotlib.transforms import Bbox

    spec = ax.get_subplotspec()
    if spec is None or not isinstance(grid := spec.get_gridspec(), GridSpec):
        return None
    wide: Any = grid.get_width_ratios() or [1] * grid.ncols
    high: Any = grid.get_height_ratios() or [1] * grid.nrows
    x, y = np.cumsum([0.0, *wide]), np.cumsum([0.0, *high])
    x, y = x / x[-1], 1 - y / y[-1]
    return Bbox([[x[spec.colspan.start], y[spec.rowspan.stop]], [x[spec.colspan.stop], y[spec.rowspan.start]]])


def sizes_of(ax: Axes, *, crowd: float = 0.0) -> Sizes:
    """Sizes for the room of the axes. Below 6.5 × 4.8 inches, the sizes of the rcParams shrink.

    Parameters
    ----------
    ax
        The axes.
    crowd
        Number of lines of text that must have room above one another, e.g. of tick labels. 0 for no such limit.
    """
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties

    rc: Any = rcParams
    room, base = room_of(ax), float(rcParams["font.size"])
    wanted = 3.5 + min(room.width, _SHAPE * room.height)
    if crowd:
        wanted = min(wanted, 72 * 0.72 * room.height / crowd / 1.15)
    factor = min(1.0, max(wanted, SMALLEST) / base)

    def points(name: str) -> float:
        return float(factor * FontProperties(size=rc[name]).get_size_in_points())

    text = points("legend.fontsize")
    return Sizes(
        text=text,
        tick=points("xtick.labelsize"),
        label=points("axes.labelsize"),
        small=max(0.85 * text, min(text, SMALLEST)),
        line=max(0.6, factor) * rcParams["lines.linewidth"],
        mark=max(0.6, factor) * rcParams["lines.markersize"],
    )


def finish(
    ax: Axes,
    title: str = "",
    *,
    key: Sequence[Any] = (),
    sizes: Sizes | None = None,
    wide: bool = True,
    square: bool = False,
    wrap: bool = True,
) -> None:
    """Give a panel its title, its key and its text sizes, and wrap what is longer than the panel.

    Parameters
    ----------
    ax
        Axes with data, ticks and labels.
    title
        Title, wrapped to the width of the panel.
    key
        Legend entries. They are drawn in rows between title and data, so that the data keep their width.
    sizes
        Sizes of the panel, if they are not those of :func:`sizes_of`.
    wide
        Whether the title may start left of the axes, at the edge of the panel.
    square
        Whether the axes are square. The key is then to the right of them, if it fits there.
    wrap
        Whether to wrap the axis labels now. This lays out the whole figure, so for many panels call
        :func:`wrap_labels` once after the last.
    """
    sizes = sizes or sizes_of(ax)
    ax.tick_params(which="both", labelsize=sizes.tick)
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set_fontsize(sizes.label)
        axis.get_offset_text().set_fontsize(sizes.tick)
    left, width = _head_room(ax, wide=wide)
    pad, between = 0.75 * sizes.tick, 0.35 * sizes.text
    labels = _labels_beside(ax, key, sizes) if key and square else None
    if labels is not None:
        _key_beside(ax, labels, key, sizes)
    elif key:
        legend = _key(ax, key, width, sizes, left + _points(ax, 0, pad))
        pad += 72 * legend.get_window_extent().height / ax.figure.dpi + between
    if title or (key and labels is None):
        words = ax.set_title(wrapped(title, width, sizes.label) or " ", loc="left", fontsize=sizes.label, pad=pad)
        words.set_transform(left + _points(ax, 0, pad))
    if wrap:
        wrap_labels([ax], [sizes])


def _points(ax: Axes, x: float, y: float) -> Transform:
    from matplotlib.transforms import ScaledTranslation

    return ScaledTranslation(x / 72, y / 72, ax.figure.dpi_scale_trans)


def _head_room(ax: Axes, *, wide: bool) -> tuple[Transform, float]:
    """The transform of the left edge of the panel and the top of the axes, and the width of the head in inches."""
    from matplotlib.transforms import blended_transform_factory

    figure: Any = ax.figure
    slot = _slot(ax)
    if slot is None or not wide:
        figure.figure.draw_without_rendering()
        box = ax.get_window_extent()
        right = box.x1 if slot is None else (figure.transSubfigure.transform((slot.x1, 0))[0])
        width = box.width if slot is not None else min(right, figure.bbox.x1) - box.x0
        return ax.transAxes, width / figure.dpi
    left = blended_transform_factory(panel_of(ax), ax.transAxes) + _points(ax, _PAD, 0)
    return left, room_of(ax).width - 2 * _PAD / 72


def _key(ax: Axes, entries: Sequence[Any], width: float, sizes: Sizes, place: Transform) -> Any:
    """Draw the legend in as many columns as fit into the width."""
    em = sizes.text / 72
    handle = (_HANDLE + _TEXT_PAD) * em
    widths = []
    for entry in entries:
        label = wrapped(str(entry.get_label()).replace("\n", " "), width - handle, sizes.text)
        entry.set_label(label)
        widths.append(width_of(label, sizes.text) + handle)
    columns = len(entries)
    while columns > 1:
        parts = np.array_split(widths, columns)
        if sum(max(part) for part in parts) + (columns - 1) * _BETWEEN * em <= width:
            break
        columns -= 1
    legend = ax.legend(
        handles=list(entries), ncols=columns, loc="lower left", bbox_to_anchor=(0, 1), bbox_transform=place,
        frameon=False, fontsize=sizes.text, handlelength=_HANDLE, handletextpad=_TEXT_PAD, columnspacing=_BETWEEN,
        borderpad=0, borderaxespad=0, labelspacing=0.25, alignment="left",
    )  # fmt: skip
    legend.set_in_layout(False)
    return legend


def _key_beside(ax: Axes, labels: Sequence[str], entries: Sequence[Any], sizes: Sizes) -> None:
    """Draw the legend to the right of the axes."""
    for entry, label in zip(entries, labels, strict=True):
        entry.set_label(label)
    ax.legend(
        handles=list(entries), loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=sizes.text,
        handlelength=_HANDLE, handletextpad=_TEXT_PAD, borderpad=0, borderaxespad=_SIDE_PAD, labelspacing=0.4,
        alignment="left",
    )  # fmt: skip


def _labels_beside(ax: Axes, entries: Sequence[Any], sizes: Sizes) -> list[str] | None:
    """Labels of a key to the right of square axes. None if they do not fit there.

    Where the key needs a part of the square, the axes become a bit narrower than high.
    """
    em, room = sizes.text / 72, room_of(ax)
    free = room.width - (room.height - 6 * em) - 6.5 * em
    if free < 6 * em:
        return None
    width = max(free, _NARROWEST * em)
    words = width - (_HANDLE + _TEXT_PAD + _SIDE_PAD) * em
    labels = [wrapped(str(entry.get_label()), words, sizes.text) for entry in entries]
    lines = sum(label.count("\n") + 1 for label in labels)
    if (1.2 * lines + 0.4 * len(labels)) * em > room.height - 5 * em:
        return None
    if free < width:
        ax.set_aspect("auto")
    return labels


def wrap_labels(panels: Sequence[Axes], sizes: Sequence[Sizes]) -> None:
    """Wrap the axis labels of panels with these sizes. Each figure is laid out once."""
    labelled = [(ax, size) for ax, size in zip(panels, sizes, strict=True) if ax.get_xlabel() or ax.get_ylabel()]
    figures: dict[int, Any] = {id(ax.figure.figure): ax.figure.figure for ax, _ in labelled}
    for figure in figures.values():
        figure.draw_without_rendering()
    boxes = [ax.get_window_extent() for ax, _ in labelled]
    for (ax, size), box in zip(labelled, boxes, strict=True):
        _wrap(ax, size, box)


def _wrap(ax: Axes, sizes: Sizes, box: Bbox) -> None:
    """Wrap the axis labels to the room on both sides of the middle of the axes, which have this box in pixels."""
    figure: Any = ax.figure
    slot = _slot(ax)
    limits = figure.bbox if slot is None else slot.transformed(figure.transSubfigure)
    for axis, low, high, middle in (
        (ax.xaxis, limits.x0, limits.x1, (box.x0 + box.x1) / 2),
        (ax.yaxis, limits.y0, limits.y1, (box.y0 + box.y1) / 2),
    ):
        reach = 2 * min(middle - low, high - middle) / figure.dpi - 2 * _PAD / 72
        if isfinite(reach) and reach > 0:
            axis.label.set_text(wrapped(axis.label.get_text(), 0.97 * reach, sizes.label))
