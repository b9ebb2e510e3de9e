"""Stacking: weights against references, held-out questions, and no loss against the best member."""

import numpy as np
import pytest

import heldout as ho
from heldout._core.fits import read_fit
from heldout._core.stacking import condensed, helps, nonnegative_weights
from heldout.tasks.perturbation.methods.questions import fold_codes, folds, questions_of
from heldout.tasks.perturbation.methods.stacked import gene_modules
from heldout.tasks.perturbation.pairs import Pairs
from tests.helpers.perturbations import combinations, contexts, simulated, task_of

MEMBERS = ("mean", "additive", "linear", "latent_additive", "informed_additive")


def test_weights_are_those_of_a_search():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 2))
    y = X @ [0.7, -0.2] + 0.1 * rng.normal(size=30)
    prior, strength = np.array([1.0, 0.0]), 0.3

    def loss(w):
        return ((X @ w - y) ** 2).sum() / (y**2).sum() + strength * ((w - prior) ** 2).sum()

    grid = np.linspace(0, 1.2, 121)
    best = min(((a, b) for a in grid for b in grid), key=loss)
    found = nonnegative_weights(X, y, prior, strength=strength)
    np.testing.assert_allclose(found, best, atol=0.01)
    np.testing.assert_allclose(nonnegative_weights(*condensed(X, y), prior, strength=strength), found, atol=1e-9)
    summed = nonnegative_weights(X, y, prior, strength=strength, sum_to_one=True)
    assert summed.sum() == pytest.approx(1)
    np.testing.assert_allclose(nonnegative_weights(X, y, prior, strength=1e9), prior, atol=1e-6)


def test_a_gain_must_be_larger_than_its_error():
    rng = np.random.default_rng(0)
    assert helps(np.ones(5) + 0.1 * rng.normal(size=5))
    assert not helps(np.array([1.0, -1.0, 0.5, -0.4]))
    assert not helps(np.ones(2))
    share = np.mean([helps(rng.normal(size=8)) for _ in range(2000)])
    assert share == pytest.approx(0.05, abs=0.02)


def test_questions_are_those_that_train_leaves_open():
    seen = {("A",), ("B",), ("A", "B")}
    pairs = Pairs([("A",), ("A", "B"), ("A", "C"), ("C",)], np.zeros(4, dtype=int))
    assert questions_of(pairs, seen).tolist() == ["context", "context", "single", "single"]
    assert questions_of(Pairs([("A", "B")], np.zeros(1, dtype=int)), {("A",), ("B",)}).tolist() == ["combination"]


def test_folds_hold_out_what_the_question_asks():
    data = task_of(contexts()).data(task_of(contexts()).observed("train"))
    every = list(data.profiles.pairs)
    for question in ("context", "combination", "single"):
        parts = list(folds(data, question, np.random.default_rng(0)))
        assert len(parts) > 1
        for part in parts:
            left = list(part.data.profiles.pairs)
            out = [every[i] for i in part.held_out]
            assert not set(out) & set(left)
            np.testing.assert_array_equal(part.data.profiles.half_difference().shape, part.data.profiles.change.shape)
            seen = {pair.targets for pair in left}
            targets = {target for members in seen for target in members}
            for pair in out:
                if question == "context":
                    assert pair.targets in seen
                elif question == "combination":
                    assert len(pair.targets) > 1
                    assert pair.targets not in seen
                    assert targets.issuperset(pair.targets)
                else:
                    assert not targets & set(pair.targets)


def test_folds_leave_out_each_row_once_and_keep_a_context():
    context = np.array([0, 1, 0, 1, 0, 0, 1])
    pairs = Pairs([("a",), ("a",), ("b",), ("b",), ("c",), ("a", "b"), ("a", "b")], context)
    for question, expected in (
        ("combination", {5, 6}),
        ("context", {0, 1, 2, 3, 5, 6}),
        ("single", {0, 1, 2, 3, 4}),
    ):
        fold, _ = fold_codes(pairs, question, np.random.default_rng(0))
        assert set(np.flatnonzero(fold >= 0)) == expected
        for number in np.unique(fold[fold >= 0]):
            targets = [pairs.targets[row] for row in np.flatnonzero(fold == number)]
            assert question != "context" or len(targets) == len(set(targets))


def test_cells_of_a_fold_lack_what_is_held_out():
    task = task_of(combinations())
    data = task.data(task.observed("train"))
    part = next(folds(data, "combination", np.random.default_rng(0)))
    cells = part.data.cells()
    held_out = {data.profiles.pairs.targets[i] for i in part.held_out}
    there = {cells.targets[number] for number in np.unique(cells.perturbation) if number >= 0}
    assert there == {pair.targets for pair in part.data.profiles.pairs}
    assert not there & held_out
    assert len(cells.controls(0)) == len(data.cells().controls(0))
    assert not len(cells.val)


def test_modules_are_genes_that_change_together():
    rng = np.random.default_rng(0)
    programs = rng.normal(size=(30, 2))
    change = np.hstack([np.outer(programs[:, k], rng.uniform(1, 3, 20)) for k in (0, 1)])
    found = gene_modules(change, 2)
    assert len(set(found[:20])) == len(set(found[20:])) == 1
    assert found[0] != found[-1]
    assert (gene_modules(change, 1) == 0).all()


@pytest.mark.parametrize(("hold_out", "options"), [("combination", {}), ("single", {"n_doubles": 0, "n_singles": 36})])
def test_it_is_hardly_worse_than_its_best_member_and_never_far_from_it(hold_out, options):
    adata = simulated(**{"n_singles": 16, "n_doubles": 40, "n_genes": 100, "n_cells": 25, "rng": 2, **options})
    ho.pp.split_perturbations(adata, "perturbation", hold_out=hold_out, val=0, test=0.4)
    ho.tl.perturbation(adata, method="stacked")
    table = ho.tl.evaluate(adata, baselines=list(MEMBERS), n_bootstrap=50)
    l2 = table[table["metric"] == "l2"].set_index("method")["estimate"]
    assert l2["stacked"] < 1.03 * l2[list(MEMBERS)].min()
    if hold_out == "combination":  # pairs are not additive in this simulation, and a weighted sum finds it
        assert l2["stacked"] < 0.97 * l2[list(MEMBERS)].min()


def test_a_network_or_cells_can_be_members():
    adata = combinations()
    config = ho.model.StackedConfig(members=("mean", "moved_cells"))
    ho.tl.perturbation(adata, method="stacked", config=config)
    fit = read_fit(adata, "perturbation")
    assert fit.info["fitted"]["names"] == ["mean", "moved_cells"]
    assert np.isfinite(ho.tl.predict_profiles(adata, "perturbation").X).all()
    with pytest.raises(ValueError, match="must not contain 'stacked'"):
        ho.tl.perturbation(adata, method="stacked", config=ho.model.StackedConfig(members=("stacked",)))
    with pytest.raises(ValueError, match="a sequence of one or more strings or None"):
        ho.model.StackedConfig(members="mean")
