"""The ledger: each look at a test set is written down, and the count is printed with the score."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pandas as pd

from heldout._core import keys

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    ledger, looks = next_looks(adata, [(key, fit.method, fit.hash, partition)])
    return ledger, looks[0]


def next_looks(adata: AnnData, looks: Sequence[tuple[str, str, str, Partition]]) -> tuple[pd.DataFrame, list[int]]:
    """Return the ledger with more looks, each of a key, a method, a hash of what was fitted and a split; and their numbers."""
    rows = read_ledger(adata).to_dict("records")
    numbers = []
    for key, method, fitted, partition in looks:
        look = sum(row["test_set"] == partition.test_hash for row in rows) + 1
        rows.append(
            {
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "key": key,
                "method": method,
                "fit": fitted,
                "split": partition.hash,
                "test_set": partition.test_hash,
                "look": look,
            }
        )
        numbers.append(look)
    return pd.DataFrame(rows).rename(index=str), numbers
