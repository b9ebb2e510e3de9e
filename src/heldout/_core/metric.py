"""The closed list of metrics: what each one means, which direction is better, and what chance scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from heldout._core.store import suggest

if TYPE_CHECKING:
    from collections.abc import Iterable

Direction = Literal["higher", "lower", "one", "zero"]

_NEAREST = {"one": 1.0, "zero": 0.0}
"""The best value of a metric that is best in the middle."""

TASKS = ("genotype", "forecast", "forecast_genes", "perturbation", "interactions")
"""The tasks whose results are scored."""


@dataclass(frozen=True)
class Metric:
    """One metric of an evaluation or a comparison.

    Parameters
    ----------
    name
        Name in the column ``metric`` of a table.
    direction
        ``higher`` or ``lower`` is better, or the value nearest to ``one`` or ``zero`` is best.
    chance
        Score of a prediction that knows nothing. None where the metric has no such value, or where the value depends on
        the data.
    of
        ``units``: the metric compares one value or one mean profile for each unit (library, gene, perturbation).
        ``cells``: the metric compares single cells.
    tasks
        Tasks that write this metric.
    words
        What the metric measures, in one line.
    title
        Name in reports and plots, where ``name`` with spaces is not clear enough.
    bounds
        Lowest and highest value that the metric can have; infinite where there is no limit. Intervals lie in it.
    """

    name: str
    direction: Direction
    chance: float | None
    of: Literal["units", "cells"]
    tasks: tuple[str, ...]
    words: str
    title: str = ""
    bounds: tuple[float, float] = (-np.inf, np.inf)

    @property
    def label(self) -> str:
        """Name to show to a reader."""
        return self.title or self.name.replace("_", " ")

    @property
    def lower_is_better(self) -> bool:
        """Whether a lower value is better."""
        return self.direction == "lower"

    @property
    def sign(self) -> float:
        """-1 if a lower value is better, otherwise 1: a difference times the sign is positive if it is a gain."""
        return -1.0 if self.direction == "lower" else 1.0

    @property
    def arrow(self) -> str:
        """Label of an axis, with an arrow that points to the better side."""
        if self.direction in _NEAREST:
            return f"→ {self.label} ←"
        return f"← {self.label}" if self.direction == "lower" else f"{self.label} →"

    @property
    def better(self) -> str:
        """Which values are better, in words."""
        words = {"higher": "higher is better", "lower": "lower is better", "one": "1 is best", "zero": "0 is best"}
        return words[self.direction]

    def badness(self, values: np.ndarray) -> np.ndarray:
        """Values to sort by: the best method has the lowest."""
        values = np.asarray(values, dtype=float)
        if self.direction in _NEAREST:
            return np.abs(values - _NEAREST[self.direction])
        return -self.sign * values

    def best(self, values: Iterable[float]) -> int:
        """Position of the best value; values that are not finite are never the best."""
        badness = self.badness(np.asarray(list(values), dtype=float))
        return int(np.argmin(np.where(np.isfinite(badness), badness, np.inf)))


_GENOTYPE = ("genotype",)
_FORECASTS = ("forecast", "forecast_genes")
_PERTURBATION = ("perturbation",)
_INTERACTIONS = ("interactions",)

_CELLS = ("forecast", "perturbation")
_MEANS = (*_FORECASTS, "perturbation")
_FORECAST = ("forecast",)

_SKILL_CORRECTED = "Skill, corrected for noise: 0 is persistence, 1 is the noise floor."
_PEARSON_DELTA = "Correlation of true and predicted change from control."
_PEARSON_PERTURBED = "Correlation of changes from the mean train perturbation."
_RANK = "Share of other predictions that are nearer to the truth."
_DISCRIMINATION = "Share of other truths that are further from the prediction."
_DEG_RECALL = "Share of the 50 genes with the largest response that are predicted."
_GENE_WASSERSTEIN = "Mean over genes of the Wasserstein-1 distance."
_COEXPRESSION = "Mean squared difference of gene-gene correlations, corrected for noise."
_LOG_VARIANCE = "Mean over genes of log(predicted / true variance of cells)."
_ZERO_SHARE = "Mean over genes of the difference of the shares of zeros."
_AVERAGE_PRECISION = "Area under precision-recall; chance: share of interactions."
_TPR = "True positive rate at a false discovery proportion of"

_ALL = (
    Metric("auc", "higher", 0.5, "units", _GENOTYPE, "Share of pairs of two classes that are ranked correctly.", "AUC"),
    Metric("block_auc", "higher", 0.5, "units", _GENOTYPE, "Mean of the AUCs within blocks.", "AUC within blocks"),
    Metric("cell_auc", "higher", 0.5, "cells", _GENOTYPE, "AUC of single cells.", "AUC of cells"),
    Metric("accuracy", "higher", None, "units", _GENOTYPE, "Share of correct classes at probability 0.5."),
    Metric("accuracy_calibrated", "higher", None, "units", _GENOTYPE, "Accuracy at the threshold that is best on val."),
    Metric("loss", "lower", None, "units", _GENOTYPE, "Mean negative log-probability of the true class, in nats."),
    Metric("brier", "lower", None, "units", _GENOTYPE, "Mean squared error of the probabilities.", "Brier score"),
    Metric("calibration_error", "lower", None, "units", _GENOTYPE, "Mean gap of predicted and observed probability."),
    Metric("skill_corrected", "higher", None, "units", _FORECASTS, _SKILL_CORRECTED, "corrected skill"),
    Metric("skill", "higher", None, "units", _FORECASTS, "Share of the error of persistence that is removed."),
    Metric("energy_distance", "lower", None, "cells", _CELLS, "Energy distance of predicted and observed cells."),
    Metric("mmd", "lower", None, "cells", _CELLS, "Maximum mean discrepancy of the cells.", "MMD"),
    Metric("variance_error", "lower", None, "cells", _CELLS, "Distance of the standard deviations of the cells."),
    Metric("gene_wasserstein", "lower", None, "cells", _PERTURBATION, _GENE_WASSERSTEIN, "Wasserstein per gene"),
    Metric("zero_share_error", "lower", None, "cells", _PERTURBATION, _ZERO_SHARE, "error of the share of zeros"),
    Metric("coexpression_error", "lower", None, "cells", _PERTURBATION, _COEXPRESSION),
    Metric("log_variance_ratio", "zero", None, "cells", _PERTURBATION, _LOG_VARIANCE),
    Metric("wasserstein2", "lower", None, "cells", _FORECAST, "2-Wasserstein distance of the cells.", "W2"),
    Metric("rmse", "lower", None, "units", _MEANS, "Root mean squared error of mean expression.", "RMSE"),
    Metric("mae", "lower", None, "units", _FORECASTS, "Mean absolute error of mean expression.", "MAE"),
    Metric("r2", "higher", None, "units", _FORECASTS, "Explained variance of mean expression over genes.", "R²"),
    Metric("change_correlation", "higher", 0.0, "units", _FORECASTS, "Correlation of true and predicted change."),
    Metric("change_sign_accuracy", "higher", 0.5, "units", _FORECASTS, "Share of changes with the correct sign."),
    Metric("l2", "lower", None, "units", _PERTURBATION, "Euclidean distance of true and predicted profile.", "L2"),
    Metric("pearson_delta", "higher", 0.0, "units", _PERTURBATION, _PEARSON_DELTA, "Pearson delta"),
    Metric("pearson_delta_perturbed", "higher", 0.0, "units", _PERTURBATION, _PEARSON_PERTURBED),
    Metric("cosine_logfc", "higher", 0.0, "units", _PERTURBATION, "Cosine of true and predicted log-fold changes."),
    Metric("rank", "lower", 0.5, "units", _PERTURBATION, _RANK),
    Metric("discrimination", "higher", 0.5, "units", _PERTURBATION, _DISCRIMINATION),
    Metric("weighted_mse", "lower", None, "units", _PERTURBATION, "Squared error, weighted to genes that respond."),
    Metric("deg_recall", "higher", None, "units", _PERTURBATION, _DEG_RECALL, "DEG recall"),
    Metric("variance_ratio", "one", None, "units", _PERTURBATION, "Variance of predicted over that of true changes."),
    Metric("average_precision", "higher", None, "units", _INTERACTIONS, _AVERAGE_PRECISION),
    Metric("tpr_at_5", "higher", 0.0, "units", _INTERACTIONS, f"{_TPR} 5 %."),
    Metric("tpr_at_20", "higher", 0.0, "units", _INTERACTIONS, f"{_TPR} 20 %."),
    Metric("tpr_at_50", "higher", 0.0, "units", _INTERACTIONS, f"{_TPR} 50 %."),
)

_BOUNDS: dict[tuple[float, float], tuple[str, ...]] = {
    (0, 1): (
        "auc", "block_auc", "cell_auc", "accuracy", "accuracy_calibrated", "calibration_error", "zero_share_error",
        "change_sign_accuracy", "rank", "discrimination", "deg_recall", "average_precision", "tpr_at_5", "tpr_at_20",
        "tpr_at_50",
    ),
    (0, 2): ("brier",),
    (0, np.inf): (
        "loss", "variance_error", "gene_wasserstein", "wasserstein2", "rmse", "mae", "l2", "weighted_mse",
        "variance_ratio",
    ),
    (-np.inf, 1): ("skill", "r2"),
    (-1, 1): ("change_correlation", "pearson_delta", "pearson_delta_perturbed", "cosine_logfc"),
    (-2, 2): ("mmd",),
}  # fmt: skip
"""Metrics by their range; the others can have any value."""

_RANGE = {name: bounds for bounds, names in _BOUNDS.items() for name in names}

METRICS: dict[str, Metric] = {
    metric.name: replace(metric, bounds=_RANGE.get(metric.name, metric.bounds)) for metric in _ALL
}
"""All metrics by name, in the order of the documentation."""

PRIMARY: dict[str, tuple[str, ...]] = {
    "genotype": ("auc",),
    "forecast": ("skill_corrected",),
    "forecast_genes": ("skill_corrected",),
    "perturbation": ("l2", "pearson_delta"),
    "interactions": ("average_precision",),
}
"""Metrics that answer the question of each task; a report gives the verdict by these."""

SHOWN: dict[str, tuple[str, ...]] = {
    "genotype": ("auc", "accuracy", "loss"),
    "forecast": ("skill_corrected", "energy_distance", "rmse"),
    "forecast_genes": ("skill_corrected", "rmse", "change_correlation"),
    "perturbation": ("l2", "pearson_delta", "discrimination"),
    "interactions": ("average_precision", "tpr_at_5", "tpr_at_20"),
}
"""Metrics that a leaderboard shows unless others are asked for."""

DRAWN: dict[str, tuple[str, ...]] = {
    "genotype": ("auc", "loss"),
    "forecast": ("skill_corrected", "rmse"),
    "forecast_genes": ("skill_corrected", "rmse"),
    "perturbation": ("pearson_delta", "pearson_delta_perturbed", "discrimination", "l2"),
}
"""Metrics that the plot of a leaderboard has a panel for, unless others are asked for."""


_PAGE = """# Metrics

Each metric has one record in `heldout._core.metric`. Tables, leaderboards, plots and verdicts read it. The metrics that
answer the question of a task are in bold. *Compares* says whether a metric compares one value or mean profile for each
unit (library, gene, perturbation), or single cells. *Chance* is the score of a prediction that knows nothing, where
there is such a value. *Range* has the values that a metric can have; intervals lie in it.
"""
"""The start of the page in the documentation."""

_HEADINGS = {
    "genotype": "Genotype",
    "forecast": "Forecast of cells",
    "forecast_genes": "Forecast of genes",
    "perturbation": "Perturbation",
    "interactions": "Interactions",
}


def metric_of(name: str) -> Metric:
    """Return the record of a metric."""
    if name not in METRICS:
        msg = f"metric={name!r} is not a metric of heldout. {suggest(name, METRICS)}"
        raise ValueError(msg)
    return METRICS[name]


def task_of(names: Iterable[str]) -> str:
    """Return the task with the fewest metrics that writes all of these; empty if no task does."""
    names = list(names)
    able = [task for task in TASKS if all(task in metric_of(name).tasks for name in names)]
    return min(able, key=lambda task: sum(task in metric.tasks for metric in METRICS.values()), default="")


def page() -> str:
    """Return the page of the documentation, ``docs/metrics.md``."""
    lines = [_PAGE]
    for task in TASKS:
        lines += [
            f"## {_HEADINGS[task]}",
            "",
            "| metric | compares | better | chance | range | meaning |",
            "|---|---|---|---|---|---|",
        ]
        lines += [_row(metric, task) for metric in METRICS.values() if task in metric.tasks]
        lines.append("")
    return "\n".join(lines)


def _row(metric: Metric, task: str) -> str:
    name = f"**`{metric.name}`**" if metric.name in PRIMARY[task] else f"`{metric.name}`"
    chance = "" if metric.chance is None else f"{metric.chance:g}"
    better = f"nearest to {_NEAREST[metric.direction]:g}" if metric.direction in _NEAREST else metric.direction
    return f"| {name} | {metric.of} | {better} | {chance} | {_range(metric)} | {metric.words} |"


def _range(metric: Metric) -> str:
    low, high = (f"{value:g}".replace("-", "−") for value in metric.bounds)
    if np.isfinite(metric.bounds).all():
        return f"{low} to {high}"
    return f"≥ {low}" if np.isfinite(metric.bounds[0]) else f"≤ {high}" if np.isfinite(metric.bounds[1]) else ""


if __name__ == "__main__":
    print(page(), end="")
