"""Plot observed shares against predicted probabilities of groups and cells: the reliability curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.special import log_softmax

from heldout._core.checks import check_integer
from heldout._core.fits import read_header
from heldout._core.leaks import leak_of_stored
from heldout._core.words import plural
from heldout.metrics import brier, log_loss, proportion_interval
from heldout.pl._layout import finish, new_axes, sizes_of
from heldout.pl._predicted import class_number, read_predicted
from heldout.pl._style import FAINT, despine, ink, method_name, model_color, titled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

    from heldout.pl._layout import Sizes
    from heldout.pl._predicted import Predicted

_EACH = 6
"""Least number of groups of a point, if there are enough groups for two points."""

_MOST = 10
"""Largest number of points of a curve."""


@dataclass(frozen=True)
class Reliability:
    """Points of a curve: mean probability, observed share with its interval, and number of units, (B,) each."""

    probability: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray

    @classmethod
    def of(cls, probability: np.ndarray, happened: np.ndarray, n_bins: int) -> Reliability:
        """Bins with the same number of units. Units of the same probability are in the same bin."""
        edges = np.unique(np.quantile(probability, np.linspace(0, 1, n_bins + 1)[1:-1]))
        _, bins = np.unique(np.searchsorted(edges, probability, side="left"), return_inverse=True)
        n = np.bincount(bins)
        hits = np.bincount(bins, happened)
        found = [proportion_interval(float(hit), int(size)) for hit, size in zip(hits, n, strict=True)]
        low, high = (np.array([getattr(each, side) for each in found]) for side in ("low", "high"))
        return cls(np.bincount(bins, probability) / n, hits / n, low, high, n)


def calibration(
    adata: AnnData,
    key: str | None = None,
    *,
    partition: Literal["test", "val", "train"] = "test",
    group_key: str | Sequence[str] | None = None,
    label: str | None = None,
    n_bins: int | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Plot how often a class was observed against its predicted probability, for groups and for their cells.

    Groups are sorted by their probability, which is that of the mean logit of their cells, and put into bins with the
    same number of groups. A point is the observed share of the class in a bin. It has the 95 % interval of
    :func:`heldout.metrics.proportion_interval` over groups. Good probabilities are on the dashed diagonal. If points
    lie above it on the left and below it on the right, probabilities are too bold.

    The thin line is that of cells, if they are predicted one by one. It has no intervals, because cells of a group are
    not independent. If the fit has divided its logits by a temperature, the grey line shows the groups before. The key
    has the Brier score and the log-loss (nats) of each line. A point of few groups says little: with six groups its
    interval is about 0.6 wide.

    Parameters
    ----------
    adata
        AnnData with predictions, (n_obs × n_vars).
    key
        Name of the fit. If None, the genotype fit that was stored last.
    partition
        Partition to plot.
    group_key
        Column(s) of ``obs`` with the independent unit. If None, the record of the fit is used.
    label
        Class whose probability is plotted. If None, the second of two classes. It is needed for more classes.
    n_bins
        Number of bins of groups. If None, at least six groups are in a bin, and there are at most ten bins. Cells
        always have ten.
    ax
        Axes to draw into. If None, a new figure is made.
    figsize
        Width and height of a new figure in inches. If None, ``figure.figsize`` of the rcParams.

    Returns
    -------
    The axes. The x axis is the predicted probability, the y axis is the observed share.

    Raises
    ------
    ValueError
        If the fit, its predictions, the partition or the class do not exist, or ``n_bins`` is not an integer >= 1.

    See Also
    --------
    heldout.metrics.calibration_error : The distance from the diagonal as a number.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=30, n_genes=150)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> ho.tl.genotype(adata, "genotype", method="qc_logistic")
    >>> _ = ho.tl.evaluate(adata)
    >>> ho.pl.calibration(adata).get_xlabel()
    'predicted probability of patient'
    """
    if n_bins is not None:
        n_bins = check_integer(n_bins, "n_bins", least=1, or_else="None")
    predicted = read_predicted(adata, key, partition, group_key)
    number = class_number(predicted, label)
    stored = read_header(adata, predicted.key).info.get("fitted", {}).get("temperature", 1.0)
    ax = new_axes(ax, figsize)
    _draw(ax, predicted, number, n_bins, float(stored), leak_of_stored(adata, predicted.key))
    return ax


def _draw(ax: Axes, predicted: Predicted, number: int, n_bins: int | None, temperature: float, leak: str) -> None:
    sizes, key = sizes_of(ax), []
    groups, cells = predicted.groups, predicted.cells
    ax.plot([0, 1], [0, 1], color=FAINT, linewidth=0.6 * sizes.line, linestyle=(0, (4, 3)), zorder=1)
    if groups is not None:
        n_bins = min(_MOST, max(1, groups.n // _EACH)) if n_bins is None else n_bins
        if temperature != 1:
            before = log_softmax(groups.log_probability * temperature, axis=1)
            name = f"before temperature {temperature:.2g}"
            look: dict[str, Any] = {"color": FAINT, "marker": "s", "width": 0.8, "size": 0.55, "zorder": 2}
            key.append(_line(ax, groups.labels, before, number, n_bins, name, look, sizes)[1])
        look = {"color": model_color(), "marker": "o", "width": 1.0, "size": 0.9, "zorder": 4}
        points, line = _line(ax, groups.labels, groups.log_probability, number, n_bins, "", look, sizes)
        few, many = int(points.n.min()), int(points.n.max())
        each = f"{few:,}" if few == many else f"{few:,} to {many:,}"
        line.set_label(f"{plural(groups.unit)} (n = {groups.n:,})\n{each} a point:{line.get_label()}")
        _intervals(ax, points, sizes)
        key.insert(0, line)
    if groups is None or not np.allclose(cells.log_probability, groups.log_probability[predicted.group_numbers]):
        look = {"color": model_color(), "marker": "", "width": 0.6, "size": 0, "zorder": 3, "alpha": 0.75}
        name = f"cells (n = {cells.n:,})"
        key.append(_line(ax, cells.labels, cells.log_probability, number, _MOST, name, look, sizes)[1])
    ax.set_xlim(-0.03, 1.03)
    ax.set_ylim(-0.03, 1.03)
    ax.set_aspect("equal", anchor="W")
    ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    ax.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    name = predicted.classes[number]
    ax.set_xlabel(f"predicted probability of {name}")
    ax.set_ylabel(f"observed share of {name}")
    despine(ax, "left", "bottom")
    finish(ax, titled(_title(predicted, number), leak), key=key, sizes=sizes, square=True)


def _line(
    ax: Axes,
    labels: np.ndarray,
    log_probability: np.ndarray,
    number: int,
    n_bins: int,
    name: str,
    look: dict[str, Any],
    sizes: Sizes,
) -> tuple[Reliability, Any]:
    """Draw one curve. Its label has the Brier score and the log-loss."""
    found = Reliability.of(np.exp(log_probability[:, number]), labels == number, n_bins)
    scores = f"Brier {brier(labels, log_probability):.2f}, log-loss {log_loss(labels, log_probability):.2f}"
    (line,) = ax.plot(
        found.probability,
        found.share,
        color=look["color"],
        marker=look["marker"] or None,
        markersize=look["size"] * sizes.mark,
        linewidth=look["width"] * sizes.line,
        alpha=look.get("alpha", 1.0),
        zorder=look["zorder"],
        clip_on=False,
        label=f"{name}:\n{scores}" if name else f"\n{scores}",
    )
    return found, line


def _intervals(ax: Axes, points: Reliability, sizes: Sizes) -> None:
    for x, low, high in zip(points.probability, points.low, points.high, strict=True):
        ax.plot([x, x], [low, high], color=ink(), linewidth=0.5 * sizes.line, zorder=2.5, label="_interval")


def _title(predicted: Predicted, number: int) -> str:
    """Mean probability and observed share of all groups, or of all cells if groups are not known."""
    units = predicted.cells if predicted.groups is None else predicted.groups
    mean, share = np.exp(units.log_probability[:, number]).mean(), (units.labels == number).mean()
    method = method_name(predicted.method.rpartition(".")[2])
    return (
        f"{method} on {predicted.partition}: {predicted.classes[number]} predicted {mean:.2f} on average, observed "
        f"{share:.2f}"
    )
