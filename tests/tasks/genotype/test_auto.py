"""The choice of a method by left-out groups of train."""

from __future__ import annotations

import numpy as np
import pytest

import heldout as ho
from heldout._core.fits import read_fit
from heldout.model import AutoGroupsConfig
from heldout.tasks.genotype import METHODS
from tests.tasks.genotype.donors import auc, data_of, donors

CANDIDATES = ("pseudobulk_logistic", "pseudobulk_shrunken", "mean_embedding")


@pytest.mark.slow
def test_it_chooses_the_method_that_sees_the_signal():
    data = data_of(donors("variance", 0, n_donors=60, n_cells=30))
    config = AutoGroupsConfig(candidates=CANDIDATES)
    info = METHODS.implementation("auto").fit(data, config, seed=0).info
    assert info["chosen"] == "mean_embedding"
    assert info["candidates"][int(np.argmin(info["losses"]))] == "mean_embedding"
    assert info["how"] == "chosen by leaving out 30 groups of train"
    assert auc("auto", data, config) == auc("mean_embedding", data)
    assert auc("auto", data, config) > auc("pseudobulk_logistic", data) + 0.2


def test_the_first_candidate_is_left_only_for_a_gain_of_more_than_one_standard_error():
    data = data_of(donors("none", 1, n_donors=24, n_cells=10, n_genes=20))
    info = METHODS.implementation("auto").fit(data, AutoGroupsConfig(candidates=CANDIDATES[:2]), seed=0).info
    worse = info["losses"][0] - min(info["losses"])
    assert (info["chosen"] == "pseudobulk_logistic") == (worse <= info["errors"][0])
    same = METHODS.implementation("auto").fit(data, AutoGroupsConfig(candidates=CANDIDATES[:1]), seed=0)
    plain = METHODS.implementation("pseudobulk_logistic")
    np.testing.assert_array_equal(same.arrays["coef"], plain.fit(data, plain.default_config, seed=0).arrays["coef"])


def test_the_report_says_what_was_chosen(split):
    config = AutoGroupsConfig(candidates=("nearest_centroid", "pseudobulk_shrunken"))
    ho.tl.genotype(split, method="auto", mask_var=None, config=config)
    chosen = read_fit(split, "genotype").info["fitted"]["chosen"]
    report = ho.tl.evaluate_genotype(split, baselines=["majority"], n_bootstrap=20)
    assert f"auto chose {chosen}" in report.summary


@pytest.mark.parametrize("wrong", ["auto", "qc_logistic"])
def test_candidates_must_read_genes(split, wrong, unchanged):
    config = AutoGroupsConfig(candidates=("nearest_centroid", wrong))
    with pytest.raises(ValueError, match=f"candidates has '{wrong}', which cannot be a candidate"), unchanged(split):
        ho.tl.genotype(split, method="auto", mask_var=None, config=config)
