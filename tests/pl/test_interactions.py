"""What is drawn of interactions is what is stored."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

import heldout as ho
from heldout.pl._interactions import colors
from tests.helpers.interactions import simulated


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def measured():
    adata = simulated(12, 20, 150, kind="buffering", seed=4).adata
    ho.tl.interactions(adata, "guide", n_top_genes=None, scale="none")
    ho.tl.interactions(adata, "guide", n_top_genes=None, key_added="se")
    return adata


@pytest.fixture(scope="module")
def predictions(measured):
    wide = ho.get.interactions(measured).pivot(index="perturbation", columns="gene", values="observed")
    adata = ad.AnnData(wide.to_numpy(), obs={"perturbation": wide.index.tolist()})
    adata.var_names = [str(gene) for gene in wide.columns]
    return {"the_truth": adata}


def labels_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_scatter(measured):
    (ax,) = ho.pl.interactions(measured)
    table = ho.get.interactions(measured)
    quiet, *of_class = ax.collections
    called = np.concatenate([points.get_offsets() for points in of_class])
    drawn = np.concatenate([quiet.get_offsets(), called])
    expected = table[["additive", "observed"]].to_numpy() - table[["control"]].to_numpy()
    assert len(called) == table["called"].sum() > 0
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(expected, axis=0))
    counts = table["interaction"].value_counts()
    wanted = [
        f"{name}: {counts[name]:,} ({100 * counts[name] / len(table):.1f} %)" for name in colors() if counts[name]
    ]
    assert [label.replace("< 0.1", "0.0") for label in labels_of(ax)] == wanted
    n_called = table[table["called"]]["interaction"].value_counts()
    for points, (name, colour) in zip(of_class, list(colors().items())[1:], strict=True):
        assert len(points.get_offsets()) == n_called[name]
        assert to_hex(points.get_facecolor()[0]) == colour.lower()
    assert ax.get_xlim() == ax.get_ylim()
    assert ax.get_title(loc="left") == "20 combinations × 150 genes, local fdr ≤ 0.05"


def test_cutoffs_are_lines_only_if_they_are_the_same_for_all(measured):
    plain, scaled = ho.pl.interactions(measured)[0], ho.pl.interactions(measured, "se")[0]
    dotted = [[line for line in ax.get_lines() if line.get_linestyle() == ":"] for ax in (plain, scaled)]
    assert [len(lines) for lines in dotted] == [2, 0]


def test_curve(measured, predictions):
    panels = ho.pl.interactions(measured, predictions=predictions)
    assert len(panels) == 2
    curve = ho.get.interaction_curve(measured, predictions=predictions)
    lines = {line.get_label(): line for line in panels[1].get_lines()}
    for method in ("no_change", "the_truth"):
        drawn = lines[method.replace("_", " ")].get_xydata()
        np.testing.assert_allclose(drawn, curve.loc[curve["method"] == method, ["fdp", "tpr"]])
    share = ho.get.interactions(measured)["called"].mean()
    assert lines["random order"].get_xdata()[0] == pytest.approx(1 - share)
    assert labels_of(panels[1]) == ["no change", "the truth", "random order"]


def test_axes(measured, predictions):
    figure, axes = plt.subplots(1, 2)
    panels = ho.pl.interactions(measured, predictions=predictions, axes=axes)
    assert panels.tolist() == axes.tolist()
    assert plt.get_fignums() == [figure.number]
    with pytest.raises(ValueError, match="one Axes, for the scatter, got 2"):
        ho.pl.interactions(measured, axes=axes)
    with pytest.raises(ValueError, match="two Axes"):
        ho.pl.interactions(measured, predictions=predictions, axes=axes[:1])


def test_it_can_be_saved(measured, predictions, tmp_path):
    panels = ho.pl.interactions(measured, predictions=predictions)
    for kind in ("png", "pdf"):
        panels[0].figure.savefig(tmp_path / f"interactions.{kind}")
        assert (tmp_path / f"interactions.{kind}").stat().st_size > 5000
