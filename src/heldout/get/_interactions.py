"""Tables of measured interactions, and of how well predictions find them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core import keys, store
from heldout._core.tables import prints_whole
from heldout.tasks.interactions.measured import Interactions
from heldout.tasks.interactions.tables import curve_table, gene_table, pair_table, score_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData

    from heldout._core.rng import Rng


def read_interactions(adata: AnnData, key: str) -> Interactions:
    """Read a result of :func:`heldout.tl.interactions`."""
    store.check_adata(adata)
    stored = store.section(adata, keys.INTERACTIONS)
    if key not in stored:
        hint = store.suggest(key, stored) if stored else "Call heldout.tl.interactions first."
        msg = f"There are no interactions {key!r} in this AnnData. {hint}"
        raise ValueError(msg)
    return Interactions.load(stored[key])


@prints_whole
def interactions(adata: AnnData, key: str = "interactions") -> pd.DataFrame:
    """Return a table of measured interactions, one row per combination and gene.

    Parameters
    ----------
    adata
        AnnData with interactions, (n_obs × n_vars).
    key
        Name of the result of :func:`heldout.tl.interactions`.

    Returns
    -------
    The table, (combinations · genes) rows. Columns:

    ``perturbation``, one column for each of ``covariate_keys``, ``gene``
        The combination with its targets sorted, the context and the gene.
    ``control``, ``single_a``, ``single_b``, …
        Mean expression of the controls and of each member alone, in the order of the name.
    ``additive``, ``observed``, ``deviation``
        Sum of the members, measured expression, and their difference.
    ``se``
        Standard error of the deviation from the variance between cells; NaN if a group has only one cell.
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
    return gene_table(read_interactions(adata, key))


@prints_whole
def interaction_pairs(adata: AnnData, key: str = "interactions") -> pd.DataFrame:
    """Return a summary of measured interactions, one row per combination.

    Parameters
    ----------
    adata
        AnnData with interactions, (n_obs × n_vars).
    key
        Name of the result of :func:`heldout.tl.interactions`.

    Returns
    -------
    The table, in the order of the names. Columns:

    ``perturbation``, one column for each of ``covariate_keys``, ``n_targets``
        The combination, the context, and the number of members.
    ``n_cells``, ``n_cells_members``, ``n_cells_control``
        Number of cells of the combination, of the member with the fewest cells, and of the control.
    ``rms_deviation``, ``median_se``
        Root mean square of the deviations over genes, and the median of their standard errors. If they are similar, the
        deviations are noise, or there are too few cells to tell.
    ``n_called``, ``n_buffering``, ``n_synergistic``, ``n_opposite``, ``n_other``
        Number of genes called, and of each class.
    ``n_doubtful``
        Called genes whose deviation is within 1.96 of its standard errors from the centre of the null.

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
    return pair_table(read_interactions(adata, key))


@prints_whole
def interaction_curve(
    adata: AnnData,
    key: str = "interactions",
    *,
    predictions: Mapping[str, AnnData],
    perturbation_key: str = "perturbation",
) -> pd.DataFrame:
    """Return the true positive rate of predicted interactions at each false discovery proportion.

    See :func:`heldout.metrics.interaction_curve` for the definition :cite:p:`ahlmanneltze2025`. ``no_change`` is always
    included, because no published network has found interactions better.

    Parameters
    ----------
    adata
        AnnData with measured interactions, (n_obs × n_vars).
    key
        Name of the result of :func:`heldout.tl.interactions`.
    predictions
        For each method, an AnnData of predicted mean expression with one row per perturbation, in the unit in which the
        interactions were measured, with all of their genes. Several rows of a perturbation are averaged.
    perturbation_key
        Column of ``obs`` of the predictions with the name of the perturbation. With several contexts, the predictions
        need the columns of the context as well.

    Returns
    -------
    One row per method and false discovery proportion, from 0 to 1 in steps of 0.01. Columns: ``method``, ``fdp``,
    ``tpr`` (the highest of any list with at most that proportion), ``n_pairs``, ``n_interactions``. All methods are
    compared on the combinations that all of them predict.

    Raises
    ------
    ValueError
        If there is no such result, a prediction lacks genes or columns, or no combination is predicted by all methods.

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
    return curve_table(read_interactions(adata, key), predictions, perturbation_key)


@prints_whole
def interaction_scores(
    adata: AnnData,
    key: str = "interactions",
    *,
    predictions: Mapping[str, AnnData],
    perturbation_key: str = "perturbation",
    n_bootstrap: int = 200,
    rng: Rng = 0,
) -> pd.DataFrame:
    """Score predicted interactions, and compare them with chance and with the prediction of no change.

    Parameters
    ----------
    adata
        AnnData with measured interactions, (n_obs × n_vars).
    key
        Name of the result of :func:`heldout.tl.interactions`.
    predictions, perturbation_key
        Predicted profiles of each method, as for :func:`interaction_curve`.
    n_bootstrap
        Number of bootstrap samples of the combinations.
    rng
        Seed or Generator.

    Returns
    -------
    One row per method and metric: ``average_precision`` of the predicted deviations, and ``tpr_at_5``, ``tpr_at_20``
    and ``tpr_at_50``, the true positive rate at a false discovery proportion of 5, 20 and 50 %. Columns:

    ``method``, ``metric``, ``estimate``, ``ci_low``, ``ci_high``
        The score with its 95 % interval over combinations.
    ``chance``
        Score of a random order.
    ``difference``, ``difference_low``, ``difference_high``, ``verdict``
        Average precision minus that of ``no_change`` on the same samples, and whether it is better.
    ``n``, ``coverage``, ``n_interactions``
        Number of combinations that were scored, share of all combinations that the method predicts, and number of
        observed interactions.

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
    return score_table(read_interactions(adata, key), predictions, perturbation_key, n_bootstrap=n_bootstrap, rng=rng)
