"""Draw a split as tiles if groups are matched, or as bars otherwise."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

from heldout._core.partition import PARTITIONS
from heldout._core.words import counted
from heldout.pl._layout import new_axes
from heldout.pl._style import INK, PARTITION_COLORS, despine, legend_beside, shorten, text_line, text_on

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes

    from heldout.pl._split_layout import SplitLayout

TILE_WIDTH, TILE_HEIGHT = 0.92, 0.86
LABEL_GAP = 0.35
"""Space between two labels, in tiles."""

NAMED = 80
"""Bars have names if there are at most this many groups."""

TALL, STACKED = 3, 40
"""A tile has two lines of text, or one line, if at most this many tiles are stacked."""


def draw_tiles(layout: SplitLayout, title: str, ax: Axes | None) -> Axes:
    """Draw one tile per group. x is the match value, y the label and the colour the partition."""
    table = layout.table
    prefix, names = shorten(list(table["group"]))
    stack = table.groupby(["label", "match"], sort=False).cumcount()
    height = stack.groupby(table["label"]).max() + 1
    bottoms, top = {}, 0.0
    for label in reversed(layout.labels):
        bottoms[label] = top
        top += height[label] + LABEL_GAP
    lines = 2 if height.max() <= TALL else int(height.max() <= STACKED)
    texts = [_lines(name, n, lines) for name, n in zip(names, table[list(PARTITIONS)].sum(axis=1), strict=True)]
    width = min(max(0.095 * max(len(line) for text in texts for line in text) + 0.3, 0.62), 2.2)
    tile = (0.2, 0.3, 0.52)[lines]
    ax = new_axes(ax, None if ax is not None else (min(2.9 + width * len(layout.matches), 16), min(1.1 + tile * top, 14)))
    for i, row in enumerate(table.itertuples()):
        x = layout.matches.index(row.match)
        y = bottoms[row.label] + height[row.label] - 1 - stack[i]
        _tile(ax, x, y, [getattr(row, name) for name in PARTITIONS], texts[i])
    _finish_tiles(ax, layout, bottoms, height, top)
    ax.set_title(fill(title, max(45, int(len(layout.matches) * width / 0.085))), loc="left", fontsize="medium")
    in_tile = (
        f"a tile is a {layout.unit}",
        f"in a tile: {layout.unit} (cells)",
        f"in a tile: {layout.unit}, cells",
    )[lines]
    begin = f"\nnames begin with {prefix}" if prefix and lines else ""
    legend_beside(ax, [*_partition_handles(layout), text_line(in_tile + begin)])
    return ax


def _lines(name: str, n: int, lines: int) -> list[str]:
    return [[""], [f"{name} ({n})"], [name, str(n)]][lines]


def _tile(ax: Axes, x: float, y: float, counts: list[int], text: list[str]) -> None:
    from matplotlib.patches import Rectangle

    total, left = sum(counts), x - TILE_WIDTH / 2
    for partition, n in zip(PARTITIONS, counts, strict=True):
        if n:
            share = TILE_WIDTH * n / total
            color = PARTITION_COLORS[partition]
            ax.add_patch(Rectangle((left, y), share, TILE_HEIGHT, facecolor=color, linewidth=0, label=partition))
            left += share
    if text[0]:
        _tile_text(ax, x, y, counts, text)


def _tile_text(ax: Axes, x: float, y: float, counts: list[int], text: list[str]) -> None:
    from matplotlib.patheffects import withStroke

    inside = [PARTITION_COLORS[partition] for partition, n in zip(PARTITIONS, counts, strict=True) if n]
    pure = len(inside) == 1
    color = text_on(inside[0]) if pure else INK
    halo: list[Any] = [] if pure else [withStroke(linewidth=2, foreground="white")]
    place: dict[str, Any] = {"ha": "center", "color": color, "path_effects": halo, "clip_on": True, "fontsize": "small"}
    middle = y + TILE_HEIGHT / 2
    if len(text) == 1:
        ax.text(x, middle, text[0], va="center_baseline", **place)
    else:
        ax.text(x, middle + 0.02, text[0], va="bottom", fontweight="bold", **place)
        ax.text(x, middle - 0.02, text[1], va="top", **place)


def _finish_tiles(ax: Axes, layout: SplitLayout, bottoms: dict[str, float], height: pd.Series, top: float) -> None:
    longest = max(len(value) for value in layout.matches)
    turned = longest > 8 and len(layout.matches) > 2
    turn: dict[str, Any] = {"rotation": 45, "ha": "right"} if turned else {}
    ax.set_xticks(range(len(layout.matches)), layout.matches, **turn)
    ax.set_xlabel(layout.match or "")
    middles = [bottoms[label] + (height[label] - 1 + TILE_HEIGHT) / 2 for label in layout.labels]
    ax.set_yticks(middles, layout.labels)
    for label in layout.labels[:-1]:
        ax.axhline(bottoms[label] - (LABEL_GAP + 1 - TILE_HEIGHT) / 2, color="#DDDDDD", linewidth=0.8)
    ax.set_xlim(-0.55, len(layout.matches) - 0.45)
    ax.set_ylim(-0.12, top - LABEL_GAP)
    ax.tick_params(length=0)
    despine(ax, "bottom")


def draw_bars(layout: SplitLayout, ax: Axes | None) -> Axes:
    """Draw one bar per group. Its height is the number of cells. Bars are sorted by label and partition."""
    table = layout.table
    at = table.index.to_numpy() + 1.6 * table["label"].map(layout.labels.index).to_numpy()
    ax = new_axes(ax, None if ax is not None else (min(max(0.17 * (at[-1] + 1) + 2.6, 5.0), 14.0), 2.9))
    bottom = 0 * at
    for partition in PARTITIONS:
        n = table[partition].to_numpy()
        filled = n > 0
        ax.bar(at[filled], n[filled], 0.84, bottom[filled], color=PARTITION_COLORS[partition], linewidth=0)
        bottom = bottom + n
    for label in layout.labels:
        inside = at[(table["label"] == label).to_numpy()]
        head = counted(len(inside), layout.unit)
        text = f"{label}\n{head}" if label else head
        ax.text(
            inside.mean(), 1.03, text, transform=ax.get_xaxis_transform(), ha="center", va="bottom", fontsize="medium"
        )
    _finish_bars(ax, layout, at)
    return ax


def _finish_bars(ax: Axes, layout: SplitLayout, at: np.ndarray) -> None:
    prefix, names = shorten(list(layout.table["group"]))
    if len(at) <= NAMED:
        ax.set_xticks(at, names, rotation=90 if max(map(len, names)) > 1 else 0, fontsize="small")
        ax.set_xlabel(f"{layout.unit} (names begin with {prefix})" if prefix else layout.unit)
    else:
        ax.set_xticks([])
        ax.set_xlabel(counted(len(at), layout.unit))
    ax.tick_params(axis="x", length=0, pad=2)
    ax.set_xlim(at[0] - 0.8, at[-1] + 0.8)
    ax.set_ylabel("cells")
    despine(ax, "left")
    legend_beside(ax, _partition_handles(layout))


def _partition_handles(layout: SplitLayout) -> list[Any]:
    """Legend entries of all partitions that have cells, with their numbers of groups and cells."""
    from matplotlib.patches import Patch

    handles = []
    for name in PARTITIONS:
        inside = layout.table[layout.table[name] > 0]
        if len(inside):
            groups = counted(inside["group"].nunique(), layout.unit)
            label = f"{name}: {groups}, {counted(int(inside[name].sum()), 'cell')}"
            handles.append(Patch(facecolor=PARTITION_COLORS[name], label=label))
    return handles
