"""A simulated differentiation that branches: cells of known lineages, destroyed when they are measured."""

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
"""Axes of a state: progress, a passing programme, one of the clone that has no direction, and one for each branch."""

# Time is in shares of the whole course below; states have no unit.
PROGRESS, PASSING, BRANCH = 3.0, 2.0, 3.5  # how far the mean moves along its axes
DECAY, PEAK, WIDTH = 0.35, 0.3, 0.2
CLONE_SD, CLONE_MEMORY, CELL_SD = 0.45, 0.5, 0.15
FATE_BIAS = 2.5  # log-odds of a branch for a clone that stands one standard deviation towards it
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

    Each clone goes its own way: its state follows a mean path, which is smooth and the same for all until ``branch_time``
    and then one of two, with deviations that fade (an Ornstein-Uhlenbeck process). Which branch a clone takes is drawn at
    ``branch_time``, in favour of the one it stands nearer to. At each time cells are drawn from the clones and destroyed,
    so no cell is seen twice; but the state of its clone at any earlier time is known: its ancestor.

    Parameters
    ----------
    n_cells
        Number of cells at each time.
    n_genes
        Number of genes, at least 20.
    times
        Times at which cells are drawn, at least two, ascending; the first is the start of the process.
    branch_time
        When the branches part, after the first and before the last time.
    n_clones
        Number of clones.
    growth
        Net growth rate of the second branch over the first per unit of time, after ``branch_time``: its clones have
        ``exp(growth · elapsed)`` times as many cells.
    rng
        A seed, a :class:`numpy.random.Generator`, or None for fresh entropy.

    Returns
    -------
    A new :class:`~anndata.AnnData` (n_cells · T × n_genes) with

    `X` : :class:`scipy.sparse.csr_matrix` (dtype `float32`)
        Counts, all of them whole numbers.
    `obs['time']` : :class:`pandas.Series` (dtype `float64`)
        When the cell was drawn.
    `obs['clone']` : :class:`pandas.Series` (dtype `int64`)
        Its clone.
    `obs['fate']` : :class:`pandas.Series` (dtype `category`)
        Truth: the branch that its clone takes, `A` or `B`.
    `obs['branch']` : :class:`pandas.Series` (dtype `category`)
        Truth: `trunk` up to ``branch_time``, then the fate.
    `obs['growth']` : :class:`pandas.Series` (dtype `float64`)
        Truth: net growth rate of the cell.
    `obsm['state']` : :class:`numpy.ndarray` (n_obs × 5, dtype `float64`)
        Truth: state of the cell: progress, passing programme, free axis, branch A, branch B.
    `obsm['ancestor_state']` : :class:`numpy.ndarray` (n_obs × 5, dtype `float64`)
        Truth: state of its clone at the time before; NaN at the first time.
    `obsm['velocity']` : :class:`numpy.ndarray` (n_obs × 5, dtype `float64`)
        Truth: drift of the state, change per unit of time.
    `var['baseline']`, `varm['loadings']` : :class:`numpy.ndarray` (n_genes) and (n_genes × 5)
        Truth: the log-proportion of a gene at state 0, and what a unit of each axis adds to it.
    `uns['branching_simulated']` : :class:`dict`
        The arguments.

    See Also
    --------
    branching_cells : Other cells of the same process at any time, to compare a forecast with.

    Notes
    -----
    The proportions of a cell are ``softmax(baseline + loadings @ state)``, its depth is log-normal, its counts negative
    binomial. Around the mean path ``m(t)`` of its branch the drift of a state ``z`` is ``m'(t) − (z − m(t)) / τ``, where τ is half
    of the time course; a cell deviates a little from its clone. The bias of a clone to a branch is seen before the
    branches part, as in barcoded blood progenitors: early states say something of fate, and not all.

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
        msg = f"branch_time={branch_time!r} must be after the first time, {points[0]:g}, and before the last, {points[-1]:g}."
        raise ValueError(msg)
    if not np.isfinite(growth) or abs(growth) * (points[-1] - branch_time) > 5:
        msg = f"growth={growth!r} must be at most {5 / (points[-1] - branch_time):.3g} in size, a factor of 150 by the last time."
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
    """Draw cells of new clones from the process that a simulation was drawn from, at any times.

    What a forecast should look like: cells that are not in ``adata``, from its genes and its mean paths.

    Parameters
    ----------
    adata
        What :func:`branching_simulated` gave; genes may have been dropped, and counts transformed.
    times
        Time(s), ascending, not before the first time of ``adata``; they may lie between its times or after them.
    n_cells
        Number of cells at each time.
    n_clones
        Number of clones.
    rng
        A seed, a :class:`numpy.random.Generator`, or None for fresh entropy.

    Returns
    -------
    A new :class:`~anndata.AnnData` (n_cells · T × n_vars) with counts and the truth in the slots of
    :func:`branching_simulated`.

    Raises
    ------
    ValueError
        If ``adata`` does not hold the truth of a simulation, or times are not as above.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.branching_simulated(n_cells=50, n_genes=100)
    >>> ho.datasets.branching_cells(adata, 60, n_cells=10).obs["time"].unique().tolist()
    [60.0]
    """
    course = adata.uns.get("branching_simulated")
    if course is None or "baseline" not in adata.var.columns or "loadings" not in adata.varm:
        msg = "adata does not hold the truth of a simulation. Pass what heldout.datasets.branching_simulated gave."
        raise ValueError(msg)
    check_integer(n_cells, "n_cells", least=1)
    check_integer(n_clones, "n_clones", least=1)
    check_rng(rng)
    points = _checked_times(np.atleast_1d(np.asarray(times, dtype=np.float64)), least=1)
    if points[0] < course["start"]:
        msg = f"times has {points[0]:g}; the process starts at {course['start']:g}."
        raise ValueError(msg)
    genes = adata.var[["baseline"]].copy(), np.asarray(adata.varm["loadings"], dtype=np.float64)
    kept = {name: float(course[name]) for name in ("start", "end", "branch_time", "growth")}
    return _draw(genes, kept, points, n_cells=n_cells, n_clones=n_clones, random=generator(rng))


def _checked_times(times: Sequence[float] | NDArray[np.float64], *, least: int) -> NDArray[np.float64]:
    points = np.asarray(times, dtype=np.float64)
    if points.ndim != 1 or len(points) < least or not np.isfinite(points).all() or (np.diff(points) <= 0).any():
        msg = f"times={times!r} must be at least {least} finite numbers, each larger than the one before."
        raise ValueError(msg)
    return points


def mean_path(time: NDArray[np.float64], course: dict[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean state of a clone that takes each branch at these times, (T × branches × 5), and its change per unit of time."""
    span = course["end"] - course["start"]
    s = (np.asarray(time, dtype=np.float64) - course["start"]) / span
    apart = np.maximum(0, s - (course["branch_time"] - course["start"]) / span)
    bump = np.exp(-0.5 * ((s - PEAK) / WIDTH) ** 2)
    mean, change = (np.zeros((len(s), N_BRANCHES, N_STATES)) for _ in range(2))
    mean[:, :, 0] = (PROGRESS * (1 - np.exp(-s / DECAY)))[:, None]
    change[:, :, 0] = (PROGRESS / DECAY * np.exp(-s / DECAY))[:, None]
    mean[:, :, 1] = (PASSING * bump)[:, None]
    change[:, :, 1] = (-PASSING * bump * (s - PEAK) / WIDTH**2)[:, None]
    for branch in range(N_BRANCHES):  # smooth where it starts: distance and change are both 0 there
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
    """Deviation of each clone from its mean path at these times, (T × clones × 5), and its fate, (clones,)."""
    memory = CLONE_MEMORY * (course["end"] - course["start"])
    stops = np.unique(np.append(points, course["branch_time"]))
    path = np.empty((len(stops), n_clones, N_STATES))
    path[0] = CLONE_SD * random.standard_normal(path.shape[1:])
    for k, elapsed in enumerate(np.diff(stops)):
        kept = np.exp(-elapsed / memory)
        path[k + 1] = kept * path[k] + CLONE_SD * np.sqrt(1 - kept**2) * random.standard_normal(path.shape[1:])
    there = path[np.searchsorted(stops, course["branch_time"])]
    lean = FATE_BIAS * (there[:, 4] - there[:, 3]) / (np.sqrt(2) * CLONE_SD)
    fate = (random.random(n_clones) < 1 / (1 + np.exp(-lean))).astype(np.int64)
    return path[np.searchsorted(stops, points)], fate


def _counts(
    baseline: NDArray[np.float64],
    loadings: NDArray[np.float64],
    state: NDArray[np.float64],
    random: np.random.Generator,
) -> sparse.csr_matrix:
    """Counts of the cells, a block at a time."""
    blocks = []
    for start in range(0, len(state), CELLS_PER_BLOCK):
        mean = softmax(baseline + state[start : start + CELLS_PER_BLOCK] @ loadings.T)
        mean *= COUNTS_PER_GENE * len(baseline) * random.lognormal(0, DEPTH_SD, (len(mean), 1))
        mean *= random.standard_gamma(1 / DISPERSION, size=mean.shape) * DISPERSION
        blocks.append(sparse.csr_matrix(random.poisson(mean).astype(np.float32)))
    return sparse.vstack(blocks, format="csr")
