"""``method="auto"`` beside all methods that it can choose from, at all targets of several time courses.

    python benchmarks/forecast_auto.py [--data klein bargaje packer eb chu branching laws shapes populations] [--seeds 3]
        [--flow] [--only middle]

Each time from the fourth on is forecast from the times before it, and each inner time is left out in turn. Each seed
draws at most 200 cells of each train time. The table has the corrected skill: 0 is persistence, and 1 is as near to the
observed cells as one half of them is to the other half. The last columns have the rank of ``auto``, the best other
method, how much larger the energy distance of ``auto`` is, and the noise floor: 95 % of 400 distances between two
halves of the observed cells are smaller. ``auto`` is level with the best if the difference is below the floor, and it
loses to persistence if it is worse by more than the floor.

The candidates and the strength of the shrinkage were chosen on Chu 2016 (``chu``), on fifteen time courses that are not
here (docs/forecast_results.md), and on simulations with other seeds than those below. ``blend`` was chosen on Chu and
on other seeds of the courses of ``branching`` and ``shapes``.
``flow`` is trained with one seed. With ``--only middle`` only inner times are left out, and with ``--only later`` only
later times are forecast.
"""

from __future__ import annotations

import argparse
import logging
import time
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from _simulated_courses import KINDS, POPULATIONS, population, simulated
from forecast_cells import DATA, MANY_GENES, load
from scipy.linalg import expm

import heldout as ho
from heldout._core.partition import read_partition
from heldout.tasks.forecast import METHODS
from heldout.tasks.forecast.shared import shared_couplings
from heldout.tasks.forecast.task import Task, predict

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("klein", "bargaje", "packer", "eb", "chu", "branching", "laws", "shapes", "populations")
MOST = 200
LAWS = ("line", "circle", "none")


def courses(name: str) -> Iterator[tuple[str, ad.AnnData]]:
    """Yield time courses with the time in obs["time"]; several for simulations."""
    import scanpy as sc

    if name == "eb":  # as the published comparisons: five components, whitened
        adata = ad.read_h5ad(DATA / "eb2019" / "eb_2750cells_100pcs.h5ad")
        X = np.asarray(adata.X)[:, :5]
        adata = ad.AnnData((X - X.mean(axis=0)) / X.std(axis=0), obs=adata.obs[["time"]].astype(float))
        yield name, adata
    elif name == "branching":
        for seed in (10, 11):
            adata = ho.datasets.branching_simulated(n_cells=200, n_genes=200, rng=seed)
            sc.pp.normalize_total(adata, target_sum=1e4)
            sc.pp.log1p(adata)
            yield f"branching {seed}", adata
    elif name == "laws":
        for kind in LAWS:
            yield kind, law(kind, seed=10)
    elif name == "shapes":
        for kind in KINDS:
            yield kind, simulated(kind, seed=12)
    elif name == "populations":
        for kind in POPULATIONS:
            yield kind, population(kind, seed=12)
    else:
        yield name, load(name)


def law(kind: str, *, seed: int, n: int = 200, n_genes: int = 15) -> ad.AnnData:
    """Simulate cells that move on a line, on a circle, or not at all, at irregular times."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(n_genes, 3)))[0].T
    turn = 0.2 * np.array([[0, -1, 0], [1, 0, 0], [0, 0, 0]])
    times, found = [0, 1, 2, 3.5, 5, 6, 8], []
    for at in times:
        z = rng.normal(size=(n, 3)) * [0.6, 0.5, 0.5]
        if kind == "line":
            z += at * np.array([0.8, -0.4, 0])
        elif kind == "circle":
            z = (z + [4, 0, 0]) @ expm(turn * at).T
        found.append(5 + z @ basis + 0.1 * rng.normal(size=(n, n_genes)))
    return ad.AnnData(np.concatenate(found), obs=pd.DataFrame({"time": np.repeat(np.array(times, dtype=float), n)}))


def cases(times: np.ndarray) -> Iterator[tuple[str, dict]]:
    """Yield the label and the arguments of pp.split_time of each target."""
    for i in range(3, len(times)):
        yield f"≤{times[i - 1]:g}→{times[i]:g}", {"train": times[i - 1], "test": times[i]}
    for target in times[1:-1]:
        yield f"without {target:g}", {"test": target, "direction": "interpolate"}


def few_cells(adata: ad.AnnData, seed: int) -> ad.AnnData:
    """At most 200 cells of each train time, and all test cells."""
    rng = np.random.default_rng(seed)
    keep = (adata.obs["split"] == "test").to_numpy()
    for at in adata.obs.loc[~keep, "time"].unique():
        rows = np.flatnonzero((adata.obs["time"] == at) & ~keep)
        keep[rng.choice(rows, min(MOST, len(rows)), replace=False)] = True
    return adata[keep].copy()


@shared_couplings()
def distances(
    adata: ad.AnnData, methods: list[str], seed: int
) -> tuple[dict[str, float], dict[str, float], np.ndarray]:
    """Compute the energy distance of each method to the cells of the target, the seconds of fits, and the truth."""
    adata = few_cells(adata, seed)
    task = Task.of(adata, read_partition(adata), time_key="time", mask_var=None)
    data = task.data()
    at = float(task.times_of("test")[0])
    start = int(np.searchsorted(data.times, at)) - 1
    truth = data.space.encode(adata[(adata.obs["split"] == "test").to_numpy()].X)
    wanted = "forecast" if at > data.times[-1] else "interpolation"
    found, seconds = {}, {}
    for method in methods:
        if wanted in METHODS[method].kinds:
            began = time.process_time()
            fit = task.fit(method, seed=seed, data=data)
            seconds[method] = time.process_time() - began
            cells = predict(fit, data.cells[start], float(data.times[start]), at, rng=np.random.default_rng(seed))
            found[method] = ho.metrics.energy_distance(truth, cells)
    return found, seconds, truth


def floors(truth: np.ndarray) -> tuple[float, float]:
    """Noise floor: the distance that 95 % of pairs of halves stay below, and the mean, at least 0."""
    halves = ho.metrics.split_half(truth, ho.metrics.energy_distance, n=400, rng=0)
    return float(np.quantile(halves, 0.95)), max(float(halves.mean()), 0.0)


def row(adata: ad.AnnData, options: dict, methods: list[str], seeds: int) -> dict[str, float | str]:
    """Compute one row of the table: the mean over seeds of all methods at one target."""
    ho.pp.split_time(adata, "time", **options)
    if adata.n_vars > MANY_GENES:
        ho.pp.highly_variable_genes(adata, n_top_genes=MANY_GENES)
        adata = adata[:, adata.var["highly_variable"].to_numpy()].copy()
    by_seed, seconds = [], {}
    for seed in range(seeds):
        asked = methods if seed == 0 else [name for name in methods if name != "flow"]
        found, used, truth = distances(adata, asked, seed)
        by_seed.append(found)
        seconds = seconds or used
    floor, mean_floor = floors(truth)
    mean = pd.DataFrame(by_seed).mean()
    skills = {name: ho.metrics.skill(mean[name], mean["persistence"], mean_floor) for name in mean.index}
    auto = [ho.metrics.skill(found["auto"], found["persistence"], mean_floor) for found in by_seed]
    others = mean.drop("auto")
    return {
        **{name: float(value) for name, value in skills.items()},
        "auto low": float(min(auto)),
        "auto high": float(max(auto)),
        "rank": int((others < mean["auto"]).sum()) + 1,
        "of": len(mean),
        "best": str(others.idxmin()),
        "behind best": float(mean["auto"] - others.min()),
        "behind persistence": float(mean["auto"] - mean["persistence"]),
        "floor": floor,
        "seconds": seconds["auto"],
    }


def summary(table: pd.DataFrame) -> dict[str, float | str]:
    """Count the targets at which ``auto`` is level with the best method, and those at which it loses."""
    regret = (table["behind best"] / table["floor"]).replace([np.inf, -np.inf], np.nan)
    return {
        "targets": len(table),
        "level with the best": int((table["behind best"] <= table["floor"]).sum()),
        "loses to persistence": int((table["behind persistence"] > table["floor"]).sum()),
        "mean rank": round(float(table["rank"].mean()), 1),
        "median skill": round(float(table["auto"].median()), 2),
        "worst skill": f"{table['auto'].min():.2f} ({table['auto'].idxmin()})",
        "worst behind the best, in floors": f"{regret.max():.1f} ({regret.idxmax()})",
    }


def main() -> None:
    """Print one table for each data set, and counts over all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=["middle", "later"], help="one kind of target")
    parser.add_argument("--flow", action="store_true", help="also train flow, which takes minutes")
    arguments = parser.parse_args()
    logging.getLogger("heldout").setLevel(logging.ERROR)
    methods = [
        m.name
        for m in METHODS
        if m.role == "baseline" or m.name in ("auto", "blend", "states") or (m.name == "flow" and arguments.flow)
    ]
    tables = {}
    for name in arguments.data:
        rows = {}
        for label, adata in courses(name):
            times = np.unique(adata.obs["time"])
            for target, options in cases(times):
                if arguments.only and (arguments.only == "middle") == ("→" in target):
                    continue
                rows[f"{label} {target}"] = row(adata.copy(), options, methods, arguments.seeds)
        tables[name] = pd.DataFrame(rows).T.infer_objects()
        print(f"\n{name}\n{tables[name].round(2).fillna('').to_string()}", flush=True)
    every = pd.concat(tables.values())
    forward = every.index.str.contains("→")
    parts = {
        **tables,
        "after the last train time": every[forward],
        "between train times": every[~forward],
        "all": every,
    }
    print(f"\n{pd.DataFrame({name: summary(t) for name, t in parts.items() if len(t)}).T.to_string()}")


if __name__ == "__main__":
    main()
