"""Read the libraries of a sheet in threads, and append the kept cells to a store."""

from __future__ import annotations

import json
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import keys, store
from heldout._core.draws import draws, lowest_per_group
from heldout._core.memory import give_back
from heldout._core.progress import progress
from heldout.reading._files import find, read_counts
from heldout.reading._genes import place
from heldout.reading._library import GENE_EXPRESSION, LibraryError, as_counts, digest_of
from heldout.reading._quality import REASONS, assess
from heldout.reading._sheet import WRITTEN
from heldout.reading._store import Building, is_partial, is_zarr, open_lazily, partial_of, record_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from anndata import AnnData
    from scipy import sparse

    from heldout.reading._genes import JoinedGenes
    from heldout.reading._library import Genes, LibrarySource
    from heldout.reading._quality import Limits, Quality

logger = logging.getLogger("heldout")


@dataclass(frozen=True)
class Plan:
    """How each library is read.

    Parameters
    ----------
    limits
        Limits of the quality of a cell.
    joined
        Genes of the store, and the column of each gene of each library.
    mito
        Mask of the mitochondrial genes of the store, (n_vars,).
    n_cells
        Largest number of cells to keep of a library, or None.
    seed
        Seed of the draw of cells.
    """

    limits: Limits
    joined: JoinedGenes
    mito: np.ndarray
    n_cells: int | None
    seed: int

    def read(
        self, source: LibrarySource, number: int
    ) -> tuple[sparse.csr_matrix, dict[str, np.ndarray], dict[str, Any]]:
        """Return the counts of the kept cells, the values of each kept cell, and the record of the library."""
        X = place(as_counts(source, read_counts(source)), self.joined.positions[number], len(self.joined.genes))
        quality = assess(X, self.joined.genes.types == GENE_EXPRESSION, self.mito, self.limits)
        reasons = quality.reason.copy()
        rows = np.flatnonzero(reasons < 0)
        names = np.array([f"{source.library}_{barcode}" for barcode in source.barcodes[rows]], dtype=object)
        if self.n_cells is not None and len(rows) > self.n_cells:
            keep = lowest_per_group(np.zeros(len(rows), dtype=object), draws(names, self.seed), self.n_cells)
            reasons[np.delete(rows, keep)] = REASONS.index("not_drawn")
            rows, names = rows[keep], names[keep]
        counts = {reason: int((reasons == code).sum()) for code, reason in enumerate(REASONS)}
        if not len(rows):
            raise source.error(_none_left(counts, quality, self.limits))
        kept = quality.take(rows)
        columns = {"names": names.astype(str), "n_genes": kept.n_genes, "total": kept.total, "pct_mito": kept.pct_mito}
        record = {**_identity(source), "n_found": len(reasons), **counts}
        return X if len(rows) == X.shape[0] else X[rows], columns, record


def _identity(source: LibrarySource) -> dict[str, Any]:
    """Return what must be equal for a library to count as unchanged."""
    return {
        "library": source.library,
        "path": str(source.path.resolve()),
        "size": list(source.size),
        "barcodes": digest_of(source.barcodes),
        "features": source.genes.digest,
    }


def _none_left(counts: dict[str, int], quality: Quality, limits: Limits) -> str:
    why = ", ".join(f"{n} {reason}" for reason, n in counts.items() if n)
    return (
        f"no cell is left: {why} of {sum(counts.values())} cells (median {np.median(quality.n_genes):g} genes and "
        f"{np.median(quality.pct_mito):.1f} % mitochondrial counts; min_genes={limits.min_genes}, "
        f"max_genes={limits.max_genes}, max_pct_mito={limits.max_pct_mito}). Set other limits, or leave the library "
        "out."
    )


def find_all(table: pd.DataFrame, genome: str | None = None) -> list[LibrarySource]:
    """Return everything except the counts of all libraries. An error lists all problems together."""
    known: dict[bytes, Genes] = {}
    sources, problems = [], []
    for library, path in zip(table["library"], table["path"], strict=True):
        try:
            sources.append(find(library, path, known, genome))
        except LibraryError as problem:
            problems.append(problem)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        msg = f"{len(problems)} of {len(table)} libraries cannot be read:\n" + "\n".join(f"- {p}" for p in problems)
        raise ValueError(msg)
    return sources


def check_out(out: Path, sources: Sequence[LibrarySource], *, overwrite: bool) -> None:
    """Refuse a path with anything that :func:`heldout.pp.read_libraries` has not made, or that has a source."""
    folder = partial_of(out)
    for source in sources:
        for path in (source.path, source.barcodes_in, source.genes_in):
            if path is not None and _overlap(path.resolve(), out.resolve(), folder.resolve()):
                msg = (
                    f"out={str(out)!r} would replace or change a file of library {source.library!r} ({path}). Choose "
                    "another name."
                )
                raise ValueError(msg)
    if out.exists() and not is_zarr(out):
        msg = f"out={str(out)!r} exists and is not a zarr store, so it is not replaced. Choose another name."
        raise ValueError(msg)
    if out.exists() and record_of(out) is None:
        msg = (
            f"out={str(out)!r} exists, but read_libraries has not made it, or it was changed since. It is not "
            "replaced, also with overwrite=True. Choose another name, or remove it."
        )
        raise ValueError(msg)
    if not folder.exists() or (out.exists() and not overwrite):
        return
    advice = (
        "Pass overwrite=True to start again." if is_partial(folder) else "Move or remove it, or choose another name."
    )
    if not is_partial(folder) or (not overwrite and Building.resume(out) is None):
        msg = f"{folder} exists, but it is not what an interrupted read_libraries leaves. {advice}"
        raise ValueError(msg)


def _overlap(source: Path, *written: Path) -> bool:
    return any(source.is_relative_to(path) or path.is_relative_to(source) for path in written)


def begin(out: Path, config: dict[str, Any], sources: Sequence[LibrarySource], *, overwrite: bool) -> Building:
    """Continue the store of an earlier call, or start a new store, after :func:`check_out`."""
    folder = partial_of(out)
    if not overwrite and folder.exists():
        building = Building.resume(out)
        assert building is not None
        _check_same(building, config, sources, folder)
        logger.info("%d of %d libraries are already in %s", len(building.done), len(sources), folder)
        return building
    try:
        if folder.exists():
            shutil.rmtree(folder)
        return Building.start(out, config)
    except OSError as problem:
        msg = f"out={str(out)!r} cannot be written ({problem}). Choose a folder in which you can write."
        raise OSError(msg) from problem


def _check_same(building: Building, config: dict[str, Any], sources: Sequence[LibrarySource], where: Path) -> None:
    advice = "Use the same arguments, or pass overwrite=True to start again."
    differ = [name for name in config if config[name] != building.config.get(name)]
    if differ:
        earlier = ", ".join(f"{name}={building.config.get(name)!r}" for name in differ)
        msg = f"{where} was begun with other arguments ({earlier}). {advice}"
        raise ValueError(msg)
    for record, source in zip(building.done, [*sources, *[None] * len(building.done)], strict=False):
        # A record of an older version has no hash of the barcodes and of the features.
        if source is None or any(record.get(name, value) != value for name, value in _identity(source).items()):
            msg = (
                f"{where} has library {record['library']!r} of {record['path']}. This library is not in this place "
                f"of the sheet, or its counts, barcodes or features have changed since. {advice}"
            )
            raise ValueError(msg)


def open_same(out: Path, config: dict[str, Any], sources: Sequence[LibrarySource], table: pd.DataFrame) -> AnnData:
    """Open a complete store if this call would make the same store."""
    record = record_of(out)
    assert record is not None  # see check_out
    _check_same(Building(out, record["config"], record["done"]), config, sources, out)
    if len(record["done"]) != len(sources):
        msg = (
            f"{out} has {len(record['done'])} libraries, but the sheet has {len(sources)}. Pass overwrite=True to "
            "read them all."
        )
        raise ValueError(msg)
    adata = open_lazily(out)
    _check_sheet(adata.obs, table, [library["n_cells"] for library in record["done"]], out)
    return adata


def _check_sheet(obs: pd.DataFrame, table: pd.DataFrame, n_cells: list[int], out: Path) -> None:
    """Refuse a store whose metadata are not those of the sheet."""
    stored = obs.drop(columns=list(WRITTEN)).iloc[np.cumsum([0, *n_cells[:-1]])]
    names = [str(name) for name in table.columns.drop("path")]
    advice = "Use the same sheet, or pass overwrite=True to read the libraries again with this sheet."
    if sorted(names) != sorted(map(str, stored.columns)):
        msg = f"{out} was made from a sheet with the columns {sorted(stored.columns)}, not {sorted(names)}. {advice}"
        raise ValueError(msg)
    for name in names:
        old, new = stored[name].reset_index(drop=True), table[name].reset_index(drop=True)
        differ = (old.isna() != new.isna()) | ((store.as_names(old) != store.as_names(new)) & new.notna())
        if differ.any():
            at = int(np.argmax(differ))
            msg = (
                f"{out} was made from a sheet with other values of {name!r} (e.g. {str(old.iloc[at])!r} for library "
                f"{table['library'].iloc[at]!r}, now {str(new.iloc[at])!r}). {advice}"
            )
            raise ValueError(msg)


def mitochondrial_genes(genes: Genes, prefix: str, limit: float | None) -> np.ndarray:
    """Return the mask of the genes whose symbol begins with ``prefix``, in upper or lower case."""
    symbols = np.char.upper(genes.symbols.astype(str))
    mito = np.char.startswith(symbols, prefix.upper())
    if not mito.any() and limit is not None:
        logger.warning(
            "No gene symbol begins with mito_prefix=%r, so no cell is dropped for its mitochondrial counts.", prefix
        )
    return mito


def fill(building: Building, plan: Plan, sources: Sequence[LibrarySource], n_jobs: int) -> None:
    """Read libraries ahead in threads, and write them in the order of the sheet."""
    first = len(building.done)
    numbers = list(range(first, len(sources)))
    with ThreadPoolExecutor(n_jobs) as pool:
        ahead: list[Any] = []
        waiting: Iterator[int] = iter(numbers)
        try:
            for number in progress(numbers, "reading libraries"):
                library = sources[number].library
                while len(ahead) < n_jobs and (following := next(waiting, None)) is not None:
                    ahead.append(pool.submit(plan.read, sources[following], following))
                building.add(*ahead.pop(0).result())
                give_back()
        except LibraryError as problem:
            n = len(building.done)
            kept = f" {n} libraries are complete in {building.folder}. Repair this library and call again." if n else ""
            raise LibraryError(problem.library, problem.path, problem.what + kept) from problem
        except OSError as problem:
            msg = (
                f"library {library!r} cannot be written to {building.folder} ({problem}). Nothing of it is left "
                f"there, and {len(building.done)} libraries are complete. Free disk space and call again."
            )
            raise OSError(problem.errno, msg) from problem
        finally:
            pool.shutdown(cancel_futures=True)


def finish(building: Building, table: pd.DataFrame, plan: Plan, var_names: str) -> None:
    """Write ``obs``, ``var`` and the record, and give the store its final name."""
    columns = building.columns()
    n_cells = [record["n_cells"] for record in building.done]
    obs = _obs(table, np.repeat(np.arange(len(table)), n_cells), columns)
    var = _var(plan, var_names)
    counted = pd.DataFrame(
        [{name: record[name] for name in ("library", "n_found", *REASONS, "n_cells")} for record in building.done]
    ).rename(columns={"n_cells": "kept"})
    record = {"config": building.config, "done": building.done}
    uns = {keys.UNS: {keys.LIBRARIES: {"table": counted, "record": json.dumps(record)}}}
    try:
        building.finish(columns["lengths"], obs, var, uns)
    except OSError as problem:
        msg = f"{building.out} could not be completed ({problem}). All libraries are in {building.folder}. Call again."
        raise OSError(problem.errno, msg) from problem
    if not_drawn := int(counted["not_drawn"].sum()):
        logger.warning(
            "%d of %d cells that passed quality control were not drawn: n_cells=%d keeps at most this number of each "
            "library. n_cells=None keeps all. heldout.get.libraries shows the numbers of each library.",
            not_drawn,
            not_drawn + int(counted["kept"].sum()),
            plan.n_cells,
        )


def _obs(table: pd.DataFrame, of_cell: np.ndarray, columns: dict[str, np.ndarray]) -> pd.DataFrame:
    obs = pd.DataFrame(index=pd.Index(columns["names"].astype(object)))
    obs["library"] = pd.Categorical.from_codes(of_cell, categories=list(table["library"]))
    for name in table.columns.drop(["library", "path"]):
        values = table[name]
        if values.dtype == object or isinstance(values.dtype, pd.StringDtype):
            values = values.astype("category")
        obs[name] = values.iloc[of_cell].array
    obs["n_genes_by_counts"] = columns["n_genes"]
    obs["total_counts"] = columns["total"]
    obs["pct_counts_mt"] = columns["pct_mito"]
    return obs


def _var(plan: Plan, var_names: str) -> pd.DataFrame:
    from anndata.utils import make_index_unique

    genes = plan.joined.genes
    names = pd.Index(genes.symbols if var_names == "gene_symbols" else genes.ids, dtype=object)
    return pd.DataFrame(
        {
            "gene_ids": genes.ids,
            "gene_symbols": genes.symbols,
            "feature_types": pd.Categorical(genes.types),
            "mt": plan.mito,
            "n_libraries": plan.joined.n_libraries,
        },
        index=make_index_unique(names),
    )
