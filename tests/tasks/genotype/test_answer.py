"""The one sentence of a genotype verdict."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from heldout.tasks.genotype.claims import answer

CLASSES = ["control", "patient"]


def _row(**more) -> pd.Series:
    base = {"method": "mlp", "estimate": 0.76, "ci_low": 0.62, "ci_high": 0.86, "n": 60, "verdict": "not better"}
    return pd.Series({**base, "baseline": "pseudobulk_logistic", **more})


def _claims(status: str, reason: str) -> pd.DataFrame:
    return pd.DataFrame({"level": ["donor"], "status": [status], "reason": [reason], "units": ["60 donors"]})


def test_a_success_shows_its_numbers():
    said = answer(_claims("supported", "p = 0.0002"), _row(), CLASSES, unit="donor", counts=np.array([40, 20]))
    assert said == (
        "mlp tells control and patient apart for a new donor (AUC 0.76, 95 % 0.62 to 0.86, 60 donors, p = 0.0002), but "
        "is not better than the best baseline, pseudobulk_logistic."
    )


@pytest.mark.parametrize(
    ("auc", "counts", "wanted"),
    [
        (0.65, [8, 4], "If the true AUC is 0.65, about "),
        (0.5, [8, 4], ""),
        (0.4, [8, 4], ""),
        (0.9, [40, 40], ""),
        (0.65, [4, 4, 4], ""),
    ],
)
def test_chance_says_how_many_groups_would_decide(auc, counts, wanted):
    row = _row(estimate=auc, n=sum(counts))
    claims = _claims("not supported", "p = 0.2")
    said = answer(claims, row, ["a", "b", "c"][: len(counts)], unit="donor", counts=np.array(counts))
    first = f"The result may be chance (p = 0.2 over {sum(counts)} donors)."
    assert said.startswith(first)
    assert said[len(first) :].strip().startswith(wanted)
    assert bool(said[len(first) :]) == bool(wanted)
