"""Plot the confusion matrix of predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from heldout._core.leaks import leak_of_stored
from heldout._core.words import counted
from heldout.pl._layout import finish, new_axes, room_of, sizes_of
from heldout.pl._predicted import read_predicted
from heldout.pl._style import despine, model_color, paper, text_on, titled
from heldout.pl._words import shortened, width_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

    from heldout.pl._predicted import Predicted

LEVELS = ("cell", "group")


def confusion(
    adata: AnnData,
    key: str | None = None,
    *,
    partition: Literal["test", "val", "train"] = "test",
    level: Literal["cell", "group"] = "cell",
    group_key: str | Sequence[str] | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Plot the confusion matrix of stored predictions, with counts and shares of each true class.

    The predicted class is the most probable class. For two classes, the threshold is a probability of 0.5.

    Parameters
    ----------
    adata
        AnnData with predictions, (n_obs × n_vars).
    key
        Name of the fit. If None, the genotype fit that was stored last.
    partition
        Partition to plot.
    level
        ``"cell"`` counts cells. ``"group"`` counts groups (libraries, donors) by the mean logit of their cells.
    group_key
        Column(s) of ``obs`` with the independent unit. If None, the record of the fit is used.
    ax
        Axes to draw into. If None, a new figure is made.
    figsize
        Width and height of a new figure in inches. If None, ``figure.figsize`` of the rcParams.

    Returns
    -------
    The axes. Rows are true classes and columns are predicted classes, in the order of the fit.

    Raises
    ------
    ValueError
        If the fit, its predictions or the partition do not exist, or ``level="group"`` and no group is known.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=30, n_genes=150)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> ho.tl.genotype(adata, "genotype", method="qc_logistic")
    >>> _ = ho.tl.evaluate(adata)
    >>> ho.pl.confusion(adata, level="group").get_title(loc="left")
    'test: 2 libraries'
    """
    if level not in LEVELS:
        msg = f"level={level!r} must be one of {', '.join(LEVELS)}."
        raise ValueError(msg)
    predicted = read_predicted(adata, key, partition, group_key)
    if level == "group" and predicted.groups is None:
        msg = (
            "level='group' needs groups, but the split was not made by group. Pass group_key, the obs column of the "
            "independent unit."
        )
        raise ValueError(msg)
    units = predicted.groups if level == "group" and predicted.groups is not None else predicted.cells
    counts = confusion_counts(units.labels, units.log_probability)
    ax = new_axes(ax, figsize)
    _draw(ax, counts, predicted.classes)
    finish(ax, titled(_title(predicted, level), leak_of_stored(adata, predicted.key)))
    return ax


def confusion_counts(labels: np.ndarray, log_probability: np.ndarray) -> np.ndarray:
    """Number of units of each true class (row) and predicted class (column), (n_classes × n_classes)."""
    k = log_probability.shape[1]
    return np.bincount(labels * k + log_probability.argmax(axis=1), minlength=k * k).reshape(k, k)


def _title(predicted: Predicted, level: str) -> str:
    groups = "" if predicted.groups is None else counted(predicted.groups.n, predicted.groups.unit)
    if level == "group":
        return f"{predicted.partition}: {groups}"
    cells = f"{predicted.partition}: {counted(predicted.cells.n, 'cell')}"
    return f"{cells} of {groups}" if groups else cells


def _draw(ax: Axes, counts: np.ndarray, classes: list[str]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    sizes, totals, numbers = sizes_of(ax), counts.sum(axis=1), range(len(classes))
    share = counts / np.maximum(totals, 1)[:, None]
    shades = LinearSegmentedColormap.from_list("share", [paper(ax), model_color()])
    ax.imshow(share, cmap=shades, vmin=0, vmax=1, aspect="auto")
    room = room_of(ax)
    wide, high = 0.7 * room.width / len(classes), 0.65 * room.height / len(classes)
    for i in numbers:
        for j in numbers:
            lines = [f"{counts[i, j]:,}", f"{share[i, j]:.0%}" if totals[i] else "–"]
            lines = lines[: 1 + (high > 3 * sizes.text / 72)]
            if high > sizes.small / 72 and max(width_of(line, sizes.text) for line in lines) < wide:
                style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": sizes.text}
                ax.text(j, i, "\n".join(lines), color=text_on(shades(share[i, j])), **style)
    bottom = [shortened(name, 0.45 * room.height, sizes.tick) for name in classes]
    left = [shortened(name, 0.35 * room.width, sizes.tick) for name in classes]
    turned = max(width_of(name, sizes.tick) for name in bottom) > wide
    ax.set_xticks(numbers, bottom, rotation=45 if turned else 0, ha="right" if turned else "center")
    ax.set_yticks(numbers, [f"{name}\n(n = {total:,})" for name, total in zip(left, totals, strict=True)])
    ax.set_xticks(np.arange(0.5, len(classes) - 1), minor=True)
    ax.set_yticks(np.arange(0.5, len(classes) - 1), minor=True)
    ax.grid(which="minor", color=paper(ax), linewidth=sizes.line)
    ax.tick_params(which="both", length=0)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    despine(ax)
