"""Libraries from 10x folders to scaled values of 1,000 genes, compared with a scanpy script in memory.

    python benchmarks/bench_reading.py [--libraries 12 48] [--cells 2000] [--genes 33538] [--folder DIR]

Simulated libraries are first written as gzipped 10x folders. Each side then runs in a new process, including imports.
It reads the libraries, filters cells, normalises and logs counts, chooses the 1,000 genes with the highest variance
over the train libraries, and scales all cells by the standard deviations of the train libraries. Both sides must choose
the same genes, and their values must agree to 1e-5. "streamed" is heldout with the scaled values left on disk and read
once; its memory does not grow with the number of libraries. Wall time is from the start of the process to its result.
"started" leaves out the interpreter and numpy. Peak memory is the highest resident size of the process. The last table
gives the time of the unavoidable steps alone, one after the other on one thread.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

N_TOP, N_TEST, N_MITO = 1000, 4, 13


def write_library(folder: Path, number: int, n_cells: int, n_genes: int) -> int:
    """Write one gzipped 10x folder with about 2,200 detected genes per cell; return the number of entries."""
    from scipy import sparse
    from scipy.io import mmwrite

    rate = np.random.default_rng(0).lognormal(-4.5, 2.2, n_genes)
    rng = np.random.default_rng([1, number])
    of_library, depth = rate * rng.lognormal(0, 0.3, n_genes), rng.lognormal(0, 0.4, (n_cells, 1))
    blocks = [
        sparse.csr_matrix(rng.poisson(of_library * depth[first : first + 250]).astype(np.int32))
        for first in range(0, n_cells, 250)
    ]
    counts = sparse.vstack(blocks, format="csr")
    text = io.BytesIO()
    mmwrite(text, counts.T.tocsc())
    ids = [f"ENSG{i:011d}" for i in range(n_genes)]
    names = [f"GENE{i}" for i in range(n_genes - N_MITO)] + [f"MT-{i}" for i in range(N_MITO)]
    barcodes = ["".join(letters) + "-1" for letters in np.array(list("ACGT"))[rng.integers(4, size=(n_cells, 16))]]
    folder.mkdir(parents=True, exist_ok=True)
    features = "".join(f"{a}\t{b}\tGene Expression\n" for a, b in zip(ids, names, strict=True))
    for name, content in (
        ("barcodes.tsv", ("\n".join(barcodes) + "\n").encode()),
        ("features.tsv", features.encode()),
        ("matrix.mtx", text.getvalue()),
    ):
        (folder / f"{name}.gz").write_bytes(gzip.compress(content, 6))
    return counts.nnz


def with_scanpy(folders: list[Path]) -> tuple[list[str], np.ndarray]:
    """Run the usual scanpy script; return the names of the chosen genes and the sparse scaled values (n_obs × 1000)."""
    import anndata as ad
    import scanpy as sc
    from scipy import sparse

    parts = {}
    for folder in folders:
        part = sc.read_10x_mtx(folder)
        part.var["mt"] = part.var_names.str.startswith("MT-")
        sc.pp.calculate_qc_metrics(part, qc_vars=["mt"], percent_top=None, log1p=False, inplace=True)
        fine = part.obs["n_genes_by_counts"].between(200, 6000) & (part.obs["pct_counts_mt"] <= 20)
        parts[folder.name] = part[fine].copy()
    adata = ad.concat(parts, label="library", index_unique="_", merge="same")
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    train = adata[adata.obs["library"].isin([folder.name for folder in folders[:-N_TEST]])].copy()
    found = sc.pp.filter_genes(train, min_cells=10, inplace=False)[0]
    sc.pp.scale(train, zero_center=False)  # scipy's own means of float32 are off by 1e-5 here
    sd = train.var["std"].to_numpy()
    del train
    chosen = np.sort(np.argsort(-np.where(found, sd, -1), kind="stable")[:N_TOP])
    scaled = adata[:, chosen].X @ sparse.diags(1 / sd[chosen])
    scaled.data = np.clip(scaled.data, -10, 10)
    return list(adata.var_names[chosen]), scaled


def with_heldout(folders: list[Path], out: Path, *, load: bool) -> tuple[list[str], np.ndarray]:
    """Do the same with heldout, and print the time of each step.

    If the values are not loaded, they are read once, block by block.
    """
    begun = time.perf_counter()
    import heldout as ho
    from heldout._core.arrays import moments

    pp, start = ho.pp, time.perf_counter()
    adata = pp.read_libraries({folder.name: folder for folder in folders}, out)
    read = time.perf_counter()
    test = [folder.name for folder in folders[-N_TEST:]]
    pp.split_assigned(adata, "library", train=[f.name for f in folders[:-N_TEST]], test=test)
    pp.recipe_karpe26(adata, n_top_genes=N_TOP, load=load)
    if not load:
        moments(adata.X)
    seconds = {"importing": start - begun, "reading": read - start, "preparing": time.perf_counter() - read}
    print("  " + ", ".join(f"{what} {took:.2f} s" for what, took in seconds.items()), file=sys.stderr)
    return list(adata.var_names), adata.X


def side(name: str, folders: list[Path], work: Path) -> None:
    """Run one side in this process, and store its result with the measurements."""
    from scipy import sparse

    start = time.perf_counter()
    if name == "scanpy":
        genes, scaled = with_scanpy(folders)
    else:
        genes, scaled = with_heldout(folders, work / f"{len(folders)}.zarr", load=name == "heldout")
    seconds, peak, usage = time.perf_counter() - start, peak_mb(), resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "peak_mb": peak}), flush=True)
    if name != "streamed":  # the clock has been stopped
        scaled = sparse.csr_matrix(scaled)[:, np.argsort(genes)]
        scaled.sort_indices()
        parts = {part: getattr(scaled, part) for part in ("data", "indices", "indptr")}
        np.savez(work / f"{name}.npz", genes=np.sort(genes), **parts)


def peak_mb() -> float:
    """Return the highest resident size of this process.

    In Linux, the value of getrusage starts at the size of the parent process.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))) / 1024


def run(name: str, folders: list[Path], work: Path) -> dict[str, float]:
    """Run one side in a new process. The wall time is from its start to its result, including imports."""
    start = time.perf_counter()
    command = [sys.executable, __file__, "--side", name, "--folder", str(work), "--libraries", str(len(folders))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        wall = time.perf_counter() - start
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return {"wall": wall, **json.loads(line)}


def check_same(work: Path) -> float:
    """Return the largest difference between the values of the two sides, which must have chosen the same genes."""
    with np.load(work / "scanpy.npz") as theirs, np.load(work / "heldout.npz") as ours:
        for name in ("genes", "indices", "indptr"):
            np.testing.assert_array_equal(theirs[name], ours[name])
        np.testing.assert_allclose(theirs["data"], ours["data"], rtol=1e-5, atol=1e-5)
        return float(np.abs(theirs["data"] - ours["data"]).max())


def limits(folder: Path, work: Path) -> dict[str, float]:
    """Measure the seconds of each unavoidable step, for one library on one thread; the best of three."""
    import zarr
    from isal import igzip

    from heldout._core.stored_rows import fast
    from heldout.reading._files import find, read_counts
    from heldout.reading._store import CHUNK

    source = find("library", folder, {})
    counts = read_counts(source)

    def compressed() -> None:
        (folder / "matrix.mtx.gz").read_bytes()

    def unpacked(opened: object) -> None:
        with opened(folder / "matrix.mtx.gz", "rb") as stream:  # type: ignore[operator]
            while stream.read(2**22):
                pass

    def stored() -> None:
        group = zarr.open_group(work / "limit.zarr", mode="w", zarr_format=3)
        for name, shuffle in (("data", "bitshuffle"), ("indices", "shuffle")):
            values = getattr(counts, name)
            codec = zarr.codecs.BloscCodec(cname="lz4", clevel=5, shuffle=shuffle)
            with zarr.config.set(fast()):
                array = group.create_array(
                    name, shape=values.shape, dtype=values.dtype, chunks=(CHUNK,), compressors=codec
                )
            array[:] = values

    return {
        "reading the compressed bytes (cached)": best(compressed),
        "decompressing, zlib": best(lambda: unpacked(gzip.open)),
        "decompressing, isal": best(lambda: unpacked(igzip.open)),
        "decompressing and parsing": best(lambda: read_counts(source)),
        "compressing and writing": best(stored),
    }


def best(call: object, n: int = 3) -> float:
    """Return the shortest time of ``n`` runs."""
    seconds = []
    for _ in range(n):
        start = time.perf_counter()
        call()  # type: ignore[operator]
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    """Parse arguments, write missing files, run, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--libraries", type=int, nargs="+", default=[12, 48])
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--genes", type=int, default=33_538)
    parser.add_argument("--folder", type=Path, help="where libraries and stores are written; default a temporary one")
    parser.add_argument("--side", choices=["scanpy", "heldout", "streamed"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        side(asked.side, [asked.folder / f"LIB{i:03d}" for i in range(asked.libraries[0])], asked.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        work = asked.folder or Path(temporary)
        folders = [work / f"LIB{i:03d}" for i in range(max(asked.libraries))]
        for number, folder in enumerate(folders):
            if not (folder / "matrix.mtx.gz").is_file():
                write_library(folder, number, asked.cells, asked.genes)
        compare(folders, sorted(asked.libraries), work)


def compare(folders: list[Path], numbers: list[int], work: Path) -> None:
    """Run both sides on the smaller number of libraries, and heldout alone on the others."""
    few = numbers[0]
    run(
        "heldout", folders[:1] + folders[-N_TEST:], work
    )  # compiled code and files are in place before the clock starts
    found: dict[tuple[str, int], dict[str, float]] = {}
    print(f"{'':10s}{'libraries':>10s}{'wall s':>9s}{'started':>11s}{'CPU s':>8s}{'peak MB':>9s}")
    for name, n in [("scanpy", few), ("heldout", few), *(("streamed", n) for n in numbers)]:
        _remove(work / f"{n}.zarr")
        found[name, n] = run(name, folders[:n], work)
        if (name, n) == ("heldout", few):
            difference = check_same(work)
        row = found[name, n]
        print(f"{name:10s}{n:10d}{row['wall']:9.2f}{row['seconds']:11.2f}{row['cpu']:8.1f}{row['peak_mb']:9.0f}")
    ours, theirs = found["heldout", few], found["scanpy", few]
    print(f"same {N_TOP} genes, values differ by {difference:.1e} at most")
    print(
        f"heldout / scanpy: wall {ours['wall'] / theirs['wall']:.2f}, CPU {ours['cpu'] / theirs['cpu']:.2f}, "
        f"peak {ours['peak_mb'] / theirs['peak_mb']:.2f}"
    )
    for n in numbers[1:]:
        row, less = found["streamed", n], found["streamed", few]
        wall, peak = row["wall"] / less["wall"], row["peak_mb"] / less["peak_mb"]
        print(f"{n} / {few} libraries: wall {wall:.2f} ({n / few:g} is linear), peak {peak:.2f}")
    print("one library, one thread:")
    for step, seconds in limits(folders[0], work).items():
        print(f"  {step:40s}{seconds:7.3f} s, {few} libraries {few * seconds:5.1f} s")


def _remove(path: Path) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    main()
