"""A fit: what it consists of, how it is stored in the AnnData, and when it can be used.

A stored fit is a dict of plain values (see ``docs/contract.md``): one JSON string, arrays of numbers, an array of
gene names and one table. Nothing in it can run code.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import keys
from heldout._core.partition import PARTITIONS, Partition, keep_assignments, load_assignment
from heldout._core.plain_json import DAMAGED, Recorded, read_json
from heldout._core.store import commit, section, some, suggest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from anndata import AnnData

    from heldout._core.partition import Assignment

SCHEMA = 2
"""Version of the stored form. A newer version is refused, an older version must stay readable."""

_HEADER: dict[str, type] = {
    **dict.fromkeys(("method", "split_key", "split_hash"), str),
    **dict.fromkeys(("config", "info", "versions"), dict),
    "layout": list,
}
"""Names and types of the values in the JSON of a fit."""

_FITTING = "heldout.tl.genotype, heldout.tl.forecast, heldout.tl.forecast_genes or heldout.tl.perturbation"

_PACKAGES = ("heldout", "anndata", "scanpy", "numpy", "scikit-learn", "torch", "scvi-tools")


@dataclass(frozen=True)
class Fit:
    """Arrays and JSON values that were fitted on the train partition.

    Parameters
    ----------
    method
        Name in the closed registry of methods.
    config
        Options, JSON values only.
    split_key, split_hash
        The split whose train cells (or genes) were used.
    genes
        Names of the genes that the fit reads, in the order of the arrays.
    arrays
        Fitted numbers.
    info
        Further values that are needed to use the fit (class names, state of the matrix), JSON values only.
    history
        Training history, one row per epoch. It is empty for methods without epochs.
    versions
        Package versions at the time of the fit.
    """

    method: str
    config: dict[str, Any]
    split_key: str
    split_hash: str
    genes: np.ndarray
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    versions: dict[str, str] = field(default_factory=lambda: package_versions())

    @cached_property
    def hash(self) -> str:
        """Sha256 over method, options, split, genes and arrays. Versions and history are not included."""
        state = hashlib.sha256(json.dumps(self._header(), sort_keys=True).encode())
        state.update("\n".join(map(str, self.genes)).encode())
        for name in sorted(self.arrays):
            array = np.ascontiguousarray(self.arrays[name])
            state.update(f"{name}{array.dtype.str}{array.shape}".encode())
            state.update(array.tobytes())
        return state.hexdigest()

    def _header(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "config": self.config,
            "info": self.info,
            "split_key": self.split_key,
            "split_hash": self.split_hash,
        }

    def stored(self) -> dict[str, Any]:
        """Return plain values for ``uns``. Arrays are flattened; their shapes and dtypes are in the JSON."""
        names = sorted(self.arrays)
        layout = [[name, self.arrays[name].dtype.str, list(self.arrays[name].shape)] for name in names]
        header = {**self._header(), "versions": self.versions, "layout": layout}
        stored: dict[str, Any] = {
            "schema": SCHEMA,
            "json": json.dumps(header, sort_keys=True),
            "split_hash": self.split_hash,
            "hash": self.hash,
            "genes": np.array([str(gene) for gene in self.genes]),
            "arrays": {f"a{i:04d}": np.ascontiguousarray(self.arrays[n]).reshape(-1) for i, n in enumerate(names)},
        }
        if len(self.history):
            stored["history"] = self.history.reset_index(drop=True).rename(index=str)
        return stored

    @classmethod
    def load(cls, stored: Mapping[str, Any], *, key: str) -> Fit:
        """Read what :meth:`stored` returned; refuse a newer schema and altered content."""
        header = _header(stored, key=key)
        try:
            arrays = _arrays(stored["arrays"], header.pop("layout"))
            fit = cls(genes=_genes(stored), arrays=arrays, history=_history(stored), **header)
            same = fit.hash == str(stored["hash"])
        except DAMAGED as error:
            raise ValueError(_altered(key)) from error
        if not same:
            raise ValueError(_altered(key))
        return fit

    def columns(self, var_names: pd.Index, *, key: str) -> np.ndarray:
        """Return the column numbers of the genes of this fit, in the order of the fit.

        Raises
        ------
        ValueError
            If genes are missing. The genes of ``var_names`` can be in any order.
        """
        at = var_names.get_indexer(self.genes)
        if (at < 0).any():
            missing = self.genes[at < 0]
            msg = (
                f"Fit {key!r} reads {len(self.genes)} genes, {len(missing)} of them are not in adata.var_names "
                f"(e.g. {some(missing)}). Use the AnnData before genes were dropped, or fit again on these genes."
            )
            raise ValueError(msg)
        return at


@dataclass(frozen=True)
class FitHeader:
    """The parts of a stored fit except its arrays. Reading the header does not load, copy or hash the arrays.

    Use it to choose a function, and for plots and tables. To use the arrays, call :func:`read_fit`, which checks the
    complete content against ``hash``.

    Parameters
    ----------
    method, config, split_key, split_hash, genes, info, history, versions
        As in :class:`Fit`.
    hash
        Hash that was stored with the fit; not checked.
    n_numbers
        Number of fitted numbers in all arrays.
    """

    method: str
    config: dict[str, Any]
    split_key: str
    split_hash: str
    genes: np.ndarray
    info: dict[str, Any]
    history: pd.DataFrame
    versions: dict[str, str]
    hash: str
    n_numbers: int

    @classmethod
    def load(cls, stored: Mapping[str, Any], *, key: str) -> FitHeader:
        """Read a stored fit without its arrays; refuse a newer schema and a damaged header."""
        header = _header(stored, key=key)
        try:
            n_numbers = sum(math.prod(shape) for _, _, shape in header.pop("layout"))
            genes, history, hash_ = _genes(stored), _history(stored), str(stored["hash"])
        except DAMAGED as error:
            raise ValueError(_altered(key)) from error
        return cls(genes=genes, history=history, hash=hash_, n_numbers=n_numbers, **header)


def _header(stored: Mapping[str, Any], *, key: str) -> dict[str, Any]:
    try:
        schema = int(stored["schema"])
        header: dict[str, Any] = read_json(str(stored["json"]))
        whole = {name: type(value) for name, value in header.items()} == _HEADER
    except DAMAGED as error:
        raise ValueError(_altered(key)) from error
    if schema > SCHEMA:
        msg = (
            f"Fit {key!r} was stored with schema {schema}, this version of heldout reads up to {SCHEMA}. "
            "Upgrade: pip install -U heldout"
        )
        raise ValueError(msg)
    if not whole:
        raise ValueError(_altered(key))
    return header | {name: Recorded(header[name], _altered(key)) for name in ("config", "info")}


def _arrays(stored: Mapping[str, Any], layout: list[Any]) -> dict[str, np.ndarray]:
    """Return the arrays by name. Their types and sizes are checked before memory is taken."""
    arrays = {}
    for i, (name, dtype, shape) in enumerate(layout):
        flat, kind = np.asarray(stored[f"a{i:04d}"]), np.dtype(dtype)
        if not {flat.dtype.kind, kind.kind} <= set("biuf") or flat.size != math.prod(shape):
            msg = f"{name} is not {shape} numbers"
            raise ValueError(msg)
        arrays[name] = flat.astype(kind, copy=False).reshape(shape)
    return arrays


def _genes(stored: Mapping[str, Any]) -> np.ndarray:
    return np.array([str(gene) for gene in stored["genes"]], dtype=object)


def _history(stored: Mapping[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(stored["history"]).reset_index(drop=True) if "history" in stored else pd.DataFrame()


def _altered(key: str) -> str:
    return f"Fit {key!r} was altered after it was stored: its hash does not match. Fit it again."


def package_versions() -> dict[str, str]:
    """Return the versions of the installed packages that affect results."""
    return {name: found for name in _PACKAGES if (found := _version(name)) is not None}


@lru_cache(maxsize=32)
def _version(name: str) -> str | None:
    """Version of an installed package. It is read once, because reading takes longer than a small fit."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def read_fit(adata: AnnData, key: str) -> Fit:
    """Read the fit ``key`` from ``uns["heldout"]["fits"]`` and check its content against its hash."""
    return Fit.load(_stored(adata, key), key=key)


def read_header(adata: AnnData, key: str) -> FitHeader:
    """Read the fit ``key`` without its arrays; nothing is hashed."""
    return FitHeader.load(_stored(adata, key), key=key)


def _stored(adata: AnnData, key: str) -> Mapping[str, Any]:
    fits = section(adata, keys.FITS)
    if key not in fits:
        hint = suggest(key, fits) if fits else f"Nothing was fitted yet. Call {_FITTING} first."
        msg = f"There is no fit {key!r} in this AnnData. {hint}"
        raise ValueError(msg)
    stored: Mapping[str, Any] = fits[key]
    return stored


def fit_sections(
    adata: AnnData,
    new: Mapping[str, Fit],
    *,
    partition: Partition | None = None,
    parents: Iterable[Assignment] = (),
) -> dict[str, Any]:
    """Return the sections of ``uns["heldout"]`` with the new fits, for :func:`heldout._core.store.commit`.

    ``parents`` are the splits of fits from which the new fits started.
    """
    fits = section(adata, keys.FITS)
    for key, fit in new.items():
        check_key_is_free(adata, key, fit.method)
        fits[key] = {**fit.stored(), "order": 1 + max(map(_order, fits.values()), default=0)}
    add = [*parents, *([] if partition is None else [partition.assignment])]
    return {keys.FITS: fits, keys.ASSIGNMENTS: keep_assignments(adata, fits=fits, add=add)}


def latest_fit(adata: AnnData, wings: Collection[str] | None = None, *, purpose: str) -> str:
    """Key of the fit of one of these wings that was stored last.

    Parameters
    ----------
    adata
        AnnData with fits.
    wings
        Wings to search, e.g. ``genotype``. If None, all wings are searched; preparation steps do not count.
    purpose
        What the fit is needed for, for the message: "to evaluate".

    Raises
    ------
    ValueError
        If there is no such fit; or if an older version of heldout stored several fits, without their order.
    """
    fits = section(adata, keys.FITS)
    methods = {key: _header(stored, key=key)["method"] for key, stored in fits.items()}
    of = {key: method.split(".")[0] for key, method in methods.items()}
    able = {key: _order(fits[key]) for key, wing in of.items() if (wing != "pp" if wings is None else wing in wings)}
    if not able:
        makers = " or ".join(f"heldout.tl.{wing}" for wing in wings or ["genotype", "perturbation", "forecast"])
        msg = f"key is not given, and there is no fit {purpose} in this AnnData. Call {makers} first."
        raise ValueError(msg)
    last = [key for key, order in able.items() if order == max(able.values())]
    if len(last) > 1:
        msg = f"key is not given, and there are several fits {purpose}: {some(sorted(last), 8)}. Pass one as key."
        raise ValueError(msg)
    return last[0]


def _order(stored: Mapping[str, Any]) -> int:
    """Position of a stored fit among all, from 1; 0 for those of older files."""
    try:
        return int(stored.get("order", 0))
    except DAMAGED:
        return 0


def check_key_is_free(adata: AnnData, key: str, method: str) -> None:
    """Refuse to replace a fit of another kind. A fit can replace one of its kind: a scaling a scaling."""
    if key not in section(adata, keys.FITS):
        return
    there = read_header(adata, key).method
    if there != method and (there.startswith("pp.") or there.split(".")[0] != method.split(".")[0]):
        msg = f"Key {key!r} already holds a {there!r} fit, which {method!r} would replace. Choose another key."
        raise ValueError(msg)


def write_fit(
    adata: AnnData, key: str, fit: Fit, partition: Partition, *, parents: Iterable[Assignment] = (), **slots: Any
) -> None:
    """Store a fit and the other results of the caller; an evaluation of the fit that it replaces is removed.

    ``parents`` are the splits of fits from which this fit started.
    """
    sections = fit_sections(adata, {key: fit}, partition=partition, parents=parents)
    for name in (keys.EVALUATIONS, keys.SCORES, keys.CLAIMS):
        stored = section(adata, name)
        if stored.pop(key, None) is not None:
            sections[name] = stored
    commit(adata, heldout=sections, **slots)


def check_split(adata: AnnData, fit: Fit | FitHeader, partition: Partition, *, key: str) -> None:
    """Refuse a fit made on another split.

    Cells can be dropped after the fit: the split is the same if each cell of ``adata`` has the partition that it had
    when the fit was made.

    Raises
    ------
    ValueError
        If cells changed their partition. The message counts them, names some, and counts test cells of the fit's train
        and val partitions.
    """
    if fit.split_hash == partition.hash:
        return
    names = adata.obs_names if partition.axis == "obs" else adata.var_names
    before = load_assignment(adata, fit.split_hash).lookup(names)
    differ = np.flatnonzero(before != partition.codes)
    if not len(differ):
        return
    seen = np.isin(before, [PARTITIONS.index("train"), PARTITIONS.index("val")]) & partition.mask("test")
    leak = f"{int(seen.sum())} of its train and val cells are now test cells. " if seen.any() else ""
    msg = (
        f"Fit {key!r} was made on another split ({fit.split_hash[:12]}…) than the current one in "
        f"{partition.axis}[{partition.key!r}] ({partition.hash[:12]}…): {len(differ)} of {len(names)} names differ "
        f"(e.g. {some(names[differ])}). {leak}Fit again on the current split, from the matrix before preparation, or "
        "restore the old split."
    )
    raise ValueError(msg)
