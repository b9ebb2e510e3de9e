"""A simulated differentiation with two branches. The lineage of each cell is known, although cells are destroyed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from heldout._core.checks import check_integer, check_rng
from heldout._core.rng import Rng, generator
from heldout.datasets._lmna import softmax

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TIMES: tuple[float, ...] = (0, 12, 24, 36, 72, 96)
"""The times of Chu et al. 2016, in hours."""

N_BRANCHES = 2
N_STATES = 3 + N_BRANCHES
"""Axes of a state: progress, transient programme, free axis of the clone, and one axis for each branch."""

# Below, time is a share of the whole time course. States have no unit.
PROGRESS, TRANSIENT, BRANCH = 3.0, 2.0, 3.5  # distance that the mean moves along its axes
DECAY, PEAK, WIDTH = 0.35, 0.3, 0.2
CLONE_SD, CLONE_MEMORY, CELL_SD = 0.45, 0.5, 0.15
FATE_BIAS = 2.5  # log-odds of a branch for a clone that is nearer to it by one standard deviation
GENE_SHARE, GENE_SIZE = 0.5, 0.35
BASELINE_SD, COUNTS_PER_GENE, DEPTH_SD, DISPERSION = 1.0, 3.0, 0.25, 0.1
CELLS_PER_BLOCK = 1024
MIN_GENES, MIN_TIMES = 20, 2


def branching_simulated(
    *,
    n_cells: int = 300,
    n_genes: int = 500,
    times: Sequence[float] = TIMES,
    branch_time: float = 18.0,
    n_clones: int = 200,
    growth: float = 0.0,
    rng: Rng = 0,
) -> AnnData:
    """Simulate counts of cells that differentiate into two branches, with every ancestor known.

    The state of each clone follows a mean path plus its own deviation, which fades with time (an Ornstein-Uhlenbeck
    process). The mean path is smooth. It is the same for all clones until ``branch_time``, and then splits into two
    branches. The branch of a clone is drawn at ``branch_time``; the branch that is nearer to the clone is more likely.
    At each time, cells are drawn from the clones and destroyed, so no cell is seen twice. However, the state of a
    cell's clone at each earlier time is known. This is the ancestor of the cell.

    Parameters
    ----------
    n_cells
        Number of cells at each time.
    n_genes
        Number of genes, at least 20.
    times
        Times at which cells are drawn: at least two, in ascending order. The first is the start of the process.
    branch_time
        Time at which the branches separate, after the first and before the last time.
    n_clones
        Number of clones.
    growth
        Net growth rate of the second branch relative to the first, per unit of time, after ``branch_time``. Its clones
        have ``exp(growth · elapsed)`` times as many cells.
    rng
        A seed, a :class:`numpy.random.Generator`, or None for a random seed.

    Returns
    -------
    A new :class:`~anndata.AnnData` (n_cells · T × n_genes) with

    `X` : :class:`scipy.sparse.csr_matrix` (dtype `float32`)
        Counts; all values are integers.
    `obs['time']` : :class:`pandas.Series` (dtype `float64`)
        Time at which the cell was drawn.
    `obs['clone']` : :class:`pandas.Series` (dtype `int64`)
        Clone of the cell.
    `obs['fate']` : :class:`pandas.Series` (dtype `category`)
        Truth: the branch that the clone takes, `A` or `B`.
    `obs['branch']` : :class:`pandas.Series` (dtype `category`)
        Truth: `trunk` up to ``branch_time``, then the fate.
    `obs['growth']` : :class:`pandas.Series` (dtype `float64`)
        Truth: net growth rate of the cell.
    `obsm['state']` : :class:`numpy.ndarray` (n_obs × 5, dtype `float64`)
        Truth: state of the cell: progress, transient programme, free axis, branch A, branch B.
    `obsm['ancestor_state']` : :class:`numpy.ndarray` (n_obs × 5, dtype `float64`)
        Truth: state of the clone at the previous time. NaN at the first time.
    `obsm['velocity']` : :class:`numpy.ndarray` (n_obs × 5, dtype `float64`)
        Truth: drift of the state, change per unit of time.
    `var['baseline']`, `varm['loadings']` : :class:`numpy.ndarray` (n_genes) and (n_genes × 5)
        Truth: the log-proportion of a gene at state 0, and its change per unit of each axis.
    `uns['branching_simulated']` : :class:`dict`
        The arguments.

    Raises
    ------
    ValueError
        If an argument is out of range.

    See Also
    --------
    branching_cells : Draw other cells of the same process at any time, to compare a forecast with them.

    Notes
    -----
    The proportions of a cell are ``softmax(baseline + loadings @ state)``. Its depth is log-normal and its counts are
    negative binomial. ``m(t)`` is the mean path of the branch of a cell. The drift of its state ``z`` is ``m'(t) − (z −
    m(t)) / τ``, where τ is half of the time course. A cell deviates slightly from its clone. A clone shows its bias to
    a branch before the branches separate, as in barcoded blood progenitors. For this reason early states predict fate
    in part, but not fully.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.branching_simulated(n_cells=50, n_genes=100)
    >>> adata.shape
    (300, 100)
    >>> adata.obs.loc[adata.obs["time"] < 18, "branch"].unique().tolist()
    ['trunk']
    """
    check_integer(n_cells, "n_cells", least=1)
    check_integer(n_genes, "n_genes", least=MIN_GENES)
    check_integer(n_clones, "n_clones", least=1)
    check_rng(rng)
    points = _checked_times(times, least=MIN_TIMES)
    if not points[0] < branch_time < points[-1]:
        msg = f"branch_time={branch_time!r} must be a number in ({points[0]:g}, {points[-1]:g}), the range of times."
        raise ValueError(msg)
    if not np.isfinite(growth) or abs(growth) * (points[-1] - branch_time) > 5:
        limit = 5 / (points[-1] - branch_time)
        msg = (
            f"growth={growth!r} must be a number in [-{limit:.3g}, {limit:.3g}]. "
            "The limit is a factor of 150 by the last time."
        )
        raise ValueError(msg)
    random = generator(rng)
    genes = _genes(n_genes, random)
    course = {
        "start": float(points[0]),
        "end": float(points[-1]),
        "branch_time": float(branch_time),
        "growth": float(growth),
    }
    adata = _draw(genes, course, points, n_cells=n_cells, n_clones=n_clones, random=random)
    adata.uns["branching_simulated"] = {
        **course,
        "n_cells": int(n_cells),
        "n_genes": int(n_genes),
        "n_clones": int(n_clones),
        "times": points,
        "rng": str(rng),
    }
    return adata


def branching_cells(
    adata: AnnData, times: float | Sequence[float], *, n_cells: int = 1000, n_clones: int = 1000, rng: Rng = 1
) -> AnnData:
    """Draw cells of new clones from the process of a simulation, at any times.

    These cells are the target of a forecast: they are not in ``adata``, but have the same genes and mean paths.

    Parameters
    ----------
    adata
        Result of :func:`branching_simulated`. Genes can have been dropped, and counts can have been transformed.
    times
        One or more times in ascending order, not before the first time of ``adata``. They can lie between its times or
        after them.
    n_cells
        Number of cells at each time.
    n_clones
        Number of clones.
    rng
        A seed, a :class:`numpy.random.Generator`, or None for a random seed.

    Returns
    -------
    A new :class:`~anndata.AnnData` (n_cells · T × n_vars) with counts and the truth, in the slots of
    :func:`branching_simulated`.

    Raises
    ------
    ValueError
        If ``adata`` does not contain the truth of a simulation, or ``times`` are not as described above.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.branching_simulated(n_cells=50, n_genes=100)
    >>> ho.datasets.branching_cells(adata, 60, n_cells=10).obs["time"].unique().tolist()
    [60.0]
    """
    course = adata.uns.get("branching_simulated")
    if course is None or "baseline" not in adata.var.columns or "loadings" not in adata.varm:
        msg = "adata does not contain the truth of a simulation. Pass the result of datasets.branching_simulated."
        raise ValueError(msg)
    check_integer(n_cells, "n_cells", least=1)
    check_integer(n_clones, "n_clones", least=1)
    check_rng(rng)
    points = _checked_times(np.atleast_1d(np.asarray(times, dtype=np.float64)), least=1)
    if points[0] < course["start"]:
        msg = f"times has {points[0]:g}, but the process starts at {course['start']:g}. Pass times from there on."
        raise ValueError(msg)
    genes = adata.var[["baseline"]].copy(), np.asarray(adata.varm["loadings"], dtype=np.float64)
    kept = {name: float(course[name]) for name in ("start", "end", "branch_time", "growth")}
    return _draw(genes, kept, points, n_cells=n_cells, n_clones=n_clones, random=generator(rng))


def _checked_times(times: Sequence[float] | NDArray[np.float64], *, least: int) -> NDArray[np.float64]:
    points = np.asarray(times, dtype=np.float64)
    if points.ndim != 1 or len(points) < least or not np.isfinite(points).all() or (np.diff(points) <= 0).any():
        msg = f"times={times!r} must have at least {least} finite numbers in ascending order."
        raise ValueError(msg)
    return points


def mean_path(time: NDArray[np.float64], course: dict[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the mean state of clones of each branch, (T × branches × 5), and its change per unit of time."""
    span = course["end"] - course["start"]
    s = (np.asarray(time, dtype=np.float64) - course["start"]) / span
    apart = np.maximum(0, s - (course["branch_time"] - course["start"]) / span)
    bump = np.exp(-0.5 * ((s - PEAK) / WIDTH) ** 2)
    mean, change = (np.zeros((len(s), N_BRANCHES, N_STATES)) for _ in range(2))
    mean[:, :, 0] = (PROGRESS * (1 - np.exp(-s / DECAY)))[:, None]
    change[:, :, 0] = (PROGRESS / DECAY * np.exp(-s / DECAY))[:, None]
    mean[:, :, 1] = (TRANSIENT * bump)[:, None]
    change[:, :, 1] = (-TRANSIENT * bump * (s - PEAK) / WIDTH**2)[:, None]
    for branch in range(N_BRANCHES):  # smooth at its start, where distance and change are 0
        mean[:, branch, 3 + branch] = BRANCH * apart**2 / (apart**2 + 0.05)
        change[:, branch, 3 + branch] = BRANCH * 0.1 * apart / (apart**2 + 0.05) ** 2
    return mean, change / span


def _genes(n_genes: int, random: np.random.Generator) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    baseline = BASELINE_SD * random.standard_normal(n_genes)
    baseline -= np.log(np.exp(baseline).sum())
    loadings = GENE_SIZE * random.standard_normal((n_genes, N_STATES))
    loadings[random.random((n_genes, N_STATES)) > GENE_SHARE] = 0
    names = [f"GENE{i:05d}" for i in range(1, n_genes + 1)]
    return pd.DataFrame({"baseline": baseline}, index=names), loadings


def _draw(
    genes: tuple[pd.DataFrame, NDArray[np.float64]],
    course: dict[str, Any],
    points: NDArray[np.float64],
    *,
    n_cells: int,
    n_clones: int,
    random: np.random.Generator,
) -> AnnData:
    deviation, fate = _clones(course, points, n_clones, random)
    elapsed = np.maximum(0, points - course["branch_time"])
    clone = np.empty((len(points), n_cells), dtype=np.int64)
    for k in range(len(points)):
        weight = np.exp(course["growth"] * elapsed[k] * (fate == 1))
        clone[k] = random.choice(n_clones, n_cells, p=weight / weight.sum())
    mean, change = mean_path(points, course)
    of_time, of_cell = np.repeat(np.arange(len(points)), n_cells), clone.ravel()
    branch = fate[of_cell]
    state = mean[of_time, branch] + deviation[of_time, of_cell]
    before = np.where(of_time > 0, of_time - 1, 0)
    ancestor = mean[before, branch] + deviation[before, of_cell]
    ancestor[of_time == 0] = np.nan
    state += CELL_SD * random.standard_normal(state.shape)
    parted = points[of_time] > course["branch_time"]
    memory = CLONE_MEMORY * (course["end"] - course["start"])
    obs = pd.DataFrame(
        {
            "time": points[of_time],
            "clone": of_cell,
            "fate": pd.Categorical.from_codes(branch, categories=["A", "B"]),
            "branch": pd.Categorical.from_codes(np.where(parted, branch + 1, 0), categories=["trunk", "A", "B"]),
            "growth": course["growth"] * (parted & (branch == 1)),
        },
        index=[f"t{points[k]:g}_{i:06d}" for k in range(len(points)) for i in range(1, n_cells + 1)],
    )
    var, loadings = genes
    velocity = change[of_time, branch] - (state - mean[of_time, branch]) / memory
    return AnnData(
        _counts(var["baseline"].to_numpy(), loadings, state, random),
        obs=obs,
        var=var,
        varm={"loadings": loadings},
        obsm={"state": state, "ancestor_state": ancestor, "velocity": velocity},
    )


def _clones(
    course: dict[str, Any], points: NDArray[np.float64], n_clones: int, random: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw the deviation of each clone from its mean path, (T × clones × 5), and its fate, (clones,)."""
    memory = CLONE_MEMORY * (course["end"] - course["start"])
    stops = np.unique(np.append(points, course["branch_time"]))
    path = np.empty((len(stops), n_clones, N_STATES))
    path[0] = CLONE_SD * random.standard_normal(path.shape[1:])
    for k, elapsed in enumerate(np.diff(stops)):
        kept = np.exp(-elapsed / memory)
        path[k + 1] = kept * path[k] + CLONE_SD * np.sqrt(1 - kept**2) * random.standard_normal(path.shape[1:])
    at_branching = path[np.searchsorted(stops, course["branch_time"])]
    log_odds = FATE_BIAS * (at_branching[:, 4] - at_branching[:, 3]) / (np.sqrt(2) * CLONE_SD)
    fate = (random.random(n_clones) < 1 / (1 + np.exp(-log_odds))).astype(np.int64)
    return path[np.searchsorted(stops, points)], fate


def _counts(
    baseline: NDArray[np.float64],
    loadings: NDArray[np.float64],
    state: NDArray[np.float64],
    random: np.random.Generator,
) -> sparse.csr_matrix:
    """Draw the counts of the cells, one block of cells at a time."""
    blocks = []
    for start in range(0, len(state), CELLS_PER_BLOCK):
        mean = softmax(baseline + state[start : start + CELLS_PER_BLOCK] @ loadings.T)
        mean *= COUNTS_PER_GENE * len(baseline) * random.lognormal(0, DEPTH_SD, (len(mean), 1))
        mean *= random.standard_gamma(1 / DISPERSION, size=mean.shape) * DISPERSION
        blocks.append(sparse.csr_matrix(random.poisson(mean).astype(np.float32)))
    return sparse.vstack(blocks, format="csr")
