"""What an evaluation of three classes supports, over all classes and for each pair."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import heldout as ho


@pytest.fixture(scope="module")
def stages() -> ad.AnnData:
    """Thirty-six donors at three stages: late ones differ, early and middle ones do not."""
    rng = np.random.default_rng(0)
    donors = np.repeat(np.arange(36), 8)
    stage = donors % 3
    X = rng.normal(5, 1, size=(288, 12)).astype(np.float32).clip(0.1)
    X[stage == 2, :4] += 2.0
    adata = ad.AnnData(X)
    adata.obs["donor"] = [f"D{d:02d}" for d in donors]
    adata.obs["stage"] = np.array(["early", "late", "middle"])[np.array([0, 2, 1])[stage]]
    ho.pp.split_groups(adata, "donor", "stage", val=0, test=0.5)
    ho.tl.genotype(adata, "stage", method="pseudobulk_logistic")
    ho.tl.evaluate_genotype(adata, baselines=["majority"], n_bootstrap=50)
    return adata


def test_three_classes_have_a_p(stages):
    claim = ho.get.claims(stages).iloc[0]
    assert claim["status"] == "supported"
    assert claim["p_value"] < 0.01
    assert "better than chance for a new donor" in ho.get.summary(stages)


def test_pairs_say_which_classes_differ(stages):
    pairs = ho.get.claims(stages, by="pair").set_index(["first", "second"])
    assert list(pairs.index) == [("early", "late"), ("early", "middle"), ("late", "middle")]
    assert (pairs[["n_first", "n_second"]] == 6).all(axis=None)
    assert pairs.loc[("early", "middle"), "p_adjusted"] > 0.05
    assert (pairs.loc[[("early", "late"), ("late", "middle")], "p_adjusted"] < 0.05).all()
    assert (pairs["p_adjusted"] >= pairs["p_value"]).all()
    assert (pairs["ci_low"] <= pairs["auc"]).all()


def test_pairs_survive_storage(stages, tmp_path):
    stages.write_h5ad(tmp_path / "stages.h5ad")
    again = ad.read_h5ad(tmp_path / "stages.h5ad")
    assert ho.get.claims(again, by="pair").equals(ho.get.claims(stages, by="pair"))


def test_two_classes_have_no_pairs(stages):
    two = stages[stages.obs["stage"] != "middle"].copy()
    ho.pp.split_groups(two, "donor", "stage", val=0, test=0.5)
    ho.tl.genotype(two, "stage", method="majority")
    ho.tl.evaluate_genotype(two, baselines=["pseudobulk_logistic"], n_bootstrap=50)
    with pytest.raises(ValueError, match="three classes or more"):
        ho.get.claims(two, by="pair")
    with pytest.raises(ValueError, match="by='pairs'"):
        ho.get.claims(two, by="pairs")
