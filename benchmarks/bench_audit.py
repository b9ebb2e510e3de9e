"""Time and extra memory of the audit of 100,000 cells × 2,000 sparse genes.

    python benchmarks/bench_audit.py [--cells 100000] [--genes 2000]

Each run has its own process. Memory is the growth of the peak resident size during the audit. The size before the audit
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
import sklearn.decomposition
import sklearn.discriminant_analysis
import sklearn.linear_model
import sklearn.neighbors  # noqa: F401
from scipy import sparse

import heldout as ho

N_LIBRARIES, DENSITY = 40, 0.1


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


def measure(items: str, n_cells: int, n_genes: int) -> dict[str, float]:
    """Run one audit in this process. The matrix and the split are made before the timing starts."""
    adata = make_data(n_cells, n_genes)
    ho.pp.split_matched(adata, "library", "day", label_key="label", test=3, val=2)
    sc.pp.filter_genes(adata, min_cells=1)
    size = adata.X.data.nbytes + adata.X.indices.nbytes + adata.X.indptr.nbytes
    before = _reset_peak()
    start = time.perf_counter()
    ho.tl.audit(adata, items=items)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if before is None else _peak()
    return {
        "seconds": seconds,
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
    parser.add_argument("--run", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(measure(arguments.run, arguments.cells, arguments.genes)))
        return
    for items in ("cheap", "all"):
        command = [
            sys.executable,
            __file__,
            "--run",
            items,
            "--cells",
            str(arguments.cells),
            "--genes",
            str(arguments.genes),
        ]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        print(
            f"items={items!r}: {found['seconds']:.1f} s, extra memory {found['above']:.2f} times the matrix "
            f"({found['matrix_mb']:.0f} MB, {found['nnz'] / 1e6:.0f} million entries)"
        )


if __name__ == "__main__":
    main()
