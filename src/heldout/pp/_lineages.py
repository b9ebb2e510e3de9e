"""Pseudo-lineages through the training times of a time course whose cells were destroyed when they were measured."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import keys, store
from heldout._core.arrays import describe, get_matrix, row_blocks, take
from heldout._core.fits import Fit, check_key_is_free, check_split, read_fit, write_fit
from heldout._core.genes import gene_columns
from heldout._core.keys import check_key
from heldout._core.partition import Partition, digests, read_partition
from heldout._core.progress import progress
from heldout._core.rng import Rng, generator, seed_of
from heldout.tasks.forecast.couplings import BATCH, coupling, sample_chains

if TYPE_CHECKING:
    from anndata import AnnData

_FEWEST = 10
_N_COMPS = 50


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
    """Draw chains of train cells, one at each training time, that could be lineages.

    Between each two adjacent training times the cells are coupled by entropic optimal transport at squared Euclidean
    cost, as in Waddington-OT :cite:p:`schiebinger2019`; the chains are drawn from the couplings. Cells of val and test,
    and times that are held out, take no part: not in the couplings, not in the scale of the cost, not in growth.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars).
    time_key
        Numeric column of ``obs``.
    n_chains
        Number of chains.
    use_rep
        Entry of ``obsm`` in which cells are compared, fitted on the train cells of this split (:func:`pca`). None fits
        components on the train cells here, at most 50, of ``X`` (log-normalised; of the highly variable genes, if
        chosen).
    split_key
        The split; only its train cells are used.
    epsilon
        Strength of the entropy as a share of the median cost between two times; larger is more diffuse.
    unbalanced
        None: each cell has the descendants that ``growth_key`` says. A number lets cells grow and die as fits, at this
        share of the median cost; smaller is freer. 1 is a start.
    growth_key
        Column of ``obs`` with the net growth rate of a cell, births less deaths per unit of time. None takes all to grow
        alike.
    batch_size
        Times of more cells are coupled in random batches of at most this size, see Notes.
    rng
        Seed of batches and chains.
    key_added
        Name of the fit.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. Written are:

    ``uns["heldout"]["fits"][key_added]``
        The fit: ``chains`` (n_chains × T, int32) are rows of ``digests`` (uint64), the names of all train cells that were
        coupled; those of time k stand from ``first[k]`` to ``first[k + 1]``; ``times`` (T,). Its ``info`` has the errors and
        iterations of each pair of times and the hash of the fit behind ``use_rep``. :func:`heldout.get.lineages` reads it.
    ``uns["heldout"]["assignments"]``
        The split it was made on.

    Raises
    ------
    ValueError
        If there are fewer than two training times, fewer than 10 train cells at one of them, times or growth are not finite
        numbers, or ``use_rep`` is missing, was fitted on another split, or changed since it was fitted.

    Warns
    -----
    UserWarning
        If nothing proves that ``use_rep`` was fitted on train cells, or a coupling has not converged.

    Notes
    -----
    Two times of n cells need six n × n matrices of float64. Above ``batch_size`` cells the memory stays that of a batch
    (0.2 GB at 2048) and about 1 kB a cell. A cell then meets a sample of the next time only, four times over, so couplings are
    somewhat more diffuse: for 4000 cells a time of :func:`heldout.datasets.branching_simulated` the distance to the true ancestors
    is 1.07 as a whole, 1.07 in batches of 2048, 1.10 in batches of 256, and 1.49 at random.

    A cell stands in several chains, so chains are no independent units.

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
    _check_number_of_chains(n_chains)
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
                    "source_error": one.source_error,
                    "target_error": one.target_error,
                    "n_iterations": one.n_iterations,
                    "n_problems": one.n_problems,
                }
                for one in couplings
            ],
        },
    )
    adata = store.start(adata, copy=copy)
    write_fit(adata, key_added, fit, partition)
    return store.finish(adata, copy=copy)


def _check_number_of_chains(n_chains: int) -> None:
    if isinstance(n_chains, bool) or not isinstance(n_chains, int | np.integer) or n_chains < 1:
        msg = f"n_chains={n_chains!r} must be a whole number of at least 1."
        raise ValueError(msg)


def _numbers(adata: AnnData, key: str, partition: Partition, *, argument: str) -> np.ndarray:
    """A numeric column, (n,) float64; what stands there outside of train is not looked at and becomes NaN."""
    if key not in adata.obs.columns:
        store.column(adata, key, argument=argument)
    train = partition.mask("train")
    values = adata.obs[key][train]
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if values.dtype.kind not in "iuf":
        msg = (
            f"adata.obs[{key!r}] ({argument}) is {adata.obs[key].dtype}, not numeric (e.g. {store.some(values.unique())}). "
            f"Make it numbers first, e.g. with pd.to_numeric."
        )
        raise ValueError(msg)
    found = np.full(adata.n_obs, np.nan)
    found[train] = values.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = int((~np.isfinite(found[train])).sum())
    if bad:
        msg = f"adata.obs[{key!r}] ({argument}) is missing or infinite for {bad} of {int(train.sum())} train cells. Fill it or drop them."
        raise ValueError(msg)
    return found


def _snapshots(
    adata: AnnData, of_cell: np.ndarray, partition: Partition, *, time_key: str
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Training times, and the row numbers of the train cells of each in an order that does not depend on the rows."""
    rows = partition.rows("train")
    rows = rows[np.argsort(digests(adata.obs_names[rows]), kind="stable")]
    times, counts = np.unique(of_cell[rows], return_counts=True)
    if len(times) < 2:
        msg = (
            f"lineages need train cells at two times or more; obs[{partition.key!r}] has them at {time_key}={times[0]:g} only. "
            "Hold out fewer times: heldout.pp.split_time."
        )
        raise ValueError(msg)
    if counts.min() < _FEWEST:
        few = {f"{time:g}": int(n) for time, n in zip(times, counts, strict=True) if n < _FEWEST}
        msg = (
            f"lineages need {_FEWEST} train cells at each time; {time_key} has fewer at {few}. Put those times together with "
            "others, or leave their cells out of train."
        )
        raise ValueError(msg)
    return times, [rows[of_cell[rows] == time] for time in times]


def _descendants(rates: np.ndarray, elapsed: float, growth_key: str | None) -> np.ndarray:
    exponent = rates * elapsed
    exponent -= exponent.max()
    if exponent.min() < -50:
        msg = (
            f"growth_key={growth_key!r}: some cells would have {-exponent.min():.0f} e-folds fewer descendants than others over "
            f"{elapsed:g} units of time. Give the net growth rate per unit of time."
        )
        raise ValueError(msg)
    return np.asarray(np.exp(exponent))


def _coordinates(
    adata: AnnData, use_rep: str | None, partition: Partition, *, seed: int
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Coordinates (n × d), the genes they are from, and what proves that they were fitted on train."""
    if use_rep is None:
        coordinates, genes = _own_components(adata, partition, seed)
        return coordinates, genes, {"rep_fit": "own"}
    if use_rep not in adata.obsm:
        hint = "Call heldout.pp.pca first, or pass use_rep=None."
        msg = f"use_rep={use_rep!r} is not in adata.obsm. {store.suggest(use_rep, adata.obsm)} {hint}"
        raise ValueError(msg)
    coordinates = adata.obsm[use_rep]
    if not isinstance(coordinates, np.ndarray) or coordinates.ndim != 2:
        msg = (
            f"adata.obsm[{use_rep!r}] (use_rep) must be a numpy array (n_obs × d), it is {type(coordinates).__name__}."
        )
        raise ValueError(msg)
    if use_rep not in store.section(adata, keys.FITS):
        msg = (
            f"obsm[{use_rep!r}] has no record, so nothing proves that it was fitted on the train cells; if held-out cells shaped "
            "it, the lineages have seen them. heldout.pp.pca fits one on train."
        )
        warnings.warn(msg, stacklevel=3)
        return coordinates, np.array([], dtype=object), {"rep_fit": None}
    fit = read_fit(adata, use_rep)
    check_split(adata, fit, partition, key=use_rep)
    if fit.method == "pp.pca":
        _check_components(coordinates, fit, partition, use_rep)
    return coordinates, np.array([], dtype=object), {"rep_fit": fit.hash}


def _own_components(adata: AnnData, partition: Partition, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from heldout.pp._pca import _components

    X = get_matrix(adata, dask=True)
    if (state := describe(X)).kind in {"counts", "normalised"}:
        msg = (
            f"adata.X holds {state}; distances between cells would be those of a few genes. Take logs first: "
            "sc.pp.normalize_total, sc.pp.log1p."
        )
        raise ValueError(msg)
    columns, train = gene_columns(adata, "highly_variable"), partition.mask("train")
    found = _components(take(X, None, columns), train, min(_N_COMPS, int(train.sum()) - 1, len(columns)), seed=seed)
    shift = found["mean"] @ found["components"].T
    coordinates = np.full((adata.n_obs, len(shift)), np.nan)
    for rows, block in row_blocks(X):
        inside = np.flatnonzero(train[rows])
        coordinates[rows.start + inside] = take(block, inside, columns) @ found["components"].T - shift
    return coordinates, adata.var_names[columns].to_numpy(dtype=object)


def _check_components(coordinates: np.ndarray, fit: Fit, partition: Partition, use_rep: str) -> None:
    """Coordinates of components of the train cells have mean 0 there and the recorded variance, or they were replaced."""
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
            f"obsm[{use_rep!r}] is not what the fit {use_rep!r} gives: over the train cells its means are not 0 or its variances "
            "are others, so it was replaced by something of which nothing is known. Run heldout.pp.pca again."
        )
        raise ValueError(msg)
