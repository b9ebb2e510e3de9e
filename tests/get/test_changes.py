"""The genes that a predicted perturbation changes most: as a table and as a plot."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import heldout as ho
from tests.helpers.perturbations import contexts, simulated


@pytest.fixture(scope="module")
def profiles():
    adata = simulated(n_doubles=30)
    ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0.4, test=0.3)
    ho.tl.perturbation(adata, method="additive")
    return ho.tl.predict_profiles(adata)


def test_the_table_has_the_largest_changes_with_their_intervals(profiles):
    table = ho.get.changes(profiles, n=7)
    assert list(table.columns[:3]) == ["perturbation", "gene", "change"]
    for i, name in enumerate(profiles.obs_names):
        of_row = table[table["perturbation"] == name]
        change, control = profiles.layers["change"][i], (profiles.X - profiles.layers["change"])[i]
        order = np.argsort(-np.abs(change), kind="stable")[:7]
        assert of_row["gene"].tolist() == profiles.var_names[order].tolist()
        np.testing.assert_allclose(of_row["change"], change[order])
        np.testing.assert_allclose(of_row["lower"], (profiles.layers["lower"][i] - control)[order], atol=1e-5)
        np.testing.assert_allclose(of_row["control"], control[order], atol=1e-5)
    outside = (table["lower"] > 0) | (table["upper"] < 0)
    assert (table["excludes_zero"] == outside).all()
    assert outside.sum() > 0
    assert (table["coverage"] == 0.9).all()
    assert len(profiles.ho.get.changes(profiles.obs_names[1], n=None)) == profiles.n_vars


def test_without_an_interval_nothing_is_said_about_zero():
    adata = contexts()
    ho.tl.perturbation(adata, method="mean")
    profiles = ho.tl.predict_profiles(adata)
    table = ho.get.changes(profiles, n=3)
    assert list(table.columns[:2]) == ["perturbation", "cell_line"]
    assert table["excludes_zero"].isna().all()
    assert table["lower"].isna().all()
    with pytest.raises(ValueError, match="has no intervals"):
        ho.pl.changes(profiles, profiles.obs_names[0])


def test_names_that_are_numbers_and_sparse_profiles():
    adata = simulated(n_singles=8, n_doubles=0, n_genes=60)
    number = {"control": 0} | {
        name: i + 1 for i, name in enumerate(sorted(set(adata.obs["perturbation"]) - {"control"}))
    }
    adata.obs["perturbation"] = adata.obs["perturbation"].astype(str).map(number)
    ho.pp.split_perturbations(adata, "perturbation", control=0, val=0, test=0.4)
    ho.tl.perturbation(adata, method="mean")
    profiles = ho.tl.predict_profiles(adata, perturbations=np.int64(3))
    expected = ho.get.changes(profiles, "3")
    assert len(expected) == 20
    pd.testing.assert_frame_equal(ho.get.changes(profiles, 3), expected)
    pd.testing.assert_frame_equal(ho.get.changes(profiles, [3]), expected)
    profiles.X = sparse.csr_matrix(profiles.X)
    profiles.layers["change"] = sparse.csc_matrix(profiles.layers["change"])
    pd.testing.assert_frame_equal(ho.get.changes(profiles), expected)


def test_the_plot_shows_every_gene_and_names_the_largest(profiles):
    name = profiles.obs_names[0]
    ax = ho.pl.changes(profiles, name, n=5)
    points = np.concatenate([np.asarray(dots.get_offsets()) for dots in ax.collections])
    table = ho.get.changes(profiles, name, n=None)
    assert len(points) == profiles.n_vars
    certain = np.abs(points[:, 0]) / ((table["upper"] - table["lower"]) / 2).to_numpy().mean()
    assert np.isfinite(certain).all()
    assert int((points[:, 1] >= 1).sum()) == int(table["excludes_zero"].sum())
    assert {text.get_text() for text in ax.texts} >= set(table["gene"][:5])
    assert ax.figure.get_size_inches().tolist() == plt.rcParams["figure.figsize"]
    plt.close("all")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: ho.get.changes(p, "GENE"), "perturbations has 'GENE', which is not predicted here"),
        (lambda p: ho.get.changes(p, n=0), "n=0 must be an integer >= 1, or None"),
        (lambda p: ho.pl.changes(p), "perturbation=None has .* predicted profiles, but one can be plotted"),
        (lambda p: ho.get.changes(simulated()), "adata has no predicted profiles"),
    ],
)
def test_what_is_not_there_is_refused(profiles, call, words):
    with pytest.raises(ValueError, match=words):
        call(profiles)
