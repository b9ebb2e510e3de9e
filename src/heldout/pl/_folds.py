"""Plot which groups each fold holds out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import store
from heldout._core.partition import PARTITIONS, read_partition
from heldout._core.words import counted, plural
from heldout.get import fold_keys
from heldout.pl._layout import finish, new_axes, room_of, sizes_of
from heldout.pl._split_draw import HATCHES, name_ticks
from heldout.pl._style import despine, ink, natural, paper, partition_color, shorten
from heldout.pl._words import shortened, width_of
from heldout.splitting._components import components

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

    from heldout.pl._layout import Sizes


def folds(
    adata: AnnData, key: str = "fold", *, ax: Axes | None = None, figsize: tuple[float, float] | None = None
) -> Axes:
    """Plot which groups (libraries, donors) each fold trains, validates and tests on.

    There is one row for each fold and one column for each group, sorted by label and by the fold that tests it. The
    inner folds of nested folds are next to each other, so that the test groups of an outer fold are one block: they are
    never in train or val of its inner folds. The title says how often a group is test.

    Parameters
    ----------
    adata
        AnnData with folds, (n_obs × n_vars).
    key
        ``key_added`` of :func:`heldout.pp.folds`.
    ax
        Axes to draw into. If None, a new figure is made.
    figsize
        Width and height of a new figure in inches. If None, ``figure.figsize`` of the rcParams.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If there are no such folds, or a column was changed.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.folds(adata, "library", "genotype", n_folds=3, n_inner=2)
    >>> ho.pl.folds(adata).get_title(loc="left")
    '3 outer folds of 2 inner folds; each library is test in one outer fold'
    """
    names = fold_keys(adata, key)
    partitions = [read_partition(adata, name) for name in names]
    params = partitions[0].params
    columns = list(partitions[0].group_key or [])
    unit = "+".join(columns)
    group = components(*(store.as_names(store.column(adata, name, argument="group_key")) for name in columns))
    codes = pd.DataFrame({name: p.codes for name, p in zip(names, partitions, strict=True)}).groupby(group).first()
    labels = _labels(adata, params.get("label_key"), group).reindex(codes.index)
    number = codes.eq(PARTITIONS.index("test")).to_numpy().argmax(axis=1)
    order = sorted(range(len(codes)), key=lambda i: (labels.iloc[i], number[i], natural(str(codes.index[i]))))
    codes, labels = codes.iloc[order], labels.iloc[order]
    outer = [name.removeprefix(f"{key}_").split("_")[0] for name in names]
    ax = new_axes(ax, figsize)
    sizes = sizes_of(ax, crowd=len(set(outer)))
    named = labels.nunique() > 1
    _draw(ax, codes.to_numpy().T, 2 * sizes.text / 72 / (0.65 * room_of(ax).height) if named else 0.0, sizes)
    _between(ax, outer, labels.tolist(), sizes)
    _ticks(ax, outer, [str(name) for name in codes.index], unit, sizes)
    finish(ax, _title(codes, outer, unit), key=_key(codes, unit), sizes=sizes)
    return ax


def _labels(adata: AnnData, label_key: str | None, group: np.ndarray) -> pd.Series:
    """Label of each group, or empty text."""
    if label_key is None or label_key not in adata.obs.columns:
        return pd.Series("", index=np.unique(group))
    return (
        pd.Series(store.as_names(store.column(adata, label_key, argument="label_key")))
        .groupby(group)
        .first()
        .astype(str)
    )


def _title(codes: pd.DataFrame, outer: list[str], unit: str) -> str:
    test = codes.eq(PARTITIONS.index("test")).T.groupby(np.array(outer)).any().sum()
    n_outer, nested = len(set(outer)), len(set(outer)) < len(outer)
    n_inner = len(outer) // n_outer
    start = f"{n_outer} outer folds of {counted(n_inner, 'inner fold')}" if nested else counted(n_outer, "fold")
    what = "outer fold" if nested else "fold"
    if (test == 1).all():
        return f"{start}; each {unit} is test in one {what}"
    return f"{start}; {plural(unit)} are test in {test.min()} to {test.max()} {what}s"


def _draw(ax: Axes, codes: np.ndarray, head: float, sizes: Sizes) -> None:
    """One tile for each fold and group, and above them a share of the height for the names of the labels."""
    from matplotlib.colors import ListedColormap

    shades = ListedColormap([partition_color(name) for name in PARTITIONS])
    x, y = np.arange(codes.shape[1] + 1) - 0.5, np.arange(len(codes) + 1) - 0.5
    gap = min(0.5 * sizes.line, 72 * 0.15 * room_of(ax).width / codes.shape[1])
    ax.pcolormesh(x, y, codes, cmap=shades, vmin=-0.5, vmax=len(PARTITIONS) - 0.5, edgecolor=paper(ax), linewidth=gap)
    ax.set(xlim=(x[0], x[-1]), ylim=(y[-1], y[0] - head * len(codes)))


def _between(ax: Axes, outer: list[str], labels: list[str], sizes: Sizes) -> None:
    """Lines between outer folds and between labels, and the names of the labels above their groups."""
    nested = len(set(outer)) < len(outer)
    line: dict[str, Any] = {"color": ink(), "linewidth": 0.8 * sizes.line}
    for row in range(1, len(outer)):
        if nested and outer[row] != outer[row - 1]:
            ax.axhline(row - 0.5, **line)
    starts = [0, *(i for i in range(1, len(labels)) if labels[i] != labels[i - 1]), len(labels)]
    ax.vlines(np.array(starts[1:-1]) - 0.5, -0.5, len(outer) - 0.5, **line)
    if len(starts) < 3:
        return
    for first, last in zip(starts, starts[1:], strict=False):
        wide = 0.75 * room_of(ax).width * (last - first) / len(labels)
        text = shortened(labels[first], wide, sizes.text)
        place: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "bottom"}
        middle = ((first + last - 1) / 2, -0.5)
        if width_of(text, sizes.text) <= wide:
            ax.annotate(text, middle, xytext=(0, 2), fontsize=sizes.text, color=ink(), **place)


def _ticks(ax: Axes, outer: list[str], groups: list[str], unit: str, sizes: Sizes) -> None:
    prefix, names = shorten(groups)
    if name_ticks(ax, list(range(len(groups))), names, 0.8 * room_of(ax).width / len(groups), sizes):
        ax.set_xlabel(f"{unit} (names begin with {prefix})" if prefix else unit)
    else:
        ax.set_xlabel(counted(len(groups), unit))
    firsts = [outer.index(name) for name in dict.fromkeys(outer)]
    middles = [(first + last - 1) / 2 for first, last in zip(firsts, [*firsts[1:], len(outer)], strict=True)]
    ax.set_yticks(middles, list(dict.fromkeys(outer)))
    ax.set_ylabel("outer fold" if len(firsts) < len(outer) else "fold")
    ax.tick_params(length=0)
    despine(ax)


def _key(codes: pd.DataFrame, unit: str) -> list[Any]:
    """Legend entries with the number of groups of each partition in a fold."""
    from matplotlib.patches import Patch

    entries = []
    for number, name in enumerate(PARTITIONS):
        n = codes.eq(number).sum()
        if n.any():
            several = (
                f"{n.min()} to {counted(int(n.max()), unit)}" if n.min() < n.max() else counted(int(n.max()), unit)
            )
            look: dict[str, Any] = {"facecolor": partition_color(name), "hatch": HATCHES.get(name, "")}
            entries.append(Patch(label=f"{name}: {several}", edgecolor="none", **look))
    return entries
