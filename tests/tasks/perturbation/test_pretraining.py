"""Fits that start from an earlier fit: they gain from it, record it, and refuse one that has seen the test set."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import heldout as ho
from heldout._core.fits import read_fit
from heldout._core.parents import parents_of
from tests.helpers.audits import row
from tests.helpers.perturbations import simulated

STARTS = ("latent_additive", "informed_additive")


def screens(**options):
    """A screen with many cells and a screen with few cells, of the same perturbations in two cell lines."""
    both = simulated(n_contexts=2, n_singles=16, n_doubles=0, n_cells=24, context_share=0.9, **options)
    lines = both.obs["cell_line"].unique()
    rich, poor = (both[both.obs["cell_line"] == line].copy() for line in lines)
    poor = poor[np.random.default_rng(0).permutation(poor.n_obs)].copy()
    keep = poor.obs.groupby("perturbation", observed=True).cumcount() < np.where(
        poor.obs["perturbation"] == "control", 60, 4
    )
    return rich, poor[keep.to_numpy()].copy()


def trained(adata, key="base", method="latent_additive", **split):
    ho.pp.split_assigned(adata, "perturbation", **split)
    ho.tl.perturbation(adata, "perturbation", method=method, key_added=key)
    return adata


def other_cells(poor, names, **options):
    """Changes of the perturbations in cells of the same line that ``poor`` does not have."""
    full = simulated(n_contexts=2, n_singles=16, n_doubles=0, n_cells=24, context_share=0.9, **options)
    same = (full.obs["cell_line"] == poor.obs["cell_line"].iloc[0]).to_numpy()
    full = full[same & ~full.obs_names.isin(poor.obs_names)]
    X, perturbation = full.X.toarray(), full.obs["perturbation"].to_numpy()
    return np.array([X[perturbation == n].mean(axis=0) for n in names]) - X[perturbation == "control"].mean(axis=0)


@pytest.fixture(scope="module")
def _pair():
    rich, poor = screens()
    names = sorted(set(rich.obs["perturbation"]))
    trained(rich, train=names)
    held = [name for name in names if name != "control"][:4]
    return rich, poor, names, held


@pytest.fixture
def pair(_pair):
    rich, poor, names, held = _pair
    return rich.copy(), poor.copy(), names, held


def refit(poor, rich, method="latent_additive", **options):
    ho.tl.perturbation(poor, "perturbation", method=method, start="base", reference=rich, **options)
    return poor


def split_poor(poor, names, held):
    """Perturbations held out, with half of the controls in test."""
    control = poor.obs["perturbation"] == "control"
    number = poor.obs.groupby("perturbation", observed=True).cumcount().to_numpy()
    test = poor.obs["perturbation"].isin(held).to_numpy() | (control.to_numpy() & (number % 2 == 1))
    poor.obs["part"] = pd.Categorical(np.where(test, "te", "tr"))
    ho.pp.split_assigned(poor, "part", train=["tr"], test=["te"])
    return poor


@pytest.mark.parametrize("method", STARTS)
def test_few_cells_gain_from_a_screen_in_another_line(method):
    """Four cells of each perturbation, judged on other cells: the start makes changes nearer and better separated."""
    rich, poor = screens(rng=2)
    names = sorted(set(rich.obs["perturbation"]))
    trained(rich, method=method, train=names)
    ho.pp.split_assigned(poor, "perturbation", train=names)
    ho.tl.perturbation(poor, "perturbation", method=method, key_added="alone")
    refit(poor, rich, method, key_added="started")
    singles = [name for name in names if name != "control"]
    true = other_cells(poor, singles, rng=2)
    error, correlation = {}, {}
    for key in ("alone", "started"):
        change = ho.tl.predict_profiles(poor, key, perturbations=singles).layers["change"]
        error[key] = np.linalg.norm(change - true, axis=1).mean()
        centred = change - change.mean(axis=0), true - true.mean(axis=0)
        correlation[key] = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(*centred, strict=True)])
    assert error["started"] < 0.98 * error["alone"]
    assert correlation["started"] > 1.2 * correlation["alone"]
    assert 0.3 < read_fit(poor, "started").info["fitted"]["start_share"] <= 1


def test_a_target_that_only_the_parent_has_seen_keeps_its_effect(pair):
    rich, poor, names, held = pair
    kept = poor[~poor.obs["perturbation"].isin(held).to_numpy()].copy()
    ho.pp.split_assigned(kept, "perturbation", train=[name for name in names if name not in held])
    refit(kept, rich)
    ho.tl.perturbation(kept, "perturbation", method="latent_additive", key_added="alone")
    true = ho.tl.predict_profiles(rich, "base", perturbations=held).layers["change"]
    started = ho.tl.predict_profiles(kept, "perturbation", perturbations=held)
    alone = ho.tl.predict_profiles(kept, "alone", perturbations=held)
    assert not started.obs["fallback"].any()
    assert alone.obs["fallback"].all()
    share = read_fit(kept, "perturbation").info["fitted"]["start_share"]
    changes = started.layers["change"]
    np.testing.assert_allclose(changes - changes.mean(axis=0), share * (true - true.mean(axis=0)), atol=1e-4)
    assert np.ptp(alone.layers["change"], axis=0).max() < 1e-6


def test_an_unrelated_start_is_used_less(pair):
    """The effects of the start are given to other targets: the train cells support a smaller share of them."""
    rich, poor, names, _ = pair
    singles = [name for name in names if name != "control"]
    turned = dict(zip(singles, np.roll(singles, 5), strict=True)) | {"control": "control"}
    unrelated = rich.copy()
    unrelated.obs["perturbation"] = pd.Categorical(rich.obs["perturbation"].astype(str).map(turned))
    trained(unrelated, train=names)
    ho.pp.split_assigned(poor, "perturbation", train=names)
    refit(poor, rich, key_added="related")
    refit(poor, unrelated, key_added="unrelated")
    share = {key: read_fit(poor, key).info["fitted"]["start_share"] for key in ("related", "unrelated")}
    assert share["unrelated"] < 0.5 * share["related"]


def test_the_record_survives_a_file_and_names_what_was_seen(pair, through_file):
    rich, poor, names, held = pair
    trained(rich, train=[n for n in names if n not in held])
    split_poor(poor, names, held)
    refit(poor, rich)
    poor = through_file(poor)
    fit = read_fit(poor, "perturbation")
    (parent,) = parents_of(fit.info)
    base = read_fit(rich, "base")
    assert (parent.name, parent.method, parent.fit, parent.split) == ("base", base.method, base.hash, base.split_hash)
    assert {targets for targets, _ in parent.seen} == {(n,) for n in names if n not in held and n != "control"}
    assert parent.split in poor.uns["heldout"]["assignments"]
    assert json.loads(json.dumps(parent.to_json())) == parent.to_json()
    table = ho.tl.evaluate(poor, baselines=["mean"], n_bootstrap=20)
    note = table.loc[(table["role"] == "model").to_numpy(), "note"].iloc[0]
    assert "started from 'base', which has not seen the test cells and test perturbations" in note
    found = row(ho.tl.audit(poor, items=["pretraining"]), "pretraining", "perturbation")
    assert found["status"] == "pass"


def test_a_parent_that_saw_a_test_perturbation_is_refused(pair, refuses):
    rich, poor, names, held = pair
    split_poor(poor, names, held)
    refuses(lambda a: refit(a, rich), poor, "start='base' has seen", "4 of 4 test perturbations", held[0])


def test_a_grandparent_that_saw_a_test_perturbation_is_refused(pair, refuses):
    rich, poor, names, held = pair
    middle = rich.copy()
    middle.obs_names = [f"m{i}" for i in range(middle.n_obs)]
    middle = middle[~middle.obs["perturbation"].isin(held).to_numpy()].copy()
    ho.pp.split_assigned(middle, "perturbation", train=[n for n in names if n not in held])
    refit(middle, rich, key_added="middle")
    split_poor(poor, names, held)

    def call(adata):
        ho.tl.perturbation(adata, "perturbation", method="latent_additive", start="middle", reference=middle)

    refuses(call, poor, "start='base' has seen", held[0])


def test_a_parent_that_saw_test_cells_is_refused(pair, refuses):
    rich, poor, names, held = pair
    trained(rich, train=[n for n in names if n not in held])
    split_poor(poor, names, held)
    control = np.flatnonzero((poor.obs["part"] == "te") & (poor.obs["perturbation"] == "control"))
    poor = poor.copy()
    obs_names = poor.obs_names.to_numpy(dtype=object).copy()
    obs_names[control[:3]] = rich.obs_names[(rich.obs["perturbation"] == "control").to_numpy()][:3]
    poor.obs_names = obs_names
    del poor.uns["heldout"], poor.obs["split"]
    ho.pp.split_assigned(poor, "part", train=["tr"], test=["te"])
    refuses(lambda a: refit(a, rich), poor, "3 of", "test cells, by their names")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "mean", "start": "base"}, ["method='mean' cannot start from another fit", "latent_additive"]),
        ({"method": "informed_additive", "start": "base"}, ["'perturbation.latent_additive'", "same method"]),
        ({"method": "latent_additive", "start": "bse"}, ["no fit 'bse'", "base"]),
        ({"method": "latent_additive", "start": None}, ["reference is given without start"]),
    ],
)
def test_wrong_starts_are_refused(pair, refuses, options, words):
    rich, poor, names, _ = pair
    ho.pp.split_assigned(poor, "perturbation", train=names)
    refuses(lambda a: ho.tl.perturbation(a, "perturbation", reference=rich, **options), poor, *words)


def test_genes_are_aligned_by_name_and_missing_ones_refused(pair, refuses):
    rich, poor, names, _ = pair
    ho.pp.split_assigned(poor, "perturbation", train=names)
    ordered = ho.tl.predict_profiles(refit(poor.copy(), rich), perturbations=names[1:3])
    turned = poor[:, ::-1].copy()
    predicted = ho.tl.predict_profiles(refit(turned, rich), perturbations=names[1:3])
    np.testing.assert_allclose(predicted[:, ordered.var_names].X, ordered.X, atol=1e-5)
    fewer = rich[:, 1:].copy()
    ho.tl.perturbation(fewer, "perturbation", method="latent_additive", key_added="base")
    refuses(lambda a: refit(a, fewer), poor, "start='base' was fitted on", rich.var_names[0])


def test_the_audit_finds_a_start_that_the_present_split_forbids(pair):
    """The fit was honest on its own split; under a new split its parent has seen the test perturbations."""
    rich, poor, names, held = pair
    ho.pp.split_assigned(poor, "perturbation", train=names)
    refit(poor, rich)
    split_poor(poor, names, held)
    table = ho.tl.audit(poor, perturbation_key="perturbation", covariate_keys="cell_line", items=["pretraining"])
    found = row(table, "pretraining", "perturbation")
    assert found["status"] == "fail"
    assert found["value"] == len(held)
    assert held[0] in found["finding"]


def test_vectors_of_a_published_model_are_seen_unknown(pair):
    _, poor, names, held = pair
    split_poor(poor, names, held)
    singles = [n for n in names if n != "control"]
    vectors = pd.DataFrame(np.random.default_rng(0).normal(size=(len(singles), 4)), index=singles)
    ho.pp.embedding(poor, vectors, perturbation_key="perturbation", key_added="vectors")
    config = ho.model.InformedAdditiveConfig(perturbation_embedding="vectors")
    ho.tl.perturbation(poor, "perturbation", config=config)
    table = ho.tl.evaluate(poor, baselines=["mean"], n_bootstrap=20)
    assert "uses 'vectors' (table); seen: unknown" in table.loc[(table["role"] == "model").to_numpy(), "note"].iloc[0]
    found = row(ho.tl.audit(poor, items=["pretraining"]), "pretraining", "perturbation")
    assert found["status"] == "warn"
    assert "not recorded" in found["finding"]


def test_without_parents_the_item_does_not_run(pair):
    _, poor, names, _ = pair
    ho.pp.split_assigned(poor, "perturbation", train=names)
    ho.tl.perturbation(poor, "perturbation", method="mean")
    table = ho.tl.audit(poor, items=["pretraining"])
    assert set(table.loc[table["item"] == "pretraining", "status"]) == {"not run"}
