"""From log-normalised expression to counts: size factors and dispersions of train cells, and draws of counts.

A cell with size factor s and rate m of a gene has a negative binomial count with mean s m and variance
s m + α (s m)². Its log-normalised expression is log1p(count / s). The size factor of a measured cell is the ratio of
its counts to its normalised counts, so it does not matter to which total the cells were normalised, and which genes are
here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse, stats

from heldout._core.arrays import as_dense, loaded, row_chunks, take, values
from heldout._core.types import is_sparse

if TYPE_CHECKING:
    from heldout._core.types import Matrix, MatrixOrDask

MOST_GROUPS = 200
"""Groups of train cells (a perturbation in a context) from which dispersions are learnt: those with the most cells."""

_ROWS = 2048
_N_DISPERSIONS, _N_RATES, _N_SIZES, _N_GAMMA = 48, 192, 12, 96
_LEAST, _MOST = 1e-3, 20.0
"""Smallest dispersion above 0, and largest dispersion."""


@dataclass(frozen=True)
class CountNoise:
    """What train cells say about counts.

    Parameters
    ----------
    sizes
        Size factors of train cells, sorted, by context.
    all_sizes
        Size factors of all train cells, sorted.
    dispersion
        Dispersion α of each gene, (G,).
    """

    sizes: dict[tuple[str, ...], np.ndarray]
    all_sizes: np.ndarray
    dispersion: np.ndarray

    def sizes_of(self, context: tuple[str, ...]) -> np.ndarray:
        """Size factors of the train cells of a context, or of all train cells if it has none."""
        return self.sizes.get(context, self.all_sizes)


def size_factors(counts: Matrix, logged: Matrix) -> np.ndarray:
    """Counts of each cell divided by its normalised counts, (n,); NaN for a cell without counts."""
    total = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    normalised = logged.expm1() if is_sparse(logged) else np.expm1(logged.astype(np.float64))
    below = np.asarray(normalised.sum(axis=1), dtype=np.float64).ravel()
    return np.divide(total, below, out=np.full(len(total), np.nan), where=below > 0)


def check_consistent(counts: Matrix, logged: Matrix, names: tuple[str, str]) -> None:
    """Refuse counts that are not integers, and expression that is not log1p of the normalised counts.

    Raises
    ------
    ValueError
        If one of both is wrong.
    """
    stored = values(counts)
    if len(stored) and (stored.min() < 0 or not np.array_equal(stored, np.round(stored))):
        msg = (
            f"{names[0]} must hold raw counts, which are integers >= 0. Pass the layer with the counts as counts_layer."
        )
        raise ValueError(msg)
    size = size_factors(counts, logged)
    dense = as_dense(counts)
    again = np.expm1(as_dense(logged)) * size[:, None]
    known = np.isfinite(size)
    wrong = np.abs(again - dense)[known] > 0.02 * dense[known] + 0.02
    if wrong.mean() > 1e-3:
        msg = (
            f"{names[1]} is not log1p of the normalised counts of {names[0]}: {wrong.mean():.0%} of the values differ. "
            "Normalise the same counts with scanpy.pp.normalize_total and scanpy.pp.log1p, or pass the layer with "
            "these values as layer."
        )
        raise ValueError(msg)


def learn(
    counts: MatrixOrDask,
    logged: MatrixOrDask,
    rows: np.ndarray,
    columns: np.ndarray,
    groups: np.ndarray,
    contexts: list[tuple[str, ...]],
    context: np.ndarray,
) -> CountNoise:
    """Learn size factors and dispersions.

    Parameters
    ----------
    counts, logged
        Counts and log-normalised expression, (n × n_vars).
    rows
        Rows of train cells, sorted, (k,).
    columns
        Columns of the genes, (G,).
    groups
        Group of each train cell, (k,), a perturbation in a context; -1 for cells that tell size factors only.
    contexts, context
        Contexts, and the number of the context of each train cell, (k,).
    """
    size = np.empty(len(rows))
    n_groups = int(groups.max(initial=-1)) + 1
    moments = _Moments(n_groups, len(columns))
    for part in row_chunks(len(rows), _ROWS):
        block, log_block = loaded(counts[rows[part]]), loaded(logged[rows[part]])
        size[part] = size_factors(block, log_block)
        moments.add(take(block, None, columns), size[part], groups[part])
    known = np.isfinite(size) & (size > 0)
    if not known.any():
        msg = "No train cell has counts, so there are no size factors. Pass the layer with the counts as counts_layer."
        raise ValueError(msg)
    of_context = {
        name: np.sort(size[known & (context == i)]) for i, name in enumerate(contexts) if (known & (context == i)).any()
    }
    return CountNoise(of_context, np.sort(size[known]), moments.dispersion())


class _Moments:
    """Sums of counts of each group and gene, from which dispersions follow."""

    def __init__(self, n_groups: int, n_genes: int) -> None:
        self.sums, self.squares, self.products = (np.zeros((n_groups, n_genes)) for _ in range(3))
        self.n, self.size, self.size2 = (np.zeros(n_groups) for _ in range(3))

    def add(self, counts: Matrix, size: np.ndarray, groups: np.ndarray) -> None:
        """Add cells; ``groups`` has -1 for cells that are left out."""
        used = np.flatnonzero((groups >= 0) & np.isfinite(size))
        if not len(used):
            return
        block = take(counts, used, None)
        block = block.astype(np.float64)
        at, s = groups[used], size[used]
        shape = (len(self.n), len(used))
        member = sparse.csr_matrix((np.ones(len(used)), (at, np.arange(len(used)))), shape=shape)
        weighted = sparse.csr_matrix((s, (at, np.arange(len(used)))), shape=shape)
        squared = block.multiply(block) if is_sparse(block) else block**2
        for total, product in (
            (self.sums, member @ block),
            (self.squares, member @ squared),
            (self.products, weighted @ block),
        ):
            total += product.toarray() if sparse.issparse(product) else product
        self.n += np.bincount(at, minlength=len(self.n))
        self.size += np.bincount(at, s, minlength=len(self.n))
        self.size2 += np.bincount(at, s**2, minlength=len(self.n))

    def dispersion(self) -> np.ndarray:
        """Dispersion of each gene by the method of moments, shrunk towards the median of the well measured genes, (G,).

        The weight of the value of a gene is D / (D + 2 / α²), with the typical dispersion α and the expected squared
        counts D, because the excess variance of a Poisson count with mean μ has the variance 2 μ².
        """
        use = self.n >= 2
        n, size, size2 = (of[use][:, None] for of in (self.n, self.size, self.size2))
        sums = self.sums[use]
        mean = sums / size
        residual = self.squares[use] - 2 * mean * self.products[use] + mean**2 * size2
        excess = (residual * n / (n - 1) - sums).sum(axis=0)
        information = np.maximum((mean**2 - mean / size) * size2, 0).sum(axis=0)
        raw = np.divide(excess, information, out=np.zeros_like(excess), where=information > 0)
        if not (information > 0).any():
            return np.zeros_like(raw)
        well = information >= np.quantile(information[information > 0], 0.5)
        typical = float(np.clip(np.median(raw[well]), _LEAST, _MOST))
        weight = information / (information + 2 / typical**2)
        return np.asarray(np.clip(weight * raw + (1 - weight) * typical, 0, _MOST))


def without_negatives(x: np.ndarray) -> np.ndarray:
    """Move the cells of a perturbation so that none is below 0 and the mean of each gene stays, (n × G).

    A gene is set to 0 where it is negative, and lowered in the other cells. A gene with a negative mean is 0.
    """
    columns = np.flatnonzero((x < 0).any(axis=0))
    if not len(columns):
        return x
    part = x[:, columns]
    n = len(part)
    descending = -np.sort(-part, axis=0)
    total = n * np.maximum(part.mean(axis=0), 0)
    shift = (np.cumsum(descending, axis=0) - total) / np.arange(1, n + 1)[:, None]
    kept = np.maximum((descending > shift).sum(axis=0), 1) - 1
    result = x.copy()
    result[:, columns] = np.maximum(part - shift[kept, np.arange(len(columns))], 0)
    return result


def rounded(x: np.ndarray, size: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Counts next to s · expm1(x), (n × G), drawn so that log1p(count / s) has the mean x. No other noise is added."""
    s = size[:, None]
    low = np.floor(s * np.expm1(x) * (1 + 1e-6) + 1e-6)  # a measured count is kept, whatever its rounding error
    below, above = np.log1p(low / s), np.log1p((low + 1) / s)
    share = np.clip((x - below) / (above - below), 0, 1)
    share[share < 1e-4] = 0
    return np.asarray(low + (rng.random(x.shape) < share))


@dataclass(frozen=True)
class Rates:
    """The rate of a negative binomial gene whose log-normalised expression has a given mean.

    The mean of log1p(count / s) is below log1p of the mean of count / s, by far for genes with few counts. It is
    tabulated for some dispersions over a grid of rates, as a mean over the size factors.
    """

    dispersions: np.ndarray
    of_gene: np.ndarray
    rates: np.ndarray
    means: np.ndarray

    @classmethod
    def of(cls, dispersion: np.ndarray, sizes: np.ndarray, highest: float) -> Rates:
        """Tabulate for the dispersions of the genes, (G,), the size factors, and profiles up to ``highest``."""
        grid = np.concatenate([[0.0], np.geomspace(_LEAST, _MOST, _N_DISPERSIONS)])
        nearest = np.abs(np.sqrt(dispersion)[:, None] - np.sqrt(grid)).argmin(axis=1)
        used, of_gene = np.unique(nearest, return_inverse=True)
        s = np.quantile(sizes, (np.arange(_N_SIZES) + 0.5) / _N_SIZES)
        top = 50 * max(float(np.expm1(highest)), 1 / s[0])
        rates = np.concatenate([[0.0], np.geomspace(1e-4 / s[-1], top, _N_RATES)])
        poisson, table = _poisson_means(s, s[-1] * top * 60)
        means = np.empty((len(used), len(rates)))
        for i, number in enumerate(used):
            factors = _gamma_factors(grid[number])
            for_size = [
                np.interp(rates[:, None] * factors * s[k], poisson, table[:, k]).mean(axis=1) for k in range(len(s))
            ]
            means[i] = np.maximum.accumulate(np.mean(for_size, axis=0))
        return cls(grid[used], of_gene, rates, means)

    def at(self, x: np.ndarray) -> np.ndarray:
        """Rate of each value, (n × G)."""
        result = np.empty(x.shape)
        for i in range(len(self.dispersions)):
            genes = np.flatnonzero(self.of_gene == i)
            result[:, genes] = np.interp(x[:, genes], self.means[i], self.rates)
        return result

    def drawn(self, x: np.ndarray, size: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Negative binomial counts whose log-normalised expression has the mean x, (n × G)."""
        rate, dispersion = self.at(x) * size[:, None], self.dispersions[self.of_gene]
        over = np.flatnonzero(dispersion > 0)
        shape = 1 / dispersion[over]
        rate[:, over] *= rng.gamma(shape, size=(len(x), len(over))) / shape
        return rng.poisson(rate).astype(np.float64)


def _gamma_factors(dispersion: float) -> np.ndarray:
    """Values at equal steps of probability of a gamma distribution with mean 1 and this variance."""
    if dispersion == 0:
        return np.ones(1)
    at = (np.arange(_N_GAMMA) + 0.5) / _N_GAMMA
    factors = stats.gamma.ppf(at, 1 / dispersion) * dispersion
    return np.asarray(factors / factors.mean())


def _poisson_means(s: np.ndarray, highest: float) -> tuple[np.ndarray, np.ndarray]:
    """Means of log1p(count / s) of Poisson counts: a grid of their means, (L,), and the values, (L × S)."""
    grid = np.concatenate([[0.0], np.geomspace(1e-6, max(highest, 100.0), 600)])
    counts = np.arange(160)
    small = grid < 50
    table = np.empty((len(grid), len(s)))
    table[small] = stats.poisson.pmf(counts, grid[small][:, None]) @ np.log1p(counts[:, None] / s)
    large = grid[~small][:, None]
    table[~small] = np.log1p(large / s) - large / (2 * (s + large) ** 2)
    return grid, table
