"""The strip of each group shows the scores that were judged, and a look is needed before it is drawn."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

import heldout as ho
from heldout.metrics.classification import one_vs_rest

mpl.use("Agg")

import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_marks_are_the_scores_of_the_groups_and_points_are_their_cells(fitted):
    ax = ho.pl.groups(fitted, "genotype")
    scores = ho.get.scores(fitted, "genotype").query("role == 'model'").set_index("group")["log_odds"]
    prefix = ax.get_xlabel().removeprefix("library (names begin with ").removesuffix(")")
    names = [prefix + text.get_text() for text in ax.get_xticklabels()]
    marks = np.concatenate([line.get_xydata() for line in ax.lines if line.get_linestyle() == "None"])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["control (n = 1)", "patient (n = 1)"]
    np.testing.assert_allclose(marks[:, 1], np.clip(scores[names], -9, 9), rtol=1e-5)
    right = sum((scores[name] > 0) == (name == "GSM8325057") for name in names)
    assert ax.get_title(loc="left") == f"logistic on test: {right} of 2 libraries on the right side of 0.5"
    test = (fitted.obs["split"] == "test").to_numpy()
    odds = one_vs_rest(np.asarray(fitted.obsm["genotype_log_probability"])[test])[:, 1]
    drawn = np.concatenate([points.get_offsets()[:, 1] for points in ax.collections])
    np.testing.assert_allclose(np.sort(drawn), np.sort(np.clip(odds, -9, 9)), rtol=1e-5)


def test_no_cells_are_drawn_for_a_method_that_predicts_whole_groups(fitted):
    adata = fitted.copy()
    ho.tl.genotype(adata, "genotype", method="pseudobulk_shrunken", key_added="shrunken")
    ho.tl.evaluate(adata, "shrunken", baselines=["majority"], n_bootstrap=20)
    ax = ho.pl.groups(adata, "shrunken")
    assert not ax.collections
    assert sum(len(line.get_xdata()) for line in ax.lines if line.get_linestyle() == "None") == 2


def test_what_cannot_be_drawn_is_refused(fitted):
    with pytest.raises(ValueError, match="'mlp' was not evaluated on test yet"):
        ho.pl.groups(fitted, "mlp")
    with pytest.raises(ValueError, match="label='ill' is not a class of the fit"):
        ho.pl.groups(fitted, "genotype", label="ill")
