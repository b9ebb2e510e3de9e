"""Predict held-out biology, and prove that the prediction was honest.

Import it as ``ho``. Functions follow scanpy: ``ho.pp`` splits and prepares, ``ho.tl`` fits, predicts and evaluates,
``ho.pl`` draws, ``ho.get`` returns tables; ``ho.model`` has the classes, ``ho.metrics`` the scores,
``ho.splitting`` splitters for scikit-learn, ``ho.datasets`` data. ``ho.report`` writes one page about all that is
stored. ``ho.settings`` has threads, messages, progress and colours.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from heldout import _accessor as _accessor
from heldout._core.settings import settings as settings

if TYPE_CHECKING:
    from heldout import datasets, get, metrics, model, pl, pp, splitting, tl
    from heldout._report import report

__all__ = ["datasets", "get", "metrics", "model", "pl", "pp", "report", "settings", "splitting", "tl"]


def __getattr__(name: str) -> Any:
    """Import a module when it is first used, so that reading libraries does not wait for matplotlib."""
    if name == "report":
        return import_module("heldout._report").report
    if name in __all__:
        return import_module(f"heldout.{name}")
    msg = f"module 'heldout' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
