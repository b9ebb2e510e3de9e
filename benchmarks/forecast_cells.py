"""Skill of all forecasts of cells compared with persistence, on public time courses and a simulation.

    python benchmarks/forecast_cells.py [--data chu] [--seeds 5] [--methods flow lstm]

Each column is one target: the energy distance of persistence, and the skill of each method, as mean and range over
seeds of training and chains. A skill of 1 is as near to the truth as the truth to itself, and 0 is persistence. The
range is not a confidence interval, because each column is one target time of one experiment. With --rolling each later
time is forecast from all times before it. With --middle each middle time is left out in turn.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

import heldout as ho
from heldout._core.partition import read_partition
from heldout.tasks.forecast import METHODS
from heldout.tasks.forecast.task import Task, predict

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(os.environ.get("HELDOUT_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
MANY_GENES = 1000
NAMED = {"chu": [(36, 96), (72, 96)]}
MODELS = {"flow", "lstm", "feedforward", "lstm_published", "feedforward_published"}


def load(name: str) -> ad.AnnData:
    """Load cells with their time in obs["time"], in which higher values are more expression."""
    import scanpy as sc

    if name == "simulation":
        adata = ho.datasets.branching_simulated(n_cells=200, n_genes=100)
        adata.obs["time"] = adata.obs["time"].astype(float)
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
        return adata
    path, key = {
        "chu": ("chu2016/chu2016_100tf.h5ad", "time_h"),
        "bargaje": ("bargaje2017/bargaje2017_qpcr.h5ad", "time_h"),
        "klein": ("klein2015/klein2015_mesc.h5ad", "day"),
        "packer": ("packer2019/packer2019_neurons.h5ad", "embryo.time.bin"),
        "eb": ("eb2019/eb_2750cells_100pcs.h5ad", "time"),
    }[name]
    adata = ad.read_h5ad(DATA / path)
    if name == "packer":  # bins of estimated minutes, e.g. 210-270 and > 650
        ends = adata.obs[key].astype(str).str.extractall(r"(\d+)")[0].astype(float)
        adata.obs["time"] = ends.groupby(level=0).mean().reindex(adata.obs_names)
    else:
        adata.obs["time"] = adata.obs[key].astype(float)
    if name == "eb":  # five whitened components, as in the benchmark of the field
        adata = adata[:, :5].copy()
        adata.X = (adata.X - adata.X.mean(axis=0)) / adata.X.std(axis=0)
    if name == "bargaje":
        adata.X = 25 - adata.X
    if name in ("klein", "packer"):
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
    return adata


def cases(name: str, times: np.ndarray, *, rolling: bool, middle: bool) -> Iterator[tuple[str, dict]]:
    """Yield the label and the arguments of pp.split_time."""
    for last, target in NAMED.get(name, []):
        yield f"≤{last}→{target}", {"train": last, "test": target}
    if rolling:
        for i in range(3, len(times)):
            if (times[i - 1], times[i]) not in NAMED.get(name, []):
                yield f"≤{times[i - 1]:g}→{times[i]:g}", {"train": times[i - 1], "test": times[i]}
    if middle:
        for target in times[1:-1]:
            yield f"without {target:g}", {"test": target, "direction": "interpolate"}


def run(adata: ad.AnnData, methods: list[str], seeds: int) -> dict[str, np.ndarray]:
    """Compute the energy distance of each method to all cells of the target, one value per seed; and the floor."""
    task = Task.of(adata, read_partition(adata), time_key="time", mask_var=None)
    data = task.data()
    at = float(task.times_of("test")[0])
    first = int(np.searchsorted(data.times, at)) - 1
    start, start_time = data.cells[first], float(data.times[first])
    truth = data.space.encode(adata[adata.obs["split"] == "test"].X)
    wanted = "forecast" if at > data.times[-1] else "interpolation"
    found = {"floor": ho.metrics.split_half(truth, ho.metrics.energy_distance).clip(min=0)}
    for method in methods:
        if wanted not in METHODS[method].kinds:
            continue
        scores = []
        for seed in range(seeds if METHODS[method].load().stochastic else 1):
            fit = task.fit(method, seed=seed, data=data)
            cells = predict(fit, start, start_time, at, rng=np.random.default_rng(seed))
            scores.append(ho.metrics.energy_distance(truth, cells))
            if seed == 0:
                found[f"{method} share"] = np.array(((fit.info["fitted"].get("damping") or {}).get("share")) or [])
        found[method] = np.array(scores)
        if method == "flow":
            found["collapsed"] = np.array([ho.metrics.energy_distance(truth, ho.metrics.collapse(cells))])
    return found


def row(name: str, options: dict, methods: list[str], seeds: int) -> dict[str, str]:
    """Compute one column of the table: the scores of each method at one target, as text."""
    import torch

    torch.set_num_threads(1)
    logging.getLogger("heldout").setLevel(logging.ERROR)
    adata = load(name)
    ho.pp.split_time(adata, "time", **options)
    if adata.n_vars > MANY_GENES:
        ho.pp.highly_variable_genes(adata, n_top_genes=MANY_GENES, subset=True)  # of the train cells
    found = run(adata, methods, seeds)
    floor, reference = found["floor"].mean(), found["persistence"].mean()
    texts = {"persistence": f"{reference:.2f}", "floor": f"{floor:.2f}"}
    for method, scores in found.items():
        if method in ("persistence", "floor") or method.endswith("share"):
            continue
        reached = ho.metrics.skill(scores, reference, floor)  # NaN where persistence is as good as the floor
        span = f" [{reached.min():.2f}, {reached.max():.2f}]" if len(scores) > 1 else ""
        texts[method] = f"{reached.mean():.2f}{span}"
        if len(shares := found.get(f"{method} share", [])):
            texts[method] += f" ({'/'.join(f'{share:g}' for share in shares)})"
    return texts


def main() -> None:
    """Print one block per data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", nargs="+", default=["chu"], choices=["chu", "bargaje", "klein", "packer", "eb", "simulation"]
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", default=METHODS.names(), choices=METHODS.names())
    parser.add_argument("--rolling", action="store_true", help="forecast every time from the fourth on")
    parser.add_argument("--middle", action="store_true", help="leave out every middle time")
    parser.add_argument("--jobs", type=int, default=2, help="processes; each takes one target")
    arguments = parser.parse_args()
    methods = list(dict.fromkeys(["persistence", *arguments.methods]))
    # Normalisation has started threads in this process, and a fork with threads can hang.
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        for name in arguments.data:
            began, times = time.perf_counter(), np.unique(load(name).obs["time"])
            rolling = arguments.rolling or (name not in NAMED and not arguments.middle)
            asked = list(cases(name, times, rolling=rolling, middle=arguments.middle))
            waiting = [pool.submit(row, name, options, methods, arguments.seeds) for _, options in asked]
            rows = {label: job.result() for (label, _), job in zip(asked, waiting, strict=True)}
            print(f"\n{name}: skill (share of the movement made), {time.perf_counter() - began:.0f} s")
            print(pd.DataFrame(rows).fillna("").to_string(), flush=True)


if __name__ == "__main__":
    main()
