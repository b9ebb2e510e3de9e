"""The forecasting study: skill of forecasts of genes and of cells, on Chu 2016 and other time courses.

    python benchmarks/forecasting.py [--seeds 5]

The script runs ``forecast_genes.py`` on one split of genes, as the study did, and ``forecast_cells.py``, each in its
own process, and prints the time of both. For ten splits of genes run ``forecast_genes.py``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="seeds of the networks")
    seeds = str(parser.parse_args().seeds)
    start = time.perf_counter()
    for name, options in (
        ("forecast_genes.py", ["--splits", "1", "--seeds", seeds]),
        ("forecast_cells.py", ["--data", "chu", "--seeds", seeds]),
    ):
        print(f"== {name} {' '.join(options)}", flush=True)
        subprocess.run([sys.executable, str(HERE / name), *options], check=True)
    print(f"both took {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
