"""Pictures of forecasts show what was scored, and need a look where they show test cells."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import scanpy as sc
from matplotlib.collections import PathCollection

import heldout as ho

mpl.use("Agg")


@pytest.fixture(scope="module")
def course():
    """A branching time course, log-normalised."""
    adata = ho.datasets.branching_simulated(n_cells=40, n_genes=100)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


@pytest.fixture(scope="module")
def cells(course):
    adata = course.copy()
    ho.pp.split_time(adata, "time", test=96)
    ho.tl.forecast(adata, "time", method="damped_shift")
    ho.tl.evaluate(adata, "forecast", baselines=["persistence", "pooled_past"])
    return adata


@pytest.fixture(scope="module")
def genes(course):
    adata = course.copy()
    ho.pp.split_genes(adata, val=0.2, test=0.3)
    ho.tl.forecast_genes(adata, "time", method="ridge")
    ho.tl.evaluate(adata, "forecast_genes", n_bootstrap=100)
    return adata


def test_the_ladder_shows_every_method_at_its_skill(cells):
    ax = ho.pl.skill(cells)
    table = ho.get.evaluation(cells, "forecast").query("metric == 'skill_corrected'")
    expected = table.set_index("method")["estimate"].sort_values(kind="stable")
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [name.replace("_", " ") for name in expected.index]
    drawn = [line.get_xdata()[0] for line in ax.get_lines() if line.get_marker() in ("o", "s", "<")]
    np.testing.assert_allclose(drawn, np.maximum(expected, -1))
    for value in expected[expected < -1]:
        assert f"{value:.1f}" in [text.get_text() for text in ax.texts]


def test_the_ladder_gives_a_verdict_only_if_there_is_a_gap(course, cells):
    """The cells of 72 and 96 h are alike."""
    assert ho.pl.skill(cells).get_title(loc="left") == "forecast: no gap to forecast"
    adata = course.copy()
    ho.pp.split_time(adata, "time", train=36, test=72)
    ho.tl.forecast(adata, "time", method="damped_shift")
    ho.tl.evaluate(adata, "forecast", baselines=["persistence"])
    assert "unidentifiable" in ho.pl.skill(adata).get_title(loc="left")


def test_predicted_cells_lie_where_they_were_predicted(cells):
    ax = ho.pl.forecast(cells)
    start, truth, predicted = (np.asarray(c.get_offsets()) for c in ax.collections if isinstance(c, PathCollection))
    split = cells.obs["split"] == "test"
    assert len(truth) == split.sum()
    assert len(start) == ((cells.obs["time"] == 72) & ~split).sum()
    expected = ho.tl.predict_cells(cells, "forecast", at=96).obsm["X_pca"][:, :2]
    np.testing.assert_allclose(predicted.mean(axis=0), expected.mean(axis=0), atol=1e-4)
    labels = [" ".join(text.get_text().split()) for text in ax.get_legend().get_texts()]
    numbers = [f"n = {len(cells):,}" for cells in (start, truth, predicted)]
    wanted = ["observed, 72, ", "observed, 96 (held out), ", "predicted, 96, "]
    assert labels == [words + n for words, n in zip(wanted, numbers, strict=True)]
    assert ax.get_title(loc="left") == "time 96: damped shift"


def test_trajectories_show_the_means_and_the_prediction(genes):
    test = genes.var_names[genes.var["gene_split"] == "test"]
    (panel,) = ho.pl.trajectories(genes, genes=[test[0]], axes=[mpl.figure.Figure().subplots()])
    X = genes[:, test[0]].X.toarray().ravel()
    means = [X[genes.obs["time"] == time].mean() for time in sorted(genes.obs["time"].unique())]
    observed = next(line for line in panel.get_lines() if line.get_marker() == "o")
    np.testing.assert_allclose(np.asarray(observed.get_ydata(), dtype=float), means[:-1], rtol=1e-5)
    (diamond,) = (line for line in panel.get_lines() if line.get_marker() == "D")
    change = genes.var.loc[test[0], "forecast_genes_change"]
    np.testing.assert_allclose(float(diamond.get_ydata()[0]), means[-2] + change, rtol=1e-4)


def test_the_genes_that_change_most_are_shown_first(genes):
    panels = ho.pl.trajectories(genes, n_genes=3)
    scores = ho.get.scores(genes, "forecast_genes").query("role == 'model'").set_index("gene")["change"].abs()
    assert [panel.get_title(loc="left") for panel in panels] == scores.sort_values(ascending=False).index[:3].tolist()


def test_what_cannot_be_drawn_is_refused(cells, genes, course):
    with pytest.raises(ValueError, match="does not forecast cells"):
        ho.pl.forecast(genes, "forecast_genes")
    with pytest.raises(ValueError, match="does not forecast genes"):
        ho.pl.trajectories(cells, "forecast")
    with pytest.raises(ValueError, match="no held-out cells"):
        ho.pl.forecast(cells, at=72)
    with pytest.raises(ValueError, match="components"):
        ho.pl.forecast(cells, components=(0, 1))
    with pytest.raises(ValueError, match="was not scored"):
        ho.pl.trajectories(genes, genes=[genes.var_names[genes.var["gene_split"] == "train"][0]])
    fresh = course.copy()
    ho.pp.split_time(fresh, "time", test=96)
    ho.tl.forecast(fresh, "time", method="persistence")
    with pytest.raises(ValueError, match="not evaluated on test"):
        ho.pl.forecast(fresh)
    with pytest.raises(ValueError, match="Nothing was evaluated"):
        ho.pl.skill(fresh)
    with pytest.raises(ValueError, match="'forecast' was not evaluated"):
        ho.pl.skill(fresh, "forecast")
