"""Run the notebooks of tutorials/ on simulated data, as the documentation shows them.

    python docs/run_notebooks.py [NAME ...]

The tests run every notebook and keep the result in docs/_build/notebooks. The build of the documentation shows a result
only if nothing has changed since: its key covers the notebook, the package and the versions of what the package needs.
It runs all others here, two at a time. So each notebook runs once in continuous integration.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

THIS = Path(__file__).resolve()
ROOT = THIS.parents[1]
NOTEBOOKS = {path.stem: path for path in sorted((ROOT / "tutorials").glob("*.ipynb"))}
RESULTS = ROOT / "docs" / "_build" / "notebooks"
ENVIRONMENT = {
    "HELDOUT_DATA_DIR": "no_data",
    "HELDOUT_LMNA_CELLS": "20",
    "OMP_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
    "TQDM_DISABLE": "1",
}
"""What notebooks run with. The folder of real data does not exist."""
SECONDS = 600
"""The longest time that one code cell may take."""


@cache
def state() -> bytes:
    """What every notebook depends on: the package, the versions of what it needs, and how notebooks run."""
    state = hashlib.sha256(f"{sys.version} {ENVIRONMENT}".encode())
    for path in [THIS, *sorted((ROOT / "src").rglob("*"))]:
        if path.is_file() and path.parent.name != "__pycache__":
            state.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    needed = sorted({re.match(r"[\w.-]+", requirement).group() for requirement in requires("heldout")})
    for found in needed:
        with suppress(PackageNotFoundError):  # optional packages
            state.update(f"{found} {version(found)}\n".encode())
    return state.digest()


def result_of(name: str) -> Path:
    """File of the result of a notebook in its present state."""
    key = hashlib.sha256(state() + NOTEBOOKS[name].read_bytes()).hexdigest()
    return RESULTS / f"{name}-{key[:32]}.ipynb"


def execute(path: Path, folder: Path, out: Path, until: str | None = None) -> None:
    """Run one notebook in a folder, in this environment, and write it with its outputs. A failing cell raises."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    if until is not None:
        sources = [cell["source"] for cell in notebook["cells"]]
        end = next(i for i, source in enumerate(sources) if source.startswith(until))
        notebook["cells"] = notebook["cells"][:end]
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(folder)}}).execute()
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_suffix(f".{os.getpid()}.tmp")
    nbformat.write(notebook, unfinished)
    unfinished.replace(out)


def run(
    name: str, folder: Path, out: Path | None = None, *, until: str | None = None, environment: dict | None = None
) -> Path:
    """Run one notebook in a process of its own, and return the file of the result.

    Without ``out`` the result is the one that the documentation shows. A run that ends before the cell that begins with
    ``until``, or has another environment, needs ``out``.
    """
    if out is None and (until is not None or environment):
        msg = f"until={until!r} and environment={environment} differ from what the documentation shows: pass out= too."
        raise ValueError(msg)
    out = out or result_of(name)
    code = [sys.executable, "-W", "ignore", str(THIS), str(NOTEBOOKS[name]), "--folder", str(folder), "--out", str(out)]
    code += ["--until", until] if until is not None else []
    done = subprocess.run(
        code, env=os.environ | ENVIRONMENT | (environment or {}), capture_output=True, text=True, check=False
    )
    if done.returncode:
        msg = f"tutorials/{name}.ipynb failed.\n{done.stderr}"
        raise RuntimeError(msg)
    for older in RESULTS.glob(f"{name}-*.ipynb"):
        if out.parent == RESULTS and older != out:
            older.unlink()
    return out


def run_in_a_new_folder(name: str) -> Path:
    """Run one notebook in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        return run(name, Path(folder))


def results() -> dict[str, Path]:
    """Results of all notebooks in their present state; those that are missing run now, two at a time."""
    found = {name: result_of(name) for name in NOTEBOOKS}
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run_in_a_new_folder, [name for name, path in found.items() if not path.exists()]))
    return found


def main() -> None:
    """Run the notebooks that are named, or those without a result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NOTEBOOKS)}; all by default")
    parser.add_argument(
        "--folder", type=Path, help="folder in which to run the notebook at the path NAME, in this environment"
    )
    parser.add_argument("--out", type=Path, help="file for the result of this one notebook")
    parser.add_argument("--until", help="first words of the cell before which this one notebook ends")
    given = parser.parse_args()
    if given.folder or given.out or given.until:
        if not (len(given.names) == 1 and given.folder and given.out):
            parser.error("--folder and --out go together, with the path of one notebook; --until needs both")
        execute(Path(given.names[0]), given.folder, given.out, given.until)
    elif unknown := set(given.names) - set(NOTEBOOKS):
        parser.error(f"no notebook {sorted(unknown)} among {sorted(NOTEBOOKS)}")
    elif given.names:
        for name in given.names:
            print(run_in_a_new_folder(name))
    else:
        print(*results().values(), sep="\n")


if __name__ == "__main__":
    main()
