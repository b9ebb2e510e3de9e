"""Table of the genes that a predicted perturbation changes most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core import keys, store
from heldout._core.arrays import as_dense
from heldout._core.checks import check_integer
from heldout._core.tables import prints_whole
from heldout.splitting._screen import as_list
from heldout.tasks.perturbation.predict import ABOUT_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from heldout._core.types import Matrix

_DTYPES = {"lower": np.float64, "upper": np.float64, "excludes_zero": "boolean"}


@prints_whole
def changes(adata: AnnData, perturbations: str | Sequence[str] | None = None, *, n: int | None = 20) -> pd.DataFrame:
    """Return the genes that change most in predicted profiles, with their intervals.

    Parameters
    ----------
    adata
        Result of :func:`heldout.tl.predict_profiles`, (n_profiles × n_genes).
    perturbations
        Names of perturbations, or of rows of ``adata``. If None, all.
    n
        Number of genes of each profile, those with the largest change. If None, all genes.

    Returns
    -------
    One row for each profile and gene, the largest change first. Columns: the perturbation, the covariates, ``gene``,
    ``change`` (predicted change of mean log-normalised expression from the controls), ``lower`` and ``upper`` (its
    interval), ``control`` (mean of the controls), ``excludes_zero`` (whether the interval is on one side of 0; missing
    without an interval) and ``coverage`` (nominal coverage of the interval). Profiles that were not predicted have no
    rows.

    Raises
    ------
    ValueError
        If ``adata`` has no predicted profiles, or there is no such perturbation.

    Notes
    -----
    Intervals hold on average over genes and perturbations of the same kind. They can fail more often for the genes with
    the largest changes, because these genes were chosen by their change.

    See Also
    --------
    heldout.pl.changes : Plot the changes of one perturbation.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.perturbations_simulated(n_singles=12, n_doubles=8, n_genes=100, n_cells=20)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.5)
    >>> ho.tl.perturbation(adata, method="additive")
    >>> table = ho.get.changes(ho.tl.predict_profiles(adata), n=3)
    >>> table.groupby("perturbation").size().unique().tolist()
    [3]
    """
    if n is not None:
        check_integer(n, "n", least=1, or_else="None")
    rows = rows_of(adata, perturbations)
    labels = [column for column in adata.obs.columns if column not in ABOUT_ROWS]
    parts = [_of_row(adata, row, labels, n) for row in rows]
    columns = [*labels, "gene", "change", "lower", "upper", "control", "excludes_zero", "coverage"]
    if not parts:
        return pd.DataFrame(columns=columns)
    return pd.concat(parts, ignore_index=True).astype(_DTYPES)[columns]


def rows_of(adata: AnnData, perturbations: str | Sequence[str] | None) -> list[int]:
    """Numbers of the predicted profiles of some perturbations.

    Raises
    ------
    ValueError
        If ``adata`` has no predicted profiles, or there is no such perturbation.
    """
    store.check_adata(adata)
    if "change" not in adata.layers or "predicted" not in adata.uns.get(keys.UNS, {}):
        msg = (
            "adata has no predicted profiles (layers['change']). Pass the result of heldout.tl.predict_profiles, e.g. "
            "profiles = heldout.tl.predict_profiles(adata)."
        )
        raise ValueError(msg)
    change = adata.layers["change"]
    predicted = np.flatnonzero(np.isfinite(as_dense(change)).all(axis=1)).tolist()
    if perturbations is None:
        return predicted
    asked = as_list(perturbations)
    names, rows = store.as_names(adata.obs.iloc[:, 0]), adata.obs_names.to_numpy()
    for name in asked:
        if not ((names == name) | (rows == name)).any():
            msg = (
                f"perturbations has {name!r}, which is not predicted here. {store.suggest(name, dict.fromkeys(names))}"
            )
            raise ValueError(msg)
    return [i for i in predicted if names[i] in asked or rows[i] in asked]


def _of_row(adata: AnnData, row: int, labels: list[str], n: int | None) -> pd.DataFrame:
    """The table of one profile."""
    change = _row(adata.layers["change"], row)
    control = _row(adata.X, row) - change
    order = np.argsort(-np.abs(change), kind="stable")[:n]
    ends = [
        _row(adata.layers[name], row) - control if name in adata.layers else np.full(len(change), np.nan)
        for name in ("lower", "upper")
    ]
    table = pd.DataFrame({label: [adata.obs[label].iloc[row]] * len(order) for label in labels})
    values = {"change": change, "lower": ends[0], "upper": ends[1], "control": control}
    table = table.assign(gene=adata.var_names[order].to_numpy(), **{name: of[order] for name, of in values.items()})
    outside = (table["lower"] > 0) | (table["upper"] < 0)
    table["excludes_zero"] = outside.astype("boolean").mask(table["lower"].isna())
    table["coverage"] = float(adata.obs["coverage"].iloc[row]) if "coverage" in adata.obs else np.nan
    return table


def _row(X: Matrix, row: int) -> np.ndarray:
    """A row of a dense or sparse matrix, float64, (G,)."""
    return as_dense(X[[row]]).ravel()
