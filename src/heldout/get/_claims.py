"""What an evaluation supports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from heldout._core import keys, store

if TYPE_CHECKING:
    from anndata import AnnData


def claims(adata: AnnData, key: str = "genotype") -> pd.DataFrame:
    """What the design of an evaluation can support, level by level: library, line, donor.

    Parameters
    ----------
    adata
        AnnData with an evaluated genotype fit, (n_obs × n_vars).
    key
        Name of the fit.

    Returns
    -------
    One row a level, finest first: ``level``, ``n`` (units among the judged cells), ``units`` (in words), ``p_value`` (exact, of
    the AUC of those units), ``p_smallest``, ``status``, ``reason``. ``status`` is ``supported``, ``not supported`` (chance is not
    excluded), ``not tested`` (cells of the same units were in train) or ``unidentifiable`` (with these units no result could
    support the claim, e.g. with one donor a side).

    Raises
    ------
    ValueError
        If the fit was not evaluated.

    Examples
    --------
    One patient and her sister: whatever tells the libraries apart may be the person.

    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> adata.obs["donor"] = adata.obs["genotype"].map({"patient": "P", "control": "sister"})
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=[16, 19], val=0)
    >>> ho.tl.genotype(adata, "genotype", method="pseudobulk_logistic")
    >>> _ = ho.tl.evaluate(adata, "genotype", baselines=["majority"], claim_keys=["donor"])
    >>> ho.get.claims(adata).set_index("level")["status"].to_dict()
    {'library': 'unidentifiable', 'donor': 'unidentifiable'}
    """
    return pd.DataFrame(_stored(adata, key)["table"]).reset_index(drop=True)


def summary(adata: AnnData, key: str = "genotype") -> str:
    """The sentence that an evaluation allows; it is made of :func:`claims` and cannot say more.

    Parameters
    ----------
    adata
        AnnData with an evaluated genotype fit, (n_obs × n_vars).
    key
        Name of the fit.

    Raises
    ------
    ValueError
        If the fit was not evaluated.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> ho.tl.genotype(adata, "genotype", method="majority")
    >>> _ = ho.tl.evaluate(adata, "genotype", baselines=["qc_logistic"])
    >>> print(ho.get.summary(adata))
    majority on test: AUC 0.50 over 2 libraries (1 control, 1 patient). Unidentifiable for a new library (one library ...
    """
    return str(_stored(adata, key)["summary"])


def _stored(adata: AnnData, key: str) -> dict[str, Any]:
    stored = store.section(adata, keys.CLAIMS)
    if key not in stored:
        hint = (
            store.suggest(key, stored)
            if stored
            else f"Call heldout.tl.evaluate(adata, {key!r}) on a genotype fit first."
        )
        msg = f"There are no claims of {key!r} in this AnnData. {hint}"
        raise ValueError(msg)
    return dict(stored[key])
