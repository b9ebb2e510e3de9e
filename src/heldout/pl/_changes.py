"""Plot of the predicted changes of one perturbation, with their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.checks import check_integer
from heldout.get._changes import changes as table_of
from heldout.get._changes import rows_of
from heldout.pl._layout import finish, new_axes, room_of, sizes_of
from heldout.pl._style import FAINT, despine, model_color
from heldout.pl._words import apart, width_of

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

    from heldout.pl._layout import Sizes


def changes(
    adata: AnnData,
    perturbation: str | None = None,
    *,
    n: int = 8,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Plot the predicted change of each gene against its certainty, as a volcano.

    The certainty of a gene is its change divided by the half-width of its interval. From 1 on, the interval excludes 0.
    The ``n`` genes with the largest change have their name and their interval.

    Parameters
    ----------
    adata
        Result of :func:`heldout.tl.predict_profiles`, with intervals, (n_profiles × n_genes).
    perturbation
        Name of a perturbation, or of a row of ``adata`` if it has several contexts. Can be left out if there is only
        one profile.
    n
        Number of genes with names.
    ax
        Axes to draw on. If None, a new figure is made.
    figsize
        Width and height of a new figure in inches. If None, ``figure.figsize`` of the rcParams.

    Returns
    -------
    The :class:`~matplotlib.axes.Axes`.

    Raises
    ------
    ValueError
        If there is no such profile, several have this name, or it has no interval.

    See Also
    --------
    heldout.get.changes : The same as a table.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.perturbations_simulated(n_singles=12, n_doubles=12, n_genes=100, n_cells=20)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0.4, test=0.4)
    >>> ho.tl.perturbation(adata, method="additive")
    >>> profiles = ho.tl.predict_profiles(adata, coverage=0.7)
    >>> ax = ho.pl.changes(profiles, profiles.obs_names[0])
    """
    check_integer(n, "n", least=0)
    row = _row(adata, perturbation)
    table = table_of(adata, adata.obs_names[row], n=None)
    half = (table["upper"] - table["lower"]) / 2
    if not np.isfinite(half).all():
        why = str(adata.obs["interval"].iloc[row]) if "interval" in adata.obs else "none was calibrated"
        msg = (
            f"{adata.obs_names[row]!r} has no intervals ({why}). Pass a lower coverage to heldout.tl.predict_profiles, "
            "or make the split with more perturbations in val."
        )
        raise ValueError(msg)
    table = table.assign(certainty=table["change"].abs() / half)
    ax = new_axes(ax, figsize)
    sizes, sure = sizes_of(ax), table["excludes_zero"].to_numpy(dtype=bool)
    ax.axvline(0, color=FAINT, linewidth=0.5 * sizes.line)
    ax.axhline(1, color=FAINT, linewidth=0.5 * sizes.line, linestyle="--")
    for rows, color, mark, size in ((~sure, FAINT, "o", 0.35), (sure, model_color(), "D", 0.5)):
        x, y = table["change"][rows], table["certainty"][rows]
        ax.scatter(x, y, s=(size * sizes.mark) ** 2, color=color, marker=mark, linewidth=0, zorder=3)
    top = table.head(n)
    ax.set_ylim(0, 1.12 * max(float(table["certainty"].max()), 1.0))
    widest = 1.02 * float(np.nanmax(np.abs([*top["lower"], *top["upper"], *table["change"], 1e-9])))
    letters = max((width_of(str(gene), sizes.small) for gene in top["gene"]), default=0.0)
    share = (letters + 0.05) / (0.4 * room_of(ax).width)
    ax.set_xlim(-widest / max(1 - share, 0.4), widest / max(1 - share, 0.4))
    _label(ax, top, sizes)
    coverage = f"{100 * float(table['coverage'].iloc[0]):g} %"
    ax.set_xlabel("predicted change (log-normalised)")
    ax.set_ylabel("|change| / half-width of interval")
    despine(ax, "left", "bottom")
    words = f"{int(sure.sum())} of {len(table)} genes above the line: {coverage} interval excludes 0"
    finish(ax, f"{adata.obs_names[row]}\n{words}", sizes=sizes)
    return ax


def _row(adata: AnnData, perturbation: str | None) -> int:
    rows = rows_of(adata, perturbation)
    if len(rows) == 1:
        return rows[0]
    what = "perturbation=None" if perturbation is None else f"perturbation={perturbation!r}"
    names = ", ".join(repr(str(name)) for name in adata.obs_names[rows][:4])
    msg = (
        f"{what} has {len(rows)} predicted profiles, but one can be plotted. Name a row, e.g. {names or 'another one'}."
    )
    raise ValueError(msg)


def _label(ax: Axes, top: pd.DataFrame, sizes: Sizes) -> None:
    """Draw the intervals and the names of genes, at the side to which they change; names do not overlap."""
    (left, right), high = ax.get_xlim(), ax.get_ylim()[1]
    least = 1.5 * sizes.small / 72 / (0.6 * room_of(ax).height) * high
    for side in (-1, 1):
        rows = top[np.sign(top["change"]) == side]
        heights = apart(rows["certainty"].tolist(), least, low=least / 2, high=high - least / 2)
        for (_, gene), height in zip(rows.iterrows(), heights, strict=True):
            y, color = float(gene["certainty"]), model_color() if gene["excludes_zero"] else FAINT
            ax.plot(
                [gene["lower"], gene["upper"]], [y, y], color=color, linewidth=0.5 * sizes.line, alpha=0.6, zorder=2
            )
            end = gene["upper"] if side > 0 else gene["lower"]
            ax.annotate(
                str(gene["gene"]), (end, y), xytext=(end + side * 0.015 * (right - left), height),
                ha="left" if side > 0 else "right", va="center", fontsize=sizes.small,
                arrowprops={
                    "arrowstyle": "-", "linewidth": 0.3 * sizes.line, "color": FAINT, "shrinkA": 0, "shrinkB": 0,
                },
            )  # fmt: skip
