"""Interactions of a simulated screen of counts, from the cells to the score of a fitted method."""

from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc

import heldout as ho


@pytest.fixture(scope="module")
def counts():
    adata = ho.datasets.perturbations_simulated(n_singles=30, n_doubles=60, n_genes=300, n_cells=150, rng=3)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def truth(adata, table):
    """Kinds of the simulation, in the order of a table of called values by combination and gene."""
    known = adata.uns["truth"]
    rows = {"+".join(sorted(name.split("+"))): i for i, name in enumerate(known["pairs"])}
    columns = {gene: i for i, gene in enumerate(known["genes"])}
    return known["kinds"][0][np.ix_([rows[name] for name in table.index], [columns[gene] for gene in table.columns])]


def test_counts_hold_the_rate(counts):
    ho.tl.interactions(counts, "perturbation", n_top_genes=150)
    table = ho.get.interactions(counts)
    called = table.pivot(index="perturbation", columns="gene", values="called")
    kinds = truth(counts, called)
    found = called.to_numpy()
    assert (found & (kinds == 0)).sum() / found.sum() <= 0.05
    assert found[kinds > 0].mean() > 0.4
    names = np.array(["additive", "buffering", "synergistic", "opposite"])
    classes = table.pivot(index="perturbation", columns="gene", values="interaction").to_numpy().astype(str)
    judged = found & (kinds > 0) & (classes != "other")
    assert (classes[judged] == names[kinds[judged]]).mean() > 0.85


def test_fitted_methods_are_scored(counts):
    """What tl.predict gives is taken as it is: additivity is at chance, as it predicts no interaction."""
    adata = counts.copy()
    ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0.2, test=0.4)
    ho.tl.interactions(adata, "perturbation", split_key="split", partition="test", n_top_genes=150, key_added="test")
    predictions = {}
    for method in ("additive", "mean"):
        ho.tl.perturbation(adata, "perturbation", method=method, key_added=method)
        names = ho.get.interaction_pairs(adata, "test")["perturbation"].tolist()
        predictions[f"fitted {method}"] = ho.tl.predict_profiles(adata, method, perturbations=names)
    scores = ho.get.interaction_scores(adata, "test", predictions=predictions, n_bootstrap=50)
    precision = scores[scores["metric"] == "average_precision"].set_index("method")
    assert precision["n"].unique().tolist() == [24]
    assert precision["coverage"].tolist() == [1.0] * 4
    chance = precision["chance"].iloc[0]
    assert precision["estimate"]["fitted additive"] < 2 * chance
    assert precision["estimate"]["no_change"] > precision["estimate"]["additive"] == pytest.approx(chance)
