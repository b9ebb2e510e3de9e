"""Count how often the test set was looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.ledger import read_ledger
from heldout._core.looks import shared_cells
from heldout._core.words import counted
from heldout.auditing._finding import Finding, NotRun

if TYPE_CHECKING:
    from heldout.auditing._case import Case


def test_looks(case: Case) -> list[Finding]:
    """Count the looks at these test cells in the ledger, also those at other sets that have some of the cells."""
    if case.partition is None:
        msg = "The split has no record, so looks at its test set were not counted."
        raise NotRun(msg)
    if not case.partition.has_test:
        msg = "The split was made without test cells."
        raise NotRun(msg)
    ledger = read_ledger(case.adata)
    here = ledger["test_set"] == case.partition.test_hash
    shared = shared_cells(case.adata, case.partition, "test", ledger[~here].to_dict("records"))
    sets = list(zip(ledger["split"], ledger["partition"], strict=True))
    looks = ledger[here.to_numpy() | np.array([name in shared for name in sets], dtype=bool)]
    as_val = int((looks["partition"] == "val").sum())
    tail = f" {counted(as_val, 'row')} of the ledger scored them as val of another split." if as_val else ""
    if shared:
        most, n = max(shared.values()), len(case.partition.assignment.members_in("test"))
        found = Finding.about(case.split_key, "test cells that other test sets have", float(most), 1.0)
        text = (
            f"Up to {most} of {n} test cells are also in {counted(len(shared), 'other set')} that "
            f"{'was' if len(shared) == 1 else 'were'} evaluated. {looks['fit'].nunique()} different fits were "
            f"evaluated on these cells.{tail}"
        )
        return [found.says("warn", text, "Report all looks: heldout.get.ledger.")]
    n_looks, n_fits = looks["look"].nunique(), looks["fit"].nunique()
    found = Finding.about(case.split_key, "fits evaluated on test", float(n_fits), 1.0)
    if n_fits > 1:
        text = (
            f"{n_fits} different fits were evaluated on this test set ({n_looks} looks).{tail} The best of several "
            "test scores is biased upwards, because it was selected on this test set."
        )
        advice = "Choose between models on val, and report all looks: heldout.get.ledger."
        return [found.says("warn", text, advice)]
    return [found.says("pass", f"The ledger has {counted(n_looks, 'look')} at this test set.{tail}")]
