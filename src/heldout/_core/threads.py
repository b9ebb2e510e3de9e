"""One policy for the number of threads of all fits and predictions.

Other packages change the number of threads of this process. The first parallel kernel of numba, for example in
``scanpy.pp.normalize_total``, raises the number of torch to that of numba, in spite of ``OMP_NUM_THREADS=1``. A small
network then waits for threads in every step. Each fit and each prediction therefore sets the number, and restores it.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from heldout._core.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from torch import nn

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables of the environment that ask for a number of threads. The first one that is set decides."""

SMALL = 5e7
"""Number of multiplications below which the largest layer of a network is computed by one thread.

The limit is a judgement. On two cores that other work used, two threads were slower at almost every size that was
tried, because each product waits for the slower thread. Below the limit a training step takes about 10 ms or less, so
little can be gained. ``benchmarks/bench_threads.py layers`` measures it on another machine.
"""


def threads_for(
    multiplications: float | None, *, n_jobs: int | None, environment: Mapping[str, str], cores: int | None = None
) -> int:
    """Return the number of threads of a computation.

    Parameters
    ----------
    multiplications
        Number of multiplications in the largest product of a network, or None if the computation is not a network.
    n_jobs
        The setting of the user: a number, -1 for all cores, or None.
    environment
        Variables of the environment. Used if ``n_jobs`` is None.
    cores
        Number of physical cores; counted if it is needed and None.
    """
    if n_jobs is None:
        asked = asked_by(environment)
        if asked is not None:
            return asked
        if multiplications is not None and multiplications < SMALL:
            return 1
    elif n_jobs != -1:
        return n_jobs
    return physical_cores() if cores is None else cores


def asked_by(environment: Mapping[str, str]) -> int | None:
    """Return the number of threads that the environment asks for, or None. Invalid values count as not set.

    OpenMP accepts a list, one number for each level of nesting. The first number is that of a computation.
    """
    for variable in VARIABLES:
        first = environment.get(variable, "").split(",")[0].strip()
        if first.isdecimal() and int(first) > 0:
            return int(first)
    return None


def physical_cores() -> int:
    """Count the physical cores that this process may use."""
    from joblib import cpu_count

    with warnings.catch_warnings():  # where they cannot be counted, joblib warns and counts logical cores
        warnings.simplefilter("ignore")
        return max(1, int(cpu_count(only_physical_cores=True)))


def largest_product(network: nn.Module, n_rows: int) -> int:
    """Number of multiplications in the largest layer of a network for ``n_rows`` rows.

    A network whose layers are applied at several positions of each row has their number as ``n_positions``.
    """
    layers = [layer for layer in network.modules() if type(layer).__name__ != "Embedding"]
    sizes = [weight.numel() for layer in layers for weight in layer.parameters(recurse=False) if weight.ndim > 1]
    return n_rows * int(getattr(network, "n_positions", 1)) * max(sizes, default=0)


@contextmanager
def thread_policy(multiplications: float | None = None) -> Iterator[int]:
    """Set the number of threads inside the block or the decorated function, and restore it afterwards.

    Torch is not imported; a block that imports it enters the policy again before it trains. Several threads of Python
    restore the numbers that were there before the first of them entered.

    Parameters
    ----------
    multiplications
        See :func:`threads_for`.
    """
    number = threads_for(multiplications, n_jobs=settings.n_jobs, environment=os.environ)
    outer = _here.number
    try:
        _enter(number, outermost=outer is None)
        yield number
    finally:
        _leave(outer)


def network_policy(network: nn.Module, n_rows: int) -> AbstractContextManager[int]:
    """Set the number of threads for batches of ``n_rows`` rows of a network, see :func:`thread_policy`."""
    return thread_policy(largest_product(network, n_rows))


class _Library(Protocol):
    """A loaded library with a number of threads."""

    def get_num_threads(self) -> int:
        """Return the number."""

    def set_num_threads(self, num_threads: int) -> None:
        """Set the number."""


class _Numba:
    """Threads of numba's parallel kernels. Numba cannot use more than at its start."""

    def get_num_threads(self) -> int:
        import numba

        return int(numba.get_num_threads())

    def set_num_threads(self, num_threads: int) -> None:
        import numba

        numba.set_num_threads(min(num_threads, int(numba.config.NUMBA_NUM_THREADS)))  # type: ignore[attr-defined]


class _Here(threading.local):
    """The number that is set in this thread of Python, and the number of numba before."""

    number: int | None = None

    def __init__(self) -> None:
        self.before: dict[str, int] = {}  # numba has a number for each thread of Python


_here = _Here()
_lock = threading.RLock()
_before: dict[str, int] = {}
"""Numbers of the libraries of a process before the first thread of Python entered."""

_inside = 0
"""Number of threads of Python that are inside."""


def _enter(number: int, *, outermost: bool) -> None:
    global _inside
    with _lock:
        _inside += outermost
        found = _libraries()
        for name, library in found.items():  # all numbers are read first, because torch and OpenMP share one
            _numbers_before(name).setdefault(name, library.get_num_threads())
        for library in found.values():
            library.set_num_threads(number)
        _here.number = number


def _numbers_before(name: str) -> dict[str, int]:
    return _here.before if name == "numba" else _before


def _leave(outer: int | None) -> None:
    """Set the number of the block around this one, or what was there before."""
    global _inside
    with _lock:
        _inside = max(_inside - (outer is None), 0)
        for name, library in _libraries().items():
            before = _numbers_before(name)
            if name in before:
                library.set_num_threads(before[name] if outer is None else outer)
        _here.number = outer
        if outer is None:
            _here.before.clear()
        if not _inside:
            _before.clear()


def _libraries() -> dict[str, _Library]:
    """Loaded libraries by name. Torch comes last, because setting the number of OpenMP can change that of torch."""
    found: dict[str, _Library] = {}
    if "numba" in sys.modules and _numba_has_threads():
        found["numba"] = _Numba()
    found |= _pools(tuple(name in sys.modules for name in ("numpy", "scipy.linalg", "sklearn", "torch")))
    torch: Any = sys.modules.get("torch")
    if hasattr(torch, "set_num_threads"):
        found["torch"] = torch
    return found


def _numba_has_threads() -> bool:
    """Whether numba has started its threads. Setting its number would start them, and change the number of torch."""
    import numba

    try:
        return bool(numba.threading_layer())
    except (AttributeError, ValueError):
        return False


@cache
def _pools(loaded: tuple[bool, ...]) -> dict[str, _Library]:
    """Libraries of linear algebra and OpenMP by their file. They are searched again when a package was loaded."""
    from threadpoolctl import ThreadpoolController

    return {library.filepath: library for library in ThreadpoolController().lib_controllers}
