"""Whether each class is in train and in test, and whether the classes of the test set can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.words import first_few
from heldout.auditing._finding import Finding

if TYPE_CHECKING:
    from heldout.auditing._case import Case


def class_coverage(case: Case) -> list[Finding]:
    """Count units of each class in each partition, and the match values of the test set that have one class only."""
    labels = case.need_labels()
    every = sorted(set(labels))
    findings = []
    for partition in ("train", "val", "test"):
        inside = case.units.within(partition)
        if not inside.any():
            continue
        counts = {name: int((inside & (labels == name)).sum()) for name in every}
        lacking = [name for name, n in counts.items() if not n]
        said = ", ".join(f"{n} {name}" for name, n in counts.items())
        found = Finding.about(partition, "units of the smallest class", float(min(counts.values())), 1.0)
        if lacking:
            text = f"{partition} has no {case.unit} with {case.label_key} {first_few(lacking)} ({said})"
            advice = "Make a split with every class in every partition: heldout.pp.split_groups with label_key."
            findings.append(found.says("warn" if partition == "val" else "fail", text, advice))
        else:
            findings.append(found.says("pass", f"{partition} has {said} ({case.unit})"))
    return findings + _matched(case, labels)


def _matched(case: Case, labels: np.ndarray) -> list[Finding]:
    """Share of the test units that have a unit of another class at the same match value."""
    if case.match_key is None:
        return []
    match = case.units.values(case.adata.obs[case.match_key])
    test = case.units.within("test")
    if match is None or not test.any():
        return []
    alone = [value for value in sorted(set(match[test])) if len(set(labels[test & (match == value)])) < 2]
    share = float(1 - np.isin(match[test], alone).mean())
    found = Finding.about(f"test by {case.match_key}", "share of test units with a counterpart", share, 1.0)
    if not alone:
        return [found.says("pass", f"at each {case.match_key} of the test set every class can be compared")]
    text = (
        f"the test set has one class only at {case.match_key} {first_few(alone)}: there, {case.label_key} cannot be told from "
        f"{case.match_key}"
    )
    return [found.says("warn", text, "Hold out match values with both classes: heldout.pp.split_matched.")]
