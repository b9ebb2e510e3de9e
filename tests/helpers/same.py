"""Compare everything that an AnnData holds."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

if TYPE_CHECKING:
    from anndata import AnnData


def assert_same(before: Any, after: Any, where: str) -> None:
    assert type(before) is type(after), where
    if isinstance(before, Mapping):
        assert list(before) == list(after), where
        for name in before:
            assert_same(before[name], after[name], f"{where}[{name!r}]")
    elif isinstance(before, pd.DataFrame):
        pd.testing.assert_frame_equal(before, after, check_exact=True, obj=where)
    elif sparse.issparse(before):
        assert before.dtype == after.dtype, where
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(before, part), getattr(after, part), err_msg=where)
    elif isinstance(before, np.ndarray):
        assert before.dtype == after.dtype, where
        np.testing.assert_array_equal(before, after, err_msg=where)
    else:
        assert before == after, where


def content_of(adata: AnnData) -> dict[str, Any]:
    """Everything that a failing call might have changed."""
    slots = {name: dict(getattr(adata, name)) for name in ("layers", "obsm", "varm", "obsp", "varp", "uns")}
    return copy.deepcopy({"X": adata.X, "obs": adata.obs, "var": adata.var, "view": adata.is_view, **slots})
