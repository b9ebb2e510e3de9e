"""Identify the cells that values were fitted on from the values alone.

Moments are exact only over the fitted cells: principal components have mean zero over them, and scaled genes have mean
zero and standard deviation one. Moments are computed once for each partition and combined to those of each union of
partitions. The fitted cells are the union over which the moments are exact.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.arrays import moments, row_blocks, row_chunks
from heldout._core.partition import PARTITIONS
from heldout._core.types import is_sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from heldout._core.types import Matrix, MatrixOrDask
    from heldout.auditing._finding import Status

EXACT = 1e-3
RATIO = 10.0
_FLOOR = 1e-6
_N_GRAM = 10
_NEAR_ONE = 0.1

_REST = "in no partition"

Union = tuple[str, ...]
"""Names of some partitions."""


@dataclass(frozen=True)
class Verdict:
    """The fitted cells, with the error over them and over the best union of partitions that has another status."""

    status: Status
    cells: str
    error: float
    rival: str
    rival_error: float


def parts(codes: np.ndarray) -> dict[str, np.ndarray]:
    """Mask (n,) of each partition that has cells. Cells without a partition come last."""
    named = {name: codes == i for i, name in enumerate(PARTITIONS)}
    return {name: mask for name, mask in {**named, _REST: codes < 0}.items() if mask.any()}


def unions(names: Iterable[str]) -> Iterator[Union]:
    """Each union of partitions that can be the fitted cells."""
    names = list(names)
    for size in range(1, len(names) + 1):
        yield from itertools.combinations(names, size)


def status_of(union: Union) -> Status:
    """Status of a fit on these cells. Test cells must not be used; val cells may stop training but not be fitted."""
    if "test" in union or _REST in union:
        return "fail"
    return "warn" if "val" in union else "pass"


def in_words(union: Union, names: Iterable[str]) -> str:
    """A union of partitions in words."""
    if len(union) == len(list(names)):
        return f"all cells ({', '.join(union)})" if len(union) > 1 else f"the {union[0]} cells"
    return f"the {' and '.join(union)} cells"


def best_and_rival(errors: Mapping[Union, float]) -> tuple[Union, Union | None]:
    """The union with the smallest error, and the best union of another status, or None if there is no other status.

    Of unions with the same error, the one with the fewest partitions is taken.
    """

    def order(union: Union) -> tuple[float, int]:
        return errors[union], len(union)

    best = min(errors, key=order)
    return best, min((u for u in errors if status_of(u) != status_of(best)), key=order, default=None)


def decide(errors: dict[Union, float], names: Iterable[str]) -> Verdict | None:
    """The union over which the moments are exact, if there is one and no union of another status is nearly exact."""
    names = list(names)
    best, rival = best_and_rival(errors)
    if not np.isfinite(errors[best]) or errors[best] > EXACT:
        return None
    if rival is None:
        return Verdict(status_of(best), in_words(best, names), errors[best], "", np.nan)
    if errors[rival] < RATIO * max(errors[best], _FLOOR):
        return None
    return Verdict(status_of(best), in_words(best, names), errors[best], in_words(rival, names), errors[rival])


@dataclass(frozen=True)
class Sums:
    """Number of cells, means (p,) and sums of squared deviations (p,). ``+`` gives the sums over both sets of cells."""

    n: int
    mean: np.ndarray
    squares: np.ndarray

    def __add__(self, other: Sums) -> Sums:
        n = self.n + other.n
        delta = other.mean - self.mean
        return Sums(
            n, self.mean + delta * (other.n / n), self.squares + other.squares + delta**2 * (self.n * other.n / n)
        )

    @property
    def var(self) -> np.ndarray:
        """Variance (ddof 1), (p,)."""
        return self.squares / max(self.n - 1, 1)


def sums_by_part(
    X: MatrixOrDask,
    codes: np.ndarray,
    function: Callable[[np.ndarray], np.ndarray] | None = None,
    *,
    factor: np.ndarray | None = None,
) -> dict[Union, Sums]:
    """Sums over each union of partitions, of the values or of a function of the values that keeps zeros.

    Rows are multiplied by ``factor``, (n,), first. The matrix is read once in blocks.
    """
    masks = parts(codes)
    single: dict[str, list[Sums]] = {name: [] for name in masks}
    by_column, blocks = pieces(X)
    for chunk, block in blocks:
        if factor is not None:
            block = _multiplied(block, factor if by_column else factor[chunk])
        block = block if function is None else _transformed(block, function)
        for name, mask in masks.items():
            inside = mask if by_column else mask[chunk]
            if inside.any():
                found = moments(block, inside)
                single[name].append(Sums(found.n, found.mean, found.var * max(found.n - 1, 1)))
    join = _side_by_side if by_column else _total
    joined = {name: join(found) for name, found in single.items()}
    return {u: _total([joined[name] for name in u]) for u in unions(joined)}


def pieces(X: MatrixOrDask) -> tuple[bool, Iterator[tuple[slice, Matrix]]]:
    """Blocks of a matrix with their slices, and whether they are blocks of columns. csc matrices are read by column."""
    if is_sparse(X) and X.format == "csc":
        return True, ((columns, X[:, columns]) for columns in row_chunks(X.shape[1], 512))
    return False, row_blocks(X, 8192)


def _transformed(X: Matrix, function: Callable[[np.ndarray], np.ndarray]) -> Matrix:
    if not is_sparse(X):
        return function(X)
    result = X.copy()
    result.data = function(result.data)
    return result


def _multiplied(X: Matrix, factor: np.ndarray) -> Matrix:
    if not is_sparse(X):
        return X * factor[:, None]
    result = X.astype(np.float64)
    result.data *= factor[X.indices] if X.format == "csc" else np.repeat(factor, np.diff(X.indptr))
    return result


def _side_by_side(sums: list[Sums]) -> Sums:
    return Sums(sums[0].n, np.concatenate([s.mean for s in sums]), np.concatenate([s.squares for s in sums]))


def _total(sums: list[Sums]) -> Sums:
    total = sums[0]
    for more in sums[1:]:
        total = total + more
    return total


def of_coordinates(Y: np.ndarray, codes: np.ndarray) -> tuple[Verdict, str] | None:
    """The cells that principal components were fitted on, from the coordinates (n × k) alone, and the evidence.

    Over the fitted cells, coordinates have mean zero and are uncorrelated. Without centring (truncated SVD, diffusion
    maps), they are orthogonal.
    """
    masks = parts(codes)
    Y = np.asarray(Y, dtype=np.float64)
    n = {name: int(mask.sum()) for name, mask in masks.items()}
    mean = {name: Y[mask].mean(axis=0) for name, mask in masks.items()}
    head = Y[:, :_N_GRAM]
    gram = {name: head[mask].T @ head[mask] for name, mask in masks.items()}
    spread = Y.std(axis=0)
    if Y.shape[1] < 2 or not (spread > 0).all() or not np.isfinite(spread).all():
        return None
    centred, orthogonal = {}, {}
    for union in unions(masks):
        total = sum(n[name] for name in union)
        middle = sum(n[name] * mean[name] for name in union) / total
        products = np.asarray(sum(gram[name] for name in union))
        length = np.sqrt(np.diag(products))
        cosine = products / np.outer(length, length)
        centred[union] = float(np.sqrt(np.mean((middle / spread) ** 2)))
        orthogonal[union] = float(np.sqrt(np.mean(cosine[~np.eye(len(cosine), dtype=bool)] ** 2)))
    verdict = decide(centred, masks)
    if verdict is not None:
        # Other coordinates can be centred too, but only principal components are also uncorrelated.
        union, _ = best_and_rival(centred)
        proof = "Coordinates have mean 0 and are uncorrelated over these cells"
        return (verdict, proof) if orthogonal[union] <= 10 * EXACT else None
    # A single pair of columns is orthogonal too often by chance.
    verdict = decide(orthogonal, masks) if Y.shape[1] > 2 else None
    return None if verdict is None else (verdict, "Coordinates are orthogonal over these cells")


def looks_scaled(total: Sums, within: float = 0.02) -> bool:
    """Whether half of the genes have a standard deviation near one."""
    varies = total.var > 0
    return bool(varies.any()) and float(np.median(np.abs(np.sqrt(total.var[varies]) - 1))) <= within


def of_scaled(sums: dict[Union, Sums], names: Iterable[str], *, centred: bool) -> Verdict | None:
    """The cells that genes were scaled on. Clipping changes many genes, so the genes with the smallest error decide."""
    names = list(names)
    for best in (0.1, 0.02):
        verdict = decide({union: _scale_error(total, best, centred=centred) for union, total in sums.items()}, names)
        if verdict is not None:
            return verdict
    return None


def _scale_error(total: Sums, best: float, *, centred: bool) -> float:
    varies = total.var > 0
    if not varies.any() or total.n < 2 or not (centred or looks_scaled(total, _NEAR_ONE)):
        return np.inf
    sd = np.sqrt(total.var[varies])
    # scikit-learn divides by n, scanpy by n - 1.
    error = min(float(np.quantile(np.abs(s - 1), best)) for s in (sd, sd * np.sqrt((total.n - 1) / total.n)))
    return error + (float(np.quantile(np.abs(total.mean[varies]), best)) if centred else 0.0)


def of_values(
    stored: np.ndarray, computed: dict[Union, np.ndarray], names: Iterable[str], *, up_to_factor: bool = False
) -> Verdict | None:
    """The cells that a stored value of each gene was computed on, from the values computed on each union."""
    errors = {}
    for union, expected in computed.items():
        there = np.isfinite(stored) & np.isfinite(expected) & (np.abs(expected) > 1e-8)
        ratio = stored[there] / expected[there]
        difference = np.abs(ratio / np.median(ratio) - 1 if up_to_factor and len(ratio) else ratio - 1)
        errors[union] = float(np.median(difference)) if there.sum() >= 2 else np.inf
    return decide(errors, names)
