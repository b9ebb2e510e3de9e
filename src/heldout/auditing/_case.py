"""The data that the items of the audit read: the split, the units, the covariates and the matrix."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

from heldout._core import store
from heldout._core.arrays import MatrixState, describe, get_matrix, loaded, lognormalised, moments, take
from heldout._core.chain import is_scaled
from heldout._core.partition import PARTITIONS, Partition, digests
from heldout._core.types import is_sparse
from heldout.auditing._finding import NotRun
from heldout.auditing._units import AuditUnits

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from anndata import AnnData

    from heldout._core.types import Matrix, MatrixOrDask

N_COMPS = 50
MAX_GENES = 2000
TARGET = 1e4
_HELD_OUT_BY = {
    "matched": "match_key",
    "leave_one_match_out": "match_key",
    "time": "time_key",
    "perturbations": "perturbation_key",
}
"""Argument that names the column whose values a scheme holds out."""


@dataclass(frozen=True)
class Sample:
    """A sample of cells in log-normalised values, with coordinates on components that are fitted on the train cells.

    Parameters
    ----------
    rows
        Row numbers in the AnnData in ascending order, (m,).
    columns
        Column numbers of the genes, (p,). These are the 2000 genes that vary most among the sampled train cells, or all
        genes that vary.
    X
        Log-normalised values, (m × p).
    pcs
        Coordinates, (m × k) float32. k is at most 50.
    mean, components
        Mean of each gene over the sampled train cells, (p,), and loadings, (k × p).
    """

    rows: np.ndarray
    columns: np.ndarray
    X: Matrix
    pcs: np.ndarray
    mean: np.ndarray
    components: np.ndarray


class Stored(NamedTuple):
    """A matrix of the AnnData: its layer (None for ``X``), its name in the report, its values, and what they are."""

    layer: str | None
    where: str
    X: MatrixOrDask
    state: MatrixState


@dataclass(frozen=True)
class Case:
    """The AnnData, the split and the options of an audit. Items read it and change nothing.

    Parameters
    ----------
    codes
        Partition code of each cell, (n,). The code is -1 if the column has no partition for the cell.
    partition, problem
        The checked split. If the check failed, ``partition`` is None and ``problem`` is the reason.
    group_key, label_key, covariate_keys, match_key, time_key, perturbation_key
        Columns of ``obs``. Empty or None if not known.
    control
        Names of the controls in ``perturbation_key``. If empty, they are known from the record or by their names.
    layer
        Layer to read instead of ``X``. If None, ``X`` is used.
    n_cells
        Number of cells that the costly items use.
    seed
        Seed of all random draws.
    """

    adata: AnnData
    split_key: str
    codes: np.ndarray
    partition: Partition | None
    problem: str = ""
    group_key: list[str] = field(default_factory=list)
    label_key: str | None = None
    covariate_keys: list[str] = field(default_factory=list)
    match_key: str | None = None
    time_key: str | None = None
    perturbation_key: str | None = None
    control: list[str] = field(default_factory=list)
    layer: str | None = None
    n_cells: int = 20_000
    seed: int = 0

    def mask(self, *partitions: str) -> np.ndarray:
        """Boolean mask (n,) of the cells in these partitions."""
        return np.isin(self.codes, [PARTITIONS.index(p) for p in partitions])

    @property
    def unit(self) -> str:
        """Name of the group column, e.g. ``library``. Several columns are joined with ``+``."""
        return "+".join(self.group_key) or "group"

    @property
    def scheme(self) -> str | None:
        """Scheme of the split, or None if it has no record."""
        return None if self.partition is None else self.partition.scheme

    @property
    def held_out(self) -> str:
        """Column whose values the split holds out on purpose. Empty if there is none or it is not known."""
        if self.scheme in _HELD_OUT_BY:
            return getattr(self, _HELD_OUT_BY[self.scheme]) or f"values by the scheme {self.scheme!r}"
        for key in (self.match_key, self.time_key):
            if key is not None:
                values = self.adata.obs[key].astype(object).to_numpy()
                if not set(values[self.mask("test")]) & set(values[self.mask("train")]):
                    return str(key)
        return ""

    def rng(self, purpose: str) -> np.random.Generator:
        """Random generator for one purpose. Results of an item do not depend on which other items run."""
        return np.random.default_rng([self.seed, zlib.crc32(purpose.encode())])

    @cached_property
    def used(self) -> np.ndarray:
        """Mask (n,) of the cells in train, val or test."""
        return self.mask("train", "val", "test")

    @cached_property
    def labels(self) -> np.ndarray | None:
        """Label of each cell as text, (n,)."""
        return None if self.label_key is None else store.as_names(self.adata.obs[self.label_key])

    @cached_property
    def units(self) -> AuditUnits:
        """The independent units.

        Raises
        ------
        NotRun
            If no group is known, or no cell is in train, val or test.
        """
        if not self.group_key:
            msg = "No group_key is known. Pass group_key, the obs column of the independent unit."
            raise NotRun(msg)
        if not self.used.any():
            msg = "No cell is in train, val or test."
            raise NotRun(msg)
        from heldout.splitting._components import components

        columns = self.adata.obs[self.group_key]
        known = columns.notna().all(axis=1).to_numpy()  # an unused cell with a missing value links nothing
        groups = np.full(self.adata.n_obs, "", dtype=object)
        groups[known] = components(*(store.as_names(columns[key][known]) for key in self.group_key))
        return AuditUnits.of(groups, self.labels, self.codes)

    def need_sides(self) -> None:
        """Check that there are two sides to compare.

        Raises
        ------
        NotRun
            If no cell is in train and val, or no cell is in test.
        """
        if not self.mask("train", "val").any() or not self.mask("test").any():
            msg = "There are no cells in test, or none in train and val, so there are no two sides to compare."
            raise NotRun(msg)

    def need_labels(self) -> np.ndarray:
        """Labels of the units, (U,) text.

        Raises
        ------
        NotRun
            If no label or group is known, or there is only one class.
        """
        if self.label_key is None:
            msg = "No label_key is known. Pass label_key, the obs column that is predicted."
            raise NotRun(msg)
        labels = self.units.labels
        if labels is None or len(set(labels)) < 2:
            msg = f"The column {self.label_key} has only one class."
            raise NotRun(msg)
        return labels

    def covariate(self, key: str) -> pd.Series:
        """A covariate column. It may have missing values."""
        return self.adata.obs[key]

    @cached_property
    def crossing(self) -> np.ndarray:
        """Mask (U,) of the units whose group has cells in test and also in train or val."""
        _, group = store.factorize(self.units.groups)
        seen = np.bincount(group, self.units.within("train", "val")) > 0
        test = np.bincount(group, self.units.within("test")) > 0
        return (seen & test)[group]

    @property
    def layers(self) -> list[str | None]:
        """None, which is ``X``, and the names of the layers, sorted."""
        # anndata 0.13 lists X among the layers, as None.
        return [None, *sorted(layer for layer in self.adata.layers if layer is not None)]

    def matrices(self) -> Iterator[Stored]:
        """``X`` and each layer that can be read."""
        for layer in self.layers:
            try:
                X = get_matrix(self.adata, layer, dask=True)
                state = describe(X)
            except (TypeError, ValueError):
                continue
            yield Stored(layer, "X" if layer is None else f"layers[{layer!r}]", X, state)

    @cached_property
    def matrix(self) -> tuple[MatrixOrDask, MatrixState]:
        """The matrix that is read, and the kind of its values: ``layer``, else ``X``, else a layer that is not scaled.

        Raises
        ------
        NotRun
            If no matrix can be read, or all matrices are scaled.
        """
        problems: list[str] = []
        for layer in self.layers if self.layer is None else [self.layer]:
            try:
                X = get_matrix(self.adata, layer, dask=True)
                state = describe(X)
            except (TypeError, ValueError) as problem:
                problems.append(str(problem))
                continue
            if state.kind != "centred" and not is_scaled(self.adata, layer, state):
                return X, state
        scaled = "The matrix is scaled. Pass layer, the layer that has counts or log-normalised values."
        raise NotRun(problems[0] if problems else scaled)

    def lognormalised(self, rows: np.ndarray | slice, columns: np.ndarray | None = None) -> Matrix:
        """A copy of some rows as log1p of counts per 10,000. Values that are already logged are not changed."""
        X, state = self.matrix
        block = loaded(take(X, rows, None))
        if state.kind in {"counts", "normalised"}:
            block = lognormalised(sparse.csr_array(block) if is_sparse(block) else block, TARGET)
        return take(block, None, columns)

    def drawn(self, mask: np.ndarray, n: int, purpose: str) -> np.ndarray:
        """Draw at most ``n`` row numbers from ``mask``, ascending. The order of the cells does not change the draw."""
        rows = np.flatnonzero(mask)
        if len(rows) <= n:
            return rows
        rows = rows[np.argsort(digests(self.adata.obs_names[rows]), kind="stable")]
        return np.sort(rows[self.rng(purpose).permutation(len(rows))[:n]])

    @cached_property
    def sample(self) -> Sample:
        """At most ``n_cells`` cells of train, val and test, with components fitted on the train cells among them."""
        rows = self.drawn(self.mask("train", "val", "test"), self.n_cells, "sample")
        train = np.flatnonzero(self.mask("train")[rows])
        if len(train) < 3:
            msg = "There are fewer than 3 train cells."
            raise NotRun(msg)
        X = self.lognormalised(rows)
        variance = moments(X, self.mask("train")[rows]).var
        informative = np.flatnonzero(variance > 0)
        if len(informative) < 2:
            msg = "Fewer than two genes vary among the train cells."
            raise NotRun(msg)
        columns = np.sort(informative[np.argsort(-variance[informative], kind="stable")[:MAX_GENES]])
        X = take(X, None, columns)
        mean, components = principal_components(*products(X, train), min(N_COMPS, len(train) - 1))
        pcs = np.asarray(X @ components.T - mean @ components.T, dtype=np.float32)
        return Sample(rows, columns, X, pcs, mean, components)


def products(X: Matrix, rows: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Number of these cells, and sums (p,) and products (p × p) of the genes over them, computed block by block."""
    p = X.shape[1]
    total, squares = np.zeros(p), np.zeros((p, p))
    for first in range(0, len(rows), 2048):
        block = X[rows[first : first + 2048]]
        dense = np.asarray(block.toarray() if is_sparse(block) else block, dtype=np.float32)
        total += dense.sum(axis=0, dtype=np.float64)
        squares += dense.T @ dense
    return len(rows), total, squares


def principal_components(n: int, total: np.ndarray, squares: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (p,) and at most ``k`` components (k × p) from :func:`products`, the strongest component first."""
    from scipy.linalg import eigh

    mean = total / n
    covariance = squares / n
    covariance -= np.outer(mean, mean)
    p = len(mean)
    k = min(k, p)
    vectors = eigh(covariance, subset_by_index=[p - k, p - 1], overwrite_a=True, check_finite=False)[1]
    return mean, vectors[:, ::-1].T


def build(adata: AnnData, **options: Any) -> Case:
    """Build a case, and check all columns that it names before any item runs."""
    case = Case(adata, **options)
    for argument in ("group_key", "label_key", "match_key", "time_key", "perturbation_key", "covariate_keys"):
        asked = getattr(case, argument)
        for key in [asked] if isinstance(asked, str) else asked or ():
            values = store.column(adata, key, argument=argument, allow_missing=True)
            if argument != "covariate_keys":
                _check_complete(values[case.used], key, argument)
    _check_control(case)
    if case.label_key is not None and case.label_key in case.covariate_keys:
        msg = f"covariate_keys has {case.label_key!r}, which is label_key. Remove it from covariate_keys."
        raise ValueError(msg)
    return case


def _check_control(case: Case) -> None:
    if not case.control:
        return
    if case.perturbation_key is None:
        msg = f"control={case.control!r} needs perturbation_key, the obs column that has this name."
        raise ValueError(msg)
    names = sorted(set(store.as_names(case.adata.obs[case.perturbation_key])))
    for name in case.control:
        if name not in names:
            msg = f"control={name!r} is not a value of {case.perturbation_key!r}. {store.suggest(name, names)}"
            raise ValueError(msg)


def _check_complete(values: pd.Series, key: str, argument: str) -> None:
    missing = int(values.isna().sum())
    if missing:
        msg = (
            f"adata.obs[{key!r}] ({argument}) has {missing} missing values in {len(values)} cells of train, val and "
            "test. Fill them, drop these cells, or make a new split with these cells in unused."
        )
        raise ValueError(msg)
