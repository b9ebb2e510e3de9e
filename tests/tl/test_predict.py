"""tl.predict, tl.predict_cells and tl.predict_profiles: each is for its own fits, and returns one kind of thing."""

from __future__ import annotations

import inspect

import anndata as ad
import pytest

import heldout as ho
from tests.helpers import courses, forecasts
from tests.helpers.perturbations import combinations


def genotype() -> ad.AnnData:
    adata = ho.datasets.lmna_simulated(n_cells=12, n_genes=100)
    ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    ho.tl.genotype(adata, method="majority")
    return adata


def genes() -> ad.AnnData:
    adata = courses.course(n_genes=30)
    ho.tl.forecast_genes(adata, "hour", method="ridge")
    return adata


def cells() -> ad.AnnData:
    adata = forecasts.split(forecasts.adata_of())
    ho.tl.forecast(adata, "h", method="persistence")
    return adata


def profiles() -> ad.AnnData:
    adata = combinations(n_genes=50)
    ho.tl.perturbation(adata, method="additive")
    return adata


FITS = {
    "genotype": (genotype, "predict", {}),
    "forecast_genes": (genes, "predict", {}),
    "forecast": (cells, "predict_cells", {"at": 8}),
    "perturbation": (profiles, "predict_profiles", {}),
}
OPTIONS = {"predict": {}, "predict_cells": {"at": 8}, "predict_profiles": {}}


@pytest.mark.parametrize("key", FITS)
def test_each_fit_has_its_verb(key, unchanged):
    make, verb, options = FITS[key]
    adata = make()
    found = getattr(ho.tl, verb)(adata, **options)
    if verb == "predict":
        assert found is None
        assert isinstance(ho.tl.predict(adata, key, copy=True), ad.AnnData)
    else:
        assert isinstance(found, ad.AnnData)
        with unchanged(adata):
            again = getattr(ho.tl, verb)(adata, key, **options)
        assert (again.X == found.X).all()
    for other, given in OPTIONS.items():
        if other != verb and (key, other) != ("perturbation", "predict_cells"):
            with unchanged(adata), pytest.raises(ValueError, match=rf"Call heldout.tl.{verb}\(adata, '{key}'"):
                getattr(ho.tl, other)(adata, key, **given)
            with pytest.raises(ValueError, match=f"no fit for heldout.tl.{other}.*is for heldout.tl.{verb}"):
                getattr(ho.tl, other)(adata, **given)


def test_a_preparation_step_predicts_nothing():
    adata = genotype()
    ho.pp.scale(adata)
    for verb, options in OPTIONS.items():
        with pytest.raises(ValueError, match="'scale' is a preparation step; it has no predictions"):
            getattr(ho.tl, verb)(adata, "scale", **options)


@pytest.mark.parametrize(
    ("verb", "option", "now"),
    [
        ("predict", "at", "predict_cells with at="),
        ("predict", "perturbations", "predict_profiles with perturbations="),
        ("predict", "contexts", "predict_profiles with contexts="),
        ("predict", "level", "predict_profiles with coverage="),
        ("evaluate", "group_key", "evaluate_genotype or heldout.tl.evaluate_forecast with group_key="),
        ("evaluate", "block_key", "evaluate_genotype with block_key="),
        ("evaluate", "claim_keys", "evaluate_genotype with claim_keys="),
        ("evaluate", "n_refits", "evaluate_genotype with n_refits="),
    ],
)
def test_a_moved_option_names_its_new_place(verb, option, now, unchanged):
    adata = genotype()
    with unchanged(adata), pytest.raises(TypeError, match=f"has no option '{option}'. Use heldout.tl.{now}"):
        getattr(ho.tl, verb)(adata, **{option: 1})
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        getattr(ho.tl, verb)(adata, nonsense=1)
    assert option not in inspect.signature(getattr(ho.tl, verb)).parameters


@pytest.mark.parametrize("key", FITS)
def test_evaluate_calls_the_verb_of_the_task(key, unchanged):
    adata = FITS[key][0]()
    verbs = {name: getattr(ho.tl, f"evaluate_{name}") for name in FITS}
    report = ho.tl.evaluate(adata.copy(), key, baselines=[], n_bootstrap=20)
    assert verbs[key](adata.copy(), baselines=[], n_bootstrap=20).table.equals(report.table)
    for other, verb in verbs.items():
        if other != key:
            with (
                unchanged(adata),
                pytest.raises(ValueError, match=rf"Call heldout.tl.evaluate_{key}\(adata, '{key}'\)"),
            ):
                verb(adata, key)
