"""Read the blocks of a zarr store with annbatch; the dask graph computes the rest. Needs annbatch (Python 3.12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from annbatch import Loader
from annbatch.abc import Sampler
from anndata.abc import CSRDataset

from heldout._core.lazy import as_rows
from heldout._core.stored_rows import StoredRows, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout._core.types import Matrix

TOGETHER = 4
"""Number of blocks of the store, with all their genes, that are in memory at once."""


class StoredSource(NamedTuple):
    """The stored matrix that a dask array is computed from."""

    dataset: Any
    """The csr matrix in its zarr store."""
    blocks: list[tuple[dict[Any, Any], Any, slice]]
    """For each block: its tasks, the key of the task that reads the store, and the rows that this task reads."""


class AnnbatchReader:
    """Read blocks of a dask array with annbatch, for :class:`heldout._core.streaming.StreamedBlocks`.

    annbatch gets the stored rows of some blocks at once. Each block replaces the task that would have read it, so
    everything between the store and ``X`` (normalising, choosing genes, scaling) is computed as before.
    """

    def __init__(self, X: Any, source: StoredSource) -> None:
        self.name, self.source, self.reading = X.name, source, _Slices()
        self.loader = Loader(batch_sampler=self.reading, preload_to_gpu=False).add_dataset(source.dataset)
        self.kind = type(source.dataset[:1])

    def __call__(self, chosen: list[tuple[int, np.ndarray, np.ndarray]]) -> list[Matrix]:
        """Return the wanted rows of each block; ``chosen`` holds block numbers and row numbers inside the block."""
        from dask.threaded import get

        self.reading.slices = [self.source.blocks[number][2] for number, _, _ in chosen]
        stored = iter(self.loader)
        parts: list[Matrix] = []
        for first in range(0, len(chosen), TOGETHER):
            now = chosen[first : first + TOGETHER]
            graph: dict[Any, Any] = {}
            for number, _, _ in now:
                tasks, key, _ = self.source.blocks[number]
                graph |= {**tasks, key: self.kind(next(stored)["X"])}
            blocks = get(graph, [(self.name, number, 0) for number, _, _ in now])
            parts += [as_rows(block)[inside] for block, (_, inside, _) in zip(blocks, now, strict=True)]
        return parts


class _Slices(Sampler):
    """Sampler that returns given slices of rows in their order, each as one batch."""

    batch_size, shuffle = None, False

    def __init__(self) -> None:
        self.slices: list[slice] = []

    def n_batches(self, n_obs: int) -> int:
        """One batch for each slice."""
        return len(self.slices)

    def validate(self, n_obs: int) -> None:
        """Nothing to check: the slices are those of the blocks."""

    def _sample(self, n_obs: int) -> Iterator[dict[str, Any]]:
        for first in range(0, len(self.slices), TOGETHER):
            slices = self.slices[first : first + TOGETHER]
            ends = np.cumsum([0, *(part.stop - part.start for part in slices)])
            yield {"requests": slices, "splits": [np.arange(*pair) for pair in zip(ends[:-1], ends[1:], strict=True)]}


def source_of(X: Any) -> StoredSource | None:
    """Find the matrix that a dask array is computed from.

    Returns None unless each block of the array is computed from one block of a csr matrix in a zarr store.
    """
    from dask.optimization import cull

    layers = X.__dask_graph__().layers
    reading = {name: found for name, layer in layers.items() if (found := _stored(layer)) is not None}
    if len(reading) != 1:
        return None
    ((name, (dataset, infos)),) = reading.items()
    graph, blocks = dict(X.__dask_graph__()), []
    for number in range(X.numblocks[0]):
        tasks, _ = cull(graph, [(X.name, number, 0)])
        keys = [key for key in tasks if isinstance(key, tuple) and key[0] == name]
        if len(keys) != 1:
            return None
        blocks.append((tasks, keys[0], slice(*infos[keys[0][1:]][None]["array-location"][0])))
    return StoredSource(dataset, blocks)


def _stored(layer: Any) -> tuple[Any, Any] | None:
    """Stored matrix that a layer of the graph reads, and the rows of each task. None for layers of other packages."""
    calls = [value for value, index in getattr(layer, "indices", ()) if index is None]
    readers = [getattr(call, "value", call) for call in calls]  # partials, which dask may have wrapped
    arguments = [argument for reader in readers if _reads(reader) for argument in reader.args]
    found = [argument.dataset if isinstance(argument, StoredRows) else argument for argument in arguments]
    datasets = [dataset for dataset in found if isinstance(dataset, CSRDataset) and dataset.backend == "zarr"]
    infos = list(getattr(layer, "io_deps", {}).values())
    return (datasets[0], infos[0]) if len(datasets) == len(infos) == 1 else None


def _reads(call: Any) -> bool:
    """Whether a function only returns stored rows: it is that of heldout or that of anndata."""
    function = getattr(call, "func", None)
    return function is rows_of or str(getattr(function, "__module__", "")).startswith("anndata.")
