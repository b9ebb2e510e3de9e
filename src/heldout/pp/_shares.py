"""Shares of train, val and test."""

from __future__ import annotations

import logging
from typing import Any

from heldout._core.checks import check_number

logger = logging.getLogger("heldout")


def checked_fractions(*, val: float, test: float, all_train: bool = True) -> dict[str, float]:
    """Return the share of each partition. Refuse shares that leave nothing for train.

    If both are 0, all is train, and a warning says that nothing can be scored. With ``all_train=False`` this is an
    error.
    """
    shares: dict[str, Any] = {"val": val, "test": test}
    for name, share in shares.items():
        check_number(share, name, least=0, below=1)
    if val + test >= 1:
        msg = f"val={val!r} and test={test!r} must leave a share for train: val + test < 1."
        raise ValueError(msg)
    if val + test == 0 and not all_train:
        msg = f"val={val!r} and test={test!r} hold nothing out. At least one of them must be > 0."
        raise ValueError(msg)
    if val + test == 0:
        warn_all_train("val=0 and test=0")
    return {"train": float(1 - val - test), "val": float(val), "test": float(test)}


def warn_all_train(given: str) -> None:
    """Warn that the split holds out nothing."""
    logger.warning(
        "%s: nothing is held out, so no fit on this split can be scored. To know how good a method is, hold cells out "
        "in another split first",
        given,
    )


def recorded_shares(fractions: dict[str, float]) -> dict[str, float]:
    """Return the shares that are recorded."""
    return {name: fractions[name] for name in ("val", "test")}
