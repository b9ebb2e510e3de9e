"""annbatch reads the same batches from a store that dask does, and the model learns from them."""

from __future__ import annotations

from functools import partial

import dask.array as da
import numpy as np
import pytest
from anndata.experimental import read_elem_lazy
from anndata.io import sparse_dataset
from scipy import sparse

import heldout as ho
from heldout._core import streaming
from heldout._core.lazy import block_rows
from heldout.reading._store import open_lazily
from tests.helpers.libraries_on_disk import LIMITS, write_folder

pytest.importorskip("annbatch", reason="needs heldout[annbatch], Python 3.12 or later")
zarr = pytest.importorskip("zarr")

from heldout._core.annbatch_blocks import AnnbatchReader, source_of  # noqa: E402


@pytest.fixture
def stored(split, tmp_path):
    """Prepared cells whose X is computed from a store."""
    split.X = sparse.csr_matrix(split.X)
    split.write_zarr(tmp_path / "cells.zarr")
    root = zarr.open_group(tmp_path / "cells.zarr", mode="r")
    split.X = read_elem_lazy(root["X"], chunks=(37, split.n_vars))
    ho.pp.recipe_karpe26(split, n_top_genes=60)
    return split


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("pool", [3, 32])
def test_the_same_batches(stored, seed, pool, monkeypatch):
    """Each train row once an epoch, in the seeded order, with the values that X has."""
    monkeypatch.setattr(streaming, "POOL", pool)
    X = stored.X[:, np.arange(0, 60, 2)]
    rows = np.flatnonzero(stored.obs["split"] == "train")
    beside = {"row": np.arange(stored.n_obs)}
    values = X.compute().toarray()
    ours = streaming.streamed(X, rows, beside, 32, seed=seed)
    assert isinstance(ours.read, AnnbatchReader)
    dask = streaming.StreamedBlocks(X, rows, beside, 32, seed=seed)
    orders = []
    for _ in range(2):
        batches, expected = ([batch for block in part for batch in block] for part in (ours, dask))
        seen = np.concatenate([batch["row"].numpy() for batch in batches])
        np.testing.assert_array_equal(np.sort(seen), rows if len(rows) % 32 != 1 or seed is None else np.sort(seen))
        np.testing.assert_array_equal(np.concatenate([batch["X"].numpy() for batch in batches]), values[seen])
        np.testing.assert_array_equal(seen, np.concatenate([batch["row"].numpy() for batch in expected]))
        orders.append(seen)
    assert np.array_equal(*orders) == (seed is None)


def test_only_annbatch_reads_the_train_cells(stored, monkeypatch):
    """No block that is fed to the network is read by dask."""
    X = stored.X
    blocks = streaming.streamed(X, np.arange(stored.n_obs), {}, 32, seed=0)

    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr("anndata._io.specs.lazy_methods.maybe_open_h5", refuse)
    assert sum(len(batch["X"]) for part in blocks for batch in part) == stored.n_obs
    with pytest.raises(AssertionError):
        X[:5].compute(scheduler="synchronous")


def test_the_model_learns_the_same(stored, monkeypatch):
    config = ho.model.MLPConfig(max_epochs=4, n_hidden=16, batch_size=32)
    ho.tl.genotype(stored, "genotype", auxiliary_key="day", config=config, key_added="annbatch")
    monkeypatch.setattr(streaming, "find_spec", lambda name: None)
    ho.tl.genotype(stored, "genotype", auxiliary_key="day", config=config, key_added="dask")
    one, other = (stored.obsm[f"{key}_log_probability"] for key in ("annbatch", "dask"))
    np.testing.assert_array_equal(one, other)
    loss = ho.get.history(stored, "annbatch")["train_loss"].to_numpy()
    assert loss[-1] < 0.95 * loss[0]
    ho.tl.predict(stored, key="annbatch")
    np.testing.assert_allclose(np.exp(stored.obsm["annbatch_log_probability"]).sum(axis=1), 1, rtol=1e-5)


def test_what_it_cannot_read_stays_with_dask(stored):
    """An array in memory, blocks joined from several of the store, and values that depend on all blocks."""
    X = stored.X
    dense = X.map_blocks(lambda block: block.toarray(), dtype=X.dtype, meta=np.empty((0, 0), X.dtype))
    for readable in (X, X.map_blocks(lambda block: 2 * block), dense, da.concatenate([X, X])):
        assert source_of(readable) is not None
    for other in (da.from_array(np.zeros((9, 3)), chunks=(4, 3)), dense.rechunk((90, -1)), dense / dense.max()):
        assert source_of(other) is None
        blocks = streaming.streamed(other, np.arange(len(other)), {}, 32, seed=0)
        assert type(blocks) is streaming.StreamedBlocks
        assert not isinstance(blocks.read, AnnbatchReader)
        assert sum(len(batch["X"]) for part in blocks for batch in part) == len(other)


def test_a_store_of_read_libraries_is_known(tmp_path):
    adata = ho.pp.read_libraries({"a": write_folder(tmp_path / "a", 0)}, tmp_path / "o.zarr", **LIMITS)
    X = open_lazily(tmp_path / "o.zarr", rows=7).X
    source = source_of(X)
    assert [rows for _, _, rows in source.blocks] == block_rows(X)
    rows = np.arange(adata.n_obs)
    seen = [batch["X"].numpy() for part in streaming.streamed(X, rows, {}, 8) for batch in part]
    np.testing.assert_array_equal(np.concatenate(seen), adata.X.compute().toarray())


def test_a_reader_that_does_more_than_read_is_left_alone(tmp_path):
    """What it makes of the rows would be lost."""
    ho.pp.read_libraries({"a": write_folder(tmp_path / "a", 0)}, tmp_path / "o.zarr", **LIMITS)
    dataset = sparse_dataset(zarr.open_group(tmp_path / "o.zarr", mode="r")["X"])

    def logs(dataset, block_info=None):
        return dataset[slice(*block_info[None]["array-location"][0])].log1p()

    X = da.map_blocks(partial(logs, dataset), chunks=((dataset.shape[0],), (dataset.shape[1],)), dtype=np.float32)
    assert source_of(X) is None
