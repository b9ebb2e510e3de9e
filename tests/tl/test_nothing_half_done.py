"""A call that fails or is interrupted leaves the AnnData as it was."""

from __future__ import annotations

import numpy as np
import pytest

import heldout as ho
from heldout._core import store
from heldout.tl import _sweep

OPTIONS = {"grid": {"C": [0.1, 1.0]}, "method": "logistic", "key_added": "sw"}


def test_a_wrong_baseline_is_refused_before_anything_is_fitted(whole, refuses, monkeypatch):
    monkeypatch.setattr(_sweep.Task, "fit", lambda *_, **__: pytest.fail("fitted"))
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
