"""Predict held-out biology, and prove that the prediction was honest.

Import it as ``ho``. Functions follow scanpy: ``ho.pp`` splits and prepares, ``ho.tl`` fits, predicts and evaluates,
``ho.pl`` draws, ``ho.get`` returns tables; ``ho.model`` has the classes, ``ho.metrics`` the scores,
``ho.splitting`` splitters for scikit-learn, ``ho.datasets`` data.
"""

from __future__ import annotations

from heldout import _accessor as _accessor
from heldout import datasets, get, metrics, model, pl, pp, splitting, tl

__all__ = ["datasets", "get", "metrics", "model", "pl", "pp", "splitting", "tl"]
