"""What an evaluation supports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pandas as pd

from heldout._core import keys, store
from heldout._core.checks import check_choice
from heldout._core.evaluations import latest_evaluation, read_evaluation
from heldout._core.tables import prints_whole
from heldout.get._comparison import comparison
from heldout.get._learning_curve import learning_curve

if TYPE_CHECKING:
    from anndata import AnnData


@prints_whole
def claims(adata: AnnData, key: str | None = None, *, by: Literal["level", "pair"] = "level") -> pd.DataFrame:
    """Return which claims the design of a genotype evaluation supports: about new libraries, lines or donors.

    Parameters
    ----------
    adata
        AnnData with an evaluated genotype fit, (n_obs × n_vars).
    key
        Name of the fit. If None, the last evaluation is used.
    by
        ``level``: the claims. ``pair``: how well each two of three classes and more are told apart.

    Returns
    -------
    By ``level``, one row for each level, the finest first: ``level``, ``n`` (units among the judged cells), ``units``
    (in words), ``p_value`` (of the AUC of these units), ``p_smallest``, ``n_pairs`` (pairs with one
    of each of two classes), ``pair_difference`` (mean difference of the log-odds within pairs, second class minus
    first), ``pair_low``, ``pair_high`` (95 %, see :func:`heldout.metrics.sign_flip_interval`), ``pair_p``, ``status``,
    ``reason``. By ``pair``, one row for each pair of classes: ``first``, ``second``, ``n_first``, ``n_second``
    (groups), ``auc`` of these groups, ``ci_low``, ``ci_high``, ``p_value``, ``p_adjusted`` (for the number of pairs, by
    Holm); see
    :func:`heldout.metrics.pairs_of_classes`. ``status`` is one of

    ``supported``
        The AUC of these units is above chance.
    ``not supported``
        The AUC may be chance.
    ``not tested``
        Cells of the same units were in train.
    ``leaks``
        Units are on both sides of the split, so nothing was tested.
    ``unidentifiable``
        With these units no result could support the claim, for example with one donor of each class.

    Raises
    ------
    ValueError
        If the fit was not evaluated, is not a genotype fit, ``by`` has another value, or a fit of two classes has no
        pairs.

    Examples
    --------
    The patient and the control are one person each, so the person and the genotype cannot be told apart.

    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> adata.obs["donor"] = adata.obs["genotype"].map({"patient": "P", "control": "sister"})
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=[16, 19], val=0)
    >>> ho.tl.genotype(adata, "genotype", method="pseudobulk_logistic")
    >>> _ = ho.tl.evaluate_genotype(adata, baselines=["majority"], claim_keys=["donor"])
    >>> ho.get.claims(adata).set_index("level")["status"].to_dict()
    {'library': 'unidentifiable', 'donor': 'unidentifiable'}
    """
    check_choice(by, "by", ("level", "pair"))
    key = latest_evaluation(adata) if key is None else key
    stored = store.section(adata, keys.CLAIMS)
    if key not in stored:
        hint = f"{store.suggest(key, stored)} " if stored else ""
        msg = (
            f"There are no claims of {key!r} in this AnnData. {hint}"
            "Claims exist for genotype fits that were evaluated on one split; call heldout.tl.evaluate_genotype first. "
            "For a comparison over folds see heldout.get.comparison(adata, by='pooled')."
        )
        raise ValueError(msg)
    if by == "pair" and "pairs" not in stored[key]:
        msg = (
            f"by='pair' needs an evaluation of three classes or more on a split without leaks; {key!r} has no pairs. "
            "Use by='level'."
        )
        raise ValueError(msg)
    return pd.DataFrame(stored[key]["table" if by == "level" else "pairs"]).reset_index(drop=True)


def summary(adata: AnnData, key: str | None = None) -> str:
    """Return the result of an evaluation or a comparison in a few sentences: the score, its unit, and the verdict.

    For genotype fits the sentences follow from :func:`claims`, and claim no more than these. For a comparison there is
    one sentence for each method, the highest AUC first and baselines last. For a learning curve there is one for each
    method and metric.

    Parameters
    ----------
    adata
        AnnData with an evaluation, a comparison or a learning curve, (n_obs × n_vars).
    key
        Name of the fit, the comparison or the learning curve. If None, the last evaluation is used, or without one the
        only comparison or learning curve.

    Raises
    ------
    ValueError
        If the fit was not evaluated, or the comparison has no pooled groups.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> ho.tl.genotype(adata, "genotype", method="majority")
    >>> _ = ho.tl.evaluate(adata, "genotype", baselines=["qc_logistic"])
    >>> print(ho.get.summary(adata))
    majority on test: AUC 0.50 over 2 libraries (1 control, 1 patient). Cannot be decided for a new library: with one
    ...
    """
    evaluated, compared, curves = (
        store.section(adata, name) for name in (keys.EVALUATIONS, keys.COMPARISONS, keys.LEARNING_CURVES)
    )
    if key is None and not evaluated and len(compared) + len(curves) == 1:
        key = next(iter({**compared, **curves}))
    if key not in evaluated and key in compared:
        pooled = comparison(adata, str(key), by="pooled")
        return "\n".join(pooled.sort_values("role", key=lambda role: role == "baseline", kind="stable")["sentence"])
    if key not in evaluated and key in curves:
        return "\n".join(learning_curve(adata, str(key), by="change")["sentence"])
    return read_evaluation(adata, key).summary
