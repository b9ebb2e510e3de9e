"""tl.evaluate: blocks, claims by level, refits, and the sentence."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pytest

import heldout as ho


def study(*, donors: int = 12, effect: float = 1.5, rng: int = 0, paired: bool = False) -> ad.AnnData:
    """Two libraries a donor of 15 cells; a donor is sick or not, or (paired) has one library of each."""
    draws = np.random.default_rng(rng)
    library = np.repeat(np.arange(2 * donors), 15)
    donor = library // 2
    sick = (library % 2 if paired else donor % 2).astype(bool)
    X = draws.normal(5, 1, size=(len(library), 12)).astype(np.float32) + draws.normal(size=(donors, 12))[donor] * 0.3
    X[sick, :3] += effect
    adata = ad.AnnData(X.clip(0.1).astype(np.float32))
    adata.obs["library"] = [f"L{i:02d}" for i in library]
    adata.obs["donor"] = [f"D{i:02d}" for i in donor]
    adata.obs["side"] = np.where(donor % 2, "B", "A")
    adata.obs["status"] = np.where(sick, "sick", "healthy")
    adata.obs["total_counts"] = X.sum(axis=1)
    return adata


def evaluated(adata: ad.AnnData, **options):
    """Split by donor, half test; fit and score pseudobulk."""
    ho.pp.split_groups(adata, "donor", None if options.pop("paired", False) else "status", val=0, test=0.67)
    ho.tl.genotype(adata, "status", method="pseudobulk_logistic")
    return ho.tl.evaluate_genotype(adata, group_key="library", baselines=["majority"], **options)


def claims(adata: ad.AnnData) -> dict[str, str]:
    """Status by level."""
    return ho.get.claims(adata).set_index("level")["status"].to_dict()


def test_enough_donors_support_a_claim_on_donors():
    adata = study()
    evaluated(adata, claim_keys=["donor"])
    assert claims(adata) == {"library": "supported", "donor": "supported"}
    assert "for a new library (p = " in ho.get.summary(adata)
    assert "and for a new donor (p = " in ho.get.summary(adata)


def test_one_donor_a_side_is_unidentifiable_however_many_libraries(caplog):
    adata = study()
    with caplog.at_level(logging.INFO, "heldout"):
        evaluated(adata, claim_keys=["donor", "side"])
    assert claims(adata)["side"] == "unidentifiable"
    sentence = ho.get.summary(adata)
    assert sentence in caplog.text
    assert "apart better than chance for a new library of the same sides" in sentence
    assert (
        "Cannot be decided for a new side: with one side of healthy, the side and the label cannot be told apart."
        in sentence
    )


def test_levels_that_were_not_declared_are_not_claimed():
    adata = study()
    evaluated(adata)
    assert claims(adata) == {"library": "supported"}
    assert "such as the donor, were not declared with claim_keys" in ho.get.summary(adata)


def test_no_effect_supports_nothing():
    adata = study(effect=0.0)
    table = evaluated(adata, claim_keys=["donor"])
    assert set(claims(adata).values()) == {"not supported"}
    assert "better than chance" not in ho.get.summary(adata)
    assert table.query("level == 'library' and metric == 'auc'")["p_value"].min() > 0.05


def test_paired_libraries_are_exchanged_within_their_donor():
    adata = study(paired=True)
    table = evaluated(adata, claim_keys=["donor"], paired=True)
    row = table.query("role == 'model' and level == 'library' and metric == 'block_auc'").iloc[0]
    n = ho.get.claims(adata).set_index("level").loc["donor", "n"]
    assert row["p_smallest"] == pytest.approx(2.0**-n)
    assert row["p_value"] == pytest.approx(2.0**-n), "every donor's sick library scores above the healthy one"
    assert claims(adata)["donor"] == "supported"


def test_a_new_donor_is_not_tested_where_test_donors_were_in_train():
    adata = study()
    ho.pp.split_groups(adata, "library", "status", val=0, test=0.5)
    ho.tl.genotype(adata, "status", method="pseudobulk_logistic")
    ho.tl.evaluate_genotype(adata, baselines=["majority"], claim_keys=["donor"])
    assert claims(adata) == {"library": "supported", "donor": "not tested"}
    assert "Not tested for a new donor" in ho.get.summary(adata)


def test_a_few_libraries_can_say_nothing(split):
    ho.tl.genotype(split, method="pseudobulk_logistic", mask_var=None)
    ho.tl.evaluate(split, baselines=["majority"])
    assert claims(split) == {"library": "unidentifiable"}
    assert "too few groups (2 libraries) to compare it with the best baseline, majority" in ho.get.summary(split)


def test_refits_test_the_procedure():
    adata = study(donors=8, effect=1.0)
    table = evaluated(adata, n_refits=60)
    row = table.query("role == 'model' and level == 'library' and metric == 'auc'").iloc[0]
    assert row["p_kind"] == "60 labellings, fit made again for each"
    assert 1 / 60 <= row["p_value"] <= 0.1
    null = study(donors=8, effect=0.0, rng=3)
    assert evaluated(null, n_refits=60).query("role == 'model' and metric == 'auc'")["p_value"].iloc[0] > 0.05


def test_calibrated_threshold_mends_a_shift():
    adata = study(donors=16, effect=1.0)
    ho.pp.split_groups(adata, "donor", "status", val=0.34, test=0.34)
    train = (adata.obs["split"] == "train").to_numpy()
    adata.X[~train, :3] += 2.0
    ho.tl.genotype(adata, "status", method="pseudobulk_logistic")
    rows = ho.tl.evaluate(adata, baselines=["majority"]).query("role == 'model'")
    for level in ("donor", "cell"):
        of_level = rows[rows["level"] == level].set_index("metric")["estimate"]
        assert of_level["accuracy"] < of_level["accuracy_calibrated"] - 0.2


def test_claims_survive_a_file(through_file):
    adata = study()
    evaluated(adata, claim_keys=["donor"])
    again = through_file(adata)
    assert ho.get.summary(again) == ho.get.summary(adata)
    assert claims(again) == claims(adata)


def test_bad_input(refuses):
    adata = study()
    evaluated(adata)
    for options, words in (
        ({"claim_keys": ["donors"]}, ("claim_keys='donors' is not a column", "Did you mean 'donor'")),
        (
            {"claim_keys": ["side", "donor"], "group_key": "library"},
            ("'side' is not nested in 'donor'", "finest to the coarsest"),
        ),
        ({"block_key": "library", "group_key": "donor"}, ("block_key='library' has several values within a group",)),
    ):
        refuses(lambda a, o=options: ho.tl.evaluate_genotype(a, baselines=[], **o), adata, *words)
    with pytest.raises(ValueError, match="There are no claims of .other."):
        ho.get.claims(adata, "other")


def test_a_forecast_has_no_blocks():
    adata = ho.datasets.branching_simulated(n_cells=20, n_genes=100)
    ho.pp.split_time(adata, "time", test=96)
    ho.tl.forecast(adata, "time", method="persistence")
    with pytest.raises(TypeError, match="no option 'block_key'. Use heldout.tl.evaluate_genotype"):
        ho.tl.evaluate(adata, "forecast", block_key="time")
    with pytest.raises(ValueError, match=r"Call heldout.tl.evaluate_forecast\(adata, 'forecast'\)"):
        ho.tl.evaluate_genotype(adata, "forecast", block_key="time")
