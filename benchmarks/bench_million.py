"""One million simulated cells on disk: choose genes, scale values and train one epoch, without loading the cells.

    python benchmarks/bench_million.py [--cells 1000000] [--genes 20000] [--folder DIR] [--without-annbatch]

The store (csr chunks in zarr) is written first. It has 50 libraries of 20,000 cells, drawn repeatedly from a pool of
simulated cells with about 1,100 detected genes each. The steps run in a new process. Memory is the highest resident
size so far, including imports. If annbatch is installed, it reads the training blocks, unless ``--without-annbatch`` is
given.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

PER_LIBRARY, POOL, N_TOP = 20_000, 8_000, 1000


def write_store(out: Path, n_cells: int, n_genes: int) -> None:
    """Write a complete store in the form of ``read_libraries``."""
    from heldout.reading._store import Building

    rng = np.random.default_rng(0)
    rate = rng.lognormal(-4.6, 2.2, n_genes)
    pool = sparse.vstack(
        [
            sparse.csr_matrix(rng.poisson(rate * rng.lognormal(0, 0.4, (500, 1))).astype(np.float32))
            for _ in range(POOL // 500)
        ],
        format="csr",
    )
    building = Building.start(out, {})
    n_libraries = n_cells // PER_LIBRARY
    for number in range(n_libraries):
        X = pool[rng.integers(POOL, size=PER_LIBRARY)]
        building.add(X, {"total": np.asarray(X.sum(axis=1)).ravel()}, {"library": str(number)})
    library = np.repeat([f"L{number:02d}" for number in range(n_libraries)], PER_LIBRARY)
    obs = pd.DataFrame(
        {
            "library": pd.Categorical(library),
            "label": pd.Categorical(np.where(np.repeat(np.arange(n_libraries), PER_LIBRARY) % 2, "case", "control")),
            "total_counts": building.columns()["total"],
        },
        index=[f"cell{i:07d}" for i in range(len(library))],
    )
    var = pd.DataFrame(index=[f"G{i:05d}" for i in range(n_genes)])
    building.finish(building.columns()["lengths"], obs, var, {})


def steps(path: Path) -> None:
    """Run all steps in this process."""
    start = time.perf_counter()

    def say(what: str) -> None:
        nonlocal start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"  {what:32s}{time.perf_counter() - start:8.1f} s{peak:8.2f} GB", flush=True)
        start = time.perf_counter()

    import heldout as ho
    from heldout.reading._store import open_lazily

    adata = open_lazily(path)
    say(f"import, open {adata.n_obs:,} cells")
    ho.pp.split_groups(adata, "library", label_key="label")
    say("split by library")
    ho.pp.recipe_karpe26(adata, n_top_genes=N_TOP)
    say("choose genes, scale")
    ho.tl.genotype(adata, "label", config=ho.model.MLPConfig(max_epochs=1, batch_size=1024))
    say("one epoch, val, predict all")


def main() -> None:
    """Write the store, then run the steps in a new process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, help="where the store is written; default a temporary one")
    parser.add_argument("--without-annbatch", action="store_true", help="dask reads the blocks that are trained on")
    parser.add_argument("--steps", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.write:
        write_store(asked.write, asked.cells, asked.genes)
        return
    if asked.steps:
        if asked.without_annbatch:
            sys.modules["annbatch"] = None  # type: ignore[assignment]  # as if it were not installed
        steps(asked.steps)
        return
    with tempfile.TemporaryDirectory() as temporary:
        path = (asked.folder or Path(temporary)) / f"cells_{asked.cells}_{asked.genes}.zarr"
        if not path.exists():
            start = time.perf_counter()
            # A separate process, because the peak of a child process starts at the size of its parent.
            size = ["--cells", str(asked.cells), "--genes", str(asked.genes)]
            subprocess.run([sys.executable, __file__, "--write", str(path), *size], check=True)
            print(f"  {'write the store':32s}{time.perf_counter() - start:8.1f} s", flush=True)
        without = ["--without-annbatch"] * asked.without_annbatch
        subprocess.run([sys.executable, __file__, "--steps", str(path), *without], check=True)


if __name__ == "__main__":
    main()
