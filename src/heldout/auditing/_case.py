"""All that the items of the audit may ask: the split, the units, the covariates, the matrix."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

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
    import pandas as pd
    from anndata import AnnData

    from heldout._core.types import Matrix, MatrixOrDask

N_COMPS = 50
MAX_GENES = 2000
TARGET = 1e4


@dataclass(frozen=True)
class Sample:
    """Some cells in log-normalised values, and their coordinates on components that were fitted on train cells.

    Parameters
    ----------
    rows
        Row numbers in the AnnData, ascending, (m,).
    columns
        Column numbers of the genes, (p,): all, or the 2000 that vary most among the train cells.
    X
        Log-normalised values, (m × p).
    pcs
        Coordinates, (m × k) float32, k at most 50.
    mean, components
        Of the genes over the sampled train cells (p,), and loadings (k × p).
    """

    rows: np.ndarray
    columns: np.ndarray
    X: Matrix
    pcs: np.ndarray
    mean: np.ndarray
    components: np.ndarray


@dataclass(frozen=True)
class Case:
    """What is audited. Built by :func:`heldout.tl.audit`; items read it and change nothing.

    Parameters
    ----------
    codes
        Partition code of each cell, -1 where the column holds no partition, (n,).
    partition, problem
        The checked split, or None and what is wrong with it.
    group_key, label_key, covariate_keys, match_key, time_key, perturbation_key
        Columns of ``obs``; empty or None where there is none.
    layer
        Layer to read instead of ``X``.
    n_cells
        How many cells the costly items look at.
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
    layer: str | None = None
    n_cells: int = 20_000
    seed: int = 0

    def mask(self, *partitions: str) -> np.ndarray:
        """Boolean mask (n,) of the cells in these partitions."""
        return np.isin(self.codes, [PARTITIONS.index(p) for p in partitions])

    @property
    def unit(self) -> str:
        """What a group is called, e.g. ``library``."""
        return "+".join(self.group_key) or "group"

    @property
    def scheme(self) -> str | None:
        """How the split was made, if that is recorded."""
        return None if self.partition is None else self.partition.scheme

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator of its own for each purpose, so that items do not depend on which others run."""
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
            If no group is known.
        """
        if not self.group_key:
            msg = "no group is known; pass group_key, the obs column of the independent unit"
            raise NotRun(msg)
        if not self.used.any():
            msg = "no cell is in train, val or test"
            raise NotRun(msg)
        from heldout.splitting._components import components

        columns = self.adata.obs[self.group_key]
        known = columns.notna().all(axis=1).to_numpy()  # an unused cell may link groups, but not by what it lacks
        groups = np.full(self.adata.n_obs, "", dtype=object)
        groups[known] = components(*(store.as_names(columns[key][known]) for key in self.group_key))
        return AuditUnits.of(groups, self.labels, self.codes)

    def need_labels(self) -> np.ndarray:
        """Labels of the units, (U,) text.

        Raises
        ------
        NotRun
            If no label or group is known, or there is only one class.
        """
        if self.label_key is None:
            msg = "no label is known; pass label_key, the obs column that is predicted"
            raise NotRun(msg)
        labels = self.units.labels
        if labels is None or len(set(labels)) < 2:
            msg = f"{self.label_key} has one class only"
            raise NotRun(msg)
        return labels

    def covariate(self, key: str) -> pd.Series:
        """A covariate column; it may have missing values."""
        return self.adata.obs[key]

    @cached_property
    def crossing(self) -> np.ndarray:
        """Mask (U,) of the units whose group has cells on both sides, train or val and test."""
        _, group = store.factorize(self.units.groups)
        seen = np.bincount(group, self.units.within("train", "val")) > 0
        test = np.bincount(group, self.units.within("test")) > 0
        return (seen & test)[group]

    @cached_property
    def matrix(self) -> tuple[MatrixOrDask, MatrixState]:
        """The matrix that is read and what it holds: ``layer``, else ``X``, else a layer that is not scaled.

        Raises
        ------
        NotRun
            If there is no matrix in memory, or only scaled values.
        """
        found = (
            [self.layer]
            if self.layer is not None
            else [None, *sorted(layer for layer in self.adata.layers if layer is not None)]
        )
        problems: list[str] = []
        for layer in found:
            try:
                X = get_matrix(self.adata, layer, dask=True)
                state = describe(X)
            except (TypeError, ValueError) as problem:
                problems.append(str(problem))
                continue
            if state.kind != "centred" and not is_scaled(self.adata, layer, state):
                return X, state
        scaled = "the matrix is scaled; pass layer, the one that holds counts or log-normalised values"
        raise NotRun(problems[0] if problems else scaled)

    def lognormalised(self, rows: np.ndarray | slice, columns: np.ndarray | None = None) -> Matrix:
        """Rows of the matrix as log1p of counts per 10,000, or as they are if they are logged already; a copy."""
        X, state = self.matrix
        block = loaded(take(X, rows, None))
        if state.kind in {"counts", "normalised"}:
            block = lognormalised(sparse.csr_array(block) if is_sparse(block) else block, TARGET)
        return take(block, None, columns)

    def drawn(self, mask: np.ndarray, n: int, purpose: str) -> np.ndarray:
        """At most ``n`` row numbers out of ``mask``, ascending; the draw does not depend on the order of the cells."""
        rows = np.flatnonzero(mask)
        if len(rows) <= n:
            return rows
        rows = rows[np.argsort(digests(self.adata.obs_names[rows]), kind="stable")]
        return np.sort(rows[self.rng(purpose).permutation(len(rows))[:n]])

    @cached_property
    def sample(self) -> Sample:
        """Cells of all partitions in use, at most ``n_cells``, and components fitted on the train cells among them."""
        rows = self.drawn(self.mask("train", "val", "test"), self.n_cells, "sample")
        train = np.flatnonzero(self.mask("train")[rows])
        if len(train) < 3:
            msg = "there are too few train cells"
            raise NotRun(msg)
        X = self.lognormalised(rows)
        variance = moments(X, self.mask("train")[rows]).var
        informative = np.flatnonzero(variance > 0)
        if len(informative) < 2:
            msg = "fewer than two genes vary among the train cells"
            raise NotRun(msg)
        columns = np.sort(informative[np.argsort(-variance[informative], kind="stable")[:MAX_GENES]])
        X = take(X, None, columns)
        mean, components = principal_components(*products(X, train), min(N_COMPS, len(train) - 1))
        pcs = np.asarray(X @ components.T - mean @ components.T, dtype=np.float32)
        return Sample(rows, columns, X, pcs, mean, components)


def products(X: Matrix, rows: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Number of these cells, sums (p,) and products (p × p) of the genes over them, blocks of cells at a time."""
    p = X.shape[1]
    total, squares = np.zeros(p), np.zeros((p, p))
    for first in range(0, len(rows), 2048):
        block = X[rows[first : first + 2048]]
        dense = np.asarray(block.toarray() if is_sparse(block) else block, dtype=np.float32)
        total += dense.sum(axis=0, dtype=np.float64)
        squares += dense.T @ dense
    return len(rows), total, squares


def principal_components(n: int, total: np.ndarray, squares: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (p,) and at most ``k`` components (k × p), the strongest first, from the sums of :func:`products`."""
    from scipy.linalg import eigh

    mean = total / n
    covariance = squares / n
    covariance -= np.outer(mean, mean)
    p = len(mean)
    k = min(k, p)
    vectors = eigh(covariance, subset_by_index=[p - k, p - 1], overwrite_a=True, check_finite=False)[1]
    return mean, vectors[:, ::-1].T


def build(adata: AnnData, **options: Any) -> Case:
    """Build a case; the columns that are named are checked here, before any item runs."""
    case = Case(adata, **options)
    for argument in ("group_key", "label_key", "match_key", "time_key", "perturbation_key", "covariate_keys"):
        asked = getattr(case, argument)
        for key in [asked] if isinstance(asked, str) else asked or ():
            values = store.column(adata, key, argument=argument, allow_missing=True)
            if argument != "covariate_keys":
                _check_complete(values[case.used], key, argument)
    if case.label_key is not None and case.label_key in case.covariate_keys:
        msg = f"covariate_keys has {case.label_key!r}, which is label_key: a label explains itself. Leave it out."
        raise ValueError(msg)
    return case


def _check_complete(values: pd.Series, key: str, argument: str) -> None:
    missing = int(values.isna().sum())
    if missing:
        msg = (
            f"adata.obs[{key!r}] ({argument}) has {missing} missing values in {len(values)} cells of train, val and test. "
            "Fill them, drop those cells, or make the split again with those cells in unused."
        )
        raise ValueError(msg)
