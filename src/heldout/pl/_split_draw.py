"""Draw a split as tiles if groups are matched, or as bars otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heldout._core.partition import PARTITIONS
from heldout._core.words import counted, plural
from heldout.pl._layout import SMALLEST, finish, room_of, sizes_of
from heldout.pl._style import despine, ink, paper, partition_color, shorten, text_line, text_on
from heldout.pl._words import shortened, width_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes

    from heldout.pl._layout import Sizes
    from heldout.pl._split_layout import SplitLayout

TILE_WIDTH, TILE_HEIGHT = 0.92, 0.86
LABEL_GAP = 0.35
"""Space between two labels, in tiles."""

HATCHES = {"unused": "////"}
"""Partitions with a hatch, because their colour is as light as that of another partition."""

_HEAD = 0.3
"""Share of the height of bars that is free above the highest bar, for the names of labels."""


def draw_tiles(layout: SplitLayout, title: str, ax: Axes) -> None:
    """Draw one tile per group. x is the match value, y the label and the colour the partition."""
    table = layout.table
    sizes, prefix, names = sizes_of(ax), *shorten(list(table["group"]))
    stack = table.groupby(["label", "match"], sort=False).cumcount()
    height = stack.groupby(table["label"]).max() + 1
    bottoms, top = {}, 0.0
    for label in reversed(layout.labels):
        bottoms[label] = top
        top += height[label] + LABEL_GAP
    numbers = [f"{n:,}" for n in table[list(PARTITIONS)].sum(axis=1)]
    texts, words = _texts(names, numbers, layout.unit, _tile_size(ax, layout, top), sizes)
    for i, row in enumerate(table.itertuples()):
        x = layout.matches.index(row.match)
        y = bottoms[row.label] + height[row.label] - 1 - stack[i]
        _tile(ax, x, y, [getattr(row, name) for name in PARTITIONS], texts[i], sizes)
    _finish_tiles(ax, layout, bottoms, height, top, sizes)
    begin = f"; names begin with {prefix}" if prefix and texts[0] else ""
    finish(ax, title, key=[*_partition_handles(layout), text_line(words + begin)], sizes=sizes)


def _tile_size(ax: Axes, layout: SplitLayout, top: float) -> tuple[float, float]:
    """Width and height of a tile in inches, less the space of labels and key."""
    room, em = room_of(ax), sizes_of(ax).text / 72
    left = max(width_of(label, sizes_of(ax).tick) for label in layout.labels) + 2.5 * em
    wide = (room.width - left) / max(len(layout.matches), 1)
    return TILE_WIDTH * wide, TILE_HEIGHT * (room.height - 8.5 * em) / top


def _texts(
    names: list[str], numbers: list[str], unit: str, tile: tuple[float, float], sizes: Sizes
) -> tuple[list[str], str]:
    """The longest texts that fit into every tile, and the words that explain them."""
    both = [f"{name}\n{n}" for name, n in zip(names, numbers, strict=True)]
    for texts, lines, words in ((both, 2, f"in a tile: {unit}, cells"), (names, 1, f"in a tile: {unit}")):
        wide = max(width_of(text, sizes.small) for text in texts) < 0.95 * tile[0]
        if wide and lines * 1.15 * sizes.small / 72 < tile[1]:
            return texts, words
    return [""] * len(names), f"a tile is a {unit}"


def _tile(ax: Axes, x: float, y: float, counts: list[int], text: str, sizes: Sizes) -> None:
    from matplotlib.patches import Rectangle

    total, left = sum(counts), x - TILE_WIDTH / 2
    for partition, n in zip(PARTITIONS, counts, strict=True):
        if n:
            share = TILE_WIDTH * n / total
            look: dict[str, Any] = {
                "facecolor": partition_color(partition),
                "hatch": HATCHES.get(partition, ""),
                "linewidth": 0,
            }
            ax.add_patch(Rectangle((left, y), share, TILE_HEIGHT, edgecolor=paper(ax), label=partition, **look))
            left += share
    if text:
        inside = [partition_color(partition) for partition, n in zip(PARTITIONS, counts, strict=True) if n]
        _tile_text(ax, x, y + TILE_HEIGHT / 2, inside, text, sizes)


def _tile_text(ax: Axes, x: float, middle: float, inside: list[str], text: str, sizes: Sizes) -> None:
    from matplotlib.patheffects import withStroke

    pure = len(inside) == 1
    color = text_on(inside[0]) if pure else ink()
    halo: list[Any] = [] if pure else [withStroke(linewidth=2, foreground=paper(ax))]
    place: dict[str, Any] = {"ha": "center", "color": color, "path_effects": halo, "fontsize": sizes.small}
    ax.text(x, middle, text, va="center", linespacing=1.05, **place)


def _finish_tiles(
    ax: Axes, layout: SplitLayout, bottoms: dict[str, float], height: pd.Series, top: float, sizes: Sizes
) -> None:
    wide = 0.8 * room_of(ax).width / len(layout.matches)
    name_ticks(ax, list(range(len(layout.matches))), layout.matches, wide, sizes)
    ax.set_xlabel(layout.match or "")
    middles = [bottoms[label] + (height[label] - 1 + TILE_HEIGHT) / 2 for label in layout.labels]
    ax.set_yticks(middles, [shortened(label, 0.3 * room_of(ax).width, sizes.tick) for label in layout.labels])
    for label in layout.labels[:-1]:
        at = bottoms[label] - (LABEL_GAP + 1 - TILE_HEIGHT) / 2
        ax.axhline(at, color=partition_color("unused"), alpha=0.5, linewidth=0.5 * sizes.line)
    ax.set_xlim(-0.55, len(layout.matches) - 0.45)
    ax.set_ylim(-0.12, top - LABEL_GAP)
    ax.tick_params(length=0)
    despine(ax, "bottom")


def name_ticks(ax: Axes, at: Sequence[float], names: Sequence[str], wide: float, sizes: Sizes) -> bool:
    """Name the ticks of the x axis, turned where they are close; without names where even these do not fit."""
    line = 1.15 * max(sizes.tick, SMALLEST) / 72
    if max(width_of(name, sizes.tick) for name in names) < 0.92 * wide:
        ax.set_xticks(at, names)
    elif line < wide:
        ax.set_xticks(at, [shortened(name, 0.3 * room_of(ax).height, sizes.tick) for name in names], rotation=90)
    else:
        ax.set_xticks([])
        return False
    return True


def draw_bars(layout: SplitLayout, ax: Axes) -> None:
    """Draw one bar per group. Its height is the number of cells. Bars are sorted by label and partition."""
    table, sizes = layout.table, sizes_of(ax)
    gap = 1.6 if len(table) < 100 else 0.02 * len(table)
    at = table.index.to_numpy() + gap * table["label"].map(layout.labels.index).to_numpy()
    bottom = 0 * at
    for partition in PARTITIONS:
        n = table[partition].to_numpy()
        filled = n > 0
        look: dict[str, Any] = {"color": partition_color(partition), "edgecolor": paper(ax), "linewidth": 0}
        width = 0.84 if len(table) < 100 else 1.0
        ax.bar(at[filled], n[filled], width, bottom[filled], hatch=HATCHES.get(partition, ""), **look)
        bottom = bottom + n
    several = len(layout.labels) > 1
    ax.set_ylim(0, bottom.max() * (1 + _HEAD * several))
    span = at[-1] - at[0] + 1.6
    for label in layout.labels if several else []:
        inside = at[(table["label"] == label).to_numpy()]
        wide = 0.8 * room_of(ax).width * (len(inside) + 0.8 * gap) / span
        words = [label, f"n = {len(inside)}"]
        if width_of(words[1], sizes.text) < wide:
            text = "\n".join(shortened(word, wide, sizes.text) for word in words)
            place: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "top"}
            ax.text(inside.mean(), 1.0, text, fontsize=sizes.text, **place)
    _finish_bars(ax, layout, at, sizes)


def _finish_bars(ax: Axes, layout: SplitLayout, at: np.ndarray, sizes: Sizes) -> None:
    prefix, names = shorten(list(layout.table["group"]))
    wide = 0.82 * room_of(ax).width / (at[-1] - at[0] + 1.6)
    if name_ticks(ax, at.tolist(), names, wide, sizes):
        ax.set_xlabel(f"{layout.unit} (names begin with {prefix})" if prefix else layout.unit)
    else:
        ax.set_xlabel(counted(int((~_is_control(layout)).sum()), layout.unit))
        _name_controls(ax, layout, at, sizes)
    ax.tick_params(axis="x", length=0, pad=2)
    ax.set_xlim(at[0] - 0.8, at[-1] + 0.8)
    ax.set_ylabel(f"{layout.counted}s per {layout.unit}")
    despine(ax, "left")
    table = layout.table
    of_test = table.loc[(table["test"] > 0) & ~_is_control(layout), "group"]
    n, of = of_test.nunique(), table.loc[~_is_control(layout), "group"].nunique()
    title = f"test: {n:,} of {of:,} {plural(layout.unit)}" if n else "no test set"
    if layout.counted != "cell":
        genes = table[list(PARTITIONS)].to_numpy().sum()
        title = f"test: {table['test'].sum():,} of {counted(int(genes), layout.counted)}"
    finish(ax, title, key=_partition_handles(layout), sizes=sizes)


def _is_control(layout: SplitLayout) -> pd.Series:
    """Whether each row of the table is a control, (n_rows,)."""
    return layout.table["group"].isin(layout.controls)


def _name_controls(ax: Axes, layout: SplitLayout, at: np.ndarray, sizes: Sizes) -> None:
    """Write the name of each control beside the top of its bar, on the side that has more bars."""
    heights = layout.table[list(PARTITIONS)].sum(axis=1).to_numpy()
    for row in _is_control(layout).to_numpy().nonzero()[0][:1]:
        right = at[row] < (at[0] + at[-1]) / 2
        place: dict[str, Any] = {"ha": "left" if right else "right", "va": "top", "fontsize": sizes.text}
        offset = (0.4 * sizes.text * (1 if right else -1), 0)
        where: dict[str, Any] = {"xytext": offset, "textcoords": "offset points", **place}
        ax.annotate(str(layout.table["group"][row]), (at[row], heights[row]), **where)


def _partition_handles(layout: SplitLayout) -> list[Any]:
    """Legend entries of all partitions that have cells, with their numbers of groups and cells."""
    from matplotlib.patches import Patch

    handles = []
    for name in PARTITIONS:
        inside = layout.table[layout.table[name] > 0]
        if len(inside):
            control = inside["group"].isin(layout.controls)
            groups = counted(inside.loc[~control, "group"].nunique(), layout.unit)
            groups += " and control" if control.any() else ""
            inside_it = "" if layout.unit == "partition" else f"{groups}, "
            label = f"{name}: {inside_it}{counted(int(inside[name].sum()), layout.counted)}"
            look: dict[str, Any] = {
                "facecolor": partition_color(name),
                "hatch": HATCHES.get(name, ""),
                "edgecolor": "none",
            }
            handles.append(Patch(label=label, **look))
    return handles
