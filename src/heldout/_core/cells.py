"""Read columns of the cells of an AnnData and of a MuData (whose modalities share cells) in the same way."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import pandas as pd

from heldout._core import store
from heldout._core.store import some, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from mudata import MuData


def is_mudata(adata: Any) -> TypeGuard[MuData]:
    """Whether this is a MuData. Its owner has imported mudata, so nothing is imported here."""
    mudata = sys.modules.get("mudata")
    return mudata is not None and isinstance(adata, mudata.MuData)


def start(adata: AnnData | MuData, *, copy: bool) -> AnnData | MuData:
    """Return the object that the function works on, like :func:`heldout._core.store.start`, also for a MuData."""
    check(adata)
    if is_mudata(adata) and not copy:
        _check_writable(adata)
    return adata.copy() if copy else adata


def check(adata: AnnData | MuData) -> None:
    """Refuse anything but an AnnData, or a MuData whose modalities share cells by name."""
    if not is_mudata(adata):
        store.check_adata(adata)
        return
    if adata.axis == 1:
        msg = (
            "adata is a MuData with axis=1: its modalities share genes, not cells, so cells cannot have the same "
            "partition in all modalities. Pass one modality, e.g. mdata['rna']."
        )
        raise ValueError(msg)
    for name, modality in adata.mod.items():
        if is_mudata(modality):
            msg = f"mdata[{name!r}] is a MuData itself. A nested MuData is not supported. Pass it alone."
            raise TypeError(msg)
    for where, names in (("mdata", adata.obs_names), *((f"mdata[{n!r}]", m.obs_names) for n, m in adata.mod.items())):
        if not names.is_unique:
            twice = names[names.duplicated()].unique()
            msg = (
                f"{where}.obs_names has {len(twice)} duplicated names (e.g. {some(twice)}); splits are recorded by "
                "name. Make the names unique in each modality first, with the same name for the same cell."
            )
            raise ValueError(msg)
    _check_current(adata)


def _check_current(mdata: MuData) -> None:
    found = pd.Index(np.unique(np.concatenate([np.asarray(mod.obs_names, dtype=object) for mod in mdata.mod.values()])))
    for names, what in (
        (found.difference(mdata.obs_names), "are in a modality, but not in mdata.obs"),
        (mdata.obs_names.difference(found), "are in mdata.obs, but in no modality"),
    ):
        if len(names):
            msg = f"{len(names)} cells {what} (e.g. {some(names)}). Call mdata.update() after changing a modality."
            raise ValueError(msg)


def _check_writable(mdata: MuData) -> None:
    """Refuse views of MuData objects and of backed AnnData objects, which cannot become actual in place."""
    if mdata.is_view:
        msg = "adata is a view of another MuData, which cannot be written to. Call .copy() first, or pass copy=True."
        raise ValueError(msg)
    for name, modality in mdata.mod.items():
        if modality.is_view and modality.isbacked:
            msg = f"mdata[{name!r}] is a view of a backed AnnData, which cannot be written to. Load it: .to_memory()"
            raise ValueError(msg)


def targets(adata: AnnData | MuData) -> dict[str | None, AnnData | MuData]:
    """Return all objects that a split of cells is written to: ``adata`` (under None) and each modality by name."""
    return {None: adata, **adata.mod} if is_mudata(adata) else {None: adata}


def column(adata: AnnData | MuData, key: str, *, argument: str, allow_missing: bool = False) -> pd.Series:
    """Fetch a column of ``obs``. If it is missing, the error names the argument and similar columns.

    For a MuData, ``key`` is ``"modality:column"``, a column of ``mdata.obs``, or a column of the modalities. In the
    last case the modalities must agree, and every cell must have a value.
    """
    if not is_mudata(adata):
        return store.column(adata, key, argument=argument, allow_missing=allow_missing)
    modality, _, rest = str(key).partition(":")
    if modality in adata.mod and rest in adata.mod[modality].obs.columns:
        return _merged(adata, rest, [modality], argument=f"{argument}={key!r}")
    if key in adata.obs.columns:
        return store.column(adata, key, argument=argument, allow_missing=allow_missing)
    having = [name for name, mod in adata.mod.items() if key in mod.obs.columns]
    if having:
        return _merged(adata, key, having, argument=f"{argument}={key!r}")
    columns = dict.fromkeys([*adata.obs.columns, *(c for mod in adata.mod.values() for c in mod.obs.columns)])
    msg = f"{argument}={key!r} is not a column of adata.obs, nor of a modality. {suggest(key, columns)}"
    raise ValueError(msg)


def _merged(mdata: MuData, key: str, modalities: Sequence[str], *, argument: str) -> pd.Series:
    """Merge a column of several modalities. Where several modalities have a value, it must be the same as text."""
    parts = {name: mdata.mod[name].obs[key].dropna() for name in modalities}
    parts = {name: part for name, part in parts.items() if len(part)}
    values = _concatenated(list(parts.values())) if parts else pd.Series(index=mdata.obs_names[:0], dtype=object)
    owner = np.repeat(np.array(list(parts), dtype=object), [len(part) for part in parts.values()])
    first = ~values.index.duplicated()
    names = pd.Series(store.as_names(values), index=values.index, dtype=object)
    differ = names.to_numpy() != names[first].loc[values.index].to_numpy()
    if differ.any():
        cell = values.index[differ][0]
        found = ", ".join(f"{names.iloc[at]!r} in {owner[at]!r}" for at in np.flatnonzero(values.index == cell))
        msg = (
            f"{argument} is not the same in all modalities for {int(differ.sum())} cells (e.g. {cell!r}: {found}). "
            f"Make the modalities agree, or name one of them, e.g. {owner[0] + ':' + key!r}."
        )
        raise ValueError(msg)
    lacking = mdata.obs_names.difference(values.index, sort=False)
    if len(lacking):
        within = [name for name, mod in mdata.mod.items() if lacking.isin(mod.obs_names).any()]
        msg = (
            f"{argument} has no value for {len(lacking)} of {mdata.n_obs} cells (e.g. {some(lacking)}), which are in "
            f"{some(within)}. Give each cell a value in mdata.obs[{key!r}], or drop those cells."
        )
        raise ValueError(msg)
    return values[first].loc[mdata.obs_names]


def _concatenated(parts: list[pd.Series]) -> pd.Series:
    """Concatenate values. Categoricals stay categorical, also if their categories differ."""
    dtypes = [part.dtype for part in parts]
    categorical = all(isinstance(dtype, pd.CategoricalDtype) for dtype in dtypes)
    if not categorical or len(set(dtypes)) == 1:
        return pd.concat(parts)
    index = parts[0].index.append([part.index for part in parts[1:]])
    if len({dtype.categories.dtype for dtype in dtypes}) > 1:
        return pd.Series(np.concatenate([np.asarray(part, dtype=object) for part in parts]), index=index)
    union = pd.api.types.union_categoricals([part.cat.as_unordered() for part in parts], sort_categories=True)
    return pd.Series(union, index=index)


def params_of_modality(params: Mapping[str, Any], name: str, adata: AnnData) -> dict[str, Any]:
    """Return the parameters of a split for the record of a modality; its columns lose the prefix ``"name:"``."""
    prefix = f"{name}:"

    def plain(key: Any) -> Any:
        if isinstance(key, list):
            return [plain(part) for part in key]
        of_modality = isinstance(key, str) and key.startswith(prefix) and key.removeprefix(prefix) in adata.obs.columns
        return key.removeprefix(prefix) if of_modality else key

    return {word: plain(value) if word.endswith(("_key", "_keys")) else value for word, value in params.items()}
