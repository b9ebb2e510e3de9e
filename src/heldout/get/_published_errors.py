"""The errors that published forecasts report, beside the skill of the same fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import keys as slots
from heldout._core.arrays import as_dense, get_matrix, loaded, take
from heldout._core.evaluations import read_evaluation
from heldout._core.fits import check_split, read_fit, read_header
from heldout._core.partition import read_partition
from heldout._core.store import section
from heldout._core.tables import prints_whole
from heldout._core.times import cell_times
from heldout.metrics import mae, r2, rmse
from heldout.splitting._screen import as_list
from heldout.tasks.forecast.predict import predicted_cells
from heldout.tasks.forecast.start import start_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from heldout._core.fits import Fit

CELLS, GENES = "cell-state forecasting", "gene-level prediction"
COLUMNS = ("task", "fit", "target", "method", "rmse", "mae", "r2", "r2_per_gene", "skill_corrected")
PERSISTENCE, MEAN = "persistence", "mean of the answer"
_WINGS = ("forecast.", "forecast_genes.")


@prints_whole
def published_errors(adata: AnnData, keys: str | Sequence[str] | None = None) -> pd.DataFrame:
    """Return RMSE, MAE and R² as published studies of time courses report them, beside the corrected skill.

    Studies of networks for time courses report three errors of predicted values: of the mean of each held-out gene, and
    of each cell with the cell in the same row of the observed cells. Cells of two times have no partner, so the errors
    of cells are over all pairs here, which is what such rows give on average. Each forecast of cells has
    two references. ``persistence`` is the start cells unchanged. ``mean of the answer`` is the mean of the observed
    cells for every cell; it knows the answer and shows what these errors reward.

    Parameters
    ----------
    adata
        AnnData with fits of :func:`heldout.tl.forecast` or :func:`heldout.tl.forecast_genes` that were evaluated on
        test, (n_obs × n_vars).
    keys
        Names of the fits. If None, all evaluated fits of these two functions.

    Returns
    -------
    One row for each fit, target and method. ``task`` is ``gene-level prediction`` or ``cell-state forecasting``,
    ``fit`` the name of the fit, ``target`` the predicted time. ``rmse``, ``mae`` (units of expression) and ``r2`` are
    over all values; ``r2_per_gene`` is the mean over genes of R² within a gene (missing for forecasts of genes, which
    have one value per gene). ``skill_corrected`` is that of :func:`heldout.tl.evaluate`: 0 is persistence, 1 is the
    noise floor.

    Raises
    ------
    ValueError
        If there is no such fit, it is of another task, or it was not evaluated on test.

    Notes
    -----
    R² over all values is mostly the difference between highly and weakly expressed genes, which every past time knows.
    Errors over all pairs are smaller for the same mean in every cell than for the true cells in another order. So
    they cannot say whether cells were predicted; ``skill_corrected`` can.

    See Also
    --------
    heldout.metrics.rmse : The errors, with ``average="all_pairs"`` for cells.
    heldout.pl.published_errors : Draw this table.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.branching_simulated(n_cells=40, n_genes=100)
    >>> ho.pp.split_time(adata, "time", test=96)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.tl.forecast(adata, "time", method="reversion")
    >>> report = ho.tl.evaluate(adata, baselines=["persistence"])
    >>> ho.get.published_errors(adata)["method"].tolist()
    ['reversion', 'persistence', 'mean of the answer']
    """
    rows: list[dict[str, Any]] = []
    for key in _keys(adata, keys):
        fit = read_fit(adata, key)
        rows += _of_genes(adata, key, fit) if fit.method.startswith("forecast_genes.") else _of_cells(adata, key, fit)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _keys(adata: AnnData, keys: str | Sequence[str] | None) -> list[str]:
    """Names of the fits to report; refuses those of other tasks and those without a score on test."""
    fits = section(adata, slots.FITS)
    if keys is None:
        evaluated = [key for key in section(adata, slots.EVALUATIONS) if key in fits]
        named = [key for key in evaluated if read_header(adata, key).method.startswith(_WINGS)]
    else:
        named = as_list(keys)
    if not named:
        msg = (
            "adata has no evaluated forecast. Call heldout.tl.forecast or heldout.tl.forecast_genes, and then "
            "heldout.tl.evaluate."
        )
        raise ValueError(msg)
    for key in named:
        method = read_header(adata, key).method
        if not method.startswith(_WINGS):
            msg = f"keys has {key!r}, a {method!r}, but must name forecasts of cells or of genes. Leave it out."
            raise ValueError(msg)
        partition = read_evaluation(adata, key)["partition"].iloc[0]
        if partition != "test":
            msg = f"The fit {key!r} was evaluated on {partition}. Call heldout.tl.evaluate(adata, {key!r}) first."
            raise ValueError(msg)
    return named


def _of_cells(adata: AnnData, key: str, fit: Fit) -> list[dict[str, Any]]:
    """Rows of a forecast of cells: the method and both references at each test time."""
    split = read_partition(adata, fit.split_key)
    check_split(adata, fit, split, key=key)
    times, test = cell_times(adata, fit.info["time_key"]), split.mask("test")
    X, columns = get_matrix(adata, fit.info["layer"], dask=True), fit.columns(adata.var_names, key=key)

    def expression(rows: np.ndarray) -> np.ndarray:
        return np.asarray(as_dense(loaded(take(take(X, rows, None), None, columns))), dtype=np.float64)

    table, rows = read_evaluation(adata, key), []
    for at in fit.info["test_times"]:
        rng = np.random.default_rng(int(fit.config["seed"]))  # the draws of the evaluation
        predicted = predicted_cells(adata, fit, key=key, at=at, reference=None, layer=None, rng=rng)
        truth = expression(np.flatnonzero(test & (times == at)))
        found = {
            fit.method.split(".")[1]: np.asarray(predicted.X, dtype=np.float64),
            PERSISTENCE: expression(start_cells(adata, fit, at, train_only=True)[0]),
            MEAN: truth.mean(axis=0, keepdims=True),
        }
        about = {"task": CELLS, "fit": key, "target": float(at)}
        skill = _skills(table, f"{fit.info['time_key']}={at:g}")
        rows += [
            {**about, "method": name, **_all_pairs(truth, cells), "skill_corrected": skill.get(name, np.nan)}
            for name, cells in found.items()
        ]
    return rows


def _all_pairs(truth: np.ndarray, cells: np.ndarray) -> dict[str, float]:
    """The errors of predicted cells over all pairs with the observed cells."""
    errors = {score.__name__: float(score(truth, cells, average="all_pairs")) for score in (rmse, mae, r2)}
    return {**errors, "r2_per_gene": float(np.nanmean(r2(truth, cells, average="all_pairs_per_gene")))}


def _of_genes(adata: AnnData, key: str, fit: Fit) -> list[dict[str, Any]]:
    """Rows of a forecast of genes, from its evaluation: the method and the last value again."""
    table = read_evaluation(adata, key)
    wide = table.pivot_table(index="method", columns="metric", values="estimate", sort=False)
    about = {"task": GENES, "fit": key, "target": float(fit.info["at"])}
    shown = dict.fromkeys([fit.method.split(".")[1], *(name for name in [PERSISTENCE] if name in wide.index)])
    errors = wide.reindex(columns=["rmse", "mae", "r2", "skill_corrected"])
    return [{**about, "method": name, **errors.loc[name].to_dict(), "r2_per_gene": np.nan} for name in shown]


def _skills(table: pd.DataFrame, level: str) -> dict[str, float]:
    """Corrected skill of each method at one target time, or over the only one."""
    rows = table[table["metric"] == "skill_corrected"]
    here = rows[rows["level"] == level] if (rows["level"] == level).any() else rows
    return dict(zip(here["method"], here["estimate"], strict=True))
