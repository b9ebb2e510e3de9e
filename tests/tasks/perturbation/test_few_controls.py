"""The ceiling of a screen with few controls, whose noise is larger than their mean."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import heldout as ho
from heldout.tasks.perturbation.judging import table


@pytest.fixture
def few_controls():
    """Nine controls, three of them test. Each has a gene that no other control has."""
    draws = np.random.default_rng(0)
    names = ["control"] * 9 + [f"P{i}" for i in range(8) for _ in range(12)]
    base = draws.gamma(1, 2, 30)
    base[:10], base[-1] = 0, 50
    X = draws.poisson(base, (len(names), 30)).astype(np.float32)
    X[np.arange(9), np.arange(9)] = 40
    obs = pd.DataFrame({"perturbation": names}, index=[f"c{i}" for i in range(len(names))])
    adata = ad.AnnData(X, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(30)]))
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.split_perturbations(adata, "perturbation", val=0, test=0.4, control_share=0.34)
    ho.tl.perturbation(adata, method="mean", mask_var=None)
    return adata


def test_the_ceiling_has_a_floor_where_noise_makes_a_mean_negative(few_controls, monkeypatch):
    """A mean of counts cannot be negative, but the mean of few controls with as much noise once more can be."""
    lowest = []
    real = table._measured_again

    def observed(truth, first, second):
        noise = table._noise(first.control - second.control, first.control_n, second.control_n)
        again, control = real(truth, first, second)
        lowest.append(((truth.control + noise).min(), control.min()))
        return again, control

    monkeypatch.setattr(table, "_measured_again", observed)
    report = ho.tl.evaluate(few_controls, n_bootstrap=20, baselines=["no_change"])
    without, with_floor = np.min(lowest, axis=0)
    assert without < -table._PSEUDOCOUNT < with_floor, "the case is one of few controls, and the floor holds"
    ceilings = report.table.drop_duplicates("metric").set_index("metric")["ceiling"]
    assert np.isfinite(ceilings[["l2", "rmse", "pearson_delta", "cosine_logfc", "discrimination"]]).all()
