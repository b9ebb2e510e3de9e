"""Whether a forecast is tested after what it was trained on, and a held-out time was seen by nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.words import first_few
from heldout.auditing._finding import Finding, NotRun

if TYPE_CHECKING:
    from heldout.auditing._case import Case


def temporal_order(case: Case) -> list[Finding]:
    """Compare the times of train and val with those of test."""
    if case.time_key is None:
        msg = "no time is known; pass time_key if the split holds out time points"
        raise NotRun(msg)
    times = np.full(case.adata.n_obs, np.nan)
    try:
        times[case.used] = case.adata.obs[case.time_key][case.used].astype(object).astype(float)
    except (TypeError, ValueError) as problem:
        msg = f"{case.time_key} is not numeric"
        raise NotRun(msg) from problem
    seen, test = np.unique(times[case.mask("train", "val")]), np.unique(times[case.mask("test")])
    if not len(seen) or not len(test):
        msg = "there are no train cells or no test cells"
        raise NotRun(msg)
    shared = np.intersect1d(seen, test)
    found = Finding.about(case.time_key, "time points on both sides", float(len(shared)), 0.0)
    if len(shared):
        text = f"{case.time_key} {first_few(_texts(shared))} is held out, and has cells in train or val as well"
        return [found.says("fail", text, "Hold out whole time points: heldout.pp.split_time.")]
    later = seen[seen > test.min()]
    if not len(later):
        text = f"all test cells ({case.time_key} {first_few(_texts(test))}) come after train and val (up to {seen.max():g})"
        return [found.says("pass", text)]
    text = (
        f"train or val has cells of {case.time_key} {first_few(_texts(later))}, after the earliest test time {test.min():g}: this "
        "is an interpolation"
    )
    if case.scheme == "time" and case.partition is not None and case.partition.params.get("direction") == "interpolate":
        return [found.says("pass", f"{text}, as declared")]
    return [found.says("warn", text, "Call it an interpolation, or forecast: heldout.pp.split_time.")]


def _texts(times: np.ndarray) -> list[str]:
    return [f"{time:g}" for time in times]
