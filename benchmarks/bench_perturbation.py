"""Time of each perturbation method: 100 singles and 124 doubles × 1,000 genes, with one and with two threads.

    python benchmarks/bench_perturbation.py [--cells 100] [--genes 1000] [--threads 1 2]

Half of the doubles are held out. The time of a method is that of tl.perturbation, from the AnnData to the stored fit,
including the pass over the matrix. The last lines are the prediction of all test perturbations, and the evaluation with
five baselines.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import time


def measure(n_cells: int, n_genes: int) -> None:
    """Print seconds in this process."""
    import scanpy as sc

    import heldout as ho
    from heldout.tasks.perturbation import METHODS

    logging.getLogger("heldout").setLevel(logging.ERROR)
    adata = ho.datasets.perturbations_simulated(n_singles=100, n_doubles=124, n_genes=n_genes, n_cells=n_cells)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.5)
    ho.tl.perturbation(adata, method="no_change", key_added="first")  # imports modules before the timing starts
    total = {"baseline": 0.0, "model": 0.0}
    for method in METHODS.names():
        start = time.perf_counter()
        ho.tl.perturbation(adata, method=method, key_added=method)
        seconds = time.perf_counter() - start
        total[METHODS[method].role] += seconds
        print(f"  {method:20s}{seconds:6.2f} s")
    print(f"  {'all baselines':20s}{total['baseline']:6.2f} s")
    for what, call in (
        ("tl.predict", lambda: ho.tl.predict_profiles(adata, "informed_additive")),
        ("tl.evaluate", lambda: ho.tl.evaluate(adata, "informed_additive")),
    ):
        start = time.perf_counter()
        call()
        print(f"  {what:20s}{time.perf_counter() - start:6.2f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=100, help="cells of each perturbation")
    parser.add_argument("--genes", type=int, default=1000)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--here", action="store_true", help="measure in this process")
    arguments = parser.parse_args()
    sizes = ["--cells", str(arguments.cells), "--genes", str(arguments.genes)]
    if arguments.here:
        measure(arguments.cells, arguments.genes)
    else:
        for threads in arguments.threads:
            print(f"OMP_NUM_THREADS={threads}", flush=True)
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
            subprocess.run([sys.executable, __file__, "--here", *sizes], check=True, env=environment)
