"""Plot whether the probabilities of groups are right: a reliability curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from heldout._core.checks import check_integer
from heldout._core.leaks import leak_of_stored
from heldout._core.words import plural
from heldout.metrics import brier, log_loss, proportion_interval
from heldout.pl._predicted import read_predicted
from heldout.pl._style import FAINT, despine, new_axes, titled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

    from heldout.pl._predicted import PredictedUnits

_COLOR = "#17365F"


@dataclass(frozen=True)
class ReliabilityBin:
    """Groups with similar probabilities: their mean, and how often the class was right, with its 95 % interval."""

    probability: float
    share: float
    low: float
    high: float
    n: int


def calibration(
    adata: AnnData,
    key: str | None = None,
    *,
    partition: Literal["test", "val", "train"] = "test",
    group_key: str | Sequence[str] | None = None,
    n_bins: int = 4,
    ax: Axes | None = None,
) -> Axes:
    """Plot the probabilities of groups (libraries, donors) against how often they were right.

    Groups are sorted by their probability and divided into bins of equal size. Each point has a
    95 % interval (:func:`heldout.metrics.proportion_interval`), and the title has the number of groups per point.
    Points on the diagonal are calibrated. With few groups the intervals are wide, and the log-loss and the Brier
    score in the title tell more than the curve.

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
    n_bins
        Number of bins. There are fewer if a bin would have no group.
    ax
        Axes to draw into. If None, a new figure is made.

    Returns
    -------
    The axes. For two classes the probability is that of the positive class; for more, that of the predicted class.

    Raises
    ------
    ValueError
        If the fit, its predictions, its groups or the partition do not exist.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=30, n_genes=150)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=[16, 19], val=0)
    >>> ho.tl.genotype(adata, "genotype", method="qc_logistic")
    >>> _ = ho.tl.evaluate(adata)
    >>> ax = ho.pl.calibration(adata, n_bins=2)
    >>> ax.get_ylabel()
    'share of patient'
    """
    check_integer(n_bins, "n_bins", least=1)
    predicted = read_predicted(adata, key, partition, group_key)
    if predicted.groups is None:
        msg = (
            "No group is known, so probabilities of groups cannot be plotted. Pass group_key, the column of obs with "
            "the independent unit."
        )
        raise ValueError(msg)
    ax = new_axes(ax, (3.5, 3.5))
    bins = reliability_bins(predicted.groups, n_bins)
    _draw(ax, bins)
    two = len(predicted.classes) == 2
    ax.set_xlabel(f"probability of {predicted.classes[1]}" if two else "probability of the predicted class")
    ax.set_ylabel(f"share of {predicted.classes[1]}" if two else "share of right predictions")
    labels, log_p = predicted.groups.labels, predicted.groups.log_probability
    lines = [
        f"{predicted.method.rpartition('.')[2]} on {predicted.partition}",
        f"log-loss {log_loss(labels, log_p):.2f}, Brier {brier(labels, log_p):.2f}",
        f"{_sizes(bins, predicted.groups.unit)} per point, 95 % intervals",
    ]
    ax.set_title(titled("\n".join(lines), leak_of_stored(adata, predicted.key)), loc="left", fontsize="medium")
    return ax


def reliability_bins(groups: PredictedUnits, n_bins: int) -> list[ReliabilityBin]:
    """Bins of equal numbers of groups, in the order of their probability."""
    p = np.exp(groups.log_probability.astype(float))
    event = np.ones(len(p), dtype=int) if p.shape[1] == 2 else p.argmax(axis=1)
    probability, right = p[np.arange(len(p)), event], groups.labels == event
    order = np.argsort(probability, kind="stable")
    bins = []
    for rows in np.array_split(order, min(n_bins, len(order))):
        found = proportion_interval(float(right[rows].sum()), len(rows))
        bins.append(ReliabilityBin(float(probability[rows].mean()), found.estimate, found.low, found.high, len(rows)))
    return bins


def _sizes(bins: list[ReliabilityBin], unit: str) -> str:
    """Number of groups of the bins, e.g. ``2 or 3 donors``."""
    sizes = sorted({part.n for part in bins})
    return f"{' or '.join(map(str, sizes))} {plural(unit) if sizes[-1] > 1 else unit}"


def _draw(ax: Axes, bins: list[ReliabilityBin]) -> None:
    ax.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    x, y = np.array([b.probability for b in bins]), np.array([b.share for b in bins])
    spread = np.clip(np.array([[b.share - b.low for b in bins], [b.high - b.share for b in bins]]), 0, None)
    ax.errorbar(x, y, yerr=spread, color=_COLOR, fmt="o", markersize=4, elinewidth=0.9, capsize=2, zorder=3)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.set_aspect("equal", anchor="W")
    despine(ax, "left", "bottom")
