"""Build the data that gene forecasts see from an AnnData and a split of genes, and predict with stored fits."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import store
from heldout._core.arrays import get_matrix, loaded, take, values
from heldout._core.ct_values import warn_if_ct
from heldout._core.method import Fitted
from heldout._core.partition import digests
from heldout._core.times import cell_times
from heldout.tasks.forecast_genes import METHODS
from heldout.tasks.forecast_genes.features import History, bootstrap_weights, cell_weights, means, statistics
from heldout.tasks.forecast_genes.interface import Data
from heldout.tasks.forecast_genes.times import choose_times

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout._core.partition import Partition

FEWEST_CELLS = 10
"""Minimum number of cells of a time. With fewer cells its means are too noisy to learn changes from."""

logger = logging.getLogger("heldout")


@dataclass(frozen=True)
class Task:
    """A gene forecast on one AnnData: which times, genes and cells. Build it with :meth:`of`.

    Cells and genes are sorted by the digests of their names, so that results do not depend on their order in the
    AnnData. ``genes`` are the column numbers in this order.
    """

    adata: AnnData
    partition: Partition
    genes: np.ndarray
    time_key: str
    at: float
    times: np.ndarray
    rows: np.ndarray
    time_of: np.ndarray
    target_rows: np.ndarray
    group_key: str | None
    libraries: np.ndarray | None
    n_replicates: int
    layer: str | None

    @classmethod
    def of(
        cls,
        adata: AnnData,
        partition: Partition,
        *,
        time_key: str,
        at: float | None = None,
        history: Sequence[float] | None = None,
        group_key: str | None = None,
        n_replicates: int = 20,
        layer: str | None = None,
    ) -> Task:
        """Check the columns, the times and the number of cells before any long computation."""
        partition.require("train", purpose="A forecast of genes")
        if isinstance(n_replicates, bool) or not isinstance(n_replicates, int | np.integer) or n_replicates < 2:
            msg = f"n_replicates={n_replicates!r} must be an integer >= 2. It is the number of bootstrap replicates."
            raise ValueError(msg)
        time = cell_times(adata, time_key)
        at, times = choose_times(time, at=at, history=history, time_key=time_key)
        libraries = None
        if group_key is not None:
            libraries = store.factorize(store.as_names(store.column(adata, group_key, argument="group_key")))[1]
        counts = {float(t): int((time == t).sum()) for t in [*times, at]}
        few = {t: n for t, n in counts.items() if n < FEWEST_CELLS}
        if few:
            t, n = next(iter(few.items()))
            msg = (
                f"time {t:g} of time_key={time_key!r} has {n} cells; it needs at least {FEWEST_CELLS}, because means "
                "over fewer cells are too noisy. Leave it out with history=, choose another at=, or merge times."
            )
            raise ValueError(msg)
        order = np.argsort(digests(adata.obs_names), kind="stable")
        rows = order[np.isin(time[order], times)]
        gene_order = np.argsort(digests(adata.var_names), kind="stable")
        return cls(
            adata=adata,
            partition=partition,
            genes=gene_order[partition.mask("train", "val", "test")[gene_order]],
            time_key=time_key,
            at=at,
            times=times,
            rows=rows,
            time_of=np.searchsorted(times, time[rows]),
            target_rows=order[time[order] == at],
            group_key=group_key,
            libraries=libraries,
            n_replicates=int(n_replicates),
            layer=layer,
        )

    def numbers(self, *partitions: str) -> np.ndarray:
        """Positions in ``genes`` of the genes that are in any of ``partitions``."""
        return np.flatnonzero(self.partition.mask(*partitions)[self.genes])

    def history(self) -> History:
        """Cells of all genes at the times before the target time."""
        cells = self._matrix(self.rows, self.genes, "the history")
        return History(cells, self.time_of, self.times, cell_weights(self.time_of, self._libraries(self.rows)))

    def data(self, *, seed: int) -> Data:
        """Arrays for the methods. At the target time only train and val genes are read."""
        history, rng = self.history(), np.random.default_rng(seed)
        known = self.numbers("train", "val")
        target, drawn = self.target(known, rng)
        weights = bootstrap_weights(self.time_of, self._libraries(self.rows), self.n_replicates, rng)
        split = np.stack([history.by_time(row) for row in weights])
        full = np.full(len(self.genes), np.nan)
        replicate_target = np.full((self.n_replicates, len(self.genes)), np.nan)
        full[known], replicate_target[:, known] = target, drawn
        train, val = self.numbers("train"), self.numbers("val")
        return Data(
            history=history,
            at=self.at,
            target=full,
            change=full - history.last,
            replicates=statistics(history.cells, split),
            replicate_target=replicate_target,
            train=train,
            val=val,
        )

    def target(self, numbers: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Mean of some genes at the target time, (k,), and in bootstrap replicates, (n_replicates × k)."""
        cells = self._matrix(self.target_rows, self.genes[numbers], f"the target time {self.at:g}")
        together, libraries = np.zeros(len(self.target_rows), dtype=int), self._libraries(self.target_rows)
        weights = cell_weights(together, libraries)
        drawn = bootstrap_weights(together, libraries, self.n_replicates, rng)
        return means(cells, weights[None])[0], means(cells, drawn)

    def target_cells(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Expression of some genes in the cells of the target time, dense, and the libraries of the cells."""
        cells = self._matrix(self.target_rows, self.genes[numbers], f"the target time {self.at:g}")
        return cells, self._libraries(self.target_rows)

    def fit(self, method: str, config: Any = None, *, seed: int = 0, data: Data | None = None) -> tuple[Fit, Any]:
        """Fit one method of the registry. Returns the fit, and the predicted change of each gene."""
        config = METHODS[method].check_config(config)
        implementation = METHODS[method].load()()
        data = self.data(seed=seed) if data is None else data
        check_levels(data.history.cells)
        fitted = implementation.fit(data, config, seed=seed)
        return self.pack(method, config, fitted, seed=seed), implementation.predict(fitted, data.history)

    def pack(self, method: str, config: Any, fitted: Fitted, *, seed: int) -> Fit:
        """Turn the result of a method into a fit that can be stored."""
        info = {
            "time_key": self.time_key,
            "at": self.at,
            "history": self.times.tolist(),
            "group_key": self.group_key,
            "n_replicates": self.n_replicates,
            "layer": self.layer,
        }
        genes = self.adata.var_names[self.genes].to_numpy(dtype=object)
        return METHODS.to_fit(method, config, fitted, self.partition, seed=seed, genes=genes, info=info)

    def _libraries(self, rows: np.ndarray) -> np.ndarray | None:
        return None if self.libraries is None else self.libraries[rows]

    def _matrix(self, rows: np.ndarray, columns: np.ndarray, where: str) -> np.ndarray:
        X = loaded(take(get_matrix(self.adata, self.layer, dask=True), rows, columns))
        if not np.isfinite(values(X)).all():
            msg = (
                f"The values of {where} have NaN or infinite entries. Find them with np.isfinite, and drop or repair "
                "those cells or genes."
            )
            raise ValueError(msg)
        dense = np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=np.float64)
        return np.ascontiguousarray(dense)


def task_of_fit(adata: AnnData, partition: Partition, fit: Fit) -> Task:
    """The task that a stored fit was made on."""
    info = fit.info
    names = ("time_key", "at", "history", "group_key", "n_replicates", "layer")
    task = Task.of(adata, partition, **{name: info[name] for name in names})
    here = set(adata.var_names[task.genes])
    missing = [gene for gene in fit.genes if gene not in here]
    if missing:
        msg = (
            f"The fit reads {len(fit.genes)} genes, and {len(missing)} of them are not in adata.var_names "
            f"(e.g. {store.some(missing)}). Use the AnnData before genes were dropped, or fit again."
        )
        raise ValueError(msg)
    return task


def predict(fit: Fit, history: History) -> np.ndarray:
    """Change of each gene of the history by a stored fit, (G,)."""
    change: np.ndarray = METHODS.implementation_of(fit).predict(Fitted.of(fit), history)
    return change


def check_levels(cells: np.ndarray) -> None:
    """Warn if the values look like Ct values or like raw counts."""
    if warn_if_ct(cells):
        return
    if cells.min() >= 0 and cells.max() > 50 and np.array_equal(cells[:200], np.round(cells[:200])):
        logger.warning(
            "The matrix holds raw counts, so changes would be those of sequencing depth. Log-normalise it first: "
            "scanpy.pp.normalize_total(adata, target_sum=1e4); scanpy.pp.log1p(adata)"
        )
