"""The violins of genes per cell are of the counts that are there, and the numbers above them add up."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

import heldout as ho


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def counts_above(ax):
    return [text.get_text() for text in ax.texts]


def bodies(ax):
    return [c for c in ax.collections if len(c.get_paths())]


def test_violins_lines_and_numbers_are_the_data(lmna):
    ax = ho.pl.genes_per_cell(lmna, "day", threshold=45)
    days = sorted(lmna.obs["day"].unique())
    assert [text.get_text() for text in ax.get_xticklabels()] == [str(day) for day in days]
    groups = [lmna.obs.loc[lmna.obs["day"] == day, "n_genes_by_counts"] for day in days]
    for body, group in zip(bodies(ax), groups, strict=True):
        height = body.get_paths()[0].vertices[:, 1]
        assert height.min() == pytest.approx(group.min())
        assert height.max() == pytest.approx(group.max())
    medians = [line.get_ydata()[0] for line in ax.lines if line.get_marker() == "o"]
    assert medians == [group.median() for group in groups]
    kept = [int((group >= 45).sum()) for group in groups]
    assert any(k < len(g) for k, g in zip(kept, groups, strict=True))
    expected = [f"{k}" if k == len(g) else f"{k}\nof {len(g)}" for k, g in zip(kept, groups, strict=True)]
    assert counts_above(ax) == expected
    assert ax.get_title(loc="left") == f"{sum(kept)} of 360 cells have 45 genes or more"
    (line,) = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert set(line.get_ydata()) == {45}
    assert ax.get_ylabel() == "genes per cell"
    assert ax.get_xlabel() == "day"


def test_a_cell_at_the_threshold_is_kept(lmna):
    most = int(lmna.obs["n_genes_by_counts"].max())
    n = int((lmna.obs["n_genes_by_counts"] == most).sum())
    assert f"{n} of 360 cells" in ho.pl.genes_per_cell(lmna, "day", threshold=most).get_title(loc="left")
    assert "0 of 360 cells" in ho.pl.genes_per_cell(lmna, "day", threshold=most + 1).get_title(loc="left")


def test_the_numbers_stand_above_the_violins_and_do_not_overlap(lmna):
    ax = ho.pl.genes_per_cell(lmna, "day", threshold=45)
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert all(not a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    highest = max(body.get_window_extent().y1 for body in bodies(ax))
    assert min(box.y0 for box in boxes) >= highest


def test_every_kind_of_matrix(lmna, any_array_type):
    expected = counts_above(ho.pl.genes_per_cell(lmna, "day", threshold=45))
    lmna.layers["other"] = any_array_type(lmna.X.toarray())
    assert counts_above(ho.pl.genes_per_cell(lmna, "day", threshold=45, layer="other")) == expected


def test_zeros_that_are_stored_are_not_genes(lmna):
    expected = counts_above(ho.pl.genes_per_cell(lmna, "day", threshold=45))
    for kind in ("tocsr", "tocsc"):
        padded = getattr(lmna.X, kind)(copy=True)
        padded.data = padded.data.copy()
        lmna.layers["padded"] = padded
        padded.data[:100] = 0
        lost = lmna.X.toarray() != padded.toarray()
        assert lost.sum() == 100
        got = [
            int(t.split("\n")[0]) for t in counts_above(ho.pl.genes_per_cell(lmna, "day", threshold=45, layer="padded"))
        ]
        dense = (padded.toarray() > 0).sum(axis=1)
        days = sorted(lmna.obs["day"].unique())
        assert got == [int((dense[(lmna.obs["day"] == day).to_numpy()] >= 45).sum()) for day in days]
    assert counts_above(ho.pl.genes_per_cell(lmna, "day", threshold=45)) == expected


def test_categories_stay_in_their_order(lmna):
    lmna.obs["phase"] = pd.Categorical(np.where(lmna.obs["day"] < 9, "early", "late"), categories=["late", "early"])
    ax = ho.pl.genes_per_cell(lmna, "phase")
    assert [text.get_text() for text in ax.get_xticklabels()] == ["late", "early"]


def test_few_cells_are_dots(lmna):
    few = lmna[lmna.obs["day"] == 2][:3].copy()
    ax = ho.pl.genes_per_cell(few, "day", threshold=None)
    assert not bodies(ax)
    assert sorted(ax.lines[0].get_ydata()) == sorted(few.obs["n_genes_by_counts"])
    assert counts_above(ax) == ["3"]
    assert ax.get_title(loc="left") == ""


def test_given_axes_are_used_and_nothing_changes(lmna, unchanged):
    _, ax = plt.subplots()
    rc = mpl.rcParams.copy()
    with unchanged(lmna):
        assert ho.pl.genes_per_cell(lmna, "day", ax=ax) is ax
        assert isinstance(lmna.ho.pl.genes_per_cell("day"), Axes)
    assert mpl.rcParams == rc


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"time_key": "dya"}, r"time_key='dya'.*'day'"),
        ({"time_key": "day", "threshold": 0}, "threshold=0"),
        ({"time_key": "day", "layer": "raw"}, "layer='raw'"),
    ],
)
def test_refuses(lmna, arguments, words):
    with pytest.raises(ValueError, match=words):
        ho.pl.genes_per_cell(lmna, **arguments)


def test_refuses_scaled_values(lmna):
    lmna.X = lmna.X.toarray() - 1
    with pytest.raises(ValueError, match="values below zero"):
        ho.pl.genes_per_cell(lmna, "day")
