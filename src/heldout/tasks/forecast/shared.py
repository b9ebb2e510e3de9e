"""Couplings that several methods of one evaluation need are computed once."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_BYTES = 500_000_000
"""Memory of the couplings that are kept. Later couplings are computed each time."""

_kept: ContextVar[dict[str, Any] | None] = ContextVar("couplings", default=None)


@contextmanager
def shared_couplings() -> Iterator[None]:
    """Keep couplings inside the block, or inside the decorated function. A nested block uses the same couplings."""
    outer = _kept.get()
    token = _kept.set({} if outer is None else outer)
    try:
        yield
    finally:
        _kept.reset(token)


def remembered(batch_size: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a function of two snapshots, so that it returns the same coupling for the same cells and options.

    ``batch_size`` is the default of the function. The seed counts only for larger snapshots, whose batches are drawn.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def found(X0: np.ndarray, X1: np.ndarray, **options: Any) -> Any:
            kept, rng = _kept.get(), options.get("rng", 0)
            if kept is None or not isinstance(rng, int):
                return function(X0, X1, **options)
            size = options.get("batch_size", batch_size)
            drawn = rng if max(len(X0), len(X1)) > size else None
            key = _digest(X0, X1, drawn, {name: value for name, value in options.items() if name != "rng"})
            if key not in kept:
                coupling = function(X0, X1, **options)
                if _n_bytes(coupling) + sum(map(_n_bytes, kept.values())) > MOST_BYTES:
                    return coupling
                kept[key] = coupling
            return kept[key]

        return found

    return decorate


def once(X: np.ndarray, make: Callable[[], np.ndarray], **options: Any) -> np.ndarray:
    """An array that was computed from the same cells and options in this block, or else ``make()``."""
    kept = _kept.get()
    if kept is None:
        return make()
    key = _digest(X, X[:0], None, options)
    if key not in kept:
        kept[key] = make()
    return np.asarray(kept[key])


def _digest(X0: np.ndarray, X1: np.ndarray, drawn: int | None, options: dict[str, Any]) -> str:
    state = hashlib.sha256(repr(drawn).encode())
    for name in sorted(options):
        value = options[name]
        state.update(name.encode())
        state.update(np.ascontiguousarray(value).tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    for X in (X0, X1):
        state.update(f"{X.shape}{X.dtype}".encode())
        state.update(np.ascontiguousarray(X).tobytes())
    return state.hexdigest()


def _n_bytes(coupling: Any) -> int:
    if isinstance(coupling, np.ndarray):
        return int(coupling.nbytes)
    transition = coupling.transition
    return int(transition.data.nbytes + transition.indices.nbytes + transition.indptr.nbytes + coupling.mass.nbytes)
