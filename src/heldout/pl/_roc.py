"""Plot ROC curves of groups and cells, with intervals, the best baseline and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from heldout._core import keys, store
from heldout._core.evaluations import stored_table
from heldout._core.leaks import leak_of_stored
from heldout._core.words import plural
from heldout.get._leaderboard import verdict_words
from heldout.metrics import roc_auc
from heldout.metrics.classification import one_vs_rest
from heldout.pl._layout import finish, new_axes, sizes_of
from heldout.pl._predicted import read_predicted
from heldout.pl._style import (
    CLASS_DASHES,
    FAINT,
    class_color,
    despine,
    ink,
    method_name,
    model_color,
    text_line,
    titled,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from heldout.pl._layout import Sizes
    from heldout.pl._predicted import Predicted, PredictedUnits


Kind = Literal["group", "cell", "baseline"]

LOOKS: dict[str, dict[str, Any]] = {
    "group": {"width": 1.3, "marker": "o", "zorder": 4, "clip_on": False},
    "cell": {"width": 0.7, "zorder": 3, "alpha": 0.75},
    "baseline": {"color": FAINT, "width": 0.9, "zorder": 2, "clip_on": False},
}
"""Style of the curves of groups, of cells, and of the groups of the best baseline; widths relative to the rcParams."""


@dataclass(frozen=True)
class RocCurve:
    """A ROC curve: false and true positive rates at each threshold."""

    kind: Kind
    positive: str
    fpr: np.ndarray
    tpr: np.ndarray


@dataclass(frozen=True)
class Evaluated:
    """Result of :func:`heldout.tl.evaluate` for exactly the predictions that are plotted."""

    table: pd.DataFrame
    scores: pd.DataFrame

    def row(self, level: str, method: str | None = None) -> pd.Series:
        """Row with the AUC of the fit, or of a baseline."""
        chosen = self.table["role"].eq("model") if method is None else self.table["method"].eq(method)
        return self.table[chosen & self.table["level"].eq(level) & self.table["metric"].eq("auc")].iloc[0]


def roc(
    adata: AnnData,
    key: str | None = None,
    *,
    partition: Literal["test", "val", "train"] = "test",
    group_key: str | Sequence[str] | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Plot the ROC curves of the groups (libraries, donors) and of their cells from stored predictions.

    Groups are scored by the mean logit of their cells. The curve of cells is smooth even if there are only a few
    groups, so the key has the number of both. If the fit was evaluated on this partition, the title is the verdict, and
    the key has the intervals over groups and the best baseline. For two classes, the curve of the best baseline is
    shown. The dashed diagonal is chance, and the ceiling is the AUC of the groups in train.

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
    ax
        Axes to draw into. If None, a new figure is made.
    figsize
        Width and height of a new figure in inches. If None, ``figure.figsize`` of the rcParams.

    Returns
    -------
    The axes. With more than two classes, each class has a curve against all other classes.

    Raises
    ------
    ValueError
        If the fit, its predictions or the partition do not exist, or the partition has only one class.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=30, n_genes=150)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> ho.tl.genotype(adata, "genotype", method="qc_logistic")
    >>> _ = ho.tl.evaluate(adata)
    >>> ax = ho.pl.roc(adata)
    >>> ax.get_legend_handles_labels()[1][0].split(":")[0]
    'libraries (n = 2)'
    """
    predicted = read_predicted(adata, key, partition, group_key)
    present = np.unique(predicted.cells.labels)
    if len(present) < 2:
        msg = (
            f"partition={partition!r} has cells of {predicted.classes[present[0]]!r} only, and a ROC curve needs two "
            "classes. Make a split with label_key so that each partition has every class, or use heldout.pl.confusion."
        )
        raise ValueError(msg)
    evaluated = read_evaluated(adata, predicted)
    ax = new_axes(ax, figsize)
    _draw(ax, predicted, roc_curves(predicted, evaluated), evaluated, leak_of_stored(adata, predicted.key))
    return ax


def roc_curves(predicted: Predicted, evaluated: Evaluated | None = None) -> list[RocCurve]:
    """Curves of groups and cells, for the second of two classes or for each class of the partition."""
    two = len(predicted.classes) == 2
    curves: list[RocCurve] = []
    kinds: list[tuple[Kind, PredictedUnits | None]] = [("group", predicted.groups), ("cell", predicted.cells)]
    for kind, units in kinds:
        if units is not None:
            scores = one_vs_rest(units.log_probability)
            shown = [1] if two else np.unique(units.labels).tolist()
            curves += [_curve(kind, predicted.classes[c], units.labels == c, scores[:, c]) for c in shown]
    if two and evaluated is not None and predicted.groups is not None:
        name = evaluated.row(predicted.groups.unit)["baseline"]
        rows = evaluated.scores[(evaluated.scores["method"] == name) & (evaluated.scores["role"] == "baseline")]
        if len(rows):
            positive = (rows["label"] == predicted.classes[1]).to_numpy()
            curves.append(_curve("baseline", predicted.classes[1], positive, rows["log_odds"].to_numpy()))
    return curves


def read_evaluated(adata: AnnData, predicted: Predicted) -> Evaluated | None:
    """The stored evaluation if it scored these groups with these predictions. Otherwise None."""
    tables, scores = store.section(adata, keys.EVALUATIONS), store.section(adata, keys.SCORES)
    if predicted.key not in tables or predicted.groups is None:
        return None
    table, by_group = stored_table(tables[predicted.key]), scores[predicted.key]
    evaluated = by_group[by_group["role"] == "model"].set_index("group")["log_odds"]
    here = one_vs_rest(predicted.groups.log_probability)[:, -1]
    same = (
        set(table["partition"]) == {predicted.partition}
        and predicted.groups.unit in set(table["level"])
        and set(evaluated.index) == set(predicted.group_names)
        and np.allclose(evaluated[predicted.group_names], here, rtol=1e-5, atol=1e-6)
        and set(table.loc[table["level"] == "cell", "n"]) == {predicted.cells.n}
    )
    return Evaluated(table, by_group) if same else None


def _curve(kind: Kind, positive: str, truth: np.ndarray, score: np.ndarray) -> RocCurve:
    from sklearn.metrics import roc_curve

    fpr, tpr, _ = roc_curve(truth, score)
    return RocCurve(kind, positive, fpr, tpr)


def _draw(ax: Axes, predicted: Predicted, curves: list[RocCurve], evaluated: Evaluated | None, leak: str) -> None:
    two, sizes = len(predicted.classes) == 2, sizes_of(ax)
    number = {name: i for i, name in enumerate(predicted.classes)}
    lines: dict[str, Line2D] = {}
    for curve in curves:
        look = _look(curve.kind, sizes)
        if not two:
            look["color"] = class_color(number[curve.positive])
            look["linestyle"] = CLASS_DASHES[number[curve.positive] % len(CLASS_DASHES)]
        (lines[curve.kind],) = ax.plot(curve.fpr, curve.tpr, label="_", **look)
    chance: dict[str, Any] = {
        "color": FAINT,
        "linewidth": 0.6 * sizes.line,
        "linestyle": (0, (4, 3)),
        "zorder": 1,
        "label": "_",
    }
    ax.plot([0, 1], [0, 1], **chance)
    ax.set(aspect="equal", anchor="W", xlim=(0, 1), ylim=(0, 1), xlabel="false positive rate")
    ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    ax.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    ax.set_ylabel(f"true positive rate ({predicted.classes[1] if two else 'each class'})")
    despine(ax, "left", "bottom")
    key = _entries(predicted, evaluated, lines if two else _proxies(curves, number, sizes))
    title = titled(_title(predicted, evaluated), leak)
    finish(ax, title, key=key, sizes=sizes, square=True)


def _look(kind: str, sizes: Sizes) -> dict[str, Any]:
    look = dict(LOOKS[kind])
    width = look.pop("width") * sizes.line
    return {"color": model_color(), **look, "linewidth": width, "markersize": 0.55 * sizes.mark}


def _title(predicted: Predicted, evaluated: Evaluated | None) -> str:
    title = f"{method_name(predicted.method.rpartition('.')[2])} on {predicted.partition}"
    if evaluated is None or predicted.groups is None:
        return title
    row = evaluated.row(predicted.groups.unit)
    return f"{title}: {verdict_words(row).replace('_', ' ')}"


def _proxies(curves: list[RocCurve], number: dict[str, int], sizes: Sizes) -> dict[str, Line2D]:
    """Key of several classes: one line width per kind of unit, and one colour and line style per class."""
    from matplotlib.lines import Line2D

    kinds = dict.fromkeys(curve.kind for curve in curves)
    handles: dict[str, Line2D] = {kind: Line2D([], [], **{**_look(kind, sizes), "color": ink()}) for kind in kinds}
    for name in dict.fromkeys(curve.positive for curve in curves):
        color, dash = class_color(number[name]), CLASS_DASHES[number[name] % len(CLASS_DASHES)]
        handles[f"class {name}"] = Line2D([], [], color=color, linestyle=dash, linewidth=sizes.line, label=name)
    return handles


def _entries(predicted: Predicted, evaluated: Evaluated | None, lines: dict[str, Line2D]) -> list[Line2D]:
    """The key: number, AUC and interval of each level, the best baseline and the ceiling."""
    handles = []
    for kind, level in (("group", predicted.groups), ("cell", predicted.cells)):
        if level is None:
            handles.append(text_line("group_key is not known: no independent unit"))
            continue
        row = None if evaluated is None else evaluated.row(level.unit)
        lines[kind].set_label(f"{plural(level.unit)} (n = {level.n}):\n{auc_text(level, row)}")
        handles.append(lines[kind])
    handles += [line for name, line in lines.items() if name.startswith("class ")]
    if evaluated is None or predicted.groups is None:
        return [*handles, text_line(f"not evaluated on {predicted.partition}: no interval, no baseline")]
    row = evaluated.row(predicted.groups.unit)
    if row["baseline"]:
        best = evaluated.row(predicted.groups.unit, row["baseline"])
        line = lines.get("baseline", text_line(""))
        line.set_label(f"best baseline\n({method_name(best['method'])}):\nAUC {best['estimate']:.2f}{interval(best)}")
        handles.append(line)
    if np.isfinite(row["ceiling"]):
        handles.append(text_line(f"ceiling: {row['ceiling']:.2f}"))
    return handles


def auc_text(units: PredictedUnits, row: pd.Series | None) -> str:
    """AUC with its interval over groups, on two lines, e.g. ``AUC 0.86`` and ``[0.71, 0.95]``."""
    auc = roc_auc(units.labels, units.log_probability)
    if not np.isfinite(auc):
        return "AUC not defined, a class is absent"
    mean = "mean AUC" if units.log_probability.shape[1] > 2 else "AUC"
    span = "" if row is None else interval(row)
    return f"{mean} {auc:.2f}" + (span or ",\nno interval")


def interval(row: pd.Series) -> str:
    """Interval of a row of the evaluation, e.g. ``[0.71, 0.95]`` after a line break. Empty if it has no interval."""
    return f"\n[{row['ci_low']:.2f}, {row['ci_high']:.2f}]" if np.isfinite(row["ci_low"]) else ""
