"""Read a stored audit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from heldout._core import keys, store
from heldout.auditing._finding import AuditTable

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def audit(adata: AnnData, key: str = "audit") -> pd.DataFrame:
    """Return the table of a stored audit, with one row for each finding.

    Parameters
    ----------
    adata
        AnnData that was audited, (n_obs × n_vars).
    key
        Name of the audit.

    Returns
    -------
    The table that :func:`heldout.tl.audit` returned. It prints as a report.

    Raises
    ------
    ValueError
        If there is no audit with this name.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> ho.pp.split_cells(adata, test=0.5, val=0)
    >>> _ = ho.tl.audit(adata, "library", "genotype", items=["group_overlap"])
    >>> ho.get.audit(adata).query("status == 'fail'")["item"].tolist()
    ['group_overlap']
    """
    audits = store.section(adata, keys.AUDITS)
    if key not in audits:
        hint = store.suggest(key, audits) if audits else "Run heldout.tl.audit first."
        msg = f"key={key!r} is not an audit of this AnnData. {hint}"
        raise ValueError(msg)
    stored = audits[key]
    return AuditTable.load(stored["table"], json.loads(str(stored["json"]))["title"])
