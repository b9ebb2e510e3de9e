"""Return freed memory to the system."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Return memory that was freed in threads and in small pieces, which glibc would keep. Does nothing elsewhere."""
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(0)
