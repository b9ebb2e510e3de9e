"""Store an evaluation, whatever was forecast or classified, and write down the look at the test set."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from heldout._core import keys, store
from heldout._core.ledger import next_look

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout._core.partition import Partition

logger = logging.getLogger("heldout")


def write_evaluation(
    adata: AnnData,
    key: str,
    fit: Fit,
    split: Partition,
    table: pd.DataFrame,
    scores: pd.DataFrame,
    *,
    partition: str,
    beside: Mapping[str, Mapping[str, Any]] | None = None,
) -> pd.DataFrame:
    """Store the table and the scores behind it, and return the table with the partition, the look and what is missing.

    ``beside`` holds further entries by section of ``uns["heldout"]``.
    """
    missing = split.missing(partition)
    if missing:
        what = "cells" if split.axis == "obs" else "genes"
        note = f"{missing} of {missing + split.counts()[partition]} {partition} {what} of the split are not here"
        table = table.assign(note=[f"{note}; {old}" if old else note for old in table["note"]])
        logger.warning("%s: this is a score on a part of the %s set", note, partition)
    sections: dict[str, Any] = {}
    look = 0
    if partition == "test":
        sections[keys.LEDGER], look = next_look(adata, key, fit, split)
    table = table.assign(partition=partition, look=look)
    for name, frame in ((keys.EVALUATIONS, table), (keys.SCORES, scores.assign(partition=partition))):
        sections[name] = {**store.section(adata, name), key: frame.rename(index=str)}
    for name, entries in (beside or {}).items():
        sections[name] = {**store.section(adata, name), **entries}
    store.commit(adata, heldout=sections)
    if look > 1:
        logger.warning("this is look %d at the same test set; choose between models on val, not on test", look)
    return table
