"""Folds, audits and data sets side by side, and splits of genes: what is drawn is what is stored."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import heldout as ho

mpl.use("Agg")

import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def libraries():
    return ho.datasets.lmna_simulated(n_cells=20, n_genes=100)


def codes_of(ax):
    (mesh,) = ax.collections[:1]
    return np.asarray(mesh.get_array()).reshape(mesh._coordinates.shape[0] - 1, -1)


@pytest.mark.parametrize("n_inner", [None, 3])
def test_each_tile_is_the_partition_of_the_group_in_the_fold(libraries, n_inner):
    ho.pp.folds(libraries, "library", "genotype", n_folds=4, n_inner=n_inner)
    ax = ho.pl.folds(libraries)
    names = [f"GSM83250{text.get_text()}" for text in ax.get_xticklabels()]
    assert sorted(names) == sorted(libraries.obs["library"].unique())
    drawn = codes_of(ax)
    for row, key in enumerate(ho.get.fold_keys(libraries)):
        of_group = libraries.obs.groupby("library", observed=True)[key].first()
        assert [("train", "val", "test", "unused")[code] for code in drawn[row]] == of_group.loc[names].tolist()
    assert "each library is test in one" in ax.get_title(loc="left")


def test_folds_say_how_often_groups_are_test(libraries):
    ho.pp.folds(libraries, "library", "genotype", scheme="leave_one_match_out", match_key="day")
    assert "libraries are test in 0 to 1 folds" in ho.pl.folds(libraries).get_title(loc="left")
    with pytest.raises(ValueError, match="names no folds"):
        ho.pl.folds(libraries, "other")


def test_folds_without_a_label(libraries):
    ho.pp.folds(libraries, "library", n_folds=3, key_added="plain")
    ax = ho.pl.folds(libraries, "plain")
    assert codes_of(ax).shape == (3, 12)
    assert not ax.texts


@pytest.mark.parametrize("by", ["random", "module"])
def test_a_split_of_genes_has_a_bar_a_module(libraries, by):
    import scanpy as sc

    sc.pp.normalize_total(libraries, target_sum=1e4)
    sc.pp.log1p(libraries)
    ho.pp.split_groups(libraries, "library", "genotype")
    ho.pp.split_genes(libraries, by=by, val=0.2, test=0.3)
    ax = ho.pl.split(libraries, "gene_split")
    n = libraries.var["gene_split"].value_counts()
    assert ax.get_title(loc="left") == f"test: {n['test']} of 100 genes"
    group = libraries.var["gene_split_module" if by == "module" else "gene_split"]
    heights = [round(bar.get_height()) for bar in ax.patches]
    assert sorted(heights) == sorted(count for count in group.value_counts() if count)
    assert ax.get_ylabel().startswith("genes per")
    with pytest.raises(ValueError, match="is a split of genes"):
        ho.pl.split(libraries, "gene_split", group_key="library")


def test_the_leak_map_has_the_worst_finding_of_each_item(libraries):
    ho.pp.split_cells(libraries, val=0, key_added="cells")
    ho.pp.split_groups(libraries, "library", "genotype", val=0)
    items = ["group_overlap", "integrity", "power", "class_coverage"]
    for split, key in (("cells", "leaking"), ("split", "clean")):
        ho.tl.audit(libraries, "library", "genotype", split_key=split, items=items, key_added=key)
    ax = ho.pl.leak_map(libraries)
    assert [text.get_text() for text in ax.get_xticklabels()] == ["leaking", "clean"]
    rows = [text.get_text().replace(" ", "_") for text in ax.get_yticklabels()]
    assert rows[0] == "group_overlap"
    drawn = {(int(x), rows[int(y)]): line.get_marker() for line in ax.lines for x, y in [line.get_xydata()[0]]}
    marks = {"fail": "X", "warn": "^", "unidentifiable": "D", "pass": "o"}
    for column, key in enumerate(("leaking", "clean")):
        table = ho.get.audit(libraries, key)
        for item in rows:
            statuses = set(table.loc[table["item"] == item, "status"])
            worst = next((mark for status, mark in marks.items() if status in statuses), ".")
            assert drawn[column, item] == worst
    assert "leaking (1 item)" in ax.get_title(loc="left")
    assert len(ho.pl.leak_map(libraries, ["clean"]).get_xticklabels()) == 1
    assert "does not prove" in ho.pl.leak_map(libraries, "clean").get_title(loc="left")


def test_the_leak_map_needs_an_audit(libraries):
    with pytest.raises(ValueError, match="Call heldout.tl.audit first"):
        ho.pl.leak_map(libraries)
    with pytest.raises(ValueError, match="is not an audit"):
        ho.pl.leak_map(libraries, ["none"])


def test_names_and_bars_of_critical_differences():
    scores = pd.DataFrame(np.arange(12.0)[:, None] / 10 + [2.0, 1.0, 0.0], columns=["a", "b_c", "d"])
    scores["b_d"] = scores["b_c"] + np.tile([0.01, -0.01], 6)
    ax = ho.pl.critical_differences(scores, metric="AUC")
    assert {"a (1.0)", "b c (2.5)", "b d (2.5)", "d (4.0)"} <= {text.get_text() for text in ax.texts}
    bars = [line for line in ax.lines if line.get_solid_capstyle() == "butt"]
    assert len(bars) == 1
    low, high = bars[0].get_xdata()
    assert low < 2.5 < high < 4
    assert "by AUC over 12 data sets; bars join" in ax.get_title(loc="left").replace("\n", " ")
    few = ho.pl.critical_differences(scores.head(4)).get_title(loc="left").replace("\n", " ")
    assert "too few to show a difference (the smallest p is 0.75)" in few
