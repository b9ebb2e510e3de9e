"""Read from and write to the AnnData. Columns are checked when they are read, and all writes happen at the end."""

from __future__ import annotations

import difflib
import logging
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import keys
from heldout._core.words import first_few

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anndata import AnnData

logger = logging.getLogger("heldout")


def check_adata(adata: AnnData) -> None:
    """Refuse anything but an AnnData with unique cell and gene names."""
    from anndata import AnnData

    if not isinstance(adata, AnnData):
        msg = (
            f"adata must be an AnnData, got {type(adata).__name__}. For a MuData, pass one modality, e.g. mdata['rna']."
        )
        raise TypeError(msg)
    for axis, names in (("obs", adata.obs_names), ("var", adata.var_names)):
        if not names.is_unique:
            twice = sorted(names[names.duplicated()].unique().astype(str))
            msg = (
                f"adata.{axis}_names has {len(twice)} duplicated names (e.g. {some(twice)}); splits and fits are "
                f"recorded by name. Call adata.{axis}_names_make_unique() first."
            )
            raise ValueError(msg)


def column(adata: AnnData, key: str, *, argument: str, allow_missing: bool = False) -> pd.Series:
    """Fetch ``adata.obs[key]``. If it is missing, the error names the argument and similar columns."""
    if key not in adata.obs.columns:
        msg = f"{argument}={key!r} is not a column of adata.obs. {suggest(key, adata.obs.columns)}"
        raise ValueError(msg)
    values = adata.obs[key]
    missing = int(values.isna().sum())
    if missing and not allow_missing:
        msg = (
            f"adata.obs[{key!r}] ({argument}) has {missing} missing values in {len(values)} cells. "
            f"Fill them or drop those cells: adata = adata[adata.obs[{key!r}].notna()].copy()"
        )
        raise ValueError(msg)
    return values


def as_names(values: pd.Series | Iterable[Any]) -> np.ndarray:
    """Return values as an object array of text. Integral floats become integers, so 19.0 and 19 are the same name."""
    series = pd.Series(values)
    if isinstance(series.dtype, pd.CategoricalDtype):
        names = np.append(as_names(pd.Series(series.cat.categories)), "nan")  # the code of a missing value is -1
        return names[series.cat.codes.to_numpy()]
    if pd.api.types.is_float_dtype(series.dtype) or series.dtype == object:
        return np.array([_name(value) for value in np.asarray(series)], dtype=object)
    return series.astype(str).to_numpy(dtype=object)


def _name(value: Any) -> str:
    whole = isinstance(value, float | np.floating) and value.is_integer()
    return str(int(value)) if whole else str(value)


def factorize(names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted distinct names, and for each entry the number of its name."""
    codes, unique = pd.factorize(np.asarray(names, dtype=object), sort=True)
    return unique, codes


def ordered_names(values: pd.Series) -> list[str]:
    """Return the distinct values as text: categories in their order, numbers by size, other values by name."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        present = values.cat.remove_unused_categories().cat.categories
        return list(as_names(pd.Series(present)))
    unique = pd.Series(values.dropna().unique())
    if pd.api.types.is_numeric_dtype(unique.dtype):
        return list(as_names(unique.sort_values()))
    return sorted(as_names(unique))


def section(adata: AnnData, name: str) -> dict[str, Any]:
    """Return a section of ``uns["heldout"]`` as a new dict; it is empty if nothing was written yet."""
    found = sections(adata).get(name, {})
    if not isinstance(found, Mapping):
        msg = (
            f"uns['heldout'][{name!r}] was altered: it is a {type(found).__name__}. Delete it, or read the file again."
        )
        raise ValueError(msg)
    return dict(found)


def sections(adata: AnnData) -> dict[str, Any]:
    """Return ``uns["heldout"]`` as a new dict; it is empty if nothing was written yet."""
    found = adata.uns.get(keys.UNS, {})
    if not isinstance(found, Mapping):
        msg = f"uns['heldout'] was altered: it is a {type(found).__name__}. Delete it, or read the file again."
        raise ValueError(msg)
    return dict(found)


def start(adata: AnnData, *, copy: bool) -> AnnData:
    """Return the AnnData that the function works on: ``adata`` itself, or a copy."""
    check_adata(adata)
    return adata.copy() if copy else adata


def finish(adata: AnnData, *, copy: bool) -> AnnData | None:
    """Return the copy, or None if the AnnData was changed in place, as scanpy does."""
    return adata if copy else None


def actual(adata: AnnData) -> None:
    """Turn a view into an actual AnnData before anything is written. Its parent does not change."""
    if adata.is_view:
        logger.warning("adata was a view of another AnnData. It is now a copy, and the parent is unchanged.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adata.obs = adata.obs.copy()


@contextmanager
def undone_on_error(adata: AnnData) -> Iterator[None]:
    """Restore the AnnData if the block fails or is interrupted. ``X`` of a backed AnnData is not restored.

    Entries that the block replaces are restored, so it must not change arrays in place.
    """
    frames = adata.obs.copy(deep=False), adata.var.copy(deep=False)
    slots = [adata.obsm, adata.varm, adata.uns]
    X = None
    if getattr(adata, "layers", None) is not None:  # a MuData has no matrix
        slots.append(adata.layers)
        X = None if adata.isbacked else adata.X
    entries = [(slot, dict(slot)) for slot in slots]
    try:
        yield
    except BaseException:
        adata.obs, adata.var = frames
        if X is not None and adata.X is not X:
            adata.X = X
        for slot, before in entries:
            for name in set(slot) - set(before):
                del slot[name]
            for name, values in before.items():
                if slot.get(name) is not values:
                    slot[name] = values
        raise


def commit(
    adata: AnnData,
    *,
    obs: Mapping[str, Any] | None = None,
    var: Mapping[str, Any] | None = None,
    obsm: Mapping[str, np.ndarray] | None = None,
    varm: Mapping[str, np.ndarray] | None = None,
    uns: Mapping[str, Any] | None = None,
    heldout: Mapping[str, Any] | None = None,
) -> None:
    """Write all results of a function, or nothing. It is called once, at the end.

    ``heldout`` replaces complete sections of ``uns["heldout"]``. The other mappings set single entries.
    """
    actual(adata)
    with undone_on_error(adata):
        for name, values in (obs or {}).items():
            adata.obs[name] = values
        for name, values in (var or {}).items():
            adata.var[name] = values
        for name, values in (obsm or {}).items():
            adata.obsm[name] = values
        for name, values in (varm or {}).items():
            adata.varm[name] = values
        for name, values in (uns or {}).items():
            adata.uns[name] = values
        if heldout:
            adata.uns[keys.UNS] = {**sections(adata), **heldout}
    written = [
        f"{slot}[{name!r}]"
        for slot, entries in (("obs", obs), ("var", var), ("obsm", obsm), ("varm", varm), ("uns", uns))
        for name in entries or {}
    ]
    if written:
        logger.info("added %s", ", ".join(written))


def set_matrix(adata: AnnData, X: Any, layer: str | None) -> None:
    """Replace ``X`` or a layer."""
    actual(adata)
    if layer is None:
        adata.X = X
    else:
        adata.layers[layer] = X


def some(names: Iterable[Any], limit: int = 3) -> str:
    """Return the first names in quotes, and the number of further names."""
    return first_few((repr(str(name)) for name in names), limit)


def suggest(key: Any, options: Iterable[Any]) -> str:
    options = [str(o) for o in options]
    close = difflib.get_close_matches(str(key), options, n=3)
    if close:
        return f"Did you mean {some(close)}?"
    return f"It has {some(options, 8)}." if options else "It has no entries."
