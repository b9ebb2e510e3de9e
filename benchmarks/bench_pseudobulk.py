"""Pseudobulk of 100,000 cells × 5,000 sparse genes: seconds, and memory beside the matrix, against scanpy.

    python benchmarks/bench_pseudobulk.py [--cells 100000] [--genes 5000]

A screen of 300 perturbations in two contexts and three partitions. Each run is in a process of its own. Memory is the
growth of the peak resident size during the call, over the size before it, which holds the matrix; it is given as a
multiple of the matrix. The means and variances of both are compared in a process that runs both. Dask has the same matrix
in blocks of 4,096 rows.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import dask.array as da
import numpy as np
import pandas as pd
import scanpy as sc
from scipy import sparse

import heldout as ho

N_PERTURBATIONS, N_CONTEXTS, DENSITY, BLOCK = 300, 2, 0.1, 4096
BY = ["perturbation", "context", "split"]


def make_data(n_cells: int, n_genes: int, kind: str) -> ad.AnnData:
    """Log counts of a screen; the detection rates of genes differ as in 10x data."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(0.3, 1, n_genes)
    rate *= DENSITY / (1 - np.exp(-rate)).mean()
    blocks = []
    for first in range(0, n_cells, 5000):
        counts = rng.poisson(np.minimum(rate, 4), (min(5000, n_cells - first), n_genes)).astype(np.float32)
        blocks.append(sparse.csr_matrix(np.log1p(counts)))
    X = sparse.vstack(blocks, format="csr")
    if kind == "csc":
        X = X.tocsc()
    del blocks
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical([f"P{i:03d}" for i in rng.integers(N_PERTURBATIONS, size=n_cells)]),
            "context": pd.Categorical(rng.choice(["K562", "RPE1"], n_cells)),
            "split": pd.Categorical(rng.choice(["train", "val", "test"], n_cells), categories=["train", "val", "test"]),
        },
        index=[f"cell{i}" for i in range(n_cells)],
    )
    adata = ad.AnnData(X, obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(n_genes)]))
    if kind == "dask":
        adata.X = da.from_array(X, chunks=(BLOCK, n_genes), asarray=False)
    return adata


def heldout(adata: ad.AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance by heldout."""
    bulk = ho.get.pseudobulk(adata, BY)
    return bulk.X, bulk.layers["var"]


def scanpy(adata: ad.AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance by scanpy, which wants categories and gives their combinations in their order."""
    bulk = sc.get.aggregate(adata, by=BY, func=["mean", "var"])
    order = bulk.obs.sort_values(BY).index
    at = bulk.obs_names.get_indexer(order)
    return bulk.layers["mean"][at], bulk.layers["var"][at]


CALLS = {"heldout": heldout, "scanpy": scanpy}


def measure(which: str, kind: str, n_cells: int, n_genes: int) -> dict[str, float]:
    """Run one call in this process; the matrix is there, and small code was compiled, before the clock starts."""
    CALLS[which](make_data(500, 50, kind))
    adata = make_data(n_cells, n_genes, kind)
    X = adata.X if kind != "dask" else make_data(n_cells, n_genes, "csr").X
    size = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    del X
    before = _reset_peak()
    start = time.perf_counter()
    CALLS[which](adata)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if before is None else _status("VmHWM")
    return {"seconds": seconds, "matrix_mb": size / 1e6, "above": (peak - (before or 0)) / size}


def compare(n_cells: int, n_genes: int) -> dict[str, float]:
    """Largest difference of the two, in mean and variance."""
    adata = make_data(n_cells, n_genes, "csr")
    mean, var = heldout(adata)
    other_mean, other_var = scanpy(adata)
    several = np.isfinite(var).all(axis=1)
    return {
        "rows": len(mean),
        "mean": float(np.abs(mean - other_mean).max()),
        "var": float(np.abs(var - other_var)[several].max()),
    }


def _reset_peak() -> float | None:
    """Set the peak to the present size, where the system can; the present size in bytes."""
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
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        which, kind = arguments.run
        if which == "both":
            print(json.dumps(compare(arguments.cells, arguments.genes)))
        else:
            print(json.dumps(measure(which, kind, arguments.cells, arguments.genes)))
        return
    sizes = ["--cells", str(arguments.cells), "--genes", str(arguments.genes)]
    for which, kind in (
        ("heldout", "csr"),
        ("scanpy", "csr"),
        ("heldout", "csc"),
        ("scanpy", "csc"),
        ("heldout", "dask"),
        ("both", "csr"),
    ):
        command = [sys.executable, __file__, "--run", which, kind, *sizes]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        if which == "both":
            print(
                f"{found['rows']} rows: largest difference {found['mean']:.1e} in the mean, {found['var']:.1e} in the variance"
            )
        else:
            print(
                f"{which:8s} {kind:5s}: {found['seconds']:6.2f} s, {found['above']:.2f} times the matrix "
                f"({found['matrix_mb']:.0f} MB) above it"
            )


if __name__ == "__main__":
    main()
