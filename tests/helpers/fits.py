"""A fit with every kind of array and odd gene names, and an AnnData that has it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from heldout._core.fits import Fit, write_fit
from heldout._core.partition import read_partition

GENES = ["LMNA", "HLA-A/B", "NKX2.5", "β-actin", "Gène é", "细胞", "with space ", "1", "'quoted\"", "nan"]


def arrays_of_every_kind():
    rng = np.random.default_rng(0)
    arrays = {
        f"{dtype} {shape}": rng.integers(0, 2, shape).astype(dtype)
        for dtype in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", ">f8", ">i2")
        for shape in [(), (2, 0), (2, 3, 2)]
    }
    arrays["trunk.0.weight"] = np.asfortranarray(rng.normal(size=(4, 3)).astype(np.float32))
    arrays["every second"] = rng.normal(size=(6, 4))[::2, ::-1]
    arrays["a/b name with ä"] = rng.normal(size=3)
    arrays["extreme"] = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 5e-324, 1.7976931348623157e308])
    arrays["limits"] = np.array([0, 2**64 - 1], dtype=np.uint64)
    return arrays


def a_fit(**changes):
    fit = Fit(
        method="genotype.logistic",
        config={"C": 0.1, "none": None, "nested": {"a": [1, 2.5, True], "ä": "ö/β"}, "nan": float("nan")},
        split_key="split",
        split_hash="0" * 64,
        genes=np.array(GENES, dtype=object),
        arrays=arrays_of_every_kind(),
        info={"classes": ["control", "patient"], "total": 1e4, "tiny": 0.1 + 0.2},
        history=pd.DataFrame({"epoch": [0, 1], "val_auc": [0.5, np.nan], "train_loss": np.float32([1 / 3, 0.1])}),
    )
    return replace(fit, **changes)


def holding(adata, fit, key="genotype"):
    """Put a fit on the present split into the AnnData."""
    partition = read_partition(adata)
    fit = replace(fit, split_hash=partition.hash)
    write_fit(adata, key, fit, partition)
    return fit
