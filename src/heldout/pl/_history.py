"""Plot the training curves of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from heldout._core import keys
from heldout._core.fits import latest_fit, read_header
from heldout._core.store import section, some
from heldout.pl._layout import finish, new_panels, sizes_of, wrap_labels
from heldout.pl._style import PARTITION_MARKS, despine, ink, partition_color

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

MONITORS = ("val_auc", "val_loss")
"""Monitored metrics of fits that do not say what was monitored: the AUC if val has every class, otherwise the loss."""


@dataclass(frozen=True)
class HistoryCurve:
    """A line: its column of the history, its panel (0 for loss, 1 for accuracy), its label, colour and style."""

    column: str
    panel: int
    label: str
    partition: str
    dash: str = "-"


def history(
    adata: AnnData,
    key: str | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
) -> np.ndarray:
    """Plot loss and accuracy of train and val over the epochs, and mark the epoch whose weights were kept.

    The dashed loss is that of val groups, each of which counts once. It decides when a classifier stops, unless its
    options say otherwise. If there are several networks, the first is shown. For a model with an auxiliary head, only
    the loss of the label is shown. The sum of both losses is not comparable if val has other auxiliary classes (e.g.
    days) than train. :func:`heldout.get.history` returns all columns.

    Parameters
    ----------
    adata
        AnnData with the fit, (n_obs × n_vars).
    key
        Name of the fit. If None, the fit that was stored last; preparation steps do not count.
    axes
        Axes to draw into: two for a classifier (loss, accuracy), one for a forecast (loss). If None, a new figure is
        made.
    figsize
        Width and height of a new figure in inches. If None, ``figure.figsize`` of the rcParams.

    Returns
    -------
    Array of axes: the loss, and for a classifier also accuracy and validation AUC.

    Raises
    ------
    ValueError
        If the fit does not exist or has no training history, or the number of ``axes`` is wrong.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=30, n_genes=150)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> ho.tl.genotype(adata, "genotype", config=ho.model.MLPConfig(max_epochs=2, n_hidden=16))
    >>> loss, accuracy = ho.pl.history(adata)
    >>> accuracy.get_xlabel()
    'epoch'
    """
    key = latest_fit(adata, purpose="with a history") if key is None else key
    fit = read_header(adata, key)
    if not len(fit.history):
        trained = [name for name, stored in section(adata, keys.FITS).items() if "history" in stored]
        hint = (
            f"Fits with a history are {some(trained)}."
            if trained
            else "Fit a network, e.g. heldout.tl.genotype(..., method='mlp')."
        )
        msg = f"Fit {key!r} ({fit.method}) has no training history, because it was not trained in epochs. {hint}"
        raise ValueError(msg)
    table = fit.history
    name = key
    if "member" in table.columns and table["member"].nunique() > 1:
        name = f"{key}, first of {table['member'].nunique()} networks"
        table = table[table["member"] == table["member"].iloc[0]]
    lines = curves(table)
    n = 1 + max(line.panel for line in lines)
    what = "two Axes, for loss and accuracy" if n == 2 else "one Axes, for the loss"
    panels = new_panels(axes, figsize, n, what=what)
    unit = {"genotype": " (nats)", "forecast_genes": " (squared error, standardised)"}.get(fit.method.split(".")[0], "")
    monitor = fit.info.get("fitted", {}).get("monitor")
    _draw(panels, table, lines, best_epoch(table, monitor), key=name, unit=unit)
    return panels


def curves(table: pd.DataFrame) -> list[HistoryCurve]:
    """The lines of a history."""
    loss = "label_loss" if "train_label_loss" in table.columns else "loss"
    every = [
        HistoryCurve(f"train_{loss}", 0, "train", "train"),
        HistoryCurve(f"val_{loss}", 0, "val", "val"),
        HistoryCurve("val_group_loss", 0, "val (groups)", "val", "--"),
        HistoryCurve("train_accuracy", 1, "train", "train"),
        HistoryCurve("val_accuracy", 1, "val", "val"),
        HistoryCurve("val_auc", 1, "val AUC (cells)", "val", "--"),
    ]
    return [curve for curve in every if curve.column in table.columns and table[curve.column].notna().any()]


def best_epoch(table: pd.DataFrame, monitor: str | None = None) -> tuple[int, str, float] | None:
    """Epoch whose weights were kept, the monitored column and its value.

    None without a val partition, or with an empty ``monitor``: the weights of the last epoch were then kept.
    """
    for column in MONITORS if monitor is None else [monitor]:
        if column in table.columns and table[column].notna().any():
            row = table[column].idxmax() if column.endswith("auc") else table[column].idxmin()
            return int(table["epoch"][row]), column, float(table[column][row])
    return None


def _draw(
    panels: np.ndarray,
    table: pd.DataFrame,
    lines: list[HistoryCurve],
    best: tuple[int, str, float] | None,
    *,
    key: str,
    unit: str,
) -> None:
    from matplotlib.ticker import MaxNLocator

    few = len(table) < 15
    every = [sizes_of(panel) for panel in panels]
    for curve in lines:
        sizes, solid = every[curve.panel], curve.dash == "-"
        panels[curve.panel].plot(
            table["epoch"],
            table[curve.column],
            linestyle=curve.dash,
            marker=PARTITION_MARKS[curve.partition] if few else None,
            markersize=(0.6 if solid else 0.4) * sizes.mark,
            linewidth=sizes.line,
            color=partition_color(curve.partition),
            label=curve.label,
        )
    keys = [list(panel.get_lines()) for panel in panels]
    title = f"{key}: {len(table)} epochs"
    if best is not None:
        epoch, column, value = best
        monitored = column.replace("_", " ").replace("auc", "AUC")
        title = f"{key}: weights of epoch {epoch} kept ({monitored} {value:.2f})"
        for panel, sizes in zip(panels, every, strict=True):
            panel.axvline(epoch, color=ink(), linewidth=0.6 * sizes.line, linestyle=":", zorder=0)
    label = next(curve.column for curve in lines).removeprefix("train_").replace("_", " ")
    for panel, name in zip(panels, (f"{label}{unit}", "accuracy, AUC"), strict=False):
        panel.set_xlabel("epoch")
        panel.set_ylabel(name)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        despine(panel, "left", "bottom")
    panels[0].set_ylim(bottom=0)
    if len(panels) > 1:
        panels[1].set_ylim(top=1.02)
    for number, (panel, sizes) in enumerate(zip(panels, every, strict=True)):
        finish(panel, "" if number else title, key=keys[number], sizes=sizes, wrap=False)
    wrap_labels(panels.tolist(), every)
