"""Splitters for scikit-learn, and the index algorithms of ``pp.split_*`` and ``pp.folds``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heldout.splitting._time import leave_one_time_out, rolling_origins

if TYPE_CHECKING:
    from heldout.splitting.splitters import GroupStratifiedKFold, LeaveOneMatchOut, LeaveOnePairOut

__all__ = ["GroupStratifiedKFold", "LeaveOneMatchOut", "LeaveOnePairOut", "leave_one_time_out", "rolling_origins"]

_SPLITTERS = ("GroupStratifiedKFold", "LeaveOneMatchOut", "LeaveOnePairOut")


def __getattr__(name: str) -> Any:
    """Import the splitters on first use, because they import scikit-learn."""
    if name in _SPLITTERS:
        from heldout.splitting import splitters

        return getattr(splitters, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
