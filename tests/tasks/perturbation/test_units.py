"""The unit of an evaluation, and the share of units that a method harms."""

import numpy as np
import pytest

import heldout as ho
from tests.helpers.perturbations import contexts, simulated


@pytest.fixture(scope="module")
def one_perturbation():
    """One perturbation in eight cell lines, measured in five of them."""
    adata = simulated(n_contexts=8, n_singles=4, n_doubles=0)
    named = adata.obs["perturbation"].astype(str)
    adata = adata[named.isin(["control", named[named != "control"].iloc[0]])].copy()
    adata.obs["donor"] = adata.obs["cell_line"].astype(str).str[-1].map(lambda n: f"donor{int(n) % 4}")
    ho.pp.split_perturbations(
        adata, "perturbation", hold_out="context", covariate_keys=["donor", "cell_line"], val=0, test=0.5
    )
    ho.tl.perturbation(adata, method="mean")
    return adata


def test_contexts_are_units_where_there_is_one_perturbation(one_perturbation):
    table = ho.tl.evaluate(one_perturbation, "perturbation", baselines=["no_change"], n_bootstrap=200)
    assert (table["level"] == "context").all()
    row = table[(table["role"] == "model") & (table["metric"] == "l2")].iloc[0]
    scores = ho.get.scores(one_perturbation, "perturbation").query("method == 'mean'")
    assert row["n"] == len(scores) == 4
    assert row["estimate"] == pytest.approx(scores["l2"].mean())
    assert row["ci_low"] < row["estimate"] < row["ci_high"]
    assert "the units are contexts, because there is only 1 perturbation" in row["note"]
    assert "4 contexts: the interval is rough" in row["note"]
    assert "4 contexts" in str(table)


def test_the_unit_can_be_a_covariate(one_perturbation):
    table = ho.tl.evaluate_perturbation(
        one_perturbation, "perturbation", unit_key="donor", baselines=["no_change"], n_bootstrap=200
    )
    row = table[(table["role"] == "model") & (table["metric"] == "l2")].iloc[0]
    scores = ho.get.scores(one_perturbation, "perturbation").query("method == 'mean'")
    by_donor = scores.groupby("donor", observed=True)["l2"].mean()
    assert row["level"] == "donor"
    assert row["n"] == len(by_donor)
    assert row["estimate"] == pytest.approx(by_donor.mean())
    with pytest.raises(ValueError, match="unit_key='doner' must be one of"):
        ho.tl.evaluate_perturbation(one_perturbation, "perturbation", unit_key="doner")


def test_share_harmed_counts_perturbations_worse_than_the_mean_of_the_context():
    adata = contexts(n_singles=20)
    ho.tl.perturbation(adata, method="transfer")
    table = ho.tl.evaluate(adata, "perturbation", n_bootstrap=50)
    scores = ho.get.scores(adata, "perturbation")
    wide = scores.groupby(["perturbation", "method"], observed=True)["l2"].mean().unstack()
    shares = table[table["metric"] == "l2"].set_index("method")["share_harmed"]
    for method in ("transfer", "no_change", "latent_additive"):
        assert shares[method] == pytest.approx((wide[method] > wide["context_mean"]).mean())
    assert np.isnan(shares["context_mean"])
    assert table.loc[table["metric"] != "l2", "share_harmed"].isna().all()
    assert f"a larger error than context_mean for {shares['transfer']:.0%} of the perturbations" in str(table)
