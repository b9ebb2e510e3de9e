"""Time and extra memory of the audit of 100,000 cells × 2,000 sparse genes.

    OMP_NUM_THREADS=1 python benchmarks/bench_audit.py [--cells 100000] [--genes 2000] [--only cheap all analysed]

``cheap`` and ``all`` audit counts with three columns in obs, where a day is held out. ``analysed`` runs the cheap items
on an object as it is after an analysis, where libraries are held out: log-normalised values with a layer of counts, 50
components, 20 clusters, and nine more columns in obs.

Each run has its own process. Seconds are those of the clock and of the processor (all threads). Memory is the growth of the peak resident size during the audit. The size before the audit
includes the matrix and the imported libraries. The growth is given as a multiple of the matrix.
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
import numpy as np
import pandas as pd
import scanpy as sc
import sklearn.cluster
import sklearn.decomposition
import sklearn.discriminant_analysis
import sklearn.linear_model
import sklearn.neighbors
from scipy import sparse

import heldout as ho

N_LIBRARIES, DENSITY = 40, 0.1
RUNS = ["cheap", "all", "analysed"]


def make_data(n_cells: int, n_genes: int) -> ad.AnnData:
    """Simulate counts of 40 libraries of two labels on four days, with detection rates of genes as in 10x data."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(0.3, 1, n_genes)
    rate *= DENSITY / (1 - np.exp(-rate)).mean()
    library = np.sort(rng.integers(N_LIBRARIES, size=n_cells))
    of_library = rng.lognormal(0, 0.3, (N_LIBRARIES, n_genes))
    blocks = []
    for first in range(0, n_cells, 5000):
        rows = slice(first, first + 5000)
        mean = np.minimum(rate, 4) * of_library[library[rows]]
        blocks.append(sparse.csr_matrix(rng.poisson(mean).astype(np.float32)))
    obs = pd.DataFrame(
        {
            "library": [f"L{i:02d}" for i in library],
            "label": np.where(library % 2, "case", "control"),
            "day": library // 2 % 4,
        },
        index=[f"cell{i}" for i in range(n_cells)],
    )
    return ad.AnnData(
        sparse.vstack(blocks, format="csr"), obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(n_genes)])
    )


def analysed(adata: ad.AnnData) -> None:
    """Log-normalise, keep the counts, and add components, clusters and columns as an analysis does."""
    rng = np.random.default_rng(1)
    counts = adata.layers["counts"] = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=50)
    clusters = sklearn.cluster.KMeans(20, n_init=1, random_state=0).fit_predict(adata.obsm["X_pca"])
    total, n_genes = np.asarray(counts.sum(axis=1)).ravel(), counts.getnnz(axis=1)
    columns = {
        "cluster": pd.Categorical(clusters.astype(str)),
        "cell_type": pd.Categorical([f"type {i % 8}" for i in clusters]),
        "phase": rng.choice(["G1", "S", "G2M"], adata.n_obs),
        "site": adata.obs["library"].str[-1].to_numpy(),
        "doublet": rng.random(adata.n_obs) < 0.05,
        "total_counts": total,
        "n_genes_by_counts": n_genes,
        "score": adata.obsm["X_pca"][:, 0] + rng.normal(size=adata.n_obs),
        "share": n_genes / np.maximum(total, 1),
    }
    adata.obs[list(columns)] = pd.DataFrame(columns, index=adata.obs_names)


def measure(run: str, n_cells: int, n_genes: int) -> dict[str, float]:
    """Run one audit in this process. The matrix and the split are made before the timing starts."""
    adata = make_data(n_cells, n_genes)
    sc.pp.filter_genes(adata, min_cells=1)
    if run == "analysed":
        ho.pp.split_groups(adata, "library", "label", test=0.2, val=0.1)
        analysed(adata)
    else:
        ho.pp.split_matched(adata, "library", "day", label_key="label", test=3, val=2)
    items = "all" if run == "all" else "cheap"
    size = adata.X.data.nbytes + adata.X.indices.nbytes + adata.X.indptr.nbytes
    before = _reset_peak()
    start, used = time.perf_counter(), time.process_time()
    ho.tl.audit(adata, items=items)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if before is None else _peak()
    return {
        "seconds": seconds,
        "used": used,
        "matrix_mb": size / 1e6,
        "above": (peak - (before or 0)) / size,
        "nnz": float(adata.X.nnz),
    }


def _reset_peak() -> float | None:
    """Set the peak memory to the present size, if the system allows it; return the present size in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status("VmRSS")


def _peak() -> float:
    return _status("VmHWM")


def _status(name: str) -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return float(line.split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--only", nargs="+", choices=RUNS, default=RUNS)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(measure(arguments.run, arguments.cells, arguments.genes)))
        return
    for run in arguments.only:
        command = [
            sys.executable,
            __file__,
            "--run",
            run,
            "--cells",
            str(arguments.cells),
            "--genes",
            str(arguments.genes),
        ]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        print(
            f"{run}: {found['seconds']:.1f} s ({found['used']:.1f} s of the processor), extra memory {found['above']:.2f} times the matrix "
            f"({found['matrix_mb']:.0f} MB, {found['nnz'] / 1e6:.0f} million entries)"
        )


if __name__ == "__main__":
    main()
