"""The smallest p-value that a permutation test on the test set could reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout.auditing._finding import Finding, NotRun
from heldout.metrics import smallest_p

if TYPE_CHECKING:
    from heldout.auditing._case import Case

LEVEL = 0.05


def power(case: Case) -> list[Finding]:
    """Count the labellings of the test units that the design could have had, within exchangeable blocks."""
    labels = case.need_labels()
    test = case.units.within("test")
    if not test.any():
        msg = "there are no test cells"
        raise NotRun(msg)
    blocks, kind = _blocks(case)
    p = float(np.prod([smallest_p(labels[test & (blocks == block)]) for block in set(blocks[test])]))
    counts = " against ".join(f"{int((labels[test] == name).sum())} {name}" for name in sorted(set(labels[test])))
    within = f", exchanged within {kind}" if kind else ""
    found = Finding.about("test", "smallest p", p, LEVEL)
    if p <= LEVEL:
        return [found.says("pass", f"{counts} ({case.unit}{within}): p can be as small as {p:.2g}")]
    text = f"{counts} ({case.unit}{within}): no result can have p below {p:.2g}, however good the prediction"
    advice = "Hold out more groups, or pool the predictions of cross-validation: heldout.pp.folds."
    return [found.says("unidentifiable", text, advice)]


def _blocks(case: Case) -> tuple[np.ndarray, str]:
    """Within what labels could have been exchanged: the group of paired samples, else the match value, else all."""
    units = case.units
    if units.paired:
        return units.groups, case.unit
    match = None if case.match_key is None else units.values(case.adata.obs[case.match_key])
    if match is None:
        return np.full(len(units.names), "all", dtype=object), ""
    return match, str(case.match_key)
