"""A call that fails or is interrupted leaves the AnnData as it was."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import scanpy as sc

import heldout as ho
from heldout._core import chain, partition, store
from heldout._core.training_plan import BlockTrainingPlan
from heldout.pp import _pca, _scale
from heldout.tasks.genotype import judge
from heldout.tl import _genotype, _perturbation, _sweep
from tests.helpers.perturbations import combinations

OPTIONS = {"grid": {"C": [0.1, 1.0]}, "method": "logistic", "key_added": "sw"}


def test_a_wrong_baseline_is_refused_before_anything_is_fitted(whole, refuses, monkeypatch):
    monkeypatch.setattr(_sweep.Trained, "of", lambda *_, **__: pytest.fail("fitted"))
    refuses(lambda a: ho.tl.sweep(a, baselines=["nope"], **OPTIONS), whole, "'nope'")


@pytest.mark.parametrize("problem", [RuntimeError("scoring fails"), KeyboardInterrupt()])
@pytest.mark.parametrize("again", [False, True])
def test_a_sweep_whose_scoring_fails_changes_nothing(problem, again, whole, unchanged, monkeypatch):
    """Neither where the key is new, nor where it has the results of an earlier sweep."""
    if again:
        ho.tl.sweep(whole, baselines=[], **{**OPTIONS, "grid": {"C": [10.0]}})

    def fails(adata, key, **_):
        adata.obs["another"] = 1
        raise problem

    monkeypatch.setattr(_sweep, "evaluate_genotype", fails)
    with unchanged(whole), pytest.raises(type(problem)):
        ho.tl.sweep(whole, **OPTIONS)


def test_results_are_written_together_or_not_at_all(lmna, unchanged):
    wrong = {"long": np.zeros(lmna.n_obs + 1)}
    with unchanged(lmna), pytest.raises(ValueError, match="."):
        store.commit(lmna, obs={"first": 1, "donor": 2}, uns={"mine": 1}, obsm=wrong, heldout={"fits": {}})


def stop_at(monkeypatch, where, name, call):
    """Press the interrupt key at this call of a function, counted from 0."""
    real, calls = getattr(where, name), iter(range(10**6))

    def stopping(*arguments, **options):
        if next(calls) == call:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(where, name, stopping)


STEPS = {
    "scale, before": (lambda a: ho.pp.scale(a), _scale, "moments", 0),
    "scale, matrix written": (lambda a: ho.pp.scale(a), store, "commit", 0),
    "scale, layer written": (lambda a: ho.pp.scale(a, layer="logged"), store, "commit", 0),
    "genes": (lambda a: ho.pp.highly_variable_genes(a, 20), chain, "commit", 0),
    "components": (lambda a: ho.pp.pca(a, n_comps=3), _pca, "fit_components", 0),
    "split": (lambda a: ho.pp.split_groups(a, "library", "genotype"), partition, "commit", 0),
    "split of genes": (lambda a: ho.pp.split_genes(a, by="module", n_modules=8), store, "commit", 0),
    "fit": (lambda a: ho.tl.genotype(a, method="logistic", mask_var=None), _genotype, "predict", 0),
    "fit, stored": (lambda a: ho.tl.genotype(a, method="logistic", mask_var=None), _genotype, "write_fit", 0),
    "evaluation": (lambda a: ho.tl.evaluate(a, "majority", n_bootstrap=10), judge, "evaluation_table", 0),
    "evaluation, baselines": (lambda a: ho.tl.evaluate(a, "majority", n_bootstrap=10), judge, "predict", 1),
    "evaluation, written": (lambda a: ho.tl.evaluate(a, "majority", n_bootstrap=10), judge, "write_evaluation", 0),
}


@pytest.mark.parametrize(("call", "where", "name", "number"), STEPS.values(), ids=STEPS)
def test_an_interrupted_step_changes_nothing(call, where, name, number, split, unchanged, monkeypatch):
    sc.pp.normalize_total(split, target_sum=1e4)
    sc.pp.log1p(split)
    split.layers["logged"] = split.X.copy()
    ho.tl.genotype(split, method="majority", key_added="majority", mask_var=None)
    with monkeypatch.context() as patch:
        stop_at(patch, where, name, number)
        with unchanged(split), pytest.raises(KeyboardInterrupt):
            call(split)
    call(split)


def test_an_interrupted_network_changes_nothing_and_can_be_interrupted_again(split, unchanged, monkeypatch):
    """Lightning ends the process instead, and ignores the interrupt key from then on."""
    before = signal.getsignal(signal.SIGINT)
    stop_at(monkeypatch, BlockTrainingPlan, "training_step", 1)
    with unchanged(split), pytest.raises(KeyboardInterrupt):
        ho.tl.genotype(split, config=ho.model.MLPConfig(max_epochs=3, n_hidden=4), mask_var=None)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupted_fit_of_perturbations_changes_nothing(unchanged, monkeypatch):
    adata = combinations(n_singles=6, n_doubles=6, n_genes=50)
    stop_at(monkeypatch, _perturbation, "write_fit", 0)
    with unchanged(adata), pytest.raises(KeyboardInterrupt):
        ho.tl.perturbation(adata, method="additive", mask_var=None)


def test_an_interrupted_split_of_modalities_changes_none(monkeypatch):
    mudata = pytest.importorskip("mudata", reason="needs mudata")
    modalities = {name: ho.datasets.lmna_simulated(n_cells=20, n_genes=100) for name in ("a", "b")}
    for name, modality in modalities.items():
        modality.var_names = [f"{name}{gene}" for gene in modality.var_names]
    both = mudata.MuData(modalities)
    stop_at(monkeypatch, partition, "commit", 2)
    with pytest.raises(KeyboardInterrupt):
        ho.pp.split_groups(both, "a:library", val=0, test=0.5)
    for target in (both, both["a"], both["b"]):
        assert "split" not in target.obs
        assert "splits" not in target.uns.get("heldout", {})
