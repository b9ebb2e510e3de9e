"""Check that pseudo-lineages pass only through train cells at training times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core import keys
from heldout._core.fits import read_fit, read_header
from heldout._core.partition import PARTITIONS, Assignment
from heldout._core.store import section
from heldout._core.words import first_few
from heldout.auditing._finding import Finding

if TYPE_CHECKING:
    from heldout._core.fits import Fit
    from heldout.auditing._case import Case

_AGAIN = "Draw the lineages again on this split: heldout.pp.lineages."


def lineage_findings(case: Case) -> list[Finding]:
    """One finding for each stored set of lineages of this split."""
    found = []
    for key in section(case.adata, keys.FITS):
        try:
            header = read_header(case.adata, key)
            if header.method != "pp.lineages" or header.split_key != case.split_key:
                continue
            fit = read_fit(case.adata, key)
        except ValueError:
            continue  # altered fits are reported with the other fits
        found.append(_finding(case, key, fit))
    return found


def _finding(case: Case, key: str, fit: Fit) -> Finding:
    """Look up the current partition of every coupled cell, also of cells that no chain passes."""
    digests, first, times = fit.arrays["digests"], fit.arrays["first"], fit.arrays["times"]
    of_cell = np.repeat(np.arange(len(times)), np.diff(first))
    codes = _codes(case, digests)
    held = np.isin(codes, [PARTITIONS.index("val"), PARTITIONS.index("test")])
    finding = Finding.about(key, "held-out cells in the couplings", float(held.sum()), 1.0)
    if held.any():
        named = {name: int((codes == PARTITIONS.index(name)).sum()) for name in ("val", "test")}
        through = int(held[fit.arrays["chains"]].any(axis=1).sum())
        counts = " and ".join(f"{n} {name}" for name, n in named.items() if n)
        text = f"{counts} cells were coupled. {through} of {len(fit.arrays['chains'])} chains pass through them."
        return finding.says("fail", text, _AGAIN)
    late = np.intersect1d(times, _held_out_times(case))
    if len(late):
        text = (
            f"Chains pass through {fit.config['time_key']} {first_few([f'{time:g}' for time in late])}, which is held "
            "out."
        )
        return finding.says("fail", text, _AGAIN)
    other = codes != PARTITIONS.index("train")
    if other.any():
        text = (
            f"{int(other.sum())} of the {len(codes)} coupled cells are not train cells of this split. None of them is "
            f"held out ({fit.config['time_key']} "
            f"{first_few([f'{time:g}' for time in times[np.unique(of_cell[other])]])})."
        )
        return finding.says("warn", text, _AGAIN)
    if fit.info["rep_fit"] is None:
        text = (
            f"All {len(codes)} coupled cells are train cells. They were compared in obsm[{fit.config['use_rep']!r}], "
            "which has no record that it was fitted on train cells only."
        )
        return finding.says("warn", text, "Fit the coordinates on train: heldout.pp.pca.")
    text = f"All {len(codes)} coupled cells are train cells of this split, at {len(times)} training times."
    return finding.says("pass", text)


def _codes(case: Case, digests: np.ndarray) -> np.ndarray:
    """Partition code of each cell by its digest, -1 for cells that are not in the split. The record is used if any."""
    made = case.partition.assignment if case.partition is not None else Assignment.of(case.adata.obs_names, case.codes)
    if not len(made.members):
        return np.full(len(digests), -1, dtype=np.int8)
    at = np.searchsorted(made.members, digests).clip(max=len(made.members) - 1)
    return np.where(made.members[at] == digests, made.codes[at], -1)


def _held_out_times(case: Case) -> list[float]:
    """Times that the split holds out completely. Empty if the split was not made by time."""
    if case.partition is None or case.partition.scheme != "time":
        return []
    times = case.partition.params["times"]
    return [float(time) for name in ("val", "test") for time in times.get(name, [])]
