"""How often the test set was looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core.ledger import read_ledger
from heldout.auditing._finding import Finding, NotRun

if TYPE_CHECKING:
    from heldout.auditing._case import Case


def test_looks(case: Case) -> list[Finding]:
    """Count the looks in the ledger with this test set."""
    if case.partition is None:
        msg = "the split has no record, so looks at its test set were not counted"
        raise NotRun(msg)
    ledger = read_ledger(case.adata)
    looks = ledger[ledger["test_set"] == case.partition.test_hash]
    n, n_fits = looks["look"].nunique(), looks["fit"].nunique()
    found = Finding.about(case.split_key, "fits evaluated on test", float(n_fits), 1.0)
    if n_fits > 1:
        text = f"{n_fits} different fits were evaluated on this test set ({n} looks): the best of them is flattered by its luck"
        return [found.says("warn", text, "Choose between models on val; report all looks: heldout.get.ledger.")]
    return [found.says("pass", f"this test set was looked at {n} time{'' if n == 1 else 's'}")]
