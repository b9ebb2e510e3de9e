"""The ledger: each look at a test set is written down, and the count is printed with the score."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pandas as pd

from heldout._core import keys

if TYPE_CHECKING:
    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout._core.partition import Partition

COLUMNS = ("time", "key", "method", "fit", "split", "test_set", "look")


def read_ledger(adata: AnnData) -> pd.DataFrame:
    """All looks so far, one row each, oldest first."""
    stored = adata.uns.get(keys.UNS, {}).get(keys.LEDGER)
    if stored is None:
        return pd.DataFrame({name: pd.Series(dtype=int if name == "look" else str) for name in COLUMNS})
    frame = pd.DataFrame(stored).reset_index(drop=True)
    return frame.astype({name: int if name == "look" else str for name in COLUMNS})


def next_look(adata: AnnData, key: str, fit: Fit, partition: Partition) -> tuple[pd.DataFrame, int]:
    """Return the ledger with one more look at this test set, and its number."""
    ledger = read_ledger(adata)
    look = int((ledger["test_set"] == partition.test_hash).sum()) + 1
    row = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "key": key,
        "method": fit.method,
        "fit": fit.hash,
        "split": partition.hash,
        "test_set": partition.test_hash,
        "look": look,
    }
    return pd.DataFrame([*ledger.to_dict("records"), row]).rename(index=str), look
