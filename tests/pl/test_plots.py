"""What is drawn is what is stored."""

from __future__ import annotations

import functools
import subprocess
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

import heldout as ho
from heldout._core.settings import PARTITION_COLORS

PLOTS = {
    "calibration": lambda a, **kw: ho.pl.calibration(a, "genotype", **kw),
    "split": ho.pl.split,
    "roc": functools.partial(ho.pl.roc, key="genotype"),
    "confusion": functools.partial(ho.pl.confusion, key="genotype"),
}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def labels_of(ax):
    return [" ".join(text.get_text().split()) for text in ax.get_legend().get_texts()]


def tiles(ax):
    return [patch for patch in ax.patches if isinstance(patch, Rectangle)]


# --- all plots --------------------------------------------------------------------------------------------------------


def test_public_names_are_sorted_and_exist():
    assert ho.pl.__all__ == sorted(ho.pl.__all__)
    elsewhere = {
        "audit",
        "changes",
        "coverage",
        "critical_differences",
        "folds",
        "forecast",
        "genes_per_cell",
        "groups",
        "history",
        "interactions",
        "leaderboard",
        "leak_map",
        "learning_curve",
        "paired",
        "power",
    }
    assert set(PLOTS) | elsewhere | {"published_errors", "qc", "skill", "trajectories"} == set(ho.pl.__all__)


def test_import_leaves_pyplot_alone():
    code = "import sys, heldout; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", sorted(PLOTS))
def test_given_axes_are_used_and_returned(fitted, name):
    _, ax = plt.subplots()
    before = plt.get_fignums()
    assert PLOTS[name](fitted, ax=ax) is ax
    assert plt.get_fignums() == before
    assert ax.has_data()


@pytest.mark.parametrize("name", sorted(PLOTS))
def test_rcparams_and_adata_stay_as_they_were(fitted, name):
    rc = matplotlib.rcParams.copy()
    slots = (list(fitted.obs), list(fitted.obsm), sorted(fitted.uns["heldout"]), len(ho.get.ledger(fitted)))
    assert isinstance(PLOTS[name](fitted), Axes)
    assert matplotlib.rcParams == rc
    assert slots == (list(fitted.obs), list(fitted.obsm), sorted(fitted.uns["heldout"]), len(ho.get.ledger(fitted)))


def test_accessor_returns_axes(fitted):
    assert isinstance(fitted.ho.pl.split(), Axes)


@pytest.mark.parametrize("name", sorted(PLOTS))
def test_plots_survive_a_file(fitted, tmp_path, name):
    import anndata as ad

    fitted.write_h5ad(tmp_path / "fitted.h5ad")
    ax, again = PLOTS[name](fitted), PLOTS[name](ad.read_h5ad(tmp_path / "fitted.h5ad"))
    assert [t.get_text() for t in ax.texts] == [t.get_text() for t in again.texts]
    for line, other in zip(ax.lines, again.lines, strict=True):
        np.testing.assert_array_equal(line.get_xydata(), other.get_xydata())


# --- split ------------------------------------------------------------------------------------------------------------


def test_split_has_a_tile_a_library_in_its_colour_and_place(fitted):
    ax = ho.pl.split(fitted)
    table = ho.get.split(fitted)
    assert len(tiles(ax)) == len(table) == 12
    days = [text.get_text() for text in ax.get_xticklabels()]
    assert days == ["0", "2", "4", "9", "16", "19", "30"]
    assert sorted(text.get_text() for text in ax.get_yticklabels()) == ["control", "patient"]
    drawn = {(days[round(t.get_x() + t.get_width() / 2)], to_hex(t.get_facecolor()).upper()) for t in tiles(ax)}
    stored = {(str(row.day), PARTITION_COLORS[row.partition]) for row in table.itertuples()}
    assert drawn == stored
    texts = [text.get_text() for text in ax.texts]
    assert sorted(texts) == [f"{n}\n30" for n in range(46, 58)]
    assert labels_of(ax)[:3] == [
        "train: 8 libraries, 240 cells",
        "val: 2 libraries, 60 cells",
        "test: 2 libraries, 60 cells",
    ]
    assert "names begin with GSM83250" in labels_of(ax)[3]


def test_split_tiles_do_not_overlap_and_lie_at_their_label(fitted):
    ax = ho.pl.split(fitted)
    corners = {(round(t.get_x(), 6), round(t.get_y(), 6)) for t in tiles(ax)}
    assert len(corners) == 12
    (between,) = {line.get_ydata()[0] for line in ax.lines}
    control, patient = ax.get_yticks()
    assert patient < between < control
    assert sum(t.get_y() + t.get_height() < between for t in tiles(ax)) == 4
    assert sum(t.get_y() > between for t in tiles(ax)) == 8


@pytest.mark.parametrize(
    ("test", "title"),
    [
        (["GSM8325052", "GSM8325057"], "test: day 19 (control, patient)"),
        (["GSM8325052", "GSM8325056"], "test: day 16 (patient only), 19 (control only)"),
    ],
)
def test_split_says_whether_the_test_day_has_both_classes(test, title):
    adata = ho.datasets.lmna_simulated(n_cells=2, n_genes=100)
    train = [name for name in adata.obs["library"].unique() if name not in test]
    ho.pp.split_assigned(adata, "library", train=train, test=test, label_key="genotype")
    assert ho.pl.split(adata, match_key="day").get_title(loc="left") == title


def test_split_orders_days_as_numbers_even_as_text():
    adata = ho.datasets.lmna_simulated(n_cells=2, n_genes=100)
    adata.obs["day"] = pd.Categorical(adata.obs["day"].astype(str))
    ho.pp.split_matched(adata, "library", "day", label_key="genotype", test="19", val="0")
    days = [text.get_text() for text in ho.pl.split(adata).get_xticklabels()]
    assert days == ["0", "2", "4", "9", "16", "19", "30"]


def test_split_without_match_key_has_a_bar_a_donor_as_high_as_its_cells(donors):
    ax = ho.pl.split(donors, "split_status")
    table = ho.get.split(donors, "split_status").set_index("donor")
    assert len(ax.patches) == 24
    assert sum(bar.get_height() for bar in ax.patches) == donors.n_obs
    names = dict(zip(ax.get_xticks(), [text.get_text() for text in ax.get_xticklabels()], strict=True))
    for bar in ax.patches:
        name = f"SAMP{names[bar.get_x() + bar.get_width() / 2]}"
        assert bar.get_height() == table.loc[name, "n_cells"]
        assert to_hex(bar.get_facecolor()).upper() == PARTITION_COLORS[table.loc[name, "partition"]]
    assert [text.get_text() for text in ax.texts] == ["control\nn = 12", "patient\nn = 12"]
    n_test = (table["partition"] == "test").sum()
    assert ax.get_title(loc="left") == f"test: {n_test} of 24 donors"
    assert ax.get_xlabel() == "donor (names begin with SAMP)"


def test_split_by_cell_shows_that_libraries_leak():
    adata = ho.datasets.lmna_simulated(n_cells=30, n_genes=100)
    ho.pp.split_cells(adata, val=0)
    with pytest.raises(ValueError, match="Pass group_key"):
        ho.pl.split(adata)
    ax = ho.pl.split(adata, group_key="library", match_key="day", label_key="genotype")
    assert len(tiles(ax)) == 24
    np.testing.assert_allclose(sum(tile.get_width() for tile in tiles(ax)), 12 * 0.92)
    assert labels_of(ax)[0].startswith("train: 12 libraries")


def test_split_keeps_cells_whose_label_is_not_known():
    adata = ho.datasets.lmna_simulated(n_cells=2, n_genes=100)
    adata.obs["genotype"] = adata.obs["genotype"].where(adata.obs["library"] != "GSM8325053")
    train, test = ["GSM8325051", "GSM8325056"], ["GSM8325052", "GSM8325057"]
    ho.pp.split_assigned(adata, "library", train=train, test=test)
    ax = ho.pl.split(adata, match_key="day", label_key="genotype")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["control", "patient", "not known"]
    assert labels_of(ax)[2] == "unused: 8 libraries, 16 cells"


def test_split_draws_tall_stacks_and_many_groups():
    adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    adata.obs["donor"] = [f"d{i // 2}" for i in range(adata.n_obs)]
    adata.obs["site"] = np.where(np.arange(adata.n_obs) % 60 < 30, "a", "b")
    ho.pp.split_groups(adata, "donor", test=0.5, val=0)
    assert len(ho.pl.split(adata).patches) == 120
    ax = ho.pl.split(adata, match_key="site")
    assert len(tiles(ax)) == 120
    assert not ax.texts


@pytest.mark.parametrize("n_doubles", [3, 40])
def test_the_control_of_a_screen_is_named_and_is_no_perturbation(n_doubles):
    adata = ho.datasets.perturbations_simulated(n_singles=10, n_doubles=n_doubles, n_genes=100, n_cells=5)
    ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.4)
    n = adata.obs["perturbation"].nunique() - 1
    ax = ho.pl.split(adata, figsize=(3.5, 2.6))
    assert f"of {n} perturbations" in ax.get_title(loc="left")
    names = [text.get_text() for text in [*ax.texts, *ax.get_xticklabels()]]
    assert names.count("control") == 1
    assert all("and control" in label for label in labels_of(ax))


def test_split_names_missing_columns(fitted):
    with pytest.raises(ValueError, match="match_key='dya'.*'day'"):
        ho.pl.split(fitted, match_key="dya")
    with pytest.raises(ValueError, match="split_key='splt'"):
        ho.pl.split(fitted, "splt")


# --- roc --------------------------------------------------------------------------------------------------------------


def stored(adata, key, split_key="split", partition="test"):
    """Labels, log-probabilities and group numbers, fetched independently of the plot."""
    fit = ho._core.fits.read_fit(adata, key)
    rows = (adata.obs[split_key] == partition).to_numpy()
    labels = adata.obs[fit.info["label_key"]].astype(str).map(fit.info["classes"].index).to_numpy()[rows]
    groups = np.unique(adata.obs[fit.info["group_key"][0]].astype(str)[rows], return_inverse=True)[1]
    return labels.astype(int), adata.obsm[f"{key}_log_probability"][rows], groups


def area(line):
    return np.trapezoid(line.get_ydata(), line.get_xdata())


@pytest.mark.parametrize("partition", ["train", "val"])
def test_roc_curves_enclose_the_auc(fitted, partition):
    ax = ho.pl.roc(fitted, "mlp", partition=partition)
    labels, log_probability, groups = stored(fitted, "mlp", partition=partition)
    group_line, cell_line, chance = ax.lines
    np.testing.assert_allclose(area(cell_line), ho.metrics.roc_auc(labels, log_probability))
    pooled = ho.metrics.group_log_probability(log_probability, groups)
    group_labels = np.array([labels[groups == g][0] for g in range(len(pooled))])
    np.testing.assert_allclose(area(group_line), ho.metrics.roc_auc(group_labels, pooled))
    np.testing.assert_array_equal(chance.get_xydata(), [[0, 0], [1, 1]])
    assert f"cells (n = {len(labels)})" in labels_of(ax)[1]
    assert labels_of(ax)[-1] == f"not evaluated on {partition}: no interval, no baseline"


def test_roc_of_an_evaluated_fit_stands_beside_its_baseline_and_verdict(fitted):
    ax = ho.pl.roc(fitted, "genotype")
    table = ho.get.evaluation(fitted).query("metric == 'auc'").set_index(["level", "method"])
    best = table.loc[("library", "logistic"), "baseline"]
    library, cell = table.loc[("library", "logistic")], table.loc[("cell", "logistic")]
    texts = labels_of(ax)
    assert texts[0] == f"libraries (n = 2): AUC {library['estimate']:.2f}, no interval"
    assert texts[1] == f"cells (n = 60): AUC {cell['estimate']:.2f}, no interval"
    assert texts[2] == f"best baseline ({best.replace('_', ' ')}): AUC {table.loc[('library', best), 'estimate']:.2f}"
    assert ax.get_title(loc="left").startswith("logistic on test: unidentifiable against")
    baseline = next(line for line in ax.lines if " ".join(line.get_label().split()) == texts[2])
    np.testing.assert_allclose(area(baseline), table.loc[("library", best), "estimate"])


def test_roc_has_the_interval_over_donors(donors):
    ax = ho.pl.roc(donors, "status")
    row = (
        ho.get.evaluation(donors, "status").query("metric == 'auc' and role == 'model'").set_index("level").loc["donor"]
    )
    assert labels_of(ax)[0] == (
        f"donors (n = {row['n']}): AUC {row['estimate']:.2f} [{row['ci_low']:.2f}, {row['ci_high']:.2f}]"
    )


def test_roc_does_not_borrow_an_evaluation_of_another_fit_or_partition(fitted):
    adata = fitted.copy()
    ho.tl.genotype(adata, "genotype", method="qc_logistic")
    with pytest.raises(ValueError, match="not evaluated on test yet"):
        ho.pl.roc(adata)
    assert labels_of(ho.pl.roc(fitted, "genotype", partition="val"))[-1].startswith("not evaluated")


def test_a_picture_of_the_test_set_needs_a_look_in_the_ledger(fitted):
    for plot in (ho.pl.roc, ho.pl.confusion):
        with pytest.raises(ValueError, match="'mlp' was not evaluated on test yet.*heldout.tl.evaluate"):
            plot(fitted, "mlp")


def test_roc_of_three_classes_has_a_pair_of_curves_for_each(donors):
    ax = ho.pl.roc(donors, "severity")
    labels, log_probability, _ = stored(donors, "severity", "split_severity")
    cells = ax.lines[3:6]
    assert len(ax.lines) == 7
    np.testing.assert_allclose(np.mean([area(line) for line in cells]), ho.metrics.roc_auc(labels, log_probability))
    assert {"mild", "none", "severe"} < set(labels_of(ax))


def test_roc_by_cell_says_that_no_unit_is_independent():
    adata = ho.datasets.lmna_simulated(n_cells=30, n_genes=100)
    ho.pp.split_cells(adata, val=0)
    ho.tl.genotype(adata, "genotype", method="qc_logistic")
    ho.tl.evaluate_genotype(adata, group_key="library", baselines=[], n_bootstrap=20)
    ax = ho.pl.roc(adata)
    assert len(ax.lines) == 2
    assert labels_of(ax)[0] == "group_key is not known: no independent unit"
    assert labels_of(ho.pl.roc(adata, group_key="library"))[0].startswith("libraries (n = 12)")
    adata.obs["cohort"] = "all"
    with pytest.raises(ValueError, match="1 of 1 groups have cells of two classes"):
        ho.pl.roc(adata, group_key="cohort")


def test_roc_and_confusion_refuse_what_has_no_meaning(fitted):
    with pytest.raises(ValueError, match="partition='tset'"):
        ho.pl.roc(fitted, "genotype", partition="tset")
    with pytest.raises(ValueError, match="no fit 'genotpye'.*'genotype'"):
        ho.pl.roc(fitted, "genotpye")
    with pytest.raises(ValueError, match="Fit 'mlp' was not evaluated on test yet"):
        ho.pl.roc(fitted)  # the last fit, as in get.predictions
    with pytest.raises(ValueError, match="no fit that predicts classes in this AnnData. Call heldout.tl.genotype"):
        ho.pl.confusion(ho.datasets.lmna_simulated(n_cells=5, n_genes=100))
    bare = fitted.copy()
    del bare.obsm["genotype_log_probability"]
    with pytest.raises(ValueError, match="heldout.tl.predict"):
        ho.pl.confusion(bare, "genotype")
    other = fitted.copy()
    ho.pp.split_matched(other, "library", "day", label_key="genotype", test=16, val=0)
    with pytest.raises(ValueError, match="another split"):
        ho.pl.roc(other, "genotype")
    one_class = fitted[(fitted.obs["split"] != "test") | (fitted.obs["genotype"] == "control")].copy()
    with pytest.raises(ValueError, match="'control' only"):
        ho.pl.roc(one_class, "genotype")
    ho.pp.scale(fitted_scaled := fitted.copy())
    with pytest.raises(ValueError, match="does not predict classes"):
        ho.pl.roc(fitted_scaled, "scale")
    renamed = fitted.copy()
    renamed.obs["genotype"] = renamed.obs["genotype"].cat.rename_categories({"patient": "LMNA"})
    with pytest.raises(ValueError, match="'LMNA'"):
        ho.pl.confusion(renamed, "genotype")
