"""AnnData that several tests of pictures share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import heldout as ho


@pytest.fixture(scope="module")
def donors():
    """24 donors with three classes, two-class status, no day."""
    adata = ho.datasets.lmna_simulated(n_cells=30, n_genes=150)
    number = np.arange(adata.n_obs) // 15
    adata.obs["donor"] = [f"SAMP{i + 1}" for i in number]
    adata.obs["status"] = pd.Categorical(np.array(["control", "patient"])[number % 2])
    adata.obs["severity"] = pd.Categorical(np.array(["none", "mild", "severe"])[number % 3])
    for label in ("status", "severity"):
        ho.pp.split_groups(adata, "donor", label, test=0.4, val=0, key_added=f"split_{label}")
        ho.tl.genotype(adata, label, method="qc_logistic", split_key=f"split_{label}", key_added=label)
        ho.tl.evaluate(adata, label, baselines=["majority"], n_bootstrap=20)
    return adata
