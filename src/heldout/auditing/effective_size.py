"""Compute how many independent cells the groups are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._sums import unit_sums
from heldout.auditing._words import numbered, units_in_words
from heldout.metrics.effective import intraclass_correlation, worth

if TYPE_CHECKING:
    from heldout.auditing._case import Case

DETECTED = 0.1
"""A gene counts if at least this share of the train cells detects it."""


def effective_size(case: Case) -> list[Finding]:
    """Compute the share of each gene's variance between units of one class, and the effective number of cells.

    The share is the intraclass correlation (icc) of a one-way analysis of variance over train cells. The item reports
    its median and its 90th percentile over genes. The mean of N cells in units of n cells each has the variance of the
    mean of N / deff independent cells, where deff = 1 + (sum n² / N - 1) icc. This item never warns.
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
        msg = (
            f"Train needs at least two {units_in_words(case)}{within} and more cells than {units_in_words(case)} to "
            "compute the intraclass correlation."
        )
        raise NotRun(msg)
    if not expressed.any():
        msg = f"No gene is detected in {DETECTED:.0%} of the train cells."
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
            f"The {n} {name} cells of {numbered(case, len(sizes))} are worth about {n_eff:.0f} independent cells "
            f"(median intraclass correlation {icc:.2g} over {int(expressed.sum())} genes). For genes with a high "
            f"correlation (90th percentile, {high:.2g}), they are worth about {least:.0f}. Intervals over cells would "
            f"be {np.sqrt(n / n_eff):.1f} times too narrow."
        )
        findings.append(Finding("pass", text, subject=name, measure="independent cells", value=n_eff))
    return findings
