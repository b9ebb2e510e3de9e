"""Plot which methods differ over several data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.words import counted
from heldout.metrics import critical_differences as compared
from heldout.pl._layout import finish, new_axes, room_of, sizes_of
from heldout.pl._style import FAINT, ink, method_name, model_color
from heldout.pl._words import shortened, width_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from heldout.metrics import CriticalDifferences
    from heldout.pl._layout import Sizes

_BAR, _ROW = 0.55, 1.0
"""Height of the row of a bar and of the row of a name, in rows."""


def critical_differences(
    scores: pd.DataFrame,
    *,
    lower_is_better: bool = False,
    level: float = 0.05,
    metric: str = "",
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Plot the mean rank of each method over data sets, and join methods that are not shown to differ.

    The best method is on the left. A bar joins neighbours of which no two differ in
    :func:`heldout.metrics.critical_differences`, which also has the p-value of each pair. If there are too few data
    sets to show any difference, the title says so.

    Parameters
    ----------
    scores
        Score of each method on each data set: one row for each data set, one column for each method.
    lower_is_better
        Whether the best score is the lowest one, as for a loss.
    level
        Level of the tests over all pairs.
    metric
        Name of the score, for the title.
    ax
        Axes to draw into. If None, a new figure is made.
    figsize
        Width and height of a new figure in inches. If None, ``figure.figsize`` of the rcParams.

    Returns
    -------
    The axes. x is the mean rank.

    Raises
    ------
    ValueError
        If ``scores`` has fewer than two data sets or methods, or a score is missing.

    Examples
    --------
    >>> import heldout as ho, numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> scores = rng.normal(size=(12, 1)) + rng.normal([0.0, 0.1, 3.0], 0.5, size=(12, 3))
    >>> ax = ho.pl.critical_differences(pd.DataFrame(scores, columns=["ridge", "mean", "logistic"]))
    >>> [text.get_text() for text in ax.texts][-1]
    'ridge (2.6)'
    """
    found = compared(scores, lower_is_better=lower_is_better, level=level)
    names = [method_name(str(name)) for name in getattr(scores, "columns", range(len(found.ranks)))]
    ax = new_axes(ax, figsize)
    order = np.argsort(found.ranks, kind="stable")
    bars = [clique for clique in found.cliques if len(clique) > 1]
    rows = 2.0 + _BAR * len(bars) + _ROW * ((len(order) + 1) // 2)
    sizes = sizes_of(ax, crowd=1.4 * rows)
    ax.axis("off")
    scale = _limits(ax, found, [names[number] for number in order], sizes)
    ax.set_ylim(rows, -1.4)
    _axis(ax, len(order), sizes)
    for number, clique in enumerate(bars):
        at = 0.6 + _BAR * number
        ends = found.ranks[[clique[0], clique[-1]]] + 0.02 * len(order) * np.array([-1, 1])
        ax.plot(ends, [at, at], color=ink(), linewidth=2.4 * sizes.line, solid_capstyle="butt")
    _names(ax, found.ranks, names, order, (0.9 + _BAR * len(bars), scale), sizes)
    finish(ax, _title(found, metric), sizes=sizes)
    return ax


def _title(found: CriticalDifferences, metric: str) -> str:
    of = f" by {metric}" if metric else ""
    start = f"mean rank{of} over {counted(found.n, 'data set')}"
    if found.smallest > found.level:
        return f"{start}: too few to show a difference (the smallest p is {found.smallest:.2g})"
    return f"{start}; bars join methods that are not shown to differ (p > {found.level:g})"


def _limits(ax: Axes, found: CriticalDifferences, ordered: list[str], sizes: Sizes) -> tuple[float, float, float]:
    """Set the x axis so that names have room on both sides; x of the names on each side, and the longest name."""
    room, half, k = room_of(ax).width, (len(ordered) + 1) // 2, len(ordered)
    longest = 0.36 * room
    wide = [max(min(width_of(f"{name} (0.0)", sizes.text), longest) for name in part) + 0.12 if part else 0.1
            for part in (ordered[:half], ordered[half:])]  # fmt: skip
    unit = (k - 1) / max(room - sum(wide) - 0.2, 0.3 * room)
    ax.set_xlim(1 - wide[0] * unit, k + wide[1] * unit)
    return 1 - 0.06 * unit, k + 0.06 * unit, longest


def _axis(ax: Axes, k: int, sizes: Sizes) -> None:
    ax.plot([1, k], [0, 0], color=ink(), linewidth=0.8 * sizes.line)
    for rank in range(1, k + 1):
        ax.plot([rank, rank], [0, -0.22], color=ink(), linewidth=0.8 * sizes.line)
        ax.text(rank, -0.4, str(rank), ha="center", va="bottom", fontsize=sizes.tick, color=ink())


def _names(
    ax: Axes, ranks: np.ndarray, names: list[str], order: np.ndarray, places: tuple[float, Any], sizes: Sizes
) -> None:
    """Write the names in two columns: the better half on the left, the best on top; the worst on top at the right."""
    top, (left, right, longest) = places
    half = (len(order) + 1) // 2
    rows = [*range(half), *range(len(order) - half - 1, -1, -1)]
    for place, (number, row) in enumerate(zip(order, rows, strict=True)):
        on_left = place < half
        x, y = left if on_left else right, top + _ROW * (row + 0.5)
        colour = model_color() if place == 0 else FAINT
        ax.plot([ranks[number], ranks[number], x], [0, y, y], color=colour, linewidth=0.6 * sizes.line, zorder=0)
        text = f"{shortened(names[number], longest - width_of(' (0.0)', sizes.text), sizes.text)} ({ranks[number]:.1f})"
        side: dict[str, Any] = {"ha": "right" if on_left else "left", "va": "center", "fontsize": sizes.text}
        offset = (-2 if on_left else 2, 0)
        ax.annotate(text, (x, y), xytext=offset, textcoords="offset points", color=ink(), **side)
