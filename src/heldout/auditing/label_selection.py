"""Find genes that were chosen by the label on cells of the test set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from heldout._core.words import counted
from heldout.auditing._exchange import blocks_of, p_value
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._ranked_record import record_findings
from heldout.auditing._selectors import agreement, rank_sums
from heldout.auditing._sums import unit_sums
from heldout.auditing._words import units_in_words
from heldout.metrics.labellings import labellings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout.auditing._case import Case
    from heldout.auditing._sums import UnitSums

LEVEL = 0.01
"""Level for all choices of genes together."""
FEWEST = 5
_EXACT, _CLEAR, _ENOUGH = 0.99, 0.02, 10
_N_LABELLINGS = 400
_MOST_VALUES = 10**8
"""Ranks of all cells are computed only for matrices with at most this many values."""
_MEASURE = "Jaccard index with a choice by the label on all cells"
_ADVICE = "Choose genes by the label on the train cells only, and repeat all later steps."


def label_selection(case: Case) -> list[Finding]:
    """Find genes that were chosen by the label on cells of the test set.

    Each choice of genes is repeated by several tests of the label (t, F, Wilcoxon, pseudobulk t, fold change, detection
    rate), on the train cells and on all cells. Null hypothesis: the labels of the test units were not used. Under it,
    labels of the test units can be permuted. The item fails if a test on all cells gives exactly these genes and no
    test on the train cells does. It also fails, or warns, if all cells explain the choice better than the train cells
    do, and better than with permuted test labels (p at most 0.01 divided by the number of choices).
    """
    labels = case.need_labels()
    if not case.mask("train").any() or not case.mask("test").any():
        msg = "The genes of train and of test cannot be compared: one of them has no cells."
        raise NotRun(msg)
    findings = record_findings(case)
    choices = list(_choices(case))
    level = LEVEL / max(len(choices), 1)
    classes, codes = np.unique(labels.astype(str), return_inverse=True)
    sources: dict[int, _Source] = {}
    for choice in choices:
        if id(choice.case) not in sources:
            sources[id(choice.case)] = _Source.of(choice.case)
        findings.append(_judged(choice, sources[id(choice.case)], codes, len(classes), level))
    if not findings:
        msg = (
            f"No column of var marks chosen genes, raw has no other genes, and uns has no genes ranked by "
            f"{case.label_key}. If genes were chosen before and the others removed, this cannot be seen."
        )
        raise NotRun(msg)
    return findings


@dataclass(frozen=True)
class _Choice:
    """Some genes of the matrix of a case: a boolean column of ``var``, or the genes of ``X`` among those of ``raw``."""

    case: Case
    subject: str
    chosen: np.ndarray


def _choices(case: Case) -> Iterator[_Choice]:
    var = case.adata.var
    for column in var.columns:
        if pd.api.types.is_bool_dtype(var[column].dtype) and var[column].notna().all():
            chosen = var[column].to_numpy(dtype=bool)
            if _some(chosen):
                yield _Choice(case, f"var[{column!r}]", chosen)
    raw = case.adata.raw
    if raw is not None:
        chosen = np.asarray(raw.var_names.isin(case.adata.var_names))
        if _some(chosen):
            whole = ad.AnnData(raw.X, obs=case.adata.obs, var=raw.var[[]])
            yield _Choice(replace(case, adata=whole, layer=None), "genes of X among those of raw", chosen)


def _some(chosen: np.ndarray) -> bool:
    return FEWEST <= int(chosen.sum()) < len(chosen)


@dataclass(frozen=True)
class _Source:
    """Sums over units on the train cells and on all cells, and the ranks of both if they can be computed."""

    train: UnitSums
    everything: UnitSums
    train_ranks: tuple[np.ndarray, np.ndarray] | None
    all_ranks: tuple[np.ndarray, np.ndarray] | None

    @classmethod
    def of(cls, case: Case) -> _Source:
        train, rest = unit_sums(case, "train"), unit_sums(case, "val", "test")
        everything = type(train)(
            train.n + rest.n, train.detected + rest.detected, train.total + rest.total, train.squares + rest.squares
        )
        ranks: list[Any] = [None, None]
        if case.adata.n_obs * case.adata.n_vars <= _MOST_VALUES:
            n_units = len(case.units.names)
            for i, wanted in enumerate((case.mask("train"), case.used)):
                rows = np.flatnonzero(wanted)
                ranks[i] = rank_sums(case.lognormalised(rows), case.units.of_cell[rows], n_units)
        return cls(train, everything, *ranks)


def _judged(choice: _Choice, source: _Source, codes: np.ndarray, n_classes: int, level: float) -> Finding:
    """Repeat one choice on the train cells and on all cells, with the labels and with permuted labels of test."""
    case, chosen = choice.case, choice.chosen
    drawn = _permuted(case, codes)
    (on_train,), train_test = agreement(source.train, codes[None], n_classes, chosen, source.train_ranks)
    on_all, all_test = agreement(source.everything, drawn, n_classes, chosen, source.all_ranks)
    p = p_value(on_all[0], on_all)
    exact = on_all[0] >= _EXACT and chosen.sum() >= _ENOUGH
    better = on_all[0] > on_train
    found = Finding.about(choice.subject, _MEASURE, on_all[0], _EXACT)
    genes = counted(int(chosen.sum()), "gene")
    if better and ((exact and on_all[0] - on_train >= _CLEAR) or p <= level):
        text = (
            f"These {genes} follow {case.label_key} on all cells, test included. A {all_test} of {case.label_key} on "
            f"all cells chooses them with a Jaccard index of {on_all[0]:.2f}; the best test on the train cells reaches "
            f"{on_train:.2f}. With permuted labels of the test {units_in_words(case)}, all cells reach "
            f"{np.median(on_all):.2f} (p = {p:.2g})."
        )
        return found.says("fail" if on_all[0] >= 0.8 else "warn", text, _ADVICE)
    if on_train >= _EXACT:
        text = f"A {train_test} of {case.label_key} on the train cells alone chooses these {genes}."
        return found.says("pass", text)
    text = (
        f"No test of {case.label_key} on all cells explains these {genes} better than the train cells and permuted "
        f"test labels do (Jaccard index {on_all[0]:.2f} on all cells, {on_train:.2f} on train, p = {p:.2g}). Other "
        "ways to choose were not tried."
    )
    return found.says("pass", text)


def _permuted(case: Case, codes: np.ndarray) -> np.ndarray:
    """Labellings (B × U) in which the test units exchange their labels. The observed labelling is the first.

    Units on both sides of the split keep their labels.
    """
    test = case.units.test_only
    found = np.tile(codes, (1, 1))
    if test.sum() < 2:
        return found
    blocks = blocks_of(case.units)[test]
    drawn, _ = labellings(codes[test], blocks, case.rng("label selection"), limit=_N_LABELLINGS)
    same = (drawn == codes[test]).all(axis=1)
    order = np.argsort(~same, kind="stable")
    found = np.tile(codes, (len(drawn), 1))
    found[:, test] = drawn[order]
    return found
