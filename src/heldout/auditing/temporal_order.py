"""Check that a forecast is tested on later times than it was trained on, and that held-out times are not in train."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.times import numeric_time_call
from heldout._core.words import first_few
from heldout.auditing._finding import Finding, NotRun

if TYPE_CHECKING:
    from heldout.auditing._case import Case


def temporal_order(case: Case) -> list[Finding]:
    """Compare the times of train and val with those of test."""
    if case.time_key is None:
        msg = "No time_key is known. Pass time_key if the split holds out time points."
        raise NotRun(msg)
    times = np.full(case.adata.n_obs, np.nan)
    try:
        times[case.used] = case.adata.obs[case.time_key][case.used].astype(object).astype(float)
    except (TypeError, ValueError) as problem:
        msg = (
            f"The column {case.time_key} is not numeric. Run {numeric_time_call(case.time_key)} and pass "
            "time_key='numeric_time'."
        )
        raise NotRun(msg) from problem
    seen, test = np.unique(times[case.mask("train", "val")]), np.unique(times[case.mask("test")])
    if not len(seen) or not len(test):
        msg = "There are no train cells or no test cells."
        raise NotRun(msg)
    shared = np.intersect1d(seen, test)
    found = Finding.about(case.time_key, "time points on both sides", float(len(shared)), 0.0)
    if len(shared):
        text = (
            f"The test set has cells of {case.time_key} {first_few(_texts(shared))}, and train or val has such cells "
            "too."
        )
        return [found.says("fail", text, "Hold out whole time points: heldout.pp.split_time.")]
    later = seen[seen > test.min()]
    if not len(later):
        text = (
            f"All test cells ({case.time_key} {first_few(_texts(test))}) are later than the train and val cells (up to "
            f"{seen.max():g})."
        )
        return [found.says("pass", text)]
    text = (
        f"Train or val has cells of {case.time_key} {first_few(_texts(later))}. This is later than the earliest test "
        f"time {test.min():g}, so the split tests an interpolation, not a forecast."
    )
    if case.scheme == "time" and case.partition is not None and case.partition.params.get("direction") == "interpolate":
        return [found.says("pass", f"{text} The split was declared as an interpolation.")]
    return [
        found.says("warn", text, "Report it as an interpolation, or hold out the last times: heldout.pp.split_time.")
    ]


def _texts(times: np.ndarray) -> list[str]:
    return [f"{time:g}" for time in times]
