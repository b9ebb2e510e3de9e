"""Count how often the test set was looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core.ledger import read_ledger
from heldout._core.partition import PARTITIONS, load_assignment
from heldout._core.words import counted
from heldout.auditing._finding import Finding, NotRun

if TYPE_CHECKING:
    import pandas as pd

    from heldout.auditing._case import Case


def test_looks(case: Case) -> list[Finding]:
    """Count the looks at this test set in the ledger."""
    if case.partition is None:
        msg = "The split has no record, so looks at its test set were not counted."
        raise NotRun(msg)
    ledger = read_ledger(case.adata)
    here = ledger["test_set"] == case.partition.test_hash
    shared = _shared(case, ledger[~here])
    looks = ledger[here | ledger["split"].isin(shared)]
    if shared:
        found = Finding.about(case.split_key, "test cells that other test sets have", float(max(shared.values())), 1.0)
        text = (
            f"Up to {max(shared.values())} of {int(case.mask('test').sum())} test cells are also in the test set of "
            f"{counted(len(shared), 'other split')} that {'was' if len(shared) == 1 else 'were'} evaluated on test. "
            f"{looks['fit'].nunique()} different fits were evaluated on these cells."
        )
        return [found.says("warn", text, "Report all looks: heldout.get.ledger.")]
    n, n_fits = looks["look"].nunique(), looks["fit"].nunique()
    found = Finding.about(case.split_key, "fits evaluated on test", float(n_fits), 1.0)
    if n_fits > 1:
        text = (
            f"{n_fits} different fits were evaluated on this test set ({n} looks). The best of several test scores is "
            "biased upwards, because it was selected on this test set."
        )
        advice = "Choose between models on val, and report all looks: heldout.get.ledger."
        return [found.says("warn", text, advice)]
    return [found.says("pass", f"The ledger has {counted(n, 'look')} at this test set.")]


def _shared(case: Case, others: pd.DataFrame) -> dict[str, int]:
    """Number of test cells that are also in the test set of each other split with a look, by the hash of the split."""
    shared = {}
    for split in dict.fromkeys(others["split"]):
        try:
            codes = load_assignment(case.adata, split).lookup(case.adata.obs_names)
        except ValueError:  # the record of a split that was replaced is not kept
            continue
        both = int(((codes == PARTITIONS.index("test")) & case.mask("test")).sum())
        if both:
            shared[split] = both
    return shared
