"""What the past says about a forecast of cells before its target was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core.fits import latest_fit, read_fit
from heldout._core.method import Fitted
from heldout._core.tables import prints_whole
from heldout.tasks.forecast import METHODS
from heldout.tasks.forecast.past import past_skill as of_fit
from heldout.tasks.forecast.task import check_at

if TYPE_CHECKING:
    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout.tasks.forecast.past import PastSkill


@prints_whole
def past_skill(adata: AnnData, key: str | None = None, *, at: float | None = None) -> pd.DataFrame:
    """Return what skill a forecast had on past times, and the range of its skill at a new time.

    Nothing of the target is read, so the table also exists for a time that was never measured. Each train time from the
    third on was predicted from the times before it; for a target between train times, each inner train time from the
    others. Several such tests from the same times count as one: that which looks as far ahead as the target.

    Parameters
    ----------
    adata
        AnnData with a fit of :func:`heldout.tl.forecast`, (n_obs × n_vars).
    key
        Name of the fit. If None, the forecast of cells that was stored last.
    at
        Time to predict, as in :func:`heldout.tl.predict_cells`. If None, the test times of the split.

    Returns
    -------
    One row for each time: ``target``; ``question`` (``forecast`` or ``interpolation``); ``method``; ``n`` (past times);
    ``n_better`` (past times at which the forecast was better than persistence); ``skill_median``; ``skill_low`` and
    ``skill_high``; ``probability`` with which an exchangeable time has a skill in this range; and ``note``, all of
    this in words. The skill is the share of the energy distance of persistence that is removed, not corrected for the
    noise floor. ``probability`` is (n − 1) / (n + 1) or, with 9 past times or more, at least 0.8. With fewer than 3
    past times, with weights that were chosen on the same times, and for a forecast that is persistence, the range is
    NaN.

    Raises
    ------
    ValueError
        If there is no such fit, it has no test times and ``at`` is not given, or it cannot predict ``at``.

    Notes
    -----
    The probability is that of a new value of exchangeable values, :func:`heldout.metrics.next_value`. Past and new
    times of a course are exchangeable only if nothing distinguishes them. Early forecasts learn from fewer times, steps
    have other lengths, and cells may do what they never did before. A mixture of methods is scored with the weights
    from the other tests. Some of these may predict the same time from other times, and whether to mix at all was
    decided on all tests.

    See Also
    --------
    heldout.get.backtests : The same tests, for each candidate of a mixture.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.branching_simulated(n_cells=40, n_genes=100)
    >>> ho.pp.split_time(adata, "time", test=96)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.tl.forecast(adata, "time")
    >>> ho.get.past_skill(adata, at=120)["n"].tolist()
    [3]
    """
    key = latest_fit(adata, ["forecast"], purpose="that forecasts cells") if key is None else key
    fit = read_fit(adata, key)
    if not fit.method.startswith("forecast."):
        msg = f"The fit {key!r} was made by {fit.method!r}; it forecasts no cells. Call heldout.tl.forecast."
        raise ValueError(msg)
    times = fit.info["test_times"] if at is None else [check_at(fit, at)]
    if not times:
        msg = f"The split of the fit {key!r} has no test time. Pass at=, the time that you want to predict."
        raise ValueError(msg)
    return pd.DataFrame([_row(fit, float(time)) for time in times])


def _row(fit: Fit, at: float) -> dict[str, Any]:
    beyond = at > fit.info["train_times"][-1]
    past = _past(fit, at, beyond=beyond)
    expected = past.expected
    n = len(past.skills)
    return {
        "target": at,
        "question": "forecast" if beyond else "interpolation",
        "method": fit.method.rpartition(".")[2],
        "n": n,
        "n_better": past.n_better,
        "skill_median": float(np.median(past.skills)) if n else np.nan,
        "skill_low": np.nan if expected is None else expected.low,
        "skill_high": np.nan if expected is None else expected.high,
        "probability": np.nan if expected is None else expected.coverage,
        "note": past.words,
    }


def _past(fit: Fit, at: float, *, beyond: bool) -> PastSkill:
    """Skill on past times; a mixture has other weights for each time."""
    mixture, fitted = METHODS.implementation_of(fit), Fitted.of(fit)
    chosen = mixture.words_of_choice(fitted, at) if hasattr(mixture, "words_of_choice") else None
    return of_fit(fit.method.rpartition(".")[2], fit.info["fitted"], at, beyond=beyond, chosen=chosen)
