"""Test whether the label is associated with a covariate over units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.words import first_few
from heldout.auditing._association import cramers_v, crosstab, exact_p
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._words import not_constant, unit_in_words, units_in_words

if TYPE_CHECKING:
    from heldout.auditing._case import Case

LEVEL, STRONG = 0.05, 0.5


def confounding(case: Case) -> list[Finding]:
    """Test the label against each covariate, and check whether all covariates together determine the label."""
    labels = case.need_labels()
    if not case.covariate_keys:
        msg = "No covariate is known. Pass covariate_keys, e.g. the columns of the day, the batch or the sex."
        raise NotRun(msg)
    used = case.units.within("train", "val", "test")
    findings, covariates = [], {}
    for key in case.covariate_keys:
        values = case.units.values(case.covariate(key))
        if values is None:
            findings.append(Finding("not run", not_constant(case, key), key))
            continue
        covariates[key] = values[used]
        findings.append(_covariate(case, key, values[used], labels[used]))
    if len(covariates) > 1 and not any(finding.status in {"fail", "unidentifiable"} for finding in findings):
        findings += _jointly(case, covariates, labels[used])
    return findings


def _covariate(case: Case, key: str, values: np.ndarray, labels: np.ndarray) -> Finding:
    levels = sorted(set(values))
    if len(levels) < 2:
        return Finding("pass", f"{key} has the same value in every {unit_in_words(case)}.", key)
    if len(levels) == len(values):
        text = (
            f"Every {unit_in_words(case)} has a different {key}. Effects of {key} and of {case.label_key} cannot be "
            "separated."
        )
        advice = f"Get data with several {units_in_words(case)} at each {key}."
        return Finding("unidentifiable", text, key, "overlap", 0.0, 0.0, advice)
    table = crosstab(labels, values)
    v, p = cramers_v(table), exact_p(table, case.rng(f"confounding {key}"))
    mixed = [level for level in levels if len(set(labels[values == level])) > 1]
    overlap = float(np.isin(values, mixed).mean())
    found = Finding.about(key, "Cramér's V (bias-corrected)", v, STRONG)
    alone = float((table.sum(axis=0) == 1).sum() / len(values))
    if not mixed and p > LEVEL and alone > 0.5:  # a value with one unit has one class in any design
        text = (
            f"Most {units_in_words(case)} are the only one at their {key}. Effects of {key} and of {case.label_key} "
            "cannot be separated."
        )
        return found.says("unidentifiable", text, f"Get data with several {units_in_words(case)} at each {key}.")
    if not mixed:
        text = (
            f"Each {key} has only one {case.label_key} ({_example(levels, values, labels)}). A model that predicts "
            f"{key} instead of {case.label_key} gets the same score."
        )
        advice = f"No split can correct this. Get data in which one {key} has several classes of {case.label_key}."
        return found.says("fail", text, advice)
    numbers = (
        f"Cramér's V = {v:.2f}, exact p = {p:.2g}, {overlap:.0%} of the {units_in_words(case)} have a value of {key} "
        "with several classes"
    )
    if p <= LEVEL and v > STRONG:
        text = f"{case.label_key} is associated with {key} ({numbers})."
        advice = (
            f"Compare classes within {key}: heldout.pp.split_matched with match_key={key!r}. See also "
            "covariate_prediction."
        )
        return found.says("warn", text, advice)
    return found.says("pass", f"No strong association of {case.label_key} with {key} was found ({numbers}).")


def _example(levels: list[str], values: np.ndarray, labels: np.ndarray) -> str:
    return first_few([f"{level}: {labels[values == level][0]}" for level in levels])


def _jointly(case: Case, covariates: dict[str, np.ndarray], labels: np.ndarray) -> list[Finding]:
    """Check whether the covariates together determine the label although none does alone."""
    design = np.concatenate([np.ones((len(labels), 1)), *(_dummies(values) for values in covariates.values())], axis=1)
    rank = int(np.linalg.matrix_rank(design))
    names = " and ".join(covariates)
    found = Finding.about("+".join(covariates), "rank of the covariates", float(rank), len(labels) / 2)
    if 2 * rank > len(labels):
        text = (
            f"{names} together use {rank} of the {len(labels)} degrees of freedom of the {units_in_words(case)}. Too "
            "few are left to test them together."
        )
        return [found.says("not run", text)]
    outcome = _dummies(labels)
    residual = outcome - design @ np.linalg.lstsq(design, outcome, rcond=None)[0]
    if np.abs(residual).max() < 1e-8:
        text = f"{names} together determine {case.label_key}, although none of them does alone."
        return [found.says("fail", text, f"Get data in which {names} do not determine {case.label_key}.")]
    return [found.says("pass", f"{names} together do not determine {case.label_key}.")]


def _dummies(values: np.ndarray) -> np.ndarray:
    return (values[:, None] == np.array(sorted(set(values)))[None, 1:]).astype(float)
