"""Screens of profiles for the tests of their metrics, and Ahlmann-Eltze's source data."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest

from tests.helpers.paths import DATA

SOURCE = DATA / "ahlmann_eltze2025" / "perturbation_prediction.xlsx"
needs_source = pytest.mark.skipif(not SOURCE.is_file(), reason=f"{SOURCE} not found; set HELDOUT_DATA_DIR")


@functools.cache
def panel_b() -> pd.DataFrame:
    """One double perturbation, 1,000 genes, nine methods: truth, control and prediction with the published scores."""
    return pd.read_excel(SOURCE, sheet_name="Panel B")


def screen(seed: int, n: int = 6, n_genes: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True and predicted mean log values, at least 0, and the control's."""
    rng = np.random.default_rng(seed)
    control = rng.gamma(1.0, size=n_genes)
    truth = np.maximum(control + rng.normal(scale=0.5, size=(n, n_genes)), 0)
    prediction = np.maximum((truth + control) / 2 + rng.normal(scale=0.2, size=(n, n_genes)), 0)
    return truth, prediction, control
