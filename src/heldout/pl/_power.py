"""Plot how many test groups a study needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.words import plural
from heldout.metrics.power import auc_power, groups_needed
from heldout.pl._layout import finish, new_axes, sizes_of
from heldout.pl._style import CLASS_MARKS, FAINT, despine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes


_MOST = 9


def power(
    aucs: float | Sequence[float] = (0.65, 0.7, 0.75, 0.8, 0.9),
    *,
    power: float = 0.8,
    share: float = 0.5,
    spread: float = 1.0,
    level: float = 0.05,
    unit: str = "group",
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Plot the power to show that an AUC is above 0.5, against the number of test groups.

    It answers how many donors a study needs, before there are data. A dot marks the smallest number of groups with the
    wanted power, and the numbers are next to the curves; see :func:`heldout.metrics.groups_needed`.

    Parameters
    ----------
    aucs
        One to nine AUCs over groups that are possible, each above 0.5 and below 1. There is one curve for each.
    power
        Wanted power.
    share
        Share of the groups that are of class 1, for example patients.
    spread
        Standard deviation of the scores of class 1 divided by that of class 0.
    level
        Level of the one-sided test.
    unit
        Name of the groups on the axis, e.g. ``"donor"``.
    ax
        Axes to draw into. If None, a new figure is made.
    figsize
        Width and height of a new figure in inches. If None, ``figure.figsize`` of the rcParams.

    Returns
    -------
    The axes. The number of groups is on a log scale.

    Raises
    ------
    ValueError
        If there is no AUC or more than nine, or an argument is out of range; see :func:`heldout.metrics.groups_needed`.

    Examples
    --------
    >>> import heldout as ho
    >>> ax = ho.pl.power([0.7, 0.8], unit="donor")
    >>> [text.get_text() for text in ax.texts][:2]
    ['AUC 0.7: 49', 'AUC 0.8: 21']
    """
    from matplotlib import colormaps
    from matplotlib.ticker import ScalarFormatter

    ordered = sorted({float(auc) for auc in np.atleast_1d(aucs)})
    if not 0 < len(ordered) <= _MOST:
        msg = f"aucs has {len(ordered)} different values, but a plot has 1 to {_MOST} curves. Pass a number or a list."
        raise ValueError(msg)
    needed = {auc: groups_needed(auc, power=power, share=share, spread=spread, level=level) for auc in ordered}
    largest = max(found.n_positive + found.n_negative for found in needed.values())
    ax = new_axes(ax, figsize)
    sizes = sizes_of(ax)
    totals = np.unique(np.geomspace(4, max(1.6 * largest, 20), 120).round().astype(int))
    ends: list[tuple[str, Any]] = []
    marks = (*CLASS_MARKS, "p", "h")
    for number, ((auc, found), marker) in enumerate(zip(needed.items(), marks, strict=False)):
        color = colormaps["viridis"](0.3 + 0.4 * number / max(len(ordered) - 1, 1))
        n_positive = np.clip(np.round(totals * share).astype(int), 1, totals - 1)
        curve = [
            auc_power(auc, int(m), int(n - m), spread=spread, level=level)
            for n, m in zip(totals, n_positive, strict=True)
        ]
        total = found.n_positive + found.n_negative
        ax.plot(totals, curve, color=color, linewidth=0.9 * sizes.line)
        ax.plot([total], [found.power], marker, color=color, markersize=0.8 * sizes.mark)
        ends.append((f"AUC {auc:g}: {total}", color))
    for row, (words, color) in enumerate(ends):
        below = (0.5 * sizes.text, -1.3 * (len(ends) - 1 - row) * sizes.text)
        place: dict[str, Any] = {
            "xy": (1, 1),
            "xycoords": "axes fraction",
            "xytext": below,
            "textcoords": "offset points",
            "va": "top",
        }
        ax.annotate(words, color=color, fontsize=sizes.text, **place)
    ax.axhline(power, color=FAINT, linewidth=0.6 * sizes.line, linestyle=(0, (4, 3)), zorder=0)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if str(int(value))[0] in "25" else "")
    ax.set_ylim(0, 1.02)
    ax.set_xlabel(f"test {plural(unit)}, {share:.0%} of class 1")
    ax.set_ylabel(f"power (one-sided, {level:g})")
    despine(ax, "left", "bottom")
    finish(ax, sizes=sizes)
    return ax
