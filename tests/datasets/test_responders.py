"""Simulated screens in which some of the cells respond: the cells agree with the truth about them."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

import heldout as ho

SMALL = {"n_singles": 6, "n_doubles": 5, "n_genes": 60, "n_cells": 400}


@pytest.fixture(scope="module")
def some():
    """A share of the cells responds, between 20 and 90 %, another share for each gene."""
    return ho.datasets.perturbations_simulated(**SMALL, responders=(0.2, 0.9), rng=3)


def responding(adata):
    """Share of the cells of each pair that respond to none, one and two of its genes."""
    pairs = adata.obs[adata.obs["n_targets"] == 2].groupby("perturbation", observed=True)["n_responding"]
    return pairs.value_counts(normalize=True).unstack(fill_value=0)


def shares_of(adata):
    truth = adata.uns["truth"]
    return dict(zip(truth["perturbations"], truth["responders"], strict=True))


def test_each_gene_has_a_share_of_its_own(some):
    share, obs = shares_of(some), some.obs
    assert share["control"] == 0
    singles = [name for name in share if name != "control" and "+" not in name]
    assert all(0.2 <= share[name] <= 0.9 for name in singles)
    assert np.std([share[name] for name in singles]) > 0.05
    found = obs.groupby("perturbation", observed=True)["responder"].mean()
    for name, expected in share.items():
        assert found[name] == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 400)), name


def test_responses_to_two_genes_are_independent_or_joint(some):
    joint = ho.datasets.perturbations_simulated(**SMALL, responders=(0.2, 0.9), joint_response=True, rng=3)
    share, of_joint = shares_of(some), shares_of(joint)
    found, found_joint = responding(some), responding(joint)
    for pair in some.uns["truth"]["pairs"]:
        a, b = sorted(share[gene] for gene in pair.split("+"))
        assert share[pair] == pytest.approx(a * b)
        assert of_joint[pair] == pytest.approx(a)
        assert found.loc[pair].tolist() == pytest.approx([(1 - a) * (1 - b), a + b - 2 * a * b, a * b], abs=0.1)
        assert found_joint.loc[pair].tolist() == pytest.approx([1 - b, b - a, a], abs=0.1)


def test_responders_have_the_true_profile_and_others_that_of_the_control(some):
    adata = some.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    truth = adata.uns["truth"]
    strongest = 1 + int(np.abs(truth["effects"][0]).sum(axis=1).argmax())
    is_single = (adata.obs["perturbation"] == truth["perturbations"][strongest]).to_numpy()
    for responds, profile in ((True, truth["profiles"][0, strongest]), (False, truth["profiles"][0, 0])):
        cells = adata.X[is_single & (adata.obs["responder"] == responds).to_numpy()].toarray()
        z = (cells.mean(axis=0) - profile) / (cells.std(axis=0, ddof=1) / np.sqrt(len(cells)) + 2e-3)
        assert 0.6 < z.std() < 1.5


def test_all_cells_respond_by_default():
    """However this is asked for, the counts are the same bits."""
    small = {**SMALL, "n_cells": 10, "rng": 5}
    whole = ho.datasets.perturbations_simulated(**small)
    assert (whole.obs["n_responding"] == whole.obs["n_targets"]).all()
    assert (whole.obs["responder"] == (whole.obs["perturbation"] != "control")).all()
    for options in ({"responders": 1}, {"responders": (1, 1)}, {"responders": 1.0, "joint_response": True}):
        other = ho.datasets.perturbations_simulated(**small, **options)
        assert (other.X != whole.X).nnz == 0
        assert other.uns["truth"]["responders"][1:].tolist() == [1.0] * 11
    none = ho.datasets.perturbations_simulated(**small, responders=0)
    assert not none.obs["responder"].any()


def test_the_truth_survives_a_file(some, tmp_path):
    few = some[::40].copy()
    few.write_h5ad(tmp_path / "some.h5ad")
    again = ad.read_h5ad(tmp_path / "some.h5ad")
    np.testing.assert_array_equal(again.uns["truth"]["responders"], few.uns["truth"]["responders"])
    assert (again.obs["responder"] == few.obs["responder"]).all()
    assert again.uns["perturbations_simulated"]["responders"].tolist() == [0.2, 0.9]


@pytest.mark.parametrize("responders", [1.5, -0.1, "half", (0.9, 0.2), (0.1, 0.2, 0.3), (0.1, 2)])
def test_other_shares_are_refused(responders):
    with pytest.raises(ValueError, match=r"responders=.*\[0, 1\]"):
        ho.datasets.perturbations_simulated(responders=responders)
