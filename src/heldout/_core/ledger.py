"""The ledger: each look at a test set is written down, and the count is printed with the score.

A look is the first time that a fit is scored on a set of judged cells. Scoring the same fit on the same cells again,
for example with other baselines, is recorded in a row of its own but has the number of the first look: the score of
the fit was known already. Another fit, other cells or another unit of inference is a new look. The module ``looks``
numbers the looks.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pandas as pd

from heldout._core import keys
from heldout._core.plain_json import DAMAGED
from heldout._core.store import sections

if TYPE_CHECKING:
    from anndata import AnnData

COLUMNS = ("time", "key", "method", "fit", "split", "partition", "test_set", "judged", "look")

_JUDGED_COLUMNS = ("method", "level", "metric", "n", "n_groups", "p_smallest", "p_kind")


def read_ledger(adata: AnnData) -> pd.DataFrame:
    """All evaluations on test so far, one row each, oldest first."""
    stored = sections(adata).get(keys.LEDGER)
    if stored is None:
        return pd.DataFrame({name: pd.Series(dtype=int if name == "look" else str) for name in COLUMNS})
    try:
        frame = pd.DataFrame(stored).reset_index(drop=True)
        for name, value in (("judged", ""), ("partition", "test")):  # not written by older versions
            if name not in frame:
                frame[name] = value
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


def was_evaluated(adata: AnnData, fit_hash: str, partition: str = "test") -> bool:
    """Whether the ledger has an evaluation of this fit on a partition of its split."""
    ledger = read_ledger(adata)
    return bool(((ledger["fit"] == fit_hash) & (ledger["partition"] == partition)).any())


def splits_with_looks(adata: AnnData) -> set[str]:
    """Hashes of the splits that the ledger names; none if the ledger was altered."""
    try:
        return set(read_ledger(adata)["split"])
    except ValueError:
        return set()
