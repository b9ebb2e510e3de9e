"""How well the candidates of a mixture predicted train times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from heldout._core.fits import latest_fit, read_fit
from heldout._core.tables import prints_whole

if TYPE_CHECKING:
    from anndata import AnnData

COLUMNS = ("question", "target", "start", "n_times", "method", "energy_distance", "skill")


@prints_whole
def backtests(adata: AnnData, key: str | None = None) -> pd.DataFrame:
    """Return how well each candidate of a mixture predicted train times from other train times.

    Parameters
    ----------
    adata
        AnnData with a fit of :func:`heldout.tl.forecast` with ``method="auto"``, (n_obs × n_vars).
    key
        Name of the fit. If None, the forecast of cells that was stored last.

    Returns
    -------
    One row for each predicted train time and candidate: ``question`` (``forecast`` or ``interpolation``), ``target``
    (the predicted time), ``start`` (time of the start cells), ``n_times`` (number of times that the candidate learnt
    from), ``method``, ``energy_distance`` to the observed cells, and ``skill``, the share of the error of persistence
    that is removed. ``attrs["chosen"]`` has the weights for each target time.

    Raises
    ------
    ValueError
        If there is no such fit, or it was made with another method.

    See Also
    --------
    heldout.get.past_skill : Skill of the mixture on these times, and its range at a new time.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.branching_simulated(n_cells=40, n_genes=100)
    >>> ho.pp.split_time(adata, "time", test=96)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.tl.forecast(adata, "time")
    >>> ho.get.backtests(adata)["target"].unique().tolist()
    [24.0, 36.0, 72.0]
    """
    key = latest_fit(adata, ["forecast"], purpose="that forecasts cells") if key is None else key
    fit = read_fit(adata, key)
    if fit.method != "forecast.auto":
        msg = (
            f"The fit {key!r} was made by {fit.method!r}, which compares no candidates. Call heldout.tl.forecast with "
            "method='auto'."
        )
        raise ValueError(msg)
    rows: list[dict[str, Any]] = []
    chosen: list[dict[str, Any]] = []
    for question, about in fit.info["fitted"]["kinds"].items():
        chosen += about["chosen"]
        for test in about["backtests"]:
            found = {
                "question": question,
                "target": test["at"],
                "start": test["start_time"],
                "n_times": test["n_times"],
            }
            rows += [
                {**found, "method": name, "energy_distance": distance, "skill": test["skill"][name]}
                for name, distance in test["energy_distance"].items()
            ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table.attrs["chosen"] = chosen
    return table
