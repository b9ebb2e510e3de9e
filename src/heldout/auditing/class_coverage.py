"""Check that train and test have each class, and that the classes of the test set can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.words import first_few
from heldout.auditing._finding import Finding
from heldout.auditing._words import numbered, unit_in_words

if TYPE_CHECKING:
    from heldout.auditing._case import Case


def class_coverage(case: Case) -> list[Finding]:
    """Count the units of each class in each partition, and find match values of the test set with only one class."""
    labels = case.need_labels()
    classes = sorted(set(labels))
    findings = []
    for partition in ("train", "val", "test"):
        inside = case.units.within(partition)
        if not inside.any():
            continue
        counts = {name: int((inside & (labels == name)).sum()) for name in classes}
        lacking = [name for name, n in counts.items() if not n]
        counts_text = ", ".join(f"{n} {name}" for name, n in counts.items())
        found = Finding.about(partition, "units of the smallest class", float(min(counts.values())), 1.0)
        if lacking:
            absent = f"{case.label_key} {first_few(lacking)}"
            text = f"{partition.capitalize()} has no {unit_in_words(case)} with {absent}: {counts_text}."
            advice = "Make a split with every class in every partition: heldout.pp.split_groups with label_key."
            findings.append(found.says("warn" if partition == "val" else "fail", text, advice))
        else:
            findings.append(
                found.says("pass", f"{partition.capitalize()} has {numbered(case, int(inside.sum()))}: {counts_text}.")
            )
    return findings + _matched(case, labels)


def _matched(case: Case, labels: np.ndarray) -> list[Finding]:
    """Measure the share of test units that have a unit of another class at the same match value."""
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
        return [found.says("pass", f"The test set has every class at each {case.match_key}.")]
    text = (
        f"The test set has only one class at {case.match_key} {first_few(alone)}. There, effects of {case.label_key} "
        f"and of {case.match_key} cannot be separated."
    )
    return [
        found.says(
            "warn", text, f"Hold out values of {case.match_key} that have every class: heldout.pp.split_matched."
        )
    ]
