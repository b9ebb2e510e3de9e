"""Time of ``import heldout`` compared with ``import anndata``, which it needs.

    python benchmarks/bench_import.py [--runs 9]

Each import has its own process; the two alternate. The time is the CPU time of the process, which depends least on
other work of the machine.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

CODE = "import time, {module}; print(time.process_time())"


def seconds(module: str) -> float:
    """Return the CPU seconds of a process that imports a module and ends."""
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(module=module)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args()
    seconds("heldout")
    pairs = [(seconds("heldout"), seconds("anndata")) for _ in range(arguments.runs)]
    ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"heldout {ours:.2f} s, anndata {theirs:.2f} s")
    print(f"ratio   {statistics.median(a / b for a, b in pairs):.3f}, limit 1.3")
