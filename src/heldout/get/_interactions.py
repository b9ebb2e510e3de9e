"""Tables of measured interactions, and of how well predictions find them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import keys, store
from heldout._core.store import logger, some
from heldout._core.verdict import verdict
from heldout.metrics.interaction_curve import interaction_curve as curve_of
from heldout.metrics.interaction_curve import interaction_scores as scores_of
from heldout.metrics.interactions import CLASSES
from heldout.tasks.interactions.measured import Interactions
from heldout.tasks.interactions.predicted import common

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from heldout._core.rng import Rng

GRID = np.linspace(0, 1, 101)


def read_interactions(adata: AnnData, key: str) -> Interactions:
    """What :func:`heldout.tl.interactions` has stored."""
    store.check_adata(adata)
    stored = store.section(adata, keys.INTERACTIONS)
    if key not in stored:
        hint = store.suggest(key, stored) if stored else "Call heldout.tl.interactions first."
        msg = f"There are no interactions {key!r} in this AnnData. {hint}"
        raise ValueError(msg)
    return Interactions.load(stored[key])


def interactions(adata: AnnData, key: str = "interactions") -> pd.DataFrame:
    """Table of measured interactions, one row a combination and gene.

    Parameters
    ----------
    adata
        AnnData with interactions, (n_obs × n_vars).
    key
        Name of the result of :func:`heldout.tl.interactions`.

    Returns
    -------
    The table, combinations × genes long. Columns:

    ``perturbation``, one for each of ``covariate_keys``, ``gene``
        The combination, its targets sorted, the context and the gene.
    ``control``, ``single_a``, ``single_b``, …
        Mean expression of the controls and of each member alone, in the order of the name.
    ``additive``, ``observed``, ``deviation``
        What the members add up to, what was measured, and the difference.
    ``se``
        Standard error of the deviation from the variance between cells; NaN where a group has one cell.
    ``local_fdr``, ``called``, ``interaction``
        Probability that the deviation is noise, whether it is called, and its class.

    Raises
    ------
    ValueError
        If there is no such result.

    Examples
    --------
    >>> import numpy as np, anndata as ad, heldout as ho
    >>> names = np.repeat(["control", "A", "B", "A+B"], 40)
    >>> X = np.random.default_rng(0).normal(2, 0.3, (160, 200)).clip(0)
    >>> X[names != "control", 0] += 1.5
    >>> adata = ad.AnnData(X, obs={"guide": names})
    >>> ho.tl.interactions(adata, "guide")
    >>> ho.get.interactions(adata).query("called")[["perturbation", "gene", "interaction"]].values.tolist()
    [['A+B', '0', 'buffering']]
    """
    found = read_interactions(adata, key)
    n_pairs, n_genes = found.deviation.shape
    frame = _contexts(found).loc[np.repeat(np.arange(n_pairs), n_genes)].reset_index(drop=True)
    frame["gene"] = pd.Categorical.from_codes(np.tile(np.arange(n_genes), n_pairs), categories=found.genes)
    columns: dict[str, np.ndarray] = {"control": found.control}
    for i in range(found.of_member.shape[1]):
        there = found.of_member[:, i] >= 0
        columns[f"single_{chr(ord('a') + i)}"] = np.where(there[:, None], found.profiles[found.of_member[:, i]], np.nan)
    columns |= {"additive": found.additive, "observed": found.observed, "deviation": found.deviation, "se": found.se}
    columns |= {"local_fdr": found.null.local_fdr(found.statistic), "called": found.called}
    for name, values in columns.items():
        frame[name] = values.ravel()
    frame["interaction"] = pd.Categorical.from_codes(found.classes.ravel(), categories=list(CLASSES))
    return frame


def interaction_pairs(adata: AnnData, key: str = "interactions") -> pd.DataFrame:
    """Summary of measured interactions, one row a combination.

    Parameters
    ----------
    adata
        AnnData with interactions, (n_obs × n_vars).
    key
        Name of the result of :func:`heldout.tl.interactions`.

    Returns
    -------
    The table, in the order of the names. Columns:

    ``perturbation``, one for each of ``covariate_keys``, ``n_targets``
        The combination, the context, and its number of members.
    ``n_cells``, ``n_cells_members``, ``n_cells_control``
        Number of cells of the combination, of the member that has fewest, and of the control.
    ``rms_deviation``, ``median_se``
        Root mean square of the deviations over genes, and the median of their standard errors: where they are alike,
        there is no more than noise, or too few cells to see more.
    ``n_called``, ``n_buffering``, ``n_synergistic``, ``n_opposite``, ``n_other``
        Number of genes called, and of each class.
    ``n_doubtful``
        Called genes whose deviation is less than 1.96 of their own standard errors away from the centre of the null.

    Raises
    ------
    ValueError
        If there is no such result.

    Examples
    --------
    >>> import numpy as np, anndata as ad, heldout as ho
    >>> names = np.repeat(["control", "A", "B", "A+B"], 40)
    >>> X = np.random.default_rng(0).normal(2, 0.3, (160, 200)).clip(0)
    >>> X[names != "control", 0] += 1.5
    >>> adata = ad.AnnData(X, obs={"guide": names})
    >>> ho.tl.interactions(adata, "guide")
    >>> ho.get.interaction_pairs(adata)[["perturbation", "n_cells", "n_called", "n_buffering"]].values.tolist()
    [['A+B', 40, 1, 1]]
    """
    found = read_interactions(adata, key)
    table = _contexts(found)
    table["n_targets"] = found.sizes
    table["n_cells"] = found.n_cells[found.of_double]
    members = np.where(found.of_member >= 0, found.n_cells[found.of_member], np.iinfo(np.int64).max)
    table["n_cells_members"] = members.min(axis=1)
    table["n_cells_control"] = found.n_cells[found.of_control]
    table["rms_deviation"] = np.sqrt((found.deviation**2).mean(axis=1))
    table["median_se"] = np.median(found.se, axis=1)
    table["n_called"] = found.called.sum(axis=1)
    for number, name in enumerate(CLASSES[1:], start=1):
        table[f"n_{name}"] = (found.classes == number).sum(axis=1)
    table["n_doubtful"] = found.doubtful.sum(axis=1)
    return table.sort_values(["perturbation", *found.names.covariate_keys], ignore_index=True)


def interaction_curve(
    adata: AnnData,
    key: str = "interactions",
    *,
    predictions: Mapping[str, AnnData],
    perturbation_key: str = "perturbation",
) -> pd.DataFrame:
    """True positive rate of predicted interactions at each false discovery proportion :cite:p:`ahlmanneltze2025`.

    See :func:`heldout.metrics.interaction_curve` for the definition. No change is always drawn beside the methods: no
    published network has found interactions better than it did.

    Parameters
    ----------
    adata
        AnnData with measured interactions, (n_obs × n_vars).
    key
        Name of the result of :func:`heldout.tl.interactions`.
    predictions
        For each method an AnnData of predicted mean expression, one row a perturbation (of several rows the mean is
        taken), in the unit that the interactions were measured in, with all of their genes.
    perturbation_key
        Column of ``obs`` of the predictions with the name of the perturbation. They need the columns of the contexts
        too.

    Returns
    -------
    One row a method and false discovery proportion from 0 to 1 in steps of 0.01. Columns: ``method``, ``fdp``,
    ``tpr`` (the highest of any list with at most that proportion), ``n_pairs``, ``n_interactions``. All methods are
    taken on the combinations that all of them predict.

    Raises
    ------
    ValueError
        If there is no such result, a prediction lacks genes or columns, or no combination is predicted by all.

    Examples
    --------
    >>> import numpy as np, anndata as ad, heldout as ho
    >>> names = np.repeat(["control", "A", "B", "A+B"], 40)
    >>> X = np.random.default_rng(0).normal(2, 0.3, (160, 200)).clip(0)
    >>> X[names != "control", :9] += 1.5
    >>> adata = ad.AnnData(X, obs={"guide": names})
    >>> ho.tl.interactions(adata, "guide")
    >>> truth = ad.AnnData(X[names == "A+B"].mean(axis=0, keepdims=True), obs={"perturbation": ["B+A"]})
    >>> ho.get.interaction_curve(adata, predictions={"mine": truth}).query("fdp == 0")["tpr"].tolist()
    [1.0, 1.0]
    """
    found = read_interactions(adata, key)
    rows, values, _ = _compared(found, predictions, perturbation_key)
    frames = []
    for name, predicted in values.items():
        curve = curve_of(found.observed[rows], predicted, found.additive[rows], cutoffs=found.limits(rows))
        frame = pd.DataFrame({"method": name, "fdp": GRID, "tpr": curve.tpr_at(GRID)})
        frames.append(frame.assign(n_pairs=len(rows), n_interactions=int(curve.n_interactions)))
    return pd.concat(frames, ignore_index=True)


def interaction_scores(
    adata: AnnData,
    key: str = "interactions",
    *,
    predictions: Mapping[str, AnnData],
    perturbation_key: str = "perturbation",
    n_bootstrap: int = 200,
    rng: Rng = 0,
) -> pd.DataFrame:
    """Score predicted interactions, beside chance and beside what no change would find.

    Parameters
    ----------
    adata
        AnnData with measured interactions, (n_obs × n_vars).
    key
        Name of the result of :func:`heldout.tl.interactions`.
    predictions, perturbation_key
        Predicted profiles of each method, as for :func:`interaction_curve`.
    n_bootstrap
        Number of bootstrap resamples of the combinations.
    rng
        Seed or generator.

    Returns
    -------
    One row a method and metric: ``average_precision`` of the predicted deviations, and ``tpr_at_5``, ``tpr_at_20`` and
    ``tpr_at_50``, the true positive rate at that false discovery proportion in percent. Columns:

    ``method``, ``metric``, ``estimate``, ``ci_low``, ``ci_high``
        The score with its 95 % interval over combinations.
    ``chance``
        What an order at random has.
    ``difference``, ``difference_low``, ``difference_high``, ``verdict``
        Of the average precision: less that of ``no_change``, on the same resamples, and whether it is better.
    ``n``, ``coverage``, ``n_interactions``
        Combinations that were scored, the share of all combinations that the method predicts, and observed
        interactions.

    Raises
    ------
    ValueError
        As for :func:`interaction_curve`.

    Examples
    --------
    >>> import numpy as np, anndata as ad, heldout as ho
    >>> names = np.repeat(["control", "A", "B", "A+B"], 40)
    >>> X = np.random.default_rng(0).normal(2, 0.3, (160, 200)).clip(0)
    >>> X[names != "control", :9] += 1.5
    >>> adata = ad.AnnData(X, obs={"guide": names})
    >>> ho.tl.interactions(adata, "guide")
    >>> truth = ad.AnnData(X[names == "A+B"].mean(axis=0, keepdims=True), obs={"perturbation": ["B+A"]})
    >>> table = ho.get.interaction_scores(adata, predictions={"mine": truth}, n_bootstrap=10)
    >>> table.query("metric == 'average_precision'")[["method", "estimate"]].values.tolist()
    [['no_change', 1.0], ['additive', 0.045], ['mine', 1.0]]
    """
    found = read_interactions(adata, key)
    rows, values, covered = _compared(found, predictions, perturbation_key)
    values = {"no_change": values.pop("no_change"), "additive": found.additive[rows], **values}
    scored = scores_of(
        found.observed[rows], values, found.additive[rows], cutoffs=found.limits(rows), n_bootstrap=n_bootstrap, rng=rng
    )
    truth = found.called[rows]
    records: list[dict[str, Any]] = []
    for method, of_method in scored.items():
        excess = of_method.pop("excess")
        share = covered.get(method, 1.0)
        for metric, value in of_method.items():
            row = {"method": method, "metric": metric, "estimate": value.estimate, "ci_low": value.low}
            row |= {"ci_high": value.high, "chance": truth.mean() if metric == "average_precision" else 0.0}
            row |= {"difference": np.nan, "difference_low": np.nan, "difference_high": np.nan, "verdict": ""}
            if metric == "average_precision" and method != "no_change":
                row |= {"difference": excess.estimate, "difference_low": excess.low, "difference_high": excess.high}
                row["verdict"] = verdict(excess.low, excess.high)
            row |= {"n": len(rows), "coverage": share, "n_interactions": int(truth.sum())}
            records.append(row)
    return pd.DataFrame(records)


def _contexts(found: Interactions) -> pd.DataFrame:
    """Name and context of each combination."""
    frame = pd.DataFrame({"perturbation": found.labels})
    for i, name in enumerate(found.names.covariate_keys):
        frame[name] = [found.names.contexts[c][i] for c in found.context]
    return frame


def _compared(
    found: Interactions, predictions: Mapping[str, AnnData], perturbation_key: str
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, float]]:
    """Rows of the combinations that all methods predict, the profiles, no change first, and the share that each predicts."""
    reserved = {"no_change", "additive"}.intersection(predictions)
    if reserved or not predictions:
        what = f"{some(reserved)} are always compared with; choose another name" if reserved else "there are none"
        msg = f"predictions must be predicted profiles by method: {what}."
        raise ValueError(msg)
    rows, values, covered = common(found, predictions, perturbation_key)
    if len(rows) < len(found.targets):
        logger.warning(
            "%d of %d combinations are compared: the others are not predicted by every method.",
            len(rows),
            len(found.targets),
        )
    return rows, {"no_change": found.control[rows], **values}, covered
