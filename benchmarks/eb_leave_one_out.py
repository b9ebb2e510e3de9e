"""Embryoid bodies with one middle time left out: exact Wasserstein-1 distance, the field's benchmark, on 2,750 cells.

    python benchmarks/eb_leave_one_out.py --environments ENVS --install    # once: torchcfm in an environment of its own
    python benchmarks/eb_leave_one_out.py --environments ENVS [--seeds 3]  # with torchcfm's OT-CFM
    python benchmarks/eb_leave_one_out.py                                  # our methods only

The space is the first five principal components of the published data (Moon 2019), each divided by its standard
deviation over all cells, as in the studies that use this benchmark. Times 1, 2 and 3 are left out in turn. Each method
predicts 550 cells, as many as there are at the time before, and these are compared with the 550 measured cells. The
distance falls with the number of cells, so numbers published for all 16,819 cells are lower. The energy distance, which
is 0 on average between two halves of the same cells, stands beside it.

- ``floor`` is one half of the measured cells against the other (275 each, five ways).
- ``exact transport`` pairs all cells of both sides one to one, and moves them in proportion to the time.
- ``oracle`` is the same with the share that is best at the time left out. It has seen the answer.
- ``blend, all cells move`` is ``blend`` with ``weight=0``. The default learns the weight by the energy distance, and
  ``blend, learnt by W1`` by the distance of this benchmark, on train times.
- ``auto`` is the default of ``tl.forecast``, which mixes ``blend``, ``ot_interpolation`` and ``neighbour_mixture``.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata as ad
import numpy as np
import ot
import pandas as pd

import heldout as ho

DATA = Path(os.environ.get("HELDOUT_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
WORKER = Path(__file__).parent / "peers" / "torchcfm_worker.py"
TARGETS = (1.0, 2.0, 3.0)
METHODS = {
    "persistence": ("persistence", None),
    "neighbour_mixture": ("neighbour_mixture", None),
    "ot_interpolation": ("ot_interpolation", None),
    "flow": ("flow", None),
    "auto": ("auto", None),
    "blend": ("blend", None),
    "blend, learnt by W1": ("blend", ho.model.BlendConfig(score="wasserstein")),
    "blend, all cells move": ("blend", ho.model.BlendConfig(weight=0.0)),
}
SHARES = np.linspace(0, 1, 21)


def load() -> ad.AnnData:
    """Cells in five whitened components, with their time in ``obs``."""
    adata = ad.read_h5ad(DATA / "eb2019" / "eb_2750cells_100pcs.h5ad")[:, :5].copy()
    X = np.asarray(adata.X, dtype=np.float64)
    adata.X = (X - X.mean(axis=0)) / X.std(axis=0)
    adata.obs["time"] = adata.obs["time"].astype(float)
    return adata


def w1(X: np.ndarray, Y: np.ndarray) -> float:
    """Exact Wasserstein-1 distance with Euclidean costs."""
    return float(ot.emd2([], [], ot.dist(X, Y, metric="euclidean"), numItermax=10**7))


def distances(X: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Both distances to the measured cells."""
    return {"w1": w1(X, truth), "energy": ho.metrics.energy_distance(truth, X)}


def references(sides: list[np.ndarray], share: float, truth: np.ndarray, seed: int) -> dict[str, dict[str, float]]:
    """The floor, exact transport, and exact transport with the best share for W1."""
    before, after = sides
    plan = ot.emd([], [], ot.dist(before, after), numItermax=10**7)
    partners = after[plan.argmax(axis=1)]
    at = {point: distances((1 - point) * before + point * partners, truth) for point in {*SHARES, share}}
    rng, halves = np.random.default_rng(seed), []
    for _ in range(5):
        order = rng.permutation(len(truth))
        halves.append(distances(truth[order[::2]], truth[order[1::2]]))
    floor = {name: float(np.mean([half[name] for half in halves])) for name in halves[0]}
    best = min(at, key=lambda point: at[point]["w1"])
    return {"floor": floor, "exact transport": at[share], "oracle": at[best]}


def ours(adata: ad.AnnData, method: str, config: object, target: float, seed: int) -> np.ndarray:
    """Predicted cells of a method of heldout. Its space is a rotation of the components."""
    adata = adata.copy()
    ho.tl.forecast(adata, "time", method=method, config=config, mask_var=None, rng=seed)
    return np.asarray(ho.tl.predict_cells(adata, "forecast", at=target, rng=seed).X)


def peer(python: Path, cells: dict[float, np.ndarray], target: float, seed: int, n_updates: int) -> np.ndarray:
    """Cells predicted by torchcfm, which is given train cells only."""
    times = np.array([point for point in cells if point != target])
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder, "question.npz"), Path(folder, "answer.npz")
        train = {f"cells{i}": cells[point] for i, point in enumerate(times)}
        np.savez(question, times=times, at=target, seed=seed, n_updates=n_updates, **train)
        hidden = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        subprocess.run([str(python), str(WORKER), str(question), str(answer)], check=True, env=hidden)
        with np.load(answer) as found:
            return np.asarray(found["cells"], dtype=np.float64)


def scores(adata: ad.AnnData, arguments: argparse.Namespace) -> pd.DataFrame:
    """One row for each method, target and seed."""
    cells = {point: np.asarray(adata.X[adata.obs["time"] == point]) for point in np.unique(adata.obs["time"])}
    rows = []
    for target in TARGETS:
        split = adata.copy()
        ho.pp.split_time(split, "time", test=target, direction="interpolate")
        before, after = target - 1, target + 1
        found = references([cells[before], cells[after]], 0.5, cells[target], seed=0)
        rows += [{"method": name, "target": target, "seed": 0, **both} for name, both in found.items()]
        for seed in range(arguments.seeds):
            for name in arguments.methods:
                method, config = METHODS[name]
                began = time.perf_counter()
                found_cells = ours(split, method, config, target, seed)
                seconds = time.perf_counter() - began
                row = {"method": name, "target": target, "seed": seed, "seconds": seconds}
                rows.append(row | distances(found_cells, cells[target]))
            if arguments.environments:
                began = time.perf_counter()
                moved = peer(python_of(arguments.environments), cells, target, seed, arguments.updates)
                row = {"method": "OT-CFM (torchcfm)", "target": target, "seed": seed}
                row["seconds"] = time.perf_counter() - began
                rows.append(row | distances(moved, cells[target]))
    return pd.DataFrame(rows)


def python_of(environments: Path) -> Path:
    """Python of the environment of torchcfm."""
    python = environments.resolve() / "torchcfm" / "bin" / "python"
    if not python.exists():
        msg = f"There is no {python}. Run with --environments {environments} --install first."
        raise SystemExit(msg)
    return python


def main() -> None:
    """Print the mean over seeds at each target, and the mean over targets with its range over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, help="folder with the environment of torchcfm")
    parser.add_argument("--install", action="store_true", help="make this environment and stop")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--updates", type=int, default=2000, help="updates of torchcfm")
    arguments = parser.parse_args()
    logging.getLogger("heldout").setLevel(logging.ERROR)
    if arguments.install:
        place = arguments.environments / "torchcfm"
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        subprocess.run([str(place / "bin" / "python"), "-m", "pip", "install", "-q", "torchcfm==1.0.7"], check=True)
        return
    found = scores(load(), arguments)
    table = found.pivot_table(index="method", columns="target", values="w1")
    of_seed = found.groupby(["method", "seed"])["w1"].mean().groupby("method")
    table = table.assign(mean=table.mean(axis=1), lowest=of_seed.min(), highest=of_seed.max())
    table["mean energy distance"] = found.pivot_table(index="method", columns="target", values="energy").mean(axis=1)
    table["seconds"] = found.groupby("method")["seconds"].median()
    print(table.sort_values("mean").round(3).to_string())


if __name__ == "__main__":
    main()
