"""Write an AnnData in the formats of anndata and read it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import zarr

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

FORMATS = ("h5ad", "zarr")


def through(adata: AnnData, kind: str, folder: Path) -> AnnData:
    """What is read after it was written. A zarr store stays in memory: it has a hundred files, and each is slow."""
    if kind == "zarr":
        store = zarr.storage.MemoryStore()
        adata.write_zarr(store)
        return ad.read_zarr(store)
    path = folder / "stored.h5ad"
    adata.write_h5ad(path)
    return ad.read_h5ad(path)
