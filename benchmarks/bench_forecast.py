"""Time of forecasts of cells: the example of the documentation, a large time course, and the study of Chu 2016.

    python benchmarks/bench_forecast.py [example large chu] [--sources src ../older/src]

Each workload runs in a process without any ``*_NUM_THREADS``, in which ``scanpy.pp.normalize_total`` runs first. With
several ``--sources``, each is imported in turn, so that two versions of the package are compared in one run.

``example``: :func:`heldout.datasets.branching_simulated`, 40 hours held out; the default method, fit and evaluation.
``large``: 20,000 cells × 2,000 genes of the same simulation; fits of single methods.
``chu``: both published networks on the cells of Chu 2016, 36 to 96 hours; fit, and the evaluation with five seeds.
"""

from __future__ import annotations

import argparse
import inspect
import json
import logging
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("HELDOUT_DATA_DIR", ROOT.parent / "shared" / "data"))
LARGE = ("var_ridge", "reversion", "flow", "auto")
PUBLISHED = ("lstm_published", "feedforward_published")

Times = dict[str, tuple[float, float]]


@contextmanager
def timed(found: Times, step: str) -> Iterator[None]:
    """Add the processor time and the wall time of a block to the table."""
    wall, used = time.perf_counter(), time.process_time()
    yield
    found[step] = (time.process_time() - used, time.perf_counter() - wall)


def branching(**options: Any) -> AnnData:
    """A simulated time course, log-normalised."""
    import scanpy as sc

    import heldout as ho

    adata = ho.datasets.branching_simulated(**options)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def example(found: Times) -> None:
    """The default method on the example of the documentation."""
    import heldout as ho

    adata = branching(times=(0, 8, 16, 24, 32, 40))
    ho.pp.split_time(adata, "time", test=40)
    with timed(found, "fit"):
        ho.tl.forecast(adata, "time")
    with timed(found, "evaluate"):
        ho.tl.evaluate(adata, "forecast")


def large(found: Times) -> None:
    """Single methods on 20,000 cells × 2,000 genes."""
    import heldout as ho

    n_times = len(inspect.signature(ho.datasets.branching_simulated).parameters["times"].default)
    adata = branching(n_cells=-(-20_000 // n_times), n_genes=2000)
    ho.pp.split_time(adata, "time", test=96)
    for method in LARGE:
        with timed(found, method):
            try:
                ho.tl.forecast(adata, "time", method=method, mask_var=None)
            except ValueError:
                if method != "auto":  # an older version does not have it
                    raise
                continue


def chu(found: Times) -> None:
    """Both published networks, five seeds."""
    import anndata as ad
    import numpy as np
    import scanpy as sc

    import heldout as ho

    sc.pp.normalize_total(ad.AnnData(np.ones((2, 2), dtype=np.float32)))
    adata = ad.read_h5ad(DATA / "chu2016" / "chu2016_100tf.h5ad")
    adata.obs["hours"] = adata.obs["time_h"].astype(float)
    ho.pp.split_time(adata, "hours", train=36, test=96)
    for method in PUBLISHED:
        with timed(found, f"{method}, fit"):
            ho.tl.forecast(adata, "hours", method=method, key_added=method)
        with timed(found, f"{method}, five seeds"):
            ho.tl.evaluate(adata, method, baselines=["persistence"])


WORKLOADS = {"example": example, "large": large, "chu": chu}


def alone(name: str) -> None:
    """Run a workload in this process, and print its times as JSON."""
    logging.getLogger("heldout").setLevel(logging.ERROR)
    found: Times = {}
    WORKLOADS[name](found)
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", default=[], help=", ".join(WORKLOADS))
    parser.add_argument("--sources", nargs="+", type=Path, default=[ROOT / "src"], help="folders with the package")
    parser.add_argument("--alone", action="store_true", help="run one workload in this process")
    arguments = parser.parse_args()
    if arguments.alone:
        return alone(arguments.names[0])
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    print("| workload | step | source | processor, s | wall, s |")
    print("|---|---|---|---|---|", flush=True)
    for name in arguments.names or WORKLOADS:
        for source in arguments.sources:
            command = [sys.executable, "-W", "ignore", __file__, name, "--alone"]
            path = {**environment, "PYTHONPATH": str(source.resolve())}
            done = subprocess.run(command, env=path, stdout=subprocess.PIPE, text=True, check=True)
            for step, (used, wall) in json.loads(done.stdout.splitlines()[-1]).items():
                print(f"| {name} | {step} | {source} | {used:.1f} | {wall:.1f} |", flush=True)
    return None


if __name__ == "__main__":
    main()
