"""Item: the same cell on both sides, not as an identical copy but sequenced twice, thinned or slightly altered."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.arrays import row_chunks
from heldout._core.types import is_sparse
from heldout._core.words import first_few
from heldout.auditing._finding import Finding, NotRun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout._core.types import Matrix
    from heldout.auditing._case import Case, Sample
    from heldout.auditing._finding import Status

QUERY_SHARE = 10
"""One test cell is looked up for this many cells in ``n_cells``."""

N_TOP = 6
MIN_GENES = 20
MIN_CORRELATION = 0.3
MIN_DROP = 0.15
MAX_DROP = 0.6
N_SD = 10
CLIP = 5.0
WARN_RATE, WARN_CELLS, FAIL_RATE = 1e-3, 3, 1e-2


@dataclass(frozen=True)
class Nearest:
    """The cells most alike each query, by the correlation of what the components do not explain.

    Parameters
    ----------
    rows
        Row number of the most alike, (q,).
    correlation
        Correlations of the six most alike, largest first, (q × 6); -1 where there are fewer.
    """

    rows: np.ndarray
    correlation: np.ndarray

    @property
    def drop(self) -> np.ndarray:
        """The largest step from one of the six to the next, (q,).

        A cell of a rare kind has several relatives, each a little less alike. A twin is far more alike than whatever
        comes next, also where there are two or three twins.
        """
        return -np.diff(self.correlation, axis=1).min(axis=1)


def near_duplicates(case: Case) -> list[Finding]:
    """Test cells that share their counting noise with a train or val cell.

    Two cells of one kind have the same expected profile but independent noise. Copies of one cell, however thinned or
    renamed, share the noise. So the residuals on components that were fitted on train are correlated between test cells
    and all train and val cells; what train cells find among train cells of other groups is the null.
    """
    sample = case.sample
    reference = np.flatnonzero(case.mask("train", "val"))
    if len(reference) <= N_TOP or not case.mask("test").any():
        msg = f"there are {len(reference)} train and val cells and {int(case.mask('test').sum())} test cells, too few"
        raise NotRun(msg)
    if len(sample.columns) < 2 * MIN_GENES:
        msg = f"only {len(sample.columns)} genes vary, too few to tell twins from relatives"
        raise NotRun(msg)
    residual = _Residual.of(case, sample)
    n_queries = max(case.n_cells // QUERY_SHARE, N_TOP)
    test = residual.informative(case.drawn(case.mask("test"), n_queries, "near_duplicates test"))
    null = residual.informative(case.drawn(case.mask("train"), n_queries // 4, "near_duplicates null"))
    if not len(test) or len(null) < WARN_CELLS:
        msg = f"too few cells have {MIN_GENES} or more of the {len(sample.columns)} genes that are compared"
        raise NotRun(msg)
    found, expected = _search(residual, test, null, reference, _kept_apart(case))
    return [_judged(case, test, found, expected)]


@dataclass(frozen=True)
class _Residual:
    """What the components leave of the log-normalised values, in units of each gene's standard deviation."""

    case: Case
    sample: Sample
    components: np.ndarray
    sd: np.ndarray

    @classmethod
    def of(cls, case: Case, sample: Sample) -> _Residual:
        # With nearly as many components as cells they would explain the noise too.
        n_train = int(case.mask("train")[sample.rows].sum())
        components = sample.components[: max(1, min(len(sample.components), n_train // 20))].astype(np.float32)
        unscaled = cls(case, sample, components, np.ones(len(sample.columns), dtype=np.float32))
        some = case.drawn(case.mask("train"), 4096, "near_duplicates sd")
        sd = unscaled.raw(case.lognormalised(some, sample.columns)).std(axis=0)
        return cls(case, sample, components, np.maximum(sd, 1e-2))

    def raw(self, X: Matrix) -> np.ndarray:
        block = X.toarray() if is_sparse(X) else X
        block = np.asarray(block, dtype=np.float32) - self.sample.mean.astype(np.float32)
        block -= (block @ self.components.T) @ self.components
        return block

    def __call__(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Some of the rows, and their residuals with mean 0 and length 1 (rows × p): a product is a correlation."""
        n = 16_384 if is_sparse(self.case.matrix[0]) else 4096  # to take rows of a csc matrix is slow
        for part in row_chunks(len(rows), n):
            X = self.case.lognormalised(rows[part], self.sample.columns)
            X = X.tocsr() if is_sparse(X) else X
            for some in row_chunks(X.shape[0], 2048):
                yield rows[part][some], self._unit(X[some])

    def _unit(self, X: Matrix) -> np.ndarray:
        block = self.raw(X)
        block /= self.sd
        np.clip(block, -CLIP, CLIP, out=block)  # one rare gene must not decide
        block -= block.mean(axis=1, keepdims=True)
        length = np.linalg.norm(block, axis=1, keepdims=True)
        return np.divide(block, length, out=block, where=length > 0)

    def informative(self, rows: np.ndarray) -> np.ndarray:
        """Those of the cells with enough of the genes."""
        X = self.case.lognormalised(rows, self.sample.columns)
        return rows[np.asarray((X != 0).sum(axis=1)).ravel() >= MIN_GENES]


def _kept_apart(case: Case) -> np.ndarray | None:
    """Group of each cell, if test groups are never train groups; then the null must not look within groups either."""
    if not case.group_key or case.crossing.any():
        return None
    return np.unique(case.units.groups.astype(str), return_inverse=True)[1][case.units.of_cell]


def _search(
    residual: _Residual, test: np.ndarray, null: np.ndarray, reference: np.ndarray, groups: np.ndarray | None
) -> tuple[Nearest, Nearest]:
    """All queries against all reference cells, chunk by chunk, exactly; a cell is not compared with itself.

    The null looks at train cells only, and not within its own group where ``groups`` says so.
    """
    queries = np.concatenate([test, null])
    asked = np.concatenate([block for _, block in residual(queries)])
    is_null = np.arange(len(queries)) >= len(test)
    train = residual.case.mask("train")
    best = np.full((len(queries), N_TOP), -1.0, dtype=np.float32)
    rows = np.full((len(queries), N_TOP), -1, dtype=np.int64)
    for some, block in residual(reference):
        alike = asked @ block.T
        barred = (null[:, None] == some) | ~train[some]
        if groups is not None:
            barred |= groups[null][:, None] == groups[some]
        alike[len(test) :][barred] = -1
        # Most chunks have nothing for most queries, and sorting costs more than the product.
        new = np.flatnonzero(alike.max(axis=1) > best[:, -1])
        joined = np.concatenate([best[new], alike[new]], axis=1)
        names = np.concatenate([rows[new], np.broadcast_to(some, (len(new), len(some)))], axis=1)
        top = np.argpartition(-joined, N_TOP - 1, axis=1)[:, :N_TOP]
        top = np.take_along_axis(top, np.argsort(-np.take_along_axis(joined, top, 1), axis=1, kind="stable"), 1)
        best[new], rows[new] = np.take_along_axis(joined, top, 1), np.take_along_axis(names, top, 1)
    return Nearest(rows[~is_null, 0], best[~is_null]), Nearest(rows[is_null, 0], best[is_null])


def _judged(case: Case, test: np.ndarray, found: Nearest, expected: Nearest) -> Finding:
    null = expected.drop
    middle = float(np.median(null))
    limit = max(MIN_DROP, middle + N_SD * 1.4826 * float(np.median(np.abs(null - middle))))
    if limit > MAX_DROP:
        msg = (
            "train cells of other groups are so unevenly alike that twins could not be told from relatives "
            f"(a twin would need a lead of {limit:.2f})"
        )
        raise NotRun(msg)
    twins = np.flatnonzero((found.correlation[:, 0] >= MIN_CORRELATION) & (found.drop >= limit))
    rate = len(twins) / len(test)
    of = f"{len(test)} test cells against all {int(case.mask('train', 'val').sum())} train and val cells"
    usual = f"the next best partner usually follows within {middle:.2f}, a twin leads by {limit:.2f} or more"
    status: Status = "fail" if rate > FAIL_RATE and len(twins) >= WARN_CELLS else "pass"
    if status == "pass" and rate > WARN_RATE and len(twins) >= WARN_CELLS:
        status = "warn"
    measure: dict[str, Any] = {"measure": "rate of test cells with a twin", "value": rate, "threshold": WARN_RATE}
    if status == "pass":
        few = f"; {len(twins)} would have one" if len(twins) else ""
        return Finding("pass", f"no test cells that share their noise with a train or val cell: {of}{few}", **measure)
    strongest = twins[np.argsort(-found.correlation[twins, 0], kind="stable")]
    names = case.adata.obs_names
    pairs = [f"{names[test[i]]} and {names[found.rows[i]]}" for i in strongest]
    middle_twin = float(np.median(found.correlation[twins, 0]))
    text = (
        f"{len(twins)} of {of} ({rate:.1%}) share their counting noise with one of them, as copies of one cell do: "
        f"residuals correlate by {middle_twin:.2f} ({usual}); e.g. {first_few(pairs)}{_between(case, test, found, twins)}"
    )
    advice = (
        "find out whether a library was sequenced twice or cells were copied; keep all copies of a cell on one side"
    )
    return Finding(status, text, advice=f"{advice}, e.g. with heldout.pp.split_groups on what they share", **measure)


def _between(case: Case, test: np.ndarray, found: Nearest, twins: np.ndarray) -> str:
    if not case.group_key:
        return ""
    group = case.units.groups[case.units.of_cell]
    pairs = Counter((group[test[i]], group[found.rows[i]]) for i in twins)
    (one, other), n = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[0]
    return f"; most often {case.unit} {one} (test) and {other}, {n} times"
