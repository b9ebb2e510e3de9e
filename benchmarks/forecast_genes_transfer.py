"""Do courses of genes in other data sets, or earlier steps of the same genes, improve the forecast of held-out genes?

    python benchmarks/forecast_genes_transfer.py [--splits 8] [--first-split 0] [--judged] [--few]

The targets are those of ``benchmarks/forecast_genes_targets.py``: those with a star, or with ``--judged`` the others.
Genes of other data sets have other names and units. So a gene is described by its shape: its last two steps, its last
value minus the mean of its past, and its distribution in the cells of the last time, each standardised over the genes of
the data set and step. What is predicted is the change to the next time, standardised in the same way. All steps of all
other data sets are known, and all earlier steps of the same data set. The variants of ``multi_kernel`` are

``others``
    A ridge regression from shapes to changes in the other data sets. Its forecast is one more part of the covariance,
    whose variance is learnt by marginal likelihood with that of the other parts, and can vanish.
``others, kernel``
    The same with a kernel ridge regression; its width and penalty leave out whole steps of data sets.
``earlier``
    The same with a ridge regression on earlier steps of the same data set.
``others and earlier``
    Two parts: ``others, kernel`` and ``earlier``.
``others, stacked``
    A weighted mean of ``multi_kernel`` and ``others, kernel``, shrunk to ``multi_kernel``. Held-out train genes give the
    weight.
``joint``
    350 genes of other data sets as more rows of the Gaussian process, with one correlation between data sets.

With ``--few`` a fifth of the train genes is used. The table has the correlation of the changes that ``others`` expects
with the true ones, over all genes, the skill of ``multi_kernel``, and what each variant adds to it: the mean over splits
and its standard error, in units of the error of persistence.
"""

from __future__ import annotations

import argparse
import logging
import time
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from forecast_genes_targets import TARGETS, course
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, GroupKFold

import heldout as ho
from heldout._core.partition import read_partition
from heldout._core.stacking import nonnegative_weights
from heldout.tasks.forecast_genes.baselines import N_COMPS
from heldout.tasks.forecast_genes.features import History, cell_weights, static_features
from heldout.tasks.forecast_genes.multi_kernel import _kernels, _mode, _summed, _views
from heldout.tasks.forecast_genes.regression import fit_components
from heldout.tasks.forecast_genes.task import Task

if TYPE_CHECKING:
    import anndata as ad

SETS = (("chu", 0), ("bargaje", 0), ("klein", 0), ("klein", 1), ("packer", 0), ("packer", 1))
VARIANTS = ("others", "others, kernel", "earlier", "others and earlier", "others, stacked", "joint")
N_JOINT = 350


def standardised(values: np.ndarray) -> np.ndarray:
    """Columns with a mean of 0 and a standard deviation of 1; constant columns are 0."""
    spread = values.std(axis=0)
    return (values - values.mean(axis=0)) / np.where(spread > 1e-9, spread, np.inf)


def dense(adata: ad.AnnData, rows: np.ndarray) -> np.ndarray:
    """Values of some cells."""
    X = adata.X[rows]
    return np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=float)


def steps(
    adata: ad.AnnData, time_key: str, *, first: int, before: float = np.inf
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Shapes of all genes before each time, and their changes to it, from the time with number ``first`` on."""
    time_of = adata.obs[time_key].to_numpy(float)
    times = np.unique(time_of)
    found = []
    for at in times[first:]:
        if at >= before:
            break
        history = history_before(adata, time_key, at)
        change = dense(adata, time_of == at).mean(axis=0) - history.last
        found.append((shapes(history), standardised(change[:, None])[:, 0]))
    return found


def history_before(adata: ad.AnnData, time_key: str, at: float) -> History:
    """All cells before a time."""
    time_of = adata.obs[time_key].to_numpy(float)
    times = np.unique(time_of[time_of < at])
    rows = np.flatnonzero(time_of < at)
    numbers = np.searchsorted(times, time_of[rows])
    return History(dense(adata, rows), numbers, times, cell_weights(numbers, None))


def shapes(history: History) -> np.ndarray:
    """Standardised description of the past of each gene, which is comparable between data sets, (G × 10)."""
    mean = history.mean
    last_step = mean[:, -1] - mean[:, -2]
    step_before = mean[:, -2] - mean[:, -3] if mean.shape[1] > 2 else np.zeros(len(mean))
    of_last = static_features(history)[:, mean.shape[1] :]
    return standardised(np.column_stack([last_step, step_before, mean[:, -1] - mean.mean(axis=1), of_last]))


def ridge(pairs: list[tuple[np.ndarray, np.ndarray]], target: np.ndarray) -> np.ndarray:
    """Changes that a ridge regression over all steps expects."""
    F, y = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return RidgeCV(np.logspace(0, 5, 16)).fit(F, y).predict(target)


def kernel_ridge(pairs: list[tuple[np.ndarray, np.ndarray]], target: np.ndarray) -> np.ndarray:
    """Changes that a kernel ridge regression over all steps expects."""
    F, y = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    groups = np.repeat(np.arange(len(pairs)), [len(pair[1]) for pair in pairs])
    grid = {"alpha": [3, 10, 30, 100], "gamma": [0.01, 0.03]}
    search = GridSearchCV(KernelRidge(kernel="rbf"), grid, cv=GroupKFold(4), scoring="neg_mean_squared_error")
    return search.fit(F, y, groups=groups).predict(target)


class Process:
    """``multi_kernel`` with more parts, each of one column."""

    def __init__(self, history: History, features: np.ndarray, change: np.ndarray, train: np.ndarray) -> None:
        self.views = _views(history, fit_components(features, train, N_COMPS))
        self.units = np.array([float((view[train] ** 2).sum(axis=1).mean()) or 1.0 for view in self.views])
        self.level, self.spread = change[train].mean(), change[train].std() or 1.0
        self.y, self.train = (change[train] - self.level) / self.spread, train

    def kernels(self, rows: np.ndarray, columns: tuple[np.ndarray, ...] = ()) -> list[np.ndarray]:
        """Parts of the covariance of some genes and the train genes."""
        parts = _kernels(self.views, self.units, rows, self.train)
        for column in columns:
            unit = np.mean(column[self.train] ** 2) or 1.0
            parts.append(np.outer(column[rows], column[self.train]) / unit)
        return parts

    def predict(self, test: np.ndarray, *columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Change of the test genes, and of each train gene from the others."""
        parts = self.kernels(self.train, columns)
        variances = _mode(parts, self.y)
        inverse = np.linalg.inv(_summed(parts, variances[:-1]) + variances[-1] * np.eye(len(self.train)))
        dual = inverse @ self.y
        held_out = self.level + self.spread * (self.y - dual / np.diag(inverse))
        return self.level + self.spread * (_summed(self.kernels(test, columns), variances[:-1]) @ dual), held_out

    def stacked(self, test: np.ndarray, column: np.ndarray, change: np.ndarray) -> np.ndarray:
        """Mean of the process without more parts and a line through the column."""
        alone, held_out = self.predict(test)
        line = np.column_stack([np.ones(len(self.train)), column[self.train]])
        solve = np.linalg.pinv(line)
        truth, leverage = change[self.train], np.einsum("ij,ji->i", line, solve)
        slope = solve @ truth
        of_others = truth - (truth - line @ slope) / (1 - leverage)
        both, prior = np.column_stack([held_out, of_others]), np.array([1.0, 0.0])
        weights = nonnegative_weights(both, truth, prior, strength=0.1, sum_to_one=True)
        return weights[0] * alone + weights[1] * (slope[0] + slope[1] * column[test])

    def joint(self, test: np.ndarray, own: np.ndarray, other: np.ndarray, changes: np.ndarray) -> np.ndarray:
        """Change of the test genes with genes of other data sets as more rows."""
        n, m = len(self.train), len(changes)
        y = np.r_[self.y, changes]
        padded = [np.pad(part, ((0, m), (0, m))) for part in [*self.kernels(self.train), np.ones((n, n))]]
        local, constant = padded[:-1], padded[-1]
        points = np.r_[own[self.train], other]
        shared = _shape_kernels(points, points)
        across = np.zeros((n + m, n + m), dtype=bool)
        across[:n, n:] = across[n:, :n] = True
        noise = [np.diag(np.r_[np.ones(n), np.zeros(m)]), np.diag(np.r_[np.zeros(n), np.ones(m)])]
        k, start = len(local), np.r_[np.log([*[0.19] * len(local), 0.1, 0.1, 0.5, 0.7]), 0.0]

        def parts(x: np.ndarray) -> list[np.ndarray]:
            correlated = np.where(across, 1 / (1 + np.exp(-x[-1])), 1.0)
            matrices = [*local, *(correlated * part for part in shared), *noise]
            return [np.exp(v) * matrix for v, matrix in zip(x[:-1], matrices, strict=True)]

        def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
            slopes = parts(x)
            factor = cho_factor(constant + sum(slopes), lower=True)
            inverse = cho_solve(factor, np.eye(n + m))
            dual, away = inverse @ y, (x - start) / 2.0
            value = 0.5 * y @ dual + np.log(np.diag(factor[0])).sum() + 0.5 * (away**2).sum()
            slopes.append(np.where(across, (slopes[k] + slopes[k + 1]) / (1 + np.exp(x[-1])), 0.0))
            rest = inverse - np.outer(dual, dual)
            return value, 0.5 * np.array([np.vdot(rest, slope) for slope in slopes]) + away / 2.0

        bounds = [(at - 6, at + 4) for at in start]
        x = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 40}).x
        dual = np.linalg.solve(constant + sum(parts(x)), y)
        variances = np.exp(x[:-1])
        here = _summed(self.kernels(test), variances[:k]) @ dual[:n]
        near = _shape_kernels(own[test], points)
        correlated = np.r_[np.ones(n), np.full(m, 1 / (1 + np.exp(-x[-1])))]
        moved = (variances[k] * near[0] + variances[k + 1] * near[1]) * correlated @ dual
        return self.level + self.spread * (here + moved)


def _shape_kernels(first: np.ndarray, second: np.ndarray) -> list[np.ndarray]:
    """Linear and squared-exponential covariance of shapes."""
    inner = first @ second.T
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * inner
    return [inner / first.shape[1], np.exp(-0.5 * np.maximum(squares, 0.0) / first.shape[1])]


def errors(
    adata: ad.AnnData, time_key: str, at: float, split: int, known: dict[str, np.ndarray], more: tuple, *, few: bool
) -> dict[str, float]:
    """Sum of squared errors of each variant over the test genes of one split."""
    ho.pp.split_genes(adata, rng=split)
    task = Task.of(adata, read_partition(adata, "gene_split", axis="var"), time_key=time_key, at=at, n_replicates=2)
    data, test = task.data(seed=0), task.numbers("test")
    truth = task.target(test, np.random.default_rng(0))[0] - data.history.last[test]
    train = data.train
    if few:
        train = np.sort(np.random.default_rng(split).permutation(train)[: len(train) // 5])
    process = Process(data.history, data.features, data.change, train)
    columns = {name: column[task.genes] for name, column in known.items()}
    predicted = {
        "multi_kernel": process.predict(test)[0],
        **{name: process.predict(test, column)[0] for name, column in columns.items()},
        "others and earlier": process.predict(test, columns["others, kernel"], columns["earlier"])[0],
        "others, stacked": process.stacked(test, columns["others, kernel"], data.change),
        "joint": process.joint(test, shapes(history_before(adata, time_key, at))[task.genes], *more),
    }
    found = {name: float(((change - truth) ** 2).sum()) for name, change in predicted.items()}
    return found | {"persistence": float((truth**2).sum())}


def main() -> None:
    """Print the skill of multi_kernel at each target, and what each variant adds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=8, help="number of random gene splits")
    parser.add_argument("--first-split", type=int, default=0, help="seed of the first split")
    parser.add_argument("--judged", action="store_true", help="the targets that were not used for choices")
    parser.add_argument("--few", action="store_true", help="a fifth of the train genes")
    arguments = parser.parse_args()
    logging.getLogger("heldout").setLevel(logging.ERROR)
    began = time.perf_counter()
    known = {entry: steps(*course(*entry), first=3) for entry in SETS}
    table, gains = {}, []
    for name, block, at, used in TARGETS:
        if used == arguments.judged:
            continue
        adata, time_key = course(name, block)
        others = [pair for (other, _), pairs in known.items() if other != name for pair in pairs]
        own = shapes(history_before(adata, time_key, at))
        columns = {
            "others": ridge(others, own),
            "others, kernel": kernel_ridge(others, own),
            "earlier": ridge(steps(adata, time_key, first=2, before=at), own),
        }
        F, y = (np.concatenate(parts) for parts in zip(*others, strict=True))
        rows = np.random.default_rng(0).choice(len(y), N_JOINT, replace=False)
        splits = range(arguments.first_split, arguments.first_split + arguments.splits)
        found = pd.DataFrame(
            [errors(adata, time_key, at, s, columns, (F[rows], y[rows]), few=arguments.few) for s in splits]
        )
        scale = found["persistence"].mean()
        gain = found[list(VARIANTS)].rsub(found["multi_kernel"], axis=0) / scale
        gains.append(gain.mean())
        true = steps(adata, time_key, first=int((np.unique(adata.obs[time_key]) < at).sum()))[0][1]
        table[f"{name.capitalize()}, block {block + 1}, {at:g}"] = {
            "correlation": f"{np.corrcoef(columns['others'], true)[0, 1]:.2f}",
            "multi_kernel": f"{1 - found['multi_kernel'].mean() / scale:.2f}",
            **{name: f"{gain[name].mean():+.3f} ± {gain[name].sem():.3f}" for name in VARIANTS},
        }
    every = pd.DataFrame(gains)
    table["mean"] = {name: f"{every[name].mean():+.3f} ± {every[name].sem():.3f}" for name in VARIANTS}
    frame = pd.DataFrame(table).T.fillna("")[["correlation", "multi_kernel", *VARIANTS]]
    print(f"| target | {' | '.join(frame)} |\n|---|{'---|' * frame.shape[1]}")
    for words, row in frame.iterrows():
        print(f"| {words} | {' | '.join(row)} |")
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
