"""Find copies of a cell that are not identical: sequenced twice, thinned or slightly altered."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.arrays import row_chunks
from heldout._core.types import is_sparse
from heldout._core.words import first_few
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._words import many

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout._core.types import Matrix
    from heldout.auditing._case import Case, Sample
    from heldout.auditing._finding import Status

QUERY_SHARE = 10
"""The number of test cells that are searched is ``n_cells`` divided by this number."""

N_TOP = 6
MIN_GENES = 20
MIN_CORRELATION = 0.3
MIN_DROP = 0.15
MAX_DROP = 0.6
N_SD = 10
CLIP = 5.0
WARN_RATE, WARN_CELLS, FAIL_RATE = 1e-3, 3, 1e-2


@dataclass(frozen=True)
class Neighbours:
    """The most similar cells of each query, by the correlation of residuals on the components.

    Parameters
    ----------
    rows
        Row number of the most similar cell, (q,).
    correlation
        Correlations of the six most similar cells, largest first, (q × 6). -1 if there are fewer cells.
    """

    rows: np.ndarray
    correlation: np.ndarray

    @property
    def drop(self) -> np.ndarray:
        """The largest drop between consecutive correlations, (q,).

        A cell of a rare type has several similar cells, each a little less similar. A copy is far more similar than the
        next cell, also if there are two or three copies.
        """
        return -np.diff(self.correlation, axis=1).min(axis=1)


def near_duplicates(case: Case) -> list[Finding]:
    """Find test cells that share their counting noise with a train or val cell.

    Two cells of one type have the same expected profile but independent noise. Copies of one cell share the noise, even
    if they were thinned or renamed. The item correlates the residuals of test cells with those of all train and val
    cells. Residuals are taken on components that are fitted on train. The null distribution comes from train cells and
    train cells of other groups.
    """
    sample = case.sample
    reference = np.flatnonzero(case.mask("train", "val"))
    if len(reference) <= N_TOP or not case.mask("test").any():
        msg = (
            f"There are too few cells: {len(reference)} in train and val, {int(case.mask('test').sum())} in test. "
            f"At least {N_TOP + 1} and 1 are needed."
        )
        raise NotRun(msg)
    if len(sample.columns) < 2 * MIN_GENES:
        msg = f"Only {len(sample.columns)} genes vary. At least {2 * MIN_GENES} are needed."
        raise NotRun(msg)
    residual = _Residual.of(case, sample)
    n_queries = max(case.n_cells // QUERY_SHARE, N_TOP)
    test = residual.informative(case.drawn(case.mask("test"), n_queries, "near_duplicates test"))
    null = residual.informative(case.drawn(case.mask("train"), n_queries // 4, "near_duplicates null"))
    if not len(test) or len(null) < WARN_CELLS:
        msg = f"Too few cells detect {MIN_GENES} or more of the {len(sample.columns)} compared genes."
        raise NotRun(msg)
    found, expected = _search(residual, test, null, reference, _kept_apart(case))
    return [_judged(case, test, found, expected)]


@dataclass(frozen=True)
class _Residual:
    """Residuals of the log-normalised values on the components, in units of each gene's standard deviation."""

    case: Case
    sample: Sample
    components: np.ndarray
    sd: np.ndarray

    @classmethod
    def of(cls, case: Case, sample: Sample) -> _Residual:
        # With nearly as many components as cells, the components would explain the noise too.
        n_train = int(case.mask("train")[sample.rows].sum())
        components = sample.components[: max(1, min(len(sample.components), n_train // 20))].astype(np.float32)
        unscaled = cls(case, sample, components, np.ones(len(sample.columns), dtype=np.float32))
        drawn = case.drawn(case.mask("train"), 4096, "near_duplicates sd")
        sd = unscaled.raw(case.lognormalised(drawn, sample.columns)).std(axis=0)
        return cls(case, sample, components, np.maximum(sd, 1e-2))

    def raw(self, X: Matrix) -> np.ndarray:
        block = X.toarray() if is_sparse(X) else X
        block = np.asarray(block, dtype=np.float32) - self.sample.mean.astype(np.float32)
        block -= (block @ self.components.T) @ self.components
        return block

    def __call__(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield rows and their residuals with mean 0 and length 1, (rows × p). Their products are correlations."""
        n = 16_384 if is_sparse(self.case.matrix[0]) else 4096  # taking rows of a csc matrix is slow
        for part in row_chunks(len(rows), n):
            X = self.case.lognormalised(rows[part], self.sample.columns)
            X = X.tocsr() if is_sparse(X) else X
            for chunk in row_chunks(X.shape[0], 2048):
                yield rows[part][chunk], self._unit(X[chunk])

    def _unit(self, X: Matrix) -> np.ndarray:
        block = self.raw(X)
        block /= self.sd
        np.clip(block, -CLIP, CLIP, out=block)  # so that one rare gene does not decide
        block -= block.mean(axis=1, keepdims=True)
        length = np.linalg.norm(block, axis=1, keepdims=True)
        return np.divide(block, length, out=block, where=length > 0)

    def informative(self, rows: np.ndarray) -> np.ndarray:
        """Rows of the cells that detect enough of the genes."""
        X = self.case.lognormalised(rows, self.sample.columns)
        return rows[np.asarray((X != 0).sum(axis=1)).ravel() >= MIN_GENES]


def _kept_apart(case: Case) -> np.ndarray | None:
    """Group of each cell if no group is on both sides, else None. The null then excludes pairs within a group too."""
    if not case.group_key or case.crossing.any():
        return None
    return np.unique(case.units.groups.astype(str), return_inverse=True)[1][case.units.of_cell]


def _search(
    residual: _Residual, test: np.ndarray, null: np.ndarray, reference: np.ndarray, groups: np.ndarray | None
) -> tuple[Neighbours, Neighbours]:
    """Compare all queries with all reference cells exactly, chunk by chunk. No cell is compared with itself.

    Queries of the null are compared only with train cells, and not within their group if ``groups`` is given.
    """
    queries = np.concatenate([test, null])
    asked = np.concatenate([block for _, block in residual(queries)])
    is_null = np.arange(len(queries)) >= len(test)
    train = residual.case.mask("train")
    best = np.full((len(queries), N_TOP), -1.0, dtype=np.float32)
    rows = np.full((len(queries), N_TOP), -1, dtype=np.int64)
    for chunk, block in residual(reference):
        correlation = asked @ block.T
        excluded = (null[:, None] == chunk) | ~train[chunk]
        if groups is not None:
            excluded |= groups[null][:, None] == groups[chunk]
        correlation[len(test) :][excluded] = -1
        # Most chunks change nothing for most queries, and sorting costs more than the product.
        new = np.flatnonzero(correlation.max(axis=1) > best[:, -1])
        joined = np.concatenate([best[new], correlation[new]], axis=1)
        names = np.concatenate([rows[new], np.broadcast_to(chunk, (len(new), len(chunk)))], axis=1)
        top = np.argpartition(-joined, N_TOP - 1, axis=1)[:, :N_TOP]
        top = np.take_along_axis(top, np.argsort(-np.take_along_axis(joined, top, 1), axis=1, kind="stable"), 1)
        best[new], rows[new] = np.take_along_axis(joined, top, 1), np.take_along_axis(names, top, 1)
    return Neighbours(rows[~is_null, 0], best[~is_null]), Neighbours(rows[is_null, 0], best[is_null])


def _judged(case: Case, test: np.ndarray, found: Neighbours, expected: Neighbours) -> Finding:
    null = expected.drop
    middle = float(np.median(null))
    limit = max(MIN_DROP, middle + N_SD * 1.4826 * float(np.median(np.abs(null - middle))))
    if limit > MAX_DROP:
        msg = (
            "The similarity between train cells varies too much to separate copies from similar cells (a copy would "
            f"need a correlation that is {limit:.2f} higher than the next)."
        )
        raise NotRun(msg)
    copies = np.flatnonzero((found.correlation[:, 0] >= MIN_CORRELATION) & (found.drop >= limit))
    rate = len(copies) / len(test)
    compared = f"{int(case.mask('train', 'val').sum())} train and val cells"
    usual = (
        f"A cell counts as a copy if this correlation is at least {limit:.2f} above those of the next similar cells. "
        f"The usual difference is {middle:.2f}."
    )
    status: Status = "fail" if rate > FAIL_RATE and len(copies) >= WARN_CELLS else "pass"
    if status == "pass" and rate > WARN_RATE and len(copies) >= WARN_CELLS:
        status = "warn"
    measure: dict[str, Any] = {"measure": "share of test cells with a near copy", "value": rate, "threshold": WARN_RATE}
    if status == "pass":
        text = f"None of the {len(test)} test cells shares its counting noise with one of {compared}."
        if len(copies):
            share = f"{len(copies)} of {len(test)} test cells"
            text = f"Only {share} could share their counting noise with one of {compared}. This is below the limit."
        return Finding("pass", text, **measure)
    strongest = copies[np.argsort(-found.correlation[copies, 0], kind="stable")]
    names = case.adata.obs_names
    pairs = [f"{names[test[i]]} and {names[found.rows[i]]}" for i in strongest]
    median_correlation = float(np.median(found.correlation[copies, 0]))
    text = (
        f"{len(copies)} of {len(test)} test cells ({rate:.1%}) share their counting noise with one of {compared}, as "
        f"copies of one cell do, e.g. {first_few(pairs)}. The median correlation of their residuals is "
        f"{median_correlation:.2f}. {usual}{_between(case, test, found, copies)}"
    )
    advice = (
        "Find out whether a library was sequenced twice or cells were copied. Keep all copies of a cell on one side of "
        "the split, e.g. with heldout.pp.split_groups."
    )
    return Finding(status, text, advice=advice, **measure)


def _between(case: Case, test: np.ndarray, found: Neighbours, copies: np.ndarray) -> str:
    if not case.group_key:
        return ""
    group = case.units.groups[case.units.of_cell]
    pairs = Counter((group[test[i]], group[found.rows[i]]) for i in copies)
    (in_test, in_train), n = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[0]
    return f" The most frequent pair of {many(case.unit)} is {in_test} (test) and {in_train}: {n} cells."
