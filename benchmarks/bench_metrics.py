"""Time and memory of the energy distance between two sets of cells.

    python benchmarks/bench_metrics.py [--cells 20000] [--dims 50] [--runs 3]

Each run has its own process. Memory is the growth of the peak resident size during the call. The size before the call
includes the cells and the imported libraries.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import heldout as ho


def resident(field: str) -> float:
    """Return the resident size of this process in MB: now (``VmRSS``) or at its peak (``VmHWM``). Linux only."""
    status = Path("/proc/self/status").read_text()
    return float(status.split(f"{field}:")[1].split()[0]) / 1024


def measure(cells: int, dims: int) -> None:
    """Print seconds and MB of one call. A small call first imports what is needed."""
    X, Y = np.random.default_rng(0).normal(size=(2, cells, dims))
    ho.metrics.energy_distance(X[:2], Y[:2])
    before, start = resident("VmRSS"), time.perf_counter()
    ho.metrics.energy_distance(X, Y)
    print(time.perf_counter() - start, resident("VmHWM") - before)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--dims", type=int, default=50)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        measure(arguments.cells, arguments.dims)
        sys.exit()
    command = [sys.executable, __file__, "--child", f"--cells={arguments.cells}", f"--dims={arguments.dims}"]
    ran = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(arguments.runs)]
    seconds, memory = zip(*(map(float, one.stdout.split()) for one in ran), strict=True)
    print(f"{arguments.cells:,} × {arguments.cells:,} cells × {arguments.dims} dimensions")
    print(f"time    {statistics.median(seconds):.1f} s")
    print(f"memory  {max(memory):.0f} MB, limit 1,000 MB")
