"""Compute the smallest p-value that a permutation test on the test set can reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._words import many, numbered
from heldout.metrics import smallest_p

if TYPE_CHECKING:
    from heldout.auditing._case import Case

LEVEL = 0.05


def power(case: Case) -> list[Finding]:
    """Count the ways to assign the labels to the test units within exchangeable blocks."""
    labels = case.need_labels()
    test = case.units.within("test")
    if not test.any():
        msg = "There are no test cells."
        raise NotRun(msg)
    blocks, kind = _blocks(case)
    p = float(np.prod([smallest_p(labels[test & (blocks == block)]) for block in set(blocks[test])]))
    counts = ", ".join(f"{int((labels[test] == name).sum())} {name}" for name in sorted(set(labels[test])))
    within = f" Labels can be exchanged only within a {kind}." if kind else ""
    found = Finding.about("test", "smallest p", p, LEVEL)
    design = f"The test set has {numbered(case, int(test.sum()))}: {counts}.{within}"
    if p <= LEVEL:
        return [found.says("pass", f"{design} The smallest possible p-value is {p:.2g}.")]
    text = f"{design} Even a perfect prediction has p = {p:.2g}."
    advice = f"Hold out more {many(case.unit)}, or pool the predictions of a cross-validation: heldout.pp.folds."
    return [found.says("unidentifiable", text, advice)]


def _blocks(case: Case) -> tuple[np.ndarray, str]:
    """Blocks within which labels can be exchanged: the group of paired samples, the match value, or one block."""
    units = case.units
    if units.paired:
        return units.groups, case.unit
    match = None if case.match_key is None else units.values(case.adata.obs[case.match_key])
    if match is None:
        return np.full(len(units.names), "all", dtype=object), ""
    return match, str(case.match_key)
