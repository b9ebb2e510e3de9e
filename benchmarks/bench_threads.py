"""Time of fits and evaluations with and without the thread policy, after scanpy has changed the number of threads.

    python benchmarks/bench_threads.py layers [--seconds 4]
    python benchmarks/bench_threads.py workloads [branching klein compare ...] [--runs 2]

``layers``: training steps of three square layers with one and with two threads, in short bursts that alternate. The
minimum is that of bursts in which no other process ran; the median shows how the machine is used.

``workloads``: README's forecast (``branching``), the forecast of Klein's time course (``klein``) and a comparison of
methods on Zhao's slices (``compare``). Each run is a process without any ``*_NUM_THREADS``, in which
``scanpy.pp.normalize_total`` runs first. "without" leaves the numbers of threads as they are then. Both kinds of process
alternate, so that other work of the machine meets both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

DATA = Path(os.environ.get("HELDOUT_DATA_DIR", "shared/data"))
SHAPES = ((32, 128), (64, 128), (64, 512), (128, 128), (128, 512), (256, 256), (256, 1024), (512, 512), (1024, 512))
"""Width and rows of the layers."""


def layers(seconds: float) -> None:
    """Print the time of a training step for each size."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    print("width  rows  multiplications  one thread  two threads  (ms, minimum)  ratio  ratio of medians")
    for width, rows in SHAPES:
        layer = [nn.Linear(width, width) for _ in range(3)]
        network = nn.Sequential(layer[0], nn.ReLU(), layer[1], nn.ReLU(), layer[2])
        optimizer = torch.optim.AdamW(network.parameters(), fused=True)
        x = torch.randn(rows, width)
        size = width * width * rows
        times: dict[int, list[float]] = {1: [], 2: []}
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for number, found in times.items():
                torch.set_num_threads(number)
                for repeat in range(1 + max(1, int(8e6 / (size + 3e5)))):
                    begin = time.perf_counter()
                    optimizer.zero_grad()
                    network(x).square().mean().backward()
                    optimizer.step()
                    if repeat:  # the first one starts the threads
                        found.append(1e3 * (time.perf_counter() - begin))
        one, two = min(times[1]), min(times[2])
        medians = statistics.median(times[1]) / statistics.median(times[2])
        print(
            f"{width:5d} {rows:5d} {size:16.1e} {one:11.3f} {two:12.3f} {one / two:21.2f} {medians:17.2f}", flush=True
        )


@contextmanager
def timed(found: dict[str, float], step: str) -> Iterator[None]:
    """Add the seconds of a block to the table."""
    begin = time.perf_counter()
    yield
    found[step] = time.perf_counter() - begin


def branching(found: dict[str, float]) -> None:
    """README's forecast."""
    import scanpy as sc

    import heldout as ho

    adata = ho.datasets.branching_simulated()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.split_time(adata, "time", test=96)
    _forecast(adata, "time", found)


def klein(found: dict[str, float]) -> None:
    """The last day of Klein's time course."""
    import anndata as ad
    import scanpy as sc

    import heldout as ho

    adata = ad.read_h5ad(DATA / "klein2015" / "klein2015_mesc.h5ad")
    adata.obs["time"] = adata.obs["day"].astype(float)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.split_time(adata, "time", test=adata.obs["time"].max())
    _forecast(adata, "time", found)


def compare(found: dict[str, float]) -> None:
    """The networks and closed forms of benchmarks/genotype.py on Zhao's slices, one seed."""
    from genotype import study

    import heldout as ho

    adata, label, options = study("zhao", DATA)
    with timed(found, "compare"):
        table = ho.tl.compare(adata, label, seeds=[0], **options)
    found["score"] = float(table["estimate"].mean())


def _forecast(adata: AnnData, time_key: str, found: dict[str, float]) -> None:
    import heldout as ho

    with timed(found, "fit"):
        ho.tl.forecast(adata, time_key, method="flow")
    with timed(found, "evaluate"):
        report = ho.tl.evaluate(adata)
    chosen = report[(report["metric"] == "skill_corrected") & (report["role"] == "model")]
    found["score"] = float(chosen["estimate"].iloc[0])


WORKLOADS = {"branching": branching, "klein": klein, "compare": compare}


def alone(name: str, policy: str) -> None:
    """Run a workload in this process, and print its seconds as JSON."""
    import torch

    from heldout._core import threads

    if policy == "without":
        threads._libraries = dict  # no library is found, so that no number is set
    found: dict[str, float] = {}
    WORKLOADS[name](found)
    found["threads of torch"] = torch.get_num_threads()
    print(json.dumps(found))


def workloads(names: list[str], runs: int) -> None:
    """Run the processes in turn, and print a row for each."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    print("| workload | policy | run | seconds, and the mean score | load of the machine |")
    print("|---|---|---|---|---|", flush=True)
    for name in names:
        for run in range(runs):
            for policy in ("with", "without"):
                command = [sys.executable, __file__, "alone", name, "--policy", policy]
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
                found = json.loads(done.stdout.splitlines()[-1])
                shown = ", ".join(f"{step} {value:.3g}" for step, value in found.items())
                print(f"| {name} | {policy} | {run + 1} | {shown} | {os.getloadavg()[0]:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["layers", "workloads", "alone"])
    parser.add_argument("names", nargs="*", metavar="NAME", default=[], help=", ".join(WORKLOADS))
    parser.add_argument("--seconds", type=float, default=4, help="time for each size of layer")
    parser.add_argument("--runs", type=int, default=2, help="processes of each kind")
    parser.add_argument("--policy", choices=["with", "without"], default="with")
    arguments = parser.parse_args()
    if arguments.what == "layers":
        layers(arguments.seconds)
    elif arguments.what == "alone":
        alone(arguments.names[0], arguments.policy)
    else:
        workloads(arguments.names or list(WORKLOADS), arguments.runs)


if __name__ == "__main__":
    main()
