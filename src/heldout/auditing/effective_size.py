"""How many independent cells the groups are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._sums import unit_sums
from heldout.auditing._words import units_in_words
from heldout.metrics.effective import intraclass_correlation, worth

if TYPE_CHECKING:
    from heldout.auditing._case import Case

DETECTED = 0.1
"""Share of the train cells in which a gene must be detected to count."""


def effective_size(case: Case) -> list[Finding]:
    """Say what share of a gene's variance lies between units of one class, and what that leaves of the number of cells.

    The share is the intraclass correlation of a one-way analysis of variance over train cells, with the median and the
    90th percentile over genes. N cells of units of n cells each have a mean with the variance of N / deff independent
    cells, deff = 1 + (sum n² / N - 1) icc. It informs; it never warns.
    """
    units = case.units
    sums = unit_sums(case, "train")
    classes = np.zeros(len(sums.n), dtype=int)
    if units.labels is not None:
        classes = np.unique(units.labels.astype(str), return_inverse=True)[1]
    used = sums.n > 0
    expressed = sums.detected.sum(axis=0) >= DETECTED * max(sums.n.sum(), 1)
    if used.sum() - len(np.unique(classes[used])) < 1 or sums.n.sum() <= used.sum():
        within = f" of one class of {case.label_key}" if case.label_key else ""
        msg = f"train has no two {units_in_words(case)}{within}, so nothing says how alike cells of one {case.unit} are"
        raise NotRun(msg)
    if not expressed.any():
        msg = f"no gene is detected in {DETECTED:.0%} of the train cells"
        raise NotRun(msg)
    parts = (sums.total[used][:, expressed], sums.squares[used][:, expressed])
    found = intraclass_correlation(sums.n[used], *parts, classes[used])
    icc, high = (float(np.nanquantile(found, q)) for q in (0.5, 0.9))
    findings = []
    for name in ("test", "train"):
        sizes = case.units.counts[case.units.within(name)][:, ("train", "val", "test").index(name)]
        if not len(sizes):
            continue
        n, n_eff, least = int(sizes.sum()), worth(sizes, icc), worth(sizes, high)
        text = (
            f"the {n} {name} cells of {len(sizes)} {units_in_words(case)} are worth about {n_eff:.0f} independent ones (median "
            f"intraclass correlation {icc:.2g} over {int(expressed.sum())} genes; {least:.0f} at the 90th percentile, "
            f"{high:.2g}): intervals over cells would be {np.sqrt(n / n_eff):.1f} times too narrow"
        )
        findings.append(Finding("pass", text, subject=name, measure="independent cells", value=n_eff))
    return findings
