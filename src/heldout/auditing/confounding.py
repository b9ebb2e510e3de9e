"""Whether the label goes along with a covariate, over groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.words import first_few
from heldout.auditing._association import cramers_v, crosstab, exact_p
from heldout.auditing._finding import Finding, NotRun

if TYPE_CHECKING:
    from heldout.auditing._case import Case

LEVEL, STRONG = 0.05, 0.5


def confounding(case: Case) -> list[Finding]:
    """Cramér's V, exact test and overlap of the label with each covariate, and what all covariates together fix."""
    labels = case.need_labels()
    if not case.covariate_keys:
        msg = "no covariate is known; pass covariate_keys, e.g. day, batch, sex"
        raise NotRun(msg)
    used = case.units.within("train", "val", "test")
    findings, together = [], {}
    for key in case.covariate_keys:
        values = case.units.values(case.covariate(key))
        if values is None:
            findings.append(Finding("not run", f"{key} varies within a {case.unit}, or has missing values", key))
            continue
        together[key] = values[used]
        findings.append(_one(case, key, values[used], labels[used]))
    if len(together) > 1 and not any(finding.status in {"fail", "unidentifiable"} for finding in findings):
        findings += _jointly(case, together, labels[used])
    return findings


def _one(case: Case, key: str, values: np.ndarray, labels: np.ndarray) -> Finding:
    levels = sorted(set(values))
    if len(levels) < 2:
        return Finding("pass", f"{key} is the same for every {case.unit}", key)
    if len(levels) == len(values):
        text = f"every {case.unit} has its own {key}, so what is due to {key} and what to {case.label_key} cannot be told apart"
        return Finding("unidentifiable", text, key, "overlap", 0.0, 0.0, f"Get several of each {key}.")
    table = crosstab(labels, values)
    v, p = cramers_v(table), exact_p(table, case.rng(f"confounding {key}"))
    mixed = [level for level in levels if len(set(labels[values == level])) > 1]
    overlap = float(np.isin(values, mixed).mean())
    found = Finding.about(key, "Cramér's V (bias-corrected)", v, STRONG)
    alone = float((table.sum(axis=0) == 1).sum() / len(values))
    if not mixed and p > LEVEL and alone > 0.5:  # a value of one unit has one class in any design
        text = f"most {key} have one {case.unit} only, so what is due to {key} and what to {case.label_key} cannot be told apart"
        return found.says("unidentifiable", text, f"Get several of each {key}.")
    if not mixed:
        text = (
            f"each {key} has one {case.label_key} only ({_example(levels, values, labels)}): any score for {case.label_key} is "
            f"as good a score for {key}"
        )
        return found.says("fail", text, f"No split mends this; get data with several classes in one {key}.")
    numbers = f"V {v:.2f}, exact p {p:.2g}, {overlap:.0%} of the units at a {key} with several classes"
    if p <= LEVEL and v > STRONG:
        text = f"{case.label_key} goes along with {key} ({numbers})"
        advice = (
            f"Compare within {key}: heldout.pp.split_matched with match_key={key!r}, and look at covariate_prediction."
        )
        return found.says("warn", text, advice)
    return found.says("pass", f"{case.label_key} is not tied to {key} ({numbers})")


def _example(levels: list[str], values: np.ndarray, labels: np.ndarray) -> str:
    return first_few([f"{level}: {labels[values == level][0]}" for level in levels])


def _jointly(case: Case, covariates: dict[str, np.ndarray], labels: np.ndarray) -> list[Finding]:
    """Whether the covariates together fix the label, although none does alone."""
    design = np.concatenate([np.ones((len(labels), 1)), *(_dummies(values) for values in covariates.values())], axis=1)
    rank = int(np.linalg.matrix_rank(design))
    names = " and ".join(covariates)
    found = Finding.about("+".join(covariates), "rank of the covariates", float(rank), len(labels) / 2)
    if 2 * rank > len(labels):
        text = f"{names} take {rank} of the {len(labels)} degrees of freedom of the {case.unit} table; too few are left to look at them together"
        return [found.says("not run", text)]
    outcome = _dummies(labels)
    residual = outcome - design @ np.linalg.lstsq(design, outcome, rcond=None)[0]
    if np.abs(residual).max() < 1e-8:
        text = f"{names} together fix {case.label_key}, although none does alone"
        return [found.says("fail", text, "Get data in which they do not.")]
    return [found.says("pass", f"{names} together do not fix {case.label_key}")]


def _dummies(values: np.ndarray) -> np.ndarray:
    return (values[:, None] == np.array(sorted(set(values)))[None, 1:]).astype(float)
