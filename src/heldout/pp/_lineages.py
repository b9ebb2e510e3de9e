"""Pseudo-lineages through the training times of a time course with destructive measurement."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import keys, store
from heldout._core.arrays import describe, get_matrix, row_blocks, take
from heldout._core.checks import check_integer
from heldout._core.fits import Fit, check_key_is_free, check_split, read_fit, write_fit
from heldout._core.genes import gene_columns
from heldout._core.keys import check_key
from heldout._core.partition import Partition, digests, read_partition
from heldout._core.progress import progress
from heldout._core.rng import Rng, generator, seed_of
from heldout._core.threads import thread_policy
from heldout._core.times import numeric_time_call
from heldout.tasks.forecast.couplings import BATCH, coupling, sample_chains

if TYPE_CHECKING:
    from anndata import AnnData

_FEWEST = 10
_N_COMPS = 50


@thread_policy()
def lineages(
    adata: AnnData,
    time_key: str,
    *,
    n_chains: int = 1000,
    use_rep: str | None = "X_pca",
    split_key: str = "split",
    epsilon: float = 0.05,
    unbalanced: float | None = None,
    growth_key: str | None = None,
    batch_size: int = BATCH,
    rng: Rng = 0,
    key_added: str = "lineages",
    copy: bool = False,
) -> AnnData | None:
    """Draw chains of train cells that could be lineages, with one cell at each training time.

    Cells of adjacent training times are coupled by entropic optimal transport with squared Euclidean cost, as in
    Waddington-OT :cite:p:`schiebinger2019`. The chains are drawn from the couplings. Cells of val and test, and
    held-out times, are not used: not for the couplings, not for the scale of the cost, and not for growth.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars).
    time_key
        Numeric column of ``obs``.
    n_chains
        Number of chains, an integer >= 1.
    use_rep
        Entry of ``obsm`` in which cells are compared. It must be fitted on the train cells of this split (:func:`pca`).
        If None, at most 50 components are fitted on the train cells here, from ``X`` (log-normalised; highly variable
        genes only, if they were selected).
    split_key
        Column of ``obs`` with the split. Only its train cells are used.
    epsilon
        Strength of the entropy, as a share of the median cost between two times. A larger value gives more diffuse
        couplings.
    unbalanced
        If None, each cell has the number of descendants that follows from ``growth_key``. If a number, cells may grow
        and die as needed, with this penalty as a share of the median cost. A smaller value allows more growth and
        death. 1 is a reasonable first value.
    growth_key
        Column of ``obs`` with the net growth rate of each cell, births minus deaths per unit of time. If None, all
        cells grow at the same rate.
    batch_size
        Largest number of cells that are coupled together. Times with more cells are coupled in random batches, see
        Notes.
    rng
        Seed or Generator of batches and chains.
    key_added
        Name of the fit.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. The function writes:

    ``uns["heldout"]["fits"][key_added]``
        The fit. ``chains`` (n_chains × T, int32) has rows of ``digests`` (uint64), the digests of the names of all
        train cells that were coupled. The cells of time k are the rows from ``first[k]`` to ``first[k + 1]``. ``times``
        (T,) are the times. ``info`` has the errors and iterations of each pair of times, and the hash of the fit of
        ``use_rep``. Read the chains with :func:`heldout.get.lineages`.
    ``uns["heldout"]["assignments"]``
        The split on which the fit was made.

    Raises
    ------
    ValueError
        If there are fewer than two training times, if a training time has fewer than 10 train cells, if times or growth
        rates are not finite numbers, or if ``use_rep`` is missing, was fitted on another split, or has changed since
        its fit.

    Warns
    -----
    UserWarning
        If there is no record that ``use_rep`` was fitted on train cells, or if a coupling has not converged.

    Notes
    -----
    Two times of n cells need six n × n matrices of float64. Above ``batch_size`` cells, the memory is that of a
    batch (0.2 GB for 2048 cells) plus about 1 kB per cell. A cell is then coupled only with a sample of the next
    time, four times, so the couplings are slightly more diffuse. For 4000 cells per time of
    :func:`heldout.datasets.branching_simulated`, the distance to the true ancestors is 1.07 without batches, 1.07
    in batches of 2048, 1.10 in batches of 256, and 1.49 at random.

    A cell may be in several chains, so chains are not independent units.

    Examples
    --------
    >>> import heldout as ho
    >>> import scanpy as sc
    >>> adata = ho.datasets.branching_simulated(n_cells=40, n_genes=100)
    >>> ho.pp.split_time(adata, "time", test=96)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.pca(adata, n_comps=5)
    >>> ho.pp.lineages(adata, "time", n_chains=100)
    >>> ho.get.lineages(adata).columns.tolist()
    [0.0, 12.0, 24.0, 36.0, 72.0]
    """
    check_key("key_added", key_added)
    store.check_adata(adata)
    check_key_is_free(adata, key_added, "pp.lineages")
    check_integer(n_chains, "n_chains", least=1)
    partition = read_partition(adata, split_key)
    partition.require("train", purpose="lineages")
    of_cell = _numbers(adata, time_key, partition, argument="time_key")
    times, snapshots = _snapshots(adata, of_cell, partition, time_key=time_key)
    rates = None if growth_key is None else _numbers(adata, growth_key, partition, argument="growth_key")
    coordinates, genes, info = _coordinates(adata, use_rep, partition, seed=seed_of(rng) if use_rep is None else 0)
    random, couplings = generator(rng), []
    for k in progress(range(len(times) - 1), "coupling times"):
        here, after = snapshots[k], snapshots[k + 1]
        growth = None if rates is None else _descendants(rates[here], times[k + 1] - times[k], growth_key)
        options: dict[str, Any] = {"epsilon": epsilon, "unbalanced": unbalanced, "batch_size": batch_size}
        couplings.append(coupling(coordinates[here], coordinates[after], growth=growth, rng=random, **options))
    first = np.concatenate([[0], np.cumsum([len(rows) for rows in snapshots])])
    fit = Fit(
        method="pp.lineages",
        config={
            "time_key": time_key,
            "n_chains": int(n_chains),
            "use_rep": use_rep,
            "epsilon": float(epsilon),
            "unbalanced": None if unbalanced is None else float(unbalanced),
            "growth_key": growth_key,
            "batch_size": int(batch_size),
        },
        split_key=split_key,
        split_hash=partition.hash,
        genes=genes,
        arrays={
            "chains": (sample_chains(couplings, n_chains, random) + first[:-1]).astype(np.int32),
            "digests": digests(adata.obs_names[np.concatenate(snapshots)]),
            "first": first.astype(np.int64),
            "times": times,
        },
        info={
            **info,
            "pairs": [
                {
                    "source_error": solved.source_error,
                    "target_error": solved.target_error,
                    "n_iterations": solved.n_iterations,
                    "n_problems": solved.n_problems,
                }
                for solved in couplings
            ],
        },
    )
    adata = store.start(adata, copy=copy)
    write_fit(adata, key_added, fit, partition)
    return store.finish(adata, copy=copy)


def _numbers(adata: AnnData, key: str, partition: Partition, *, argument: str) -> np.ndarray:
    """Return a numeric column, (n,) float64. Values outside train are not read; they become NaN."""
    if key not in adata.obs.columns:
        store.column(adata, key, argument=argument)
    train = partition.mask("train")
    values = adata.obs[key][train]
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if values.dtype.kind not in "iuf":
        advice = "Name a column of numbers."
        if argument == "time_key":
            advice = f"Run {numeric_time_call(key)} and pass time_key='numeric_time'."
        msg = (
            f"adata.obs[{key!r}] ({argument}) is {adata.obs[key].dtype}, not numeric (e.g. "
            f"{store.some(values.unique())}). {advice}"
        )
        raise ValueError(msg)
    found = np.full(adata.n_obs, np.nan)
    found[train] = values.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = int((~np.isfinite(found[train])).sum())
    if bad:
        msg = (
            f"adata.obs[{key!r}] ({argument}) is missing or infinite for {bad} of {int(train.sum())} train cells. "
            "Fill the values, or drop those cells."
        )
        raise ValueError(msg)
    return found


def _snapshots(
    adata: AnnData, of_cell: np.ndarray, partition: Partition, *, time_key: str
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the training times, and the row numbers of the train cells of each time.

    The order of the cells does not depend on the order of the rows.
    """
    rows = partition.rows("train")
    rows = rows[np.argsort(digests(adata.obs_names[rows]), kind="stable")]
    times, counts = np.unique(of_cell[rows], return_counts=True)
    if len(times) < 2:
        msg = (
            f"lineages needs train cells at two or more times, but obs[{partition.key!r}] has train cells only at "
            f"{time_key}={times[0]:g}. Hold out fewer times with heldout.pp.split_time."
        )
        raise ValueError(msg)
    if counts.min() < _FEWEST:
        few = {f"{time:g}": int(n) for time, n in zip(times, counts, strict=True) if n < _FEWEST}
        msg = (
            f"lineages needs at least {_FEWEST} train cells at each time, but {time_key} has fewer at {few}. Merge "
            "those times with others, or leave their cells out of train."
        )
        raise ValueError(msg)
    return times, [rows[of_cell[rows] == time] for time in times]


def _descendants(rates: np.ndarray, elapsed: float, growth_key: str | None) -> np.ndarray:
    exponent = rates * elapsed
    exponent -= exponent.max()
    if exponent.min() < -50:
        msg = (
            f"growth_key={growth_key!r}: some cells would have {-exponent.min():.0f} e-folds fewer descendants than "
            f"others over {elapsed:g} units of time. Give the net growth rate per unit of time."
        )
        raise ValueError(msg)
    return np.asarray(np.exp(exponent))


def _coordinates(
    adata: AnnData, use_rep: str | None, partition: Partition, *, seed: int
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Return coordinates (n × d), the genes they are from, and the record that they were fitted on train."""
    if use_rep is None:
        coordinates, genes = _fitted_here(adata, partition, seed)
        return coordinates, genes, {"rep_fit": "own"}
    if use_rep not in adata.obsm:
        hint = "Call heldout.pp.pca first, or pass use_rep=None."
        msg = f"use_rep={use_rep!r} is not in adata.obsm. {store.suggest(use_rep, adata.obsm)} {hint}"
        raise ValueError(msg)
    coordinates = adata.obsm[use_rep]
    if not isinstance(coordinates, np.ndarray) or coordinates.ndim != 2:
        msg = (
            f"adata.obsm[{use_rep!r}] (use_rep) must be a numpy array (n_obs × d), but it is "
            f"{type(coordinates).__name__}."
        )
        raise ValueError(msg)
    if use_rep not in store.section(adata, keys.FITS):
        msg = (
            f"obsm[{use_rep!r}] has no record, so nothing proves that it was fitted on the train cells. If held-out "
            "cells influenced it, the lineages use held-out data. heldout.pp.pca fits components on train."
        )
        warnings.warn(msg, stacklevel=3)
        return coordinates, np.array([], dtype=object), {"rep_fit": None}
    fit = read_fit(adata, use_rep)
    check_split(adata, fit, partition, key=use_rep)
    if fit.method == "pp.pca":
        _check_components(coordinates, fit, partition, use_rep)
    return coordinates, np.array([], dtype=object), {"rep_fit": fit.hash}


def _fitted_here(adata: AnnData, partition: Partition, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from heldout.pp._pca import fit_components

    X = get_matrix(adata, dask=True)
    if (state := describe(X)).kind in {"counts", "normalised"}:
        msg = (
            f"adata.X has {state}, in which few genes dominate the distances between cells. Take logarithms first: "
            "sc.pp.normalize_total, sc.pp.log1p."
        )
        raise ValueError(msg)
    columns, train = gene_columns(adata, "highly_variable"), partition.mask("train")
    found = fit_components(take(X, None, columns), train, min(_N_COMPS, int(train.sum()) - 1, len(columns)), seed=seed)
    shift = found["mean"] @ found["components"].T
    coordinates = np.full((adata.n_obs, len(shift)), np.nan)
    for rows, block in row_blocks(X):
        inside = np.flatnonzero(train[rows])
        coordinates[rows.start + inside] = take(block, inside, columns) @ found["components"].T - shift
    return coordinates, adata.var_names[columns].to_numpy(dtype=object)


def _check_components(coordinates: np.ndarray, fit: Fit, partition: Partition, use_rep: str) -> None:
    """Refuse coordinates that are not the stored components of the train cells.

    Over the train cells, these components have mean 0 and the recorded variance.
    """
    if partition.missing("train"):
        return
    train = coordinates[partition.mask("train")].astype(np.float64)
    variance = fit.arrays["variance"]
    same = train.shape[1] == len(variance)
    if same:
        deviation = np.sqrt(variance[0])
        same = np.abs(train.mean(axis=0)).max() <= 1e-2 * deviation
        same = same and np.allclose(train.var(axis=0, ddof=1), variance, rtol=1e-2, atol=1e-4 * variance[0])
    if not same:
        msg = (
            f"obsm[{use_rep!r}] no longer matches its fit: over the train cells its means are not 0 or its variances "
            "differ. Rerun heldout.pp.pca."
        )
        raise ValueError(msg)
