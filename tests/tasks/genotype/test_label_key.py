"""Which column is predicted when no label_key is given."""

from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc

import heldout as ho


def study():
    """Simulated patients with two columns that could be the label."""
    adata = ho.datasets.lmna_simulated(n_cells=10, n_genes=100)
    adata.obs["disease"] = np.where(adata.obs["genotype"] == "patient", "case", "healthy")
    return adata


def fitted_label(adata, **options):
    ho.tl.genotype(adata, method="majority", mask_var=None, **options)
    return set(adata.obs["genotype_prediction"])


def test_the_label_of_the_split_is_predicted():
    adata = study()
    ho.pp.split_matched(adata, "library", "day", label_key="disease", test=19, val=0)
    assert fitted_label(adata) <= {"case", "healthy"}


def test_a_given_label_comes_first():
    adata = study()
    ho.pp.split_matched(adata, "library", "day", label_key="disease", test=19, val=0)
    assert fitted_label(adata, label_key="genotype") <= {"patient", "control"}


def test_a_split_without_label_falls_back_on_the_column_genotype():
    adata = study()
    ho.pp.split_groups(adata, "library", val=0)
    assert fitted_label(adata) <= {"patient", "control"}


def test_the_error_names_the_split_and_the_next_step():
    adata = study()
    del adata.obs["genotype"]
    ho.pp.split_groups(adata, "library", val=0)
    with pytest.raises(ValueError, match=r"the split 'split' names no label. Pass label_key"):
        fitted_label(adata)


def test_compare_and_score_probabilities_take_the_label_of_the_folds():
    adata = study()
    ho.pp.folds(adata, "library", "disease", n_folds=2, val=0)
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    table = ho.tl.compare(adata, methods=["majority"])
    assert set(table["method"]) == {"majority"}
    adata.obs["score"] = np.linspace(0.9, 0.1, adata.n_obs)
    ho.tl.score_probabilities(adata, "score", fold_key="fold", key_added="outside")
    assert adata.uns["heldout"]["comparisons"]["outside"]["json"].count('"label_key": "disease"') == 1
