"""The ledger: each look at a test set is written down, and the count is printed with the score.

A look is the first time that a fit is scored on a set of judged cells. Scoring the same fit on the same cells again,
for example with other baselines, is recorded in a row of its own but has the number of the first look: the score of
the fit was known already. Another fit, other cells or another unit of inference is a new look.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pandas as pd

from heldout._core import keys
from heldout._core.plain_json import DAMAGED
from heldout._core.store import sections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout._core.partition import Partition

COLUMNS = ("time", "key", "method", "fit", "split", "test_set", "judged", "look")

_JUDGED_COLUMNS = ("method", "level", "metric", "n", "n_groups", "p_smallest", "p_kind")


def read_ledger(adata: AnnData) -> pd.DataFrame:
    """All evaluations on test so far, one row each, oldest first."""
    stored = sections(adata).get(keys.LEDGER)
    if stored is None:
        return pd.DataFrame({name: pd.Series(dtype=int if name == "look" else str) for name in COLUMNS})
    try:
        frame = pd.DataFrame(stored).reset_index(drop=True)
        if "judged" not in frame:  # written by an older version
            frame["judged"] = ""
        return frame.astype({name: int if name == "look" else str for name in COLUMNS})[list(COLUMNS)]
    except DAMAGED as error:
        msg = (
            "uns['heldout']['ledger'] was altered, so looks at the test set cannot be counted. Read the AnnData again "
            "from a file with the complete ledger."
        )
        raise ValueError(msg) from error


def judged_digest(
    table: pd.DataFrame, scores: pd.DataFrame, *, missing: int, claims: pd.DataFrame | None = None
) -> str:
    """Hash of what was judged, without the scores: methods, levels, metrics, claims, and the units with their cells.

    Baselines do not count, nor do random numbers. Two evaluations of one fit with the same digest show the same scores
    of that fit.
    """
    rows = table.loc[table["role"] == "model", [name for name in _JUDGED_COLUMNS if name in table]]
    units = scores.loc[scores["role"] == "model"] if "role" in scores else scores
    units = units[[name for name in units if not pd.api.types.is_float_dtype(units[name].dtype)]]
    levels = pd.DataFrame() if claims is None else claims[["level", "n"]]
    parts = [frame.to_csv(index=False, float_format="%.6g") for frame in (rows, units, levels)]
    return hashlib.sha256("\n".join([str(missing), *parts]).encode()).hexdigest()


def next_look(
    adata: AnnData, key: str, fit: Fit, partition: Partition, *, judged: str = ""
) -> tuple[pd.DataFrame, int, bool]:
    """Return the ledger with one more row, the number of this look, and whether it is a new look."""
    before = read_ledger(adata)
    ledger, looks = next_looks(adata, [(key, fit.method, fit.hash, partition)], judged=judged)
    return ledger, looks[0], looks[0] not in before.loc[before["test_set"] == partition.test_hash, "look"].tolist()


def next_looks(
    adata: AnnData, looks: Sequence[tuple[str, str, str, Partition]], *, judged: str = ""
) -> tuple[pd.DataFrame, list[int]]:
    """Return the ledger with more rows, and the number of the look of each.

    Parameters
    ----------
    adata
        AnnData with the ledger, if there is one.
    looks
        Key, method, hash of the fit and split of each look.
    judged
        Digest of what was judged, see :func:`judged_digest`. If it is empty, each look is a new one.
    """
    rows = read_ledger(adata).to_dict("records")
    numbers = []
    for key, method, fitted, partition in looks:
        here = [row for row in rows if row["test_set"] == partition.test_hash]
        again = [row["look"] for row in here if judged and row["fit"] == fitted and row["judged"] == judged]
        look = again[0] if again else max((row["look"] for row in here), default=0) + 1
        rows.append(
            {
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "key": key,
                "method": method,
                "fit": fitted,
                "split": partition.hash,
                "test_set": partition.test_hash,
                "judged": judged,
                "look": look,
            }
        )
        numbers.append(look)
    return pd.DataFrame(rows).rename(index=str), numbers
