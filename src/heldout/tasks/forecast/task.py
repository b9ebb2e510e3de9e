"""Build the snapshots that forecast methods see from an AnnData and a split, and predict with stored fits."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from heldout._core import store
from heldout._core.arrays import describe, describe_train, get_matrix, loaded, take
from heldout._core.chain import scaled_with, state_from_json, state_to_json
from heldout._core.ct_values import warn_if_ct
from heldout._core.fits import Fit, check_split, read_fit, read_header
from heldout._core.genes import gene_columns
from heldout._core.method import Fitted
from heldout._core.times import cell_times, times_text
from heldout.tasks.forecast import METHODS
from heldout.tasks.forecast.damping import FIRST, ORIGINS
from heldout.tasks.forecast.encoding import coordinates_in
from heldout.tasks.forecast.interface import Snapshots
from heldout.tasks.forecast.lineages import chains_in, check_lineages
from heldout.tasks.forecast.space import Space, Spaces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData

    from heldout._core.partition import Partition
    from heldout._core.types import Matrix

logger = logging.getLogger("heldout")

MIN_CELLS = 10
"""Minimum number of cells of a time. With fewer cells their distribution is not known."""

FAR = 1.5
"""A prediction further ahead than this many times the longest step between train times gives a warning."""

MOST_GROWTH = 20.0
"""Largest difference of growth rates times the longest step between train times. Transport fails beyond it."""

_ALL_GENES = 100
"""Up to this number of genes all directions are kept, not the first principal components."""


@dataclass(frozen=True)
class Task:
    """A forecast on one AnnData: which cells, times, genes and space. Build it with :meth:`of`."""

    adata: AnnData
    partition: Partition
    time_key: str
    times: np.ndarray
    columns: np.ndarray
    layer: str | None
    use_rep: str | None
    n_comps: int
    lineages_key: str | None = None
    shrinks: bool = True
    """Whether train cells are placed as other cells are. Fits of earlier versions did not do this."""

    @classmethod
    def of(
        cls,
        adata: AnnData,
        partition: Partition,
        *,
        time_key: str,
        mask_var: str | None = "highly_variable",
        layer: str | None = None,
        use_rep: str | None = None,
        n_comps: int = 50,
        lineages_key: str | None = None,
    ) -> Task:
        """Check the times of train, val and test, and the representation."""
        partition.require("train", purpose="A forecast")
        times = cell_times(adata, time_key)
        if isinstance(n_comps, bool) or not isinstance(n_comps, int) or n_comps < 1:
            msg = f"n_comps={n_comps!r} must be an integer >= 1."
            raise ValueError(msg)
        columns = gene_columns(adata, mask_var)
        if use_rep is not None:
            pca = _representation(adata, partition, use_rep)
            columns, layer = pca.columns(adata.var_names, key=use_rep), pca.config["layer"]
        task = cls(adata, partition, time_key, times, columns, layer, use_rep, n_comps, lineages_key)
        _check_times(task)
        if lineages_key is not None:
            check_lineages(adata, lineages_key, partition, time_key, task.times_of("train"))
        return task

    def times_of(self, partition: str) -> np.ndarray:
        """Distinct times of a partition, ascending."""
        return np.unique(self.times[self.partition.mask(partition)])

    def data(self) -> Snapshots:
        """Snapshots of train and val cells in the space of the train cells. Test cells are not read."""
        train, val = self.partition.rows("train"), self.partition.rows("val")
        spaces = self._spaces(train)
        space = self.space(spaces)
        later = None
        if len(val):
            later = self._snapshots(val, [space], [0])[0]
        known = self._snapshots(train, [space], [spaces.n_times])[0]
        targets = tuple(map(float, self.times_of("test")))
        every = self.use_rep is None and len(self.columns) <= _ALL_GENES
        refitted = None if every else self._refitted(train, spaces, len(space.components))
        return replace(known, chains=self._chains(train), val=later, targets=targets, refitted=refitted)

    def _chains(self, train: np.ndarray) -> np.ndarray | None:
        if self.lineages_key is None:
            return None
        points, of_cell = np.unique(self.times[train], return_inverse=True)
        fit = check_lineages(self.adata, self.lineages_key, self.partition, self.time_key, points)
        return chains_in(self.adata, fit, self.lineages_key, [train[of_cell == i] for i in range(len(points))])

    def _refitted(self, train: np.ndarray, spaces: Spaces, n_comps: int) -> Callable[[int], Snapshots]:
        """Function of n: the train snapshots in components of the first n. All that are usual are computed at once."""

        @cache
        def of_origins() -> dict[int, Snapshots]:
            origins = range(FIRST, spaces.n_times)[-ORIGINS:]
            found = self._snapshots(train, [spaces.fit(n, n_comps) for n in origins], origins)
            return dict(zip(origins, found, strict=True))

        return lambda n: of_origins()[n]

    def space(self, spaces: Spaces) -> Space:
        """Principal components of the train cells. With at most 100 genes all directions are kept."""
        if self.use_rep is not None:
            fit = _representation(self.adata, self.partition, self.use_rep)
            space = Space(np.asarray(fit.arrays["mean"]), np.asarray(fit.arrays["components"]))
            return spaces.shrunk(space, spaces.n_times)
        every = len(self.columns) <= _ALL_GENES
        return spaces.fit(spaces.n_times, len(self.columns) if every else self.n_comps)

    def _spaces(self, train: np.ndarray) -> Spaces:
        points, of_cell = np.unique(self.times[train], return_inverse=True)
        n_times = len(points)

        def read(i: int) -> Matrix:
            X = self._values(train[of_cell == i])
            if i == n_times - 1:  # no earlier space needs the last time
                warn_if_ct(X)
            return X

        sizes, kept = np.bincount(of_cell), range(FIRST, n_times)[-ORIGINS:]
        return Spaces(read, sizes, len(self.columns), kept, shrinks=self.shrinks)

    def _values(self, rows: np.ndarray) -> Matrix:
        """Genes of the task in some cells, in memory."""
        return loaded(take(take(get_matrix(self.adata, self.layer, dask=True), rows, None), None, self.columns))

    def _snapshots(self, rows: np.ndarray, spaces: Sequence[Space], fitted: Sequence[int]) -> list[Snapshots]:
        """Snapshots of some cells in each space, which was fitted on its first times. The cells are read once."""
        points, of_cell = np.unique(self.times[rows], return_inverse=True)
        of_time = [
            coordinates_in(spaces, self.adata, rows[of_cell == i], self.columns, self.layer) for i in range(len(points))
        ]
        return [
            Snapshots(points, [space.as_new(z, i) if i < n else z for i, z in enumerate(of_space)], space)
            for space, n, of_space in zip(spaces, fitted, zip(*of_time, strict=True), strict=True)
        ]

    def fit(self, method: str, config: Any = None, *, seed: int = 0, data: Snapshots | None = None) -> Fit:
        """Fit one method of the registry."""
        config = METHODS[method].check_config(config)
        implementation = METHODS.implementation(method)
        self.check_method(method, implementation.min_times, config)
        if hasattr(implementation, "candidates"):  # refuse wrong names before the cells are read
            train = self.times_of("train")
            for wanted in {kind(train, at) for at in self.times_of("test")}:
                implementation.candidates(config, wanted, len(train))
        growth_key = getattr(config, "growth_key", None)
        growth = None if growth_key is None else self.growth_rates(growth_key)  # also before the cells are read
        data = replace(self.data() if data is None else data, growth=growth)
        return self.pack(method, config, implementation.fit(data, config, seed=seed), data, seed=seed)

    def growth_rates(self, growth_key: str) -> list[np.ndarray]:
        """Growth rate of each train cell, one array for each train time."""
        train = self.partition.rows("train")
        obs = self.adata.obs
        if growth_key not in obs:
            msg = f"growth_key={growth_key!r} is not a column of adata.obs. {store.suggest(growth_key, obs.columns)}"
            raise ValueError(msg)
        column = obs[growth_key].iloc[train].infer_objects()  # numbers can be stored as objects
        numeric = is_numeric_dtype(column) and not is_bool_dtype(column)
        values = column.to_numpy(dtype=np.float64, na_value=np.nan) if numeric else np.full(len(train), np.nan)
        longest = float(np.diff(self.times_of("train")).max(initial=0))
        wrong = int((~np.isfinite(values)).sum())
        if wrong or np.ptp(values) * longest > MOST_GROWTH:
            found = f"{wrong} of them are not" if wrong else f"they differ by {np.ptp(values):g}"
            msg = (
                f"growth_key={growth_key!r} must hold finite numbers for all {len(train)} train cells, births less "
                f"deaths for each unit of {self.time_key!r}, and differ by at most {MOST_GROWTH:g} over the longest "
                f"step between train times ({longest:g}); {found}. Give rates for this unit of time."
            )
            raise ValueError(msg)
        points, of_cell = np.unique(self.times[train], return_inverse=True)
        return [values[of_cell == i] for i in range(len(points))]

    def check_method(self, method: str, min_times: int, config: Any) -> None:
        """Refuse a method that cannot predict the test times of the split, or that needs more train times."""
        train, test = self.times_of("train"), self.times_of("test")
        wanted = {kind(train, at) for at in test}
        if wanted - METHODS[method].kinds:
            able = METHODS.names(kinds=wanted)
            what = {"forecast": "after the last train time", "interpolation": "between train times"}
            msg = (
                f"method={method!r} cannot predict the test time(s) {times_text(test)}, which lie "
                f"{' and '.join(what[k] for k in sorted(wanted))} ({times_text(train)}). Use one of {', '.join(able)}."
            )
            raise ValueError(msg)
        learnt = getattr(config, "damping", 0.0) is None
        need = 2 if "forecast" not in wanted and method == "flow" else max(min_times, 3 if learnt else 1)
        if len(train) < need:
            hint = ", or set damping in its config" if learnt and len(train) >= min_times else ""
            msg = (
                f"method={method!r} needs {need} train times, {self.time_key} has {len(train)} in train: "
                f"{times_text(train)}. "
                f"Train on more times{hint}, or use method='persistence'."
            )
            raise ValueError(msg)

    def pack(self, method: str, config: Any, fitted: Fitted, data: Snapshots, *, seed: int) -> Fit:
        """Turn the result of a method into a fit that can be stored."""
        X = take(get_matrix(self.adata, self.layer, dask=True), self.partition.rows("train", "val"), None)
        train = self.partition.mask("train")[self.partition.mask("train", "val")]
        info = {
            "time_key": self.time_key,
            "layer": self.layer,
            "use_rep": self.use_rep,
            "n_comps": self.n_comps,
            "lineages_key": self.lineages_key,
            "lineages_fit": None if self.lineages_key is None else read_header(self.adata, self.lineages_key).hash,
            **{f"{part}_times": self.times_of(part).tolist() for part in ("train", "val", "test")},
            "input": state_to_json(describe_train(X, train)[1]),
            "scaled_with": scaled_with(self.adata, self.layer),
        }
        return METHODS.to_fit(
            method,
            config,
            fitted,
            self.partition,
            seed=seed,
            genes=self.adata.var_names[self.columns].to_numpy(dtype=object),
            info=info,
            arrays=_arrays_of(data),
        )


def _arrays_of(data: Snapshots) -> dict[str, np.ndarray]:
    """What places new cells, and the train cells, in the space of a fit."""
    space = data.space
    arrays = {"space.mean": space.mean, "space.components": space.components}
    if space.shrinkage is not None and space.means is not None:
        arrays |= {f"space.{name}": array for name, array in asdict(space.shrinkage).items()}
        arrays["space.means"] = space.means
    return arrays


def kind(train: np.ndarray, at: float) -> str:
    """Kind of question: ``forecast`` for a time after the last train time, else ``interpolation``."""
    return "forecast" if at > train[-1] else "interpolation"


def predict(fit: Fit, start: np.ndarray, start_time: float, at: float, *, rng: np.random.Generator) -> np.ndarray:
    """Cells (n × k) at the time ``at`` with a stored fit."""
    moved: np.ndarray = METHODS.implementation_of(fit).predict(Fitted.of(fit), start, start_time, at, rng)
    return moved


def kept_cells(fit: Fit, start: np.ndarray, at: float) -> np.ndarray:
    """Whether each predicted cell is the start cell of the same row after its movement, (n,)."""
    implementation = METHODS.implementation_of(fit)
    if hasattr(implementation, "kept"):  # a mixture, in which some cells are and some are not
        return np.asarray(implementation.kept(Fitted.of(fit), start, at))
    return np.full(len(start), implementation.keeps_cells)


def check_at(fit: Fit, at: Any) -> float:
    """Check a time that is to be predicted; warn if it is far ahead of the train times."""
    plain = isinstance(at, int | float | np.integer | np.floating) and not isinstance(at, bool)
    if not plain or not np.isfinite(at):
        msg = f"at={at!r} must be a finite number, a time of {fit.info['time_key']!r}."
        raise ValueError(msg)
    train = np.array(fit.info["train_times"])
    method = METHODS.method_of(fit)
    if at <= train[0] or at in train:
        where = "not after the first train time" if at <= train[0] else "a train time, whose cells are known"
        msg = f"at={at:g} is {where} ({times_text(train)}). Ask for a time after {train[0]:g} that was not trained on."
        raise ValueError(msg)
    if kind(train, at) not in method.kinds:
        msg = (
            f"method={method.name!r} of this fit cannot do {kind(train, at)}: at={at:g} with train times "
            f"{times_text(train)}. "
            f"Fit another method, e.g. one of {', '.join(METHODS.names(kinds=[kind(train, at)]))}."
        )
        raise ValueError(msg)
    longest = np.diff(train).max() if len(train) > 1 else np.inf
    if (at - train[-1]) / longest > FAR:
        logger.warning(
            "at=%g is %g after the last train time, %.1f times the longest step between train times (%g). The fit has "
            "not "
            "learnt changes over such a long time, so do not trust this prediction.",
            at,
            at - train[-1],
            (at - train[-1]) / longest,
            longest,
        )
    return float(at)


def check_prepared(fit: Fit, adata: AnnData, *, key: str, layer: str | None) -> None:
    """Refuse cells that were not prepared as the cells that the fit was made on."""
    before, now = state_from_json(fit.info["input"]), describe(get_matrix(adata, layer, dask=True))
    if before.kind == now.kind and fit.info["scaled_with"] == scaled_with(adata, layer):
        return
    msg = (
        f"The fit {key!r} was trained on {before}; adata holds {now}, or was scaled differently. Prepare these cells "
        "in the same way: call heldout.pp.replay(adata, reference) on the raw cells."
    )
    raise ValueError(msg)


def _check_times(task: Task) -> None:
    train = task.times_of("train")
    for part in ("train", "val"):
        points, counts = np.unique(task.times[task.partition.mask(part)], return_counts=True)
        if (counts < MIN_CELLS).any():
            few = counts.argmin()
            msg = (
                f"{task.time_key}={points[few]:g} has {counts[few]} cells in {part}; a time needs at least "
                f"{MIN_CELLS} to be "
                "compared with another. Drop that time, or merge it with a neighbouring time."
            )
            raise ValueError(msg)
    test = task.times_of("test")
    both = np.intersect1d(train, test)
    if len(both):
        msg = (
            f"{task.time_key}={times_text(both)} has cells in train and in test, so these times are not held out. "
            "Hold out whole times with heldout.pp.split_time."
        )
        raise ValueError(msg)
    if len(test) and test[0] < train[0]:
        msg = (
            f"The test time {test[0]:g} lies before the first train time {train[0]:g}: there is no history to predict "
            "it from. Hold out a later time with heldout.pp.split_time."
        )
        raise ValueError(msg)


def _representation(adata: AnnData, partition: Partition, use_rep: str) -> Fit:
    if use_rep not in adata.obsm:
        msg = f"use_rep={use_rep!r} is not in adata.obsm. {store.suggest(use_rep, adata.obsm)}"
        raise ValueError(msg)
    fit = read_fit(adata, use_rep)
    if fit.method != "pp.pca":
        msg = f"use_rep={use_rep!r} must be made by heldout.pp.pca on the same split; it is a {fit.method!r}."
        raise ValueError(msg)
    check_split(adata, fit, partition, key=use_rep)
    return fit
