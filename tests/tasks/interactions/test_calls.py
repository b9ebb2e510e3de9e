"""Interactions of a screen: from cells to calls, and scores of predicted profiles."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import heldout as ho
from tests.helpers.interactions import simulated
from tests.helpers.paths import DATA, needs_data


@pytest.fixture(scope="module")
def known():
    return simulated()


@pytest.fixture
def screen(known):
    """A screen of 20 singles and 40 doubles, 300 genes; a fresh copy for each test."""
    return known.adata.copy()


@pytest.fixture(scope="module")
def measured(known):
    adata = known.adata.copy()
    ho.tl.interactions(adata, "guide", n_top_genes=None)
    return adata


def means(adata, name):
    return np.asarray(adata[adata.obs["guide"] == name].X, dtype=np.float64)


def profiles(table, column):
    """A prediction with the values of a column of the table."""
    wide = table.pivot(index="perturbation", columns="gene", values=column)
    adata = ad.AnnData(wide.to_numpy(), obs=pd.DataFrame({"perturbation": wide.index}, index=wide.index.astype(str)))
    adata.var_names = [str(gene) for gene in wide.columns]
    return adata


# --- what is measured -------------------------------------------------------------------------------------------------


def test_columns_by_hand(measured):
    table = ho.get.interactions(measured)
    name = table["perturbation"].iloc[0]
    a, b = name.split("+")
    row = table[table["perturbation"] == name].iloc[7]
    gene = int(row["gene"])
    cells = {key: means(measured, value)[:, gene] for key, value in {"y": name, "a": a, "b": b, "0": "control"}.items()}
    assert row["observed"] == pytest.approx(cells["y"].mean(), rel=1e-6)
    assert row["single_a"] == pytest.approx(cells["a"].mean(), rel=1e-6)
    assert row["additive"] == pytest.approx(cells["a"].mean() + cells["b"].mean() - cells["0"].mean(), rel=1e-6)
    assert row["deviation"] == pytest.approx(row["observed"] - row["additive"])
    assert row["se"] == pytest.approx(np.sqrt(sum(v.var(ddof=1) / len(v) for v in cells.values())), rel=1e-5)
    assert len(table) == 40 * 300
    assert table["local_fdr"].between(0, 1).all()
    assert (table["called"] == (table["interaction"] != "additive")).all()


def test_known_interactions_are_recovered_at_the_stated_rate(known, measured):
    table = ho.get.interactions(measured).pivot(index="perturbation", columns="gene", values="called")
    called, truth = table.loc[known.names].to_numpy(), known.deviation != 0
    assert (called & ~truth).sum() / called.sum() <= 0.05
    assert called[truth].mean() > 0.85


@pytest.mark.parametrize("scale", ["none", "se"])
def test_a_screen_of_the_published_size(scale):
    known = simulated(100, 124, 1000, 12, size=0.9, seed=3)
    ho.tl.interactions(known.adata, "guide", scale=scale)
    table = ho.get.interactions(known.adata).pivot(index="perturbation", columns="gene", values="called")
    called, truth = table.loc[known.names].to_numpy(), known.deviation != 0
    assert called.shape == (124, 1000)
    assert (called & ~truth).sum() / called.sum() <= 0.05
    assert called[truth].mean() > 0.8


def test_additive_screens_have_no_interactions():
    known = simulated(share=0, seed=5)
    ho.tl.interactions(known.adata, "guide")
    pairs = ho.get.interaction_pairs(known.adata)
    assert pairs["n_called"].sum() <= 2
    np.testing.assert_allclose(pairs["rms_deviation"] / pairs["median_se"], 1, atol=0.15)


def test_noisy_genes_are_not_called_over_their_standard_errors(caplog):
    """Genes differ in noise: one null for all calls the noisy ones, and says so; standard errors set it right."""
    known = simulated(seed=2)
    adata, rng = known.adata, np.random.default_rng(0)
    noise = rng.lognormal(0, 0.7, adata.n_vars) * rng.normal(0, 0.4, adata.shape)
    adata.X = (adata.X + noise + 30).astype(np.float32)
    shares = {}
    for scale in ("none", "se"):
        caplog.clear()
        ho.tl.interactions(adata, "guide", n_top_genes=None, scale=scale)
        assert ("Compare with scale='se'" in caplog.text) == (scale == "none")
        called = ho.get.interactions(adata).pivot(index="perturbation", columns="gene", values="called")
        shares[scale] = called.to_numpy()[known.deviation[np.argsort(known.names)] == 0].sum() / called.to_numpy().sum()
    assert shares["none"] > 0.2
    assert shares["se"] <= 0.05


def test_pairs(measured):
    pairs, table = ho.get.interaction_pairs(measured), ho.get.interactions(measured)
    by = table.groupby("perturbation")
    pairs = pairs.set_index("perturbation")
    pd.testing.assert_series_equal(pairs["n_called"], by["called"].sum(), check_names=False)
    for name in ("buffering", "synergistic", "opposite", "other"):
        counted = (table["interaction"] == name).groupby(table["perturbation"]).sum()
        pd.testing.assert_series_equal(pairs[f"n_{name}"], counted, check_names=False)
    assert (pairs[["n_cells", "n_cells_members", "n_cells_control"]] == [30, 30, 300]).all(axis=None)


# --- how it is read ---------------------------------------------------------------------------------------------------


def test_matrix_kinds(screen, measured, any_array_type):
    before = ho.get.interactions(measured)
    screen.X = any_array_type(screen.X)
    ho.tl.interactions(screen, "guide", n_top_genes=None)
    pd.testing.assert_frame_equal(ho.get.interactions(screen), before, rtol=1e-5, atol=1e-6)


def test_dask_and_layer(screen, measured):
    da = pytest.importorskip("dask.array")
    screen.layers["log"] = da.from_array(screen.X, chunks=(500, -1))
    screen.X = np.ones(screen.shape)
    ho.tl.interactions(screen, "guide", n_top_genes=None, layer="log")
    pd.testing.assert_frame_equal(ho.get.interactions(screen), ho.get.interactions(measured), rtol=1e-5, atol=1e-6)


def test_order_of_cells_and_of_names_does_not_matter(screen, measured):
    turned = screen[::-1].copy()
    names = turned.obs["guide"].astype(str)
    turned.obs["guide"] = ["+".join(name.split("+")[::-1]) if i % 2 else name for i, name in enumerate(names)]
    ho.tl.interactions(turned, "guide", n_top_genes=None)
    pd.testing.assert_frame_equal(ho.get.interactions(turned), ho.get.interactions(measured), rtol=1e-5, atol=1e-6)


def test_top_genes_of_the_control(screen):
    ho.tl.interactions(screen, "guide", n_top_genes=50)
    chosen = ho.get.interactions(screen)["gene"].cat.categories
    wanted = np.sort(np.argsort(-means(screen, "control").mean(axis=0))[:50])
    assert chosen.tolist() == [screen.var_names[i] for i in wanted]


def test_through_file(screen, through_file):
    ho.tl.interactions(screen, "guide", n_top_genes=100)
    back = through_file(screen)
    pd.testing.assert_frame_equal(ho.get.interactions(back), ho.get.interactions(screen), check_exact=True)
    pd.testing.assert_frame_equal(ho.get.interaction_pairs(back), ho.get.interaction_pairs(screen), check_exact=True)


def test_only_the_documented_slot_is_written(screen):
    before = screen.copy()
    copied = ho.tl.interactions(screen, "guide", key_added="mine", copy=True)
    assert "heldout" not in screen.uns
    assert list(copied.uns) == ["heldout"]
    assert list(copied.uns["heldout"]) == ["interactions"]
    assert list(copied.uns["heldout"]["interactions"]) == ["mine"]
    pd.testing.assert_frame_equal(copied.obs, before.obs)


def test_three_genes(screen):
    """A third member adds its change; its deviation takes two controls back."""
    extra = screen[screen.obs["guide"] == "control"][:40].copy()
    added = [means(screen, f"T0{i}").mean(axis=0) - means(screen, "control").mean(axis=0) for i in range(3)]
    extra.X = extra.X + np.sum(added, axis=0).astype(np.float32)
    extra.X[:, 5] += 2
    extra.obs["guide"] = "T02+T00+T01"
    extra.obs_names = [f"extra{i}" for i in range(40)]
    adata = ad.concat([screen, extra])
    ho.tl.interactions(adata, "guide", n_top_genes=None)
    rows = ho.get.interactions(adata).query("perturbation == 'T00+T01+T02'")
    assert rows["called"].to_numpy().nonzero()[0].tolist() == [5]
    assert rows["single_c"].notna().all()
    assert ho.get.interactions(adata).query("perturbation != 'T00+T01+T02'")["single_c"].isna().all()
    assert ho.get.interaction_pairs(adata).set_index("perturbation")["n_targets"]["T00+T01+T02"] == 3


def test_contexts_have_their_own_members(screen):
    """The other context has another baseline and lacks one single: its pairs are taken on their own, or left out."""
    other = screen.copy()
    other.X = other.X + 1
    other.obs_names = [f"other{i}" for i in range(other.n_obs)]
    other = other[other.obs["guide"] != "T03"]
    adata = ad.concat({"a": screen, "b": other}, label="line")
    ho.tl.interactions(adata, "guide", covariate_keys="line", n_top_genes=None)
    table = ho.get.interactions(adata)
    wide = table.pivot(index=["perturbation", "gene"], columns="line", values="deviation").dropna()
    np.testing.assert_allclose(wide["a"], wide["b"], atol=1e-5)
    lines = ho.get.interaction_pairs(adata).groupby("perturbation")["line"].agg(list)
    lacking = lines.index.str.contains("T03")
    assert (lines[lacking].str.len() == 1).all()
    assert (lines[~lacking].str.len() == 2).all()


def test_guides_of_one_target(screen, measured):
    names = screen.obs["guide"].astype(str)
    parts = sorted({part for name in names for part in name.split("+")} - {"control"})
    guides = {f"g{part}": part for part in parts}
    screen.obs["guide"] = [name if name == "control" else "+".join(f"g{p}" for p in name.split("+")) for name in names]
    ho.tl.interactions(screen, "guide", targets=guides, n_top_genes=None)
    assert ho.get.interactions(screen)["perturbation"].unique().tolist() == (
        ho.get.interactions(measured)["perturbation"].unique().tolist()
    )


def test_a_split_restricts_the_combinations(screen):
    ho.pp.split_perturbations(screen, "guide", hold_out="combination", val=0.2, test=0.3)
    held = {name: set(screen.obs.loc[screen.obs["split"] == name, "guide"]) - {"control"} for name in ("train", "test")}
    for partition in ("train", "test"):
        ho.tl.interactions(screen, "guide", split_key="split", partition=partition, key_added=partition)
        found = set(ho.get.interaction_pairs(screen, partition)["perturbation"])
        assert found == {name for name in held[partition] if "+" in name}
    changed = screen.copy()
    rows = (changed.obs["split"] != "train").to_numpy()
    changed.X[rows] = np.random.default_rng(0).uniform(0, 9, (rows.sum(), changed.n_vars))
    ho.tl.interactions(changed, "guide", split_key="split", key_added="train")
    pd.testing.assert_frame_equal(ho.get.interactions(changed, "train"), ho.get.interactions(screen, "train"))


# --- what is refused, and what is said --------------------------------------------------------------------------------


def test_lacking_members_are_named(screen, caplog):
    first, second = ho.tl.interactions(screen, "guide", copy=True), screen[screen.obs["guide"] != "T03"].copy()
    ho.tl.interactions(second, "guide")
    left_out = set(ho.get.interaction_pairs(first)["perturbation"]) - set(
        ho.get.interaction_pairs(second)["perturbation"]
    )
    assert left_out == {name for name in ho.get.interaction_pairs(first)["perturbation"] if "T03" in name}
    assert f"{len(left_out)} of 40 combinations are left out" in caplog.text
    assert "(T03: 0 cells)" in caplog.text


def test_one_cell_has_no_standard_error(screen, caplog):
    name = next(name for name in screen.obs["guide"] if "+" in name)
    rows = np.flatnonzero(screen.obs["guide"] == name)[1:]
    few = screen[~np.isin(np.arange(screen.n_obs), rows)].copy()
    with caplog.at_level(logging.WARNING, logger="heldout"):
        ho.tl.interactions(few, "guide", scale="none", min_cells=1)
    assert "1 of 40 combinations have no standard error" in caplog.text
    table = ho.get.interactions(few)
    assert table.loc[table["perturbation"] == name, "se"].isna().all()
    assert table.loc[table["perturbation"] != name, "se"].notna().all()
    for least in (1, 10):
        caplog.clear()
        ho.tl.interactions(few, "guide", min_cells=least)
        assert (
            "1 of 40 combinations are left out, because there are too few cells of the combination, a member or the "
            f"control: '{name} ({name}: 1 cell)'" in caplog.text
        )
        assert name not in ho.get.interaction_pairs(few)["perturbation"].tolist()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"control": "ctrl"}, ("control='ctrl'", "control")),
        ({"separator": "_"}, ("no combination at all",)),
        ({"fdr": 5}, ("fdr=5",)),
        ({"n_top_genes": 0}, ("n_top_genes=0",)),
        ({"n_top_genes": 2}, ("40 combinations × 2 genes", "at least 200")),
        ({"scale": "sd"}, ("scale='sd'",)),
        ({"min_cells": 0}, ("min_cells=0",)),
        ({"min_cells": 31}, ("No combination has enough cells", "30 cells")),
        ({"layer": "none"}, ("layer='none'",)),
        ({"key_added": "a/b"}, ("key_added",)),
        ({"covariate_keys": "line"}, ("covariate_keys='line'",)),
        ({"split_key": "split"}, ("split_key='split'",)),
    ],
)
def test_refused(screen, refuses, arguments, words):
    refuses(lambda adata: ho.tl.interactions(adata, "guide", **arguments), screen, *words)


def test_other_values_are_refused(screen, refuses):
    counts = screen.copy()
    counts.X = np.random.default_rng(0).poisson(3, counts.shape).astype(float)
    refuses(lambda adata: ho.tl.interactions(adata, "guide"), counts, "raw counts", "sc.pp.log1p")
    scaled = screen.copy()
    scaled.X = scaled.X - scaled.X.mean(axis=0)
    refuses(lambda adata: ho.tl.interactions(adata, "guide"), scaled, "below zero", "layer")
    broken = screen.copy()
    broken.X[0, 0] = np.nan
    refuses(lambda adata: ho.tl.interactions(adata, "guide"), broken, "NaN")


def test_nothing_stored(screen, measured):
    for get in (ho.get.interactions, ho.get.interaction_pairs):
        with pytest.raises(ValueError, match="Call heldout.tl.interactions first"):
            get(screen)
        with pytest.raises(ValueError, match="Did you mean 'interactions'"):
            get(measured, "interaction")


# --- predictions ------------------------------------------------------------------------------------------------------


def test_scores_of_predictions(measured):
    table = ho.get.interactions(measured)
    rng = np.random.default_rng(0)
    table["good"] = table["observed"] + rng.normal(0, 0.1, len(table))
    table["flat"] = table["additive"].astype(np.float32)
    predictions = {name: profiles(table, name) for name in ("good", "flat")}
    scores = ho.get.interaction_scores(measured, predictions=predictions, n_bootstrap=50).set_index("metric")
    precision = scores.loc["average_precision"].set_index("method")
    assert precision.index.tolist() == ["no_change", "additive", "good", "flat"]
    assert precision["estimate"]["good"] > 0.9
    assert precision["verdict"].tolist()[2] == "better"
    for name in ("additive", "flat"):
        assert precision["estimate"][name] == pytest.approx(precision["chance"][name])
    curve = ho.get.interaction_curve(measured, predictions=predictions)
    at = curve[np.isclose(curve["fdp"], 0.2)].set_index("method")["tpr"]
    assert at["good"] == pytest.approx(scores.loc["tpr_at_20"].set_index("method")["estimate"]["good"])
    assert (curve.groupby("method")["tpr"].diff().dropna() >= 0).all()
    assert curve["n_interactions"].unique().tolist() == [table["called"].sum()]


def test_predictions_are_matched_by_name(measured, caplog):
    """Cells instead of profiles, turned names, other genes in another order, and rows of NaN."""
    table = ho.get.interactions(measured)
    one = profiles(table, "observed")
    before = ho.get.interaction_curve(measured, predictions={"mine": one})
    turned = ad.concat([one, one], index_unique="-")[:, ::-1].copy()
    turned.obs["perturbation"] = ["+".join(name.split("+")[::-1]) for name in turned.obs["perturbation"]]
    turned.X[: one.n_obs] += 1
    turned.X[one.n_obs :] -= 1
    wider = ad.AnnData(np.hstack([np.zeros((turned.n_obs, 1)), turned.X]), obs=turned.obs)
    wider.var_names = ["another", *turned.var_names]
    pd.testing.assert_frame_equal(ho.get.interaction_curve(measured, predictions={"mine": wider}), before)
    part = one.copy()
    part.X[0] = np.nan
    scores = ho.get.interaction_scores(measured, predictions={"mine": part, "all": one}, n_bootstrap=5)
    assert scores["n"].unique().tolist() == [39]
    assert scores.groupby("method")["coverage"].first().to_dict() == {
        "additive": 1,
        "all": 1,
        "mine": 39 / 40,
        "no_change": 1,
    }
    assert "39 of 40 combinations are compared" in caplog.text


def test_predictions_that_do_not_fit(measured):
    one = profiles(ho.get.interactions(measured), "observed")
    for predictions, words in (
        ({}, "it is empty"),
        ({"no_change": one}, "choose another name"),
        ({"mine": one[:, :5].copy()}, "lacks 295 of the 300 genes"),
        ({"mine": one[:0].copy()}, "No combination is predicted by all"),
    ):
        with pytest.raises(ValueError, match=words):
            ho.get.interaction_curve(measured, predictions=predictions)
    with pytest.raises(ValueError, match="'name' is not a column"):
        ho.get.interaction_curve(measured, predictions={"mine": one}, perturbation_key="name")


# --- real data --------------------------------------------------------------------------------------------------------


@needs_data
def test_norman(caplog):
    """Five pairs of 100 cells per group: one null for all genes calls noisy genes (HBZ, HBG2), scaled errors do not."""
    adata = ad.read_h5ad(DATA / "norman2019" / "norman19_mcfaline23_devel.h5ad")
    adata = adata[adata.obs["dataset"] == "norman19"].copy()
    ho.tl.interactions(adata, "perturbation", n_top_genes=100, scale="none")
    assert "10 of 15 combinations are left out" in caplog.text
    pairs = ho.get.interaction_pairs(adata)
    assert pairs["perturbation"].tolist() == [
        "KLF1+MAP2K6",
        "KLF1+TGFBR2",
        "MAP2K3+MAP2K6",
        "MAP2K3+SLC38A2",
        "MAPK1+TGFBR2",
    ]
    assert pairs["n_doubtful"].sum() > 0.7 * pairs["n_called"].sum() > 20
    assert "Compare with scale='se'" in caplog.text
    ho.tl.interactions(adata, "perturbation", n_top_genes=100)
    assert ho.get.interaction_pairs(adata)["n_called"].sum() == 0
