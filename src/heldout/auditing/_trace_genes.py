"""Identify the cells that highly variable genes were chosen on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core.arrays import row_blocks
from heldout.auditing._case import TARGET
from heldout.auditing._finding import Finding
from heldout.auditing._trace_batches import of_batches
from heldout.auditing._traces import Verdict, in_words, of_values, parts, status_of, sums_by_part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from heldout._core.types import MatrixOrDask
    from heldout.auditing._case import Case
    from heldout.auditing._traces import Sums

COLUMN = "highly_variable"
_MEASURE = "Jaccard index of the genes chosen on all and on train cells"
_ADVICE = "Choose again on the train cells with heldout.pp.highly_variable_genes, and repeat all later steps."
_N_BINS = 20
_CLOSE = 0.02

_Unions = dict[tuple[str, ...], "Sums"]


def genes_finding(case: Case) -> Finding | None:
    """Identify the cells of ``var["highly_variable"]`` from the stored means or by choosing again. None without it."""
    if COLUMN not in case.adata.var.columns:
        return None
    chosen = case.adata.var[COLUMN].isin([True]).to_numpy()
    if not chosen.any():
        return None
    subject = f"var[{COLUMN!r}]"
    names = list(parts(case.codes))
    plain: _Unions | None = None
    expanded: _Unions | None = None
    for reading in _readings(case):
        sums = sums_by_part(reading.X, case.codes, reading.function, factor=reading.factor)
        if reading.expanded:
            expanded = sums if expanded is None else expanded
        else:
            plain = sums if plain is None else plain
        verdict = _by_means(case, sums, names, normalised=reading.factor is not None)
        evidence = "The stored means of the genes are those of these cells."
        if verdict is None and (batched := of_batches(case, reading.X, reading.function, reading.factor)) is not None:
            verdict = batched[0]
            evidence = f"The stored means are averages over the values of obs[{batched[1]!r}] in these cells."
        if verdict is not None:
            share = _jaccard_of_sides(sums if expanded is None else expanded, chosen, names)
            return _identified(subject, chosen, verdict, evidence, share)
    plain, expanded = plain or expanded, expanded or plain
    if plain is None or expanded is None:
        text = (
            f"{int(chosen.sum())} genes were chosen without a record of the cells. There are no counts or "
            "log-normalised values to choose again."
        )
        return Finding("not run", text, subject=subject)
    return _by_choice(subject, chosen, plain, expanded, names)


@dataclass(frozen=True)
class _Reading:
    """One way to read a matrix: unchanged, on the scale of counts, or with each cell normalised by a factor."""

    X: MatrixOrDask
    function: Callable[[np.ndarray], np.ndarray] | None = None
    factor: np.ndarray | None = None
    expanded: bool = False


def _readings(case: Case) -> Iterator[_Reading]:
    """Ways to read each matrix that is not scaled, the most likely first."""
    hvg = case.adata.uns.get("hvg")
    flavor = str(hvg.get("flavor")) if hasattr(hvg, "get") else ""
    every = sorted(case.matrices(), key=lambda stored: stored.layer != case.layer)
    matrices = [(stored.X, stored.state.kind) for stored in every if stored.state.kind != "centred"]
    wants_counts = flavor.startswith(("seurat_v3", "pearson"))
    for X, kind in sorted(matrices, key=lambda found: (found[1] == "counts") != wants_counts):
        if kind in {"counts", "normalised"}:
            yield _Reading(X)
        else:
            plain, expanded = _Reading(X), _Reading(X, _expm1(case), expanded=True)
            yield from (plain, expanded) if flavor == "cell_ranger" else (expanded, plain)
    for X, kind in matrices:
        if kind in {"counts", "normalised"}:
            total = np.concatenate([np.asarray(b.sum(axis=1), dtype=np.float64).ravel() for _, b in row_blocks(X)])
            yield _Reading(X, factor=TARGET / np.where(total > 0, total, 1), expanded=True)


def _expm1(case: Case) -> Callable[[np.ndarray], np.ndarray]:
    base = (case.adata.uns.get("log1p") or {}).get("base")
    factor = 1.0 if base is None else float(np.log(float(base)))
    return lambda x: np.expm1(x * factor if base is not None else x)


def _by_means(case: Case, sums: _Unions, names: list[str], *, normalised: bool) -> Verdict | None:
    """Compare the means that scanpy and heldout store with the chosen genes.

    If the cells were normalised to an unknown total, means are compared up to a factor.
    """
    if "means" not in case.adata.var.columns:
        return None
    stored = pd.to_numeric(case.adata.var["means"], errors="coerce").to_numpy(dtype=float)
    means = {union: total.mean for union, total in sums.items()}
    with np.errstate(over="ignore"):
        readings = (np.expm1(stored),) if normalised else (stored, np.expm1(stored))
    for reading in readings:
        verdict = of_values(reading, means, names, up_to_factor=normalised)
        if verdict is not None:
            return verdict
    return None


def _identified(subject: str, chosen: np.ndarray, verdict: Verdict, evidence: str, share: float) -> Finding:
    text = f"{int(chosen.sum())} genes were chosen on {verdict.cells}. {evidence}"
    effect = ""
    if share <= 1:
        effect = f" Choices on all cells and on the train cells have a Jaccard index of {share:.2f}."
    common: dict[str, Any] = {"subject": subject, "measure": _MEASURE, "value": share, "threshold": 1.0}
    if verdict.status == "pass":
        return Finding("pass", text, **common)
    return Finding(verdict.status, text + effect, advice=_ADVICE, **common)


def _by_choice(subject: str, chosen: np.ndarray, plain: _Unions, expanded: _Unions, names: list[str]) -> Finding:
    """Choose genes again by each recipe on each union of partitions, and compare the sets."""
    share = _jaccard_of_sides(expanded, chosen, names)
    nearest: dict[tuple[str, ...], float] = {}
    recipes = ((_by_dispersion, expanded), (_by_cutoffs, expanded), (_by_ranger, plain), (_by_variance, plain))
    for recipe, sums in recipes:
        agree = {union: _jaccard(chosen, recipe(total, int(chosen.sum()))) for union, total in sums.items()}
        best = max(agree, key=lambda union: (agree[union], -len(union)))
        rivals = [value for union, value in agree.items() if status_of(union) != status_of(best)]
        close = agree[best] == 1 and max(rivals, default=0) < 1
        near = agree[best] >= 1 - _CLOSE and max(rivals, default=0) < agree[best] - _CLOSE
        if close or near:
            verdict = Verdict(status_of(best), in_words(best, names), 1 - agree[best], "", np.nan)
            evidence = f"A new choice on these cells has a Jaccard index of {agree[best]:.3f} with them."
            return _identified(subject, chosen, verdict, evidence, share)
        if agree[best] == 1:
            text = f"The train cells alone give the same {int(chosen.sum())} genes as all cells."
            return Finding("pass", text, subject=subject, measure=_MEASURE, value=1.0, threshold=1.0)
        if not nearest or agree[best] > max(nearest.values()):
            nearest = agree
    everything, train = nearest[tuple(names)], nearest.get(("train",), np.nan)
    text = (
        f"{int(chosen.sum())} genes were chosen without a record of the cells. A new choice does not show which cells "
        f"were used. Its Jaccard index with these genes is {everything:.2f} on all cells and {train:.2f} on the train "
        "cells."
    )
    advice = "Choose with heldout.pp.highly_variable_genes, which records the cells."
    return Finding("not run", text, subject=subject, measure=_MEASURE, value=share, threshold=1.0, advice=advice)


def _jaccard_of_sides(sums: _Unions, chosen: np.ndarray, names: list[str]) -> float:
    """Jaccard index of the choices on all cells and on the train cells by scanpy's default recipe."""
    if ("train",) not in sums or chosen.all():
        return np.nan
    n = int(chosen.sum())
    return _jaccard(_by_dispersion(sums[tuple(names)], n), _by_dispersion(sums[("train",)], n))


def _jaccard(a: np.ndarray, b: np.ndarray) -> float:
    either = int((a | b).sum())
    return float((a & b).sum() / either) if either else 1.0


def _dispersion(total: Sums) -> tuple[np.ndarray, np.ndarray]:
    """Mean on the log scale and dispersion normalised within bins of the mean, as in Seurat."""
    mean = np.maximum(total.mean, 1e-12)
    with np.errstate(divide="ignore"):
        dispersion = np.where(total.var > 0, np.log(total.var / mean), np.nan)
    frame = pd.DataFrame({"dispersion": dispersion, "bin": pd.cut(np.log1p(mean), bins=_N_BINS, labels=False)})
    grouped = frame.groupby("bin")["dispersion"]
    middle, spread = grouped.transform("mean"), grouped.transform("std")
    alone = spread.isna()
    scaled = (frame["dispersion"] - middle.where(~alone, 0)) / spread.where(~alone, middle)
    return np.log1p(mean), scaled.to_numpy()


def _top(score: np.ndarray, n: int) -> np.ndarray:
    known = np.sort(score[~np.isnan(score)])
    return np.nan_to_num(score, nan=-np.inf) >= known[-min(n, len(known))] if len(known) else np.zeros(len(score), bool)


def _by_dispersion(total: Sums, n: int) -> np.ndarray:
    return _top(_dispersion(total)[1], n)


def _by_cutoffs(total: Sums, n: int) -> np.ndarray:
    """Choose by scanpy's default limits. The number of genes is not used."""
    mean, score = _dispersion(total)
    return (mean > 0.0125) & (mean < 3) & (np.nan_to_num(score) > 0.5)


def _by_ranger(total: Sums, n: int) -> np.ndarray:
    mean = np.maximum(total.mean, 1e-12)
    dispersion = total.var / mean
    edges = np.unique(np.r_[-np.inf, np.percentile(mean, np.arange(10, 105, 5)), np.inf])
    grouped = pd.Series(dispersion).groupby(pd.cut(mean, bins=edges, labels=False))
    middle = grouped.transform("median")
    spread = (pd.Series(dispersion) - middle).abs().groupby(pd.cut(mean, bins=edges, labels=False)).transform("median")
    return _top(((dispersion - middle) / spread.where(spread > 0)).to_numpy(), n)


def _by_variance(total: Sums, n: int) -> np.ndarray:
    return _top(total.var, n)
