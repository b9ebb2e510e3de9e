"""Time and extra memory of the pseudobulk of 100,000 cells × 5,000 sparse genes, compared with scanpy.

    OMP_NUM_THREADS=1 python benchmarks/bench_pseudobulk.py [--cells 100000] [--genes 5000]

The screen has 300 perturbations in two contexts and three partitions. Each run has its own process. Memory is the
growth of the peak resident size during the call, as a multiple of the matrix. The size before the call includes the
matrix. A further process compares the means and variances of both. The matrix on disk is read in blocks of 4,096 rows;
there, memory is all memory of the call.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scanpy as sc
from anndata.experimental import read_elem_lazy
from scipy import sparse

import heldout as ho

N_PERTURBATIONS, N_CONTEXTS, DENSITY, BLOCK = 300, 2, 0.1, 4096
BY = ["perturbation", "context", "split"]


def make_data(n_cells: int, n_genes: int) -> ad.AnnData:
    """Simulate log counts of a screen, with detection rates of genes as in 10x data."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(0.3, 1, n_genes)
    rate *= DENSITY / (1 - np.exp(-rate)).mean()
    blocks = []
    for first in range(0, n_cells, 5000):
        counts = rng.poisson(np.minimum(rate, 4), (min(5000, n_cells - first), n_genes)).astype(np.float32)
        blocks.append(sparse.csr_matrix(np.log1p(counts)))
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical([f"P{i:03d}" for i in rng.integers(N_PERTURBATIONS, size=n_cells)]),
            "context": pd.Categorical(rng.choice(["K562", "RPE1"], n_cells)),
            "split": pd.Categorical(rng.choice(["train", "val", "test"], n_cells), categories=["train", "val", "test"]),
        },
        index=[f"cell{i}" for i in range(n_cells)],
    )
    var = pd.DataFrame(index=[f"G{i}" for i in range(n_genes)])
    return ad.AnnData(sparse.vstack(blocks, format="csr"), obs=obs, var=var)


def load(path: Path, kind: str) -> ad.AnnData:
    """Read the screen into memory, or all but its matrix."""
    if kind == "disk":
        file = h5py.File(path)
        obs, var = ad.io.read_elem(file["obs"]), ad.io.read_elem(file["var"])
        return ad.AnnData(read_elem_lazy(file["X"], chunks=(BLOCK, len(var))), obs=obs, var=var)
    adata = ad.read_h5ad(path)
    if kind == "csc":
        adata.X = adata.X.tocsc()
    return adata


def heldout(adata: ad.AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and variance with heldout."""
    bulk = ho.get.pseudobulk(adata, BY)
    return bulk.X, bulk.layers["var"]


def scanpy(adata: ad.AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and variance with scanpy, which needs categories and returns their combinations in their order."""
    bulk = sc.get.aggregate(adata, by=BY, func=["mean", "var"])
    order = bulk.obs.sort_values(BY).index
    at = bulk.obs_names.get_indexer(order)
    return bulk.layers["mean"][at], bulk.layers["var"][at]


CALLS = {"heldout": heldout, "scanpy": scanpy}


def measure(path: Path, which: str, kind: str) -> dict[str, float]:
    """Run one call in this process. The matrix is loaded and code is compiled before the timing starts."""
    CALLS[which](make_data(500, 50))
    adata = load(path, kind)
    with h5py.File(path) as file:
        size = sum(file["X"][part].nbytes for part in ("data", "indices", "indptr"))
    before = _reset_peak()
    start = time.perf_counter()
    CALLS[which](adata)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if before is None else _status("VmHWM")
    return {"seconds": seconds, "matrix_mb": size / 1e6, "above": (peak - (before or 0)) / size}


def compare(path: Path) -> dict[str, float]:
    """Return the largest difference of the two, in mean and variance."""
    adata = load(path, "csr")
    mean, var = heldout(adata)
    other_mean, other_var = scanpy(adata)
    several = np.isfinite(var).all(axis=1)
    return {
        "rows": len(mean),
        "mean": float(np.abs(mean - other_mean).max()),
        "var": float(np.abs(var - other_var)[several].max()),
    }


def _reset_peak() -> float | None:
    """Set the peak memory to the present size, if the system allows it; return the present size in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status("VmRSS")


def _status(name: str) -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return float(line.split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--genes", type=int, default=5_000)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        path, which, kind = arguments.run
        print(json.dumps(compare(Path(path)) if which == "both" else measure(Path(path), which, kind)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "screen.h5ad"
        make_data(arguments.cells, arguments.genes).write_h5ad(path)
        for kind in ("csr", "csc", "disk"):
            for which in CALLS if kind != "disk" else ("heldout",):
                found = _in_a_process(path, which, kind)
                print(
                    f"{which:8s} {kind:5s}: {found['seconds']:6.2f} s, {found['above']:.2f} times the matrix "
                    f"({found['matrix_mb']:.0f} MB) above it"
                )
        found = _in_a_process(path, "both", "csr")
    print(
        f"{found['rows']} rows: largest difference {found['mean']:.1e} in the mean, {found['var']:.1e} in the variance"
    )


def _in_a_process(path: Path, which: str, kind: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--run", str(path), which, kind]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(answer.splitlines()[-1])


if __name__ == "__main__":
    main()
