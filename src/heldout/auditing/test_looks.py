"""Count how often the test set was looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core.ledger import read_ledger
from heldout._core.words import counted
from heldout.auditing._finding import Finding, NotRun

if TYPE_CHECKING:
    from heldout.auditing._case import Case


def test_looks(case: Case) -> list[Finding]:
    """Count the looks at this test set in the ledger."""
    if case.partition is None:
        msg = "The split has no record, so looks at its test set were not counted."
        raise NotRun(msg)
    ledger = read_ledger(case.adata)
    looks = ledger[ledger["test_set"] == case.partition.test_hash]
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
