"""Compare predicted with measured cells: distances in components of train cells, and differences gene by gene."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import sparse

from heldout._core.arrays import as_dense, row_chunks, take
from heldout._core.types import is_sparse
from heldout.metrics import (
    coexpression_error,
    energy_distance,
    log_variance_ratio,
    median_bandwidths,
    mmd,
    variance_error,
    zero_share_error,
)
from heldout.metrics._pairs import draw_rows
from heldout.metrics.marginals import sorted_wasserstein
from heldout.splitting._read_screen import CONTROL
from heldout.tasks.perturbation.pairs import Pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout._core.types import Matrix
    from heldout.tasks.perturbation.observed import Measured, Observed

N_COMPS = 50
"""Components in which distances are taken."""

MOST_CELLS = 200
"""Cells of a perturbation that are compared; if there are more, a random part is used."""

N_COEXPRESSED = 100
"""Genes whose correlations are compared: those with the largest variance between train cells."""

METRICS = (
    "energy_distance",
    "mmd",
    "coexpression_error",
    "variance_error",
    "log_variance_ratio",
    "gene_wasserstein",
    "zero_share_error",
)
"""Metrics of cells. The first two are in components, the others in the genes that errors are taken over."""

BIASED = frozenset({"variance_error", "gene_wasserstein", "zero_share_error"})
"""Metrics that are above 0 for two samples of one distribution; the others are U-statistics, whose mean is 0."""

_MOST_FITTED = 5000


@dataclass(frozen=True)
class Scored:
    """What one method predicts for the judged perturbations.

    Parameters
    ----------
    method
        Name of the method.
    role
        ``model`` is judged. A ``baseline`` is compared with it. A ``control`` is the model with a part replaced: its
        embedding, or its generated cells.
    change
        Predicted change from the train controls, (m × G); rows of NaN were not predicted.
    fallback
        Rows that use a fallback, (m,).
    cells
        Function from the number of a row to its predicted cells, (n × G). If None, train controls are moved by the
        change.
    replaced
        For a ``control``: the judged method, and what replaces a part of it, e.g. ``("scGen", "shifted controls")``.
    """

    method: str
    role: Literal["model", "baseline", "control"]
    change: np.ndarray
    fallback: np.ndarray
    cells: Callable[[int], np.ndarray] | None = None
    replaced: tuple[str, str] | None = None

    def control(self, replacement: str) -> Scored:
        """The same with a part replaced: named after the method, and compared with it only."""
        name = f"{self.method} ({replacement})"
        return replace(self, method=name, role="control", replaced=(self.method, replacement))


@dataclass(frozen=True)
class CellSpace:
    """Measured cells of the judged perturbations, and the train controls of each context.

    Parameters
    ----------
    directions
        Components, (K × G). Coordinates are not centred, because distances do not depend on it.
    top
        Columns of the genes that are compared one by one, (T,).
    variable
        Those of them whose correlations are compared, (V,), as numbers within ``top``.
    truth, truth_genes
        Measured cells of each judged perturbation and context: m arrays (n × K), and m matrices (n × T).
    start, start_genes
        Train controls of each context, which a predicted change moves: C arrays (n × K), and C matrices (n × T).
    context
        Context of each judged perturbation, (m,).
    """

    directions: np.ndarray
    top: np.ndarray
    variable: np.ndarray
    truth: list[np.ndarray]
    truth_genes: list[Matrix]
    start: list[np.ndarray]
    start_genes: list[Matrix]
    context: np.ndarray

    @classmethod
    def of(
        cls,
        cells: Measured,
        truth: Observed,
        train: np.ndarray,
        judged: np.ndarray,
        rng: np.random.Generator,
        *,
        top: np.ndarray,
    ) -> CellSpace:
        """Fit components on train cells, and fetch the cells to compare; ``train`` and ``judged`` are masks (n,)."""
        order = cells.order
        place = np.empty(len(order), dtype=np.int64)
        place[rng.permutation(order)] = np.arange(len(order))

        def drawn(mask: np.ndarray, most: int) -> np.ndarray:
            """Some of the cells in random order, which depends on their names, not on the order of the rows."""
            rows = np.flatnonzero(mask)
            return rows[np.argsort(place[rows])[:most]]

        fitted = cells.dense(drawn(train, _MOST_FITTED))
        directions = _directions(fitted)
        variable = np.sort(np.argsort(-fitted[:, top].var(axis=0), kind="stable")[:N_COEXPRESSED])
        screen = cells.screen
        number, context, dose, codes = screen.groups_by_dose(judged)
        perturbed = np.flatnonzero(number >= 0)
        of_groups = None if dose is None else dose[perturbed]
        groups = Pairs([screen.perturbations[i] for i in number[perturbed]], context[perturbed], of_groups)
        group = groups.rows_of()
        rows = [drawn(codes == perturbed[group[pair]], MOST_CELLS) for pair in truth.pairs]
        is_control = train & (screen.of_cell == CONTROL)
        controls = [drawn(is_control & (screen.context == c), MOST_CELLS) for c in range(screen.n_contexts)]
        measured, start = (_fetched(cells, groups, directions, top) for groups in (rows, controls))
        return cls(directions, top, variable, *measured, *start, truth.pairs.context)

    def scores(self, methods: list[Scored]) -> list[dict[str, np.ndarray]]:
        """Metrics of cells of each method, (m,) each; NaN where too few cells are measured or none are predicted.

        No more predicted cells are used than are measured, because some metrics depend on the number of cells.
        """
        found = [{metric: np.full(len(self.context), np.nan) for metric in METRICS} for _ in methods]
        controls = [as_dense(cells) for cells in self.start_genes]
        shifts = [None if method.cells is not None else method.change @ self.directions.T for method in methods]
        for i, context in enumerate(self.context):
            if len(self.truth[i]) < 2:
                continue
            measured, n = (
                _MeasuredCells.of(self.truth[i], as_dense(self.truth_genes[i]), self.variable),
                len(self.truth[i]),
            )
            for method, shift, values in zip(methods, shifts, found, strict=True):
                if shift is not None:
                    predicted = self.start[context][:n] + shift[i]
                    in_genes = controls[context][:n] + method.change[i, self.top]
                elif method.cells is not None:
                    cells = draw_rows(method.cells(i), n, np.random.default_rng(0))
                    predicted, in_genes = cells @ self.directions.T, cells[:, self.top]
                for metric, value in measured.against(predicted, in_genes).items():
                    values[metric][i] = value
        return found

    def halves(self) -> dict[str, float]:
        """Score that the noise of the measured cells allows, as a mean over perturbations: one half against the other.

        Halves have fewer cells than the comparison with a prediction. The metrics that are not corrected for the number
        of cells shrink with √(1/n + 1/m) between samples of one distribution, so their values are scaled by it.
        """
        found: list[dict[str, float]] = []
        for truth, matrix, context in zip(self.truth, self.truth_genes, self.context, strict=True):
            n = len(truth)
            if n < 4:
                continue
            genes, m = as_dense(matrix), min(n, max(len(self.start[context]), 1))
            half = _MeasuredCells.of(truth[::2], genes[::2], self.variable)
            values = half.against(truth[1::2], genes[1::2])
            shrinkage = np.sqrt((1 / n + 1 / m) / (1 / len(truth[::2]) + 1 / len(truth[1::2])))
            found.append({name: value * (shrinkage if name in BIASED else 1) for name, value in values.items()})
        return {metric: _mean([values.get(metric, np.nan) for values in found]) for metric in METRICS}


@dataclass(frozen=True)
class _MeasuredCells:
    """Measured cells of one perturbation, with what is needed of them for each method."""

    components: np.ndarray
    genes: np.ndarray
    sorted_genes: np.ndarray
    variable: np.ndarray
    bandwidths: np.ndarray | None

    @classmethod
    def of(cls, components: np.ndarray, genes: np.ndarray, variable: np.ndarray) -> _MeasuredCells:
        try:
            bandwidths = median_bandwidths(components)
        except ValueError:  # most cells coincide
            bandwidths = None
        return cls(components, genes, np.sort(genes, axis=0), variable, bandwidths)

    def against(self, predicted: np.ndarray, in_genes: np.ndarray) -> dict[str, float]:
        """Each metric of predicted cells, in components and in genes; none if cells are too few or not finite."""
        if len(predicted) < 2 or not np.isfinite(predicted).all():
            return {}
        values = {"energy_distance": energy_distance(self.components, predicted)}
        if self.bandwidths is not None:
            values["mmd"] = mmd(self.components, predicted, bandwidths=self.bandwidths)
        return values | {
            "coexpression_error": coexpression_error(self.genes[:, self.variable], in_genes[:, self.variable]),
            "variance_error": variance_error(self.genes, in_genes),
            "log_variance_ratio": log_variance_ratio(self.genes, in_genes),
            "gene_wasserstein": sorted_wasserstein(self.sorted_genes, np.sort(in_genes, axis=0)),
            "zero_share_error": zero_share_error(self.genes, in_genes),
        }


def _fetched(
    cells: Measured, groups: list[np.ndarray], directions: np.ndarray, top: np.ndarray
) -> tuple[list[np.ndarray], list[Matrix]]:
    """Coordinates (n × K) and genes (n × T) of groups of cells. Few dense rows are in memory at a time."""
    rows = np.concatenate(groups)
    order = np.argsort(rows, kind="stable")  # a dask array is read block by block
    coordinates = np.empty((len(rows), len(directions)))
    parts: list[Any] = []
    for part in row_chunks(len(rows)):
        block = cells.fetch(rows[order[part]])
        dense = as_dense(block)
        coordinates[order[part]] = dense @ directions.T
        parts.append(take(sparse.csr_matrix(block) if is_sparse(block) else dense, None, top))
    genes = sparse.vstack(parts, format="csr") if is_sparse(parts[0]) else np.concatenate(parts)
    back = np.argsort(order, kind="stable")
    ends = np.cumsum([len(group) for group in groups])
    in_groups = [genes[back[end - len(group) : end]] for group, end in zip(groups, ends, strict=True)]
    return np.split(coordinates, ends[:-1]), in_groups


def _directions(cells: np.ndarray) -> np.ndarray:
    """First principal directions of the cells, (K × G), or the genes themselves if these are not more."""
    if cells.shape[1] <= N_COMPS:
        return np.eye(cells.shape[1])
    from sklearn.decomposition import PCA

    return np.asarray(PCA(min(N_COMPS, *cells.shape), random_state=0).fit(cells).components_)


def _mean(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
