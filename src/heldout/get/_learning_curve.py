"""A stored learning curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pandas as pd

from heldout._core import keys
from heldout._core.checks import check_choice
from heldout._core.tables import prints_whole
from heldout.get._comparison import stored_result

if TYPE_CHECKING:
    from anndata import AnnData

_SLOTS = {"size": "table", "repeat": "repeats", "change": "gains"}


@prints_whole
def learning_curve(
    adata: AnnData, key: str = "learning_curve", *, by: Literal["size", "repeat", "change"] = "size"
) -> pd.DataFrame:
    """Return a learning curve: scores against the number of train groups.

    Parameters
    ----------
    adata
        AnnData with the learning curve, (n_obs × n_vars).
    key
        Name of the learning curve.
    by
        ``size``: the table that :func:`heldout.tl.learning_curve` returned. ``repeat``: the scores of each repetition.
        ``change``: the change from about half of the train units to all that are available.

    Returns
    -------
    The table. By ``repeat``: ``method``, ``n_train``, ``repeat``, ``auc``, ``loss``. By ``change``, one row for each
    method and metric: ``method``, ``metric``, ``n_from``, ``n_to`` (train units), ``score_from``, ``score_to``,
    ``gain`` (their difference), ``gain_low``, ``gain_high``, ``trend``, ``sentence``. The 95 % interval of ``gain``
    covers new held-out groups, by a jackknife, and the draw of the subsets. It does not cover new train groups.
    ``trend`` is ``improves`` or ``worsens`` if the interval excludes 0, ``flat`` if the interval is within 0.02 of 0,
    and ``unknown`` otherwise.

    Raises
    ------
    ValueError
        If there is no such learning curve, or ``by`` has another value.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=16)
    >>> _ = ho.tl.learning_curve(adata, methods=["nearest_centroid"], sizes=[2, 4], n_repeats=2)
    >>> ho.get.learning_curve(adata, by="change")[["metric", "n_from", "n_to"]].values.tolist()
    [['auc', 2, 4], ['loss', 2, 4]]
    """
    check_choice(by, "by", tuple(_SLOTS))
    stored = stored_result(adata, keys.LEARNING_CURVES, key, "learning_curve")
    return pd.DataFrame(stored[_SLOTS[by]]).reset_index(drop=True)
