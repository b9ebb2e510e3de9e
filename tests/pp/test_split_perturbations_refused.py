"""What is no split of a perturbation screen, and the words it is refused with. Nothing is changed then."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import heldout as ho
from heldout._core.partition import write_partition
from heldout.pp import split_perturbations
from heldout.splitting._perturbations import Perturbations, seen_in_train
from heldout.splitting._unseen import draw_seen, shared_out
from tests.helpers.screens import HYPOTHESIS, frame, screen


def library(*names):
    """Library of each cell, by turns."""
    return lambda obs: [names[i % len(names)] for i in range(len(obs))]


# --- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"hold_out": "pair"}, ["hold_out='pair' must be one of 'single', 'combination', 'context'"]),
        ({"hold_out": "context"}, ["hold_out='context' needs covariate_keys"]),
        ({"covariate_keys": "guide"}, ["perturbation_key='guide' is also one of covariate_keys"]),
        ({"covariate_keys": "lin"}, ["covariate_keys='lin' is not a column", "Did you mean 'line'?"]),
        ({"n_seen": 1}, ["n_seen=1", "hold_out='single'"]),
        ({"hold_out": "combination", "n_seen": -1}, ["n_seen=-1", "integer >= 0, or None"]),
        ({"hold_out": "combination", "n_seen": True}, ["n_seen=True"]),
        ({"max_contexts": 2}, ["max_contexts=2 works only with hold_out='context', not 'single'"]),
        ({"max_contexts": 1}, ["max_contexts=1 works only with hold_out='context', not 'single'"]),
        ({"contexts": ["k562"]}, ["contexts=['k562'] works only with hold_out='context'"]),
        ({"min_train_contexts": 2}, ["min_train_contexts=2 works only with hold_out='context'"]),
        (
            {"hold_out": "context", "covariate_keys": "line", "min_train_contexts": 0},
            ["min_train_contexts=0", "integer >= 1"],
        ),
        (
            {"hold_out": "context", "covariate_keys": "line", "max_contexts": 0},
            ["max_contexts=0", "integer >= 1, or None"],
        ),
        ({"hold_out": "context", "covariate_keys": "line", "max_fraction": 1.5}, ["max_fraction=1.5", "(0, 1]"]),
        ({"val": 0.5, "test": 0.5}, ["val=0.5 and test=0.5 must leave a share for train"]),
        ({"hold_out": "combination", "val": 0.6, "test": 0.5}, ["must leave a share for train"]),
        ({"val": "a"}, ["val='a' must be a number"]),
        ({"control_share": 0.5}, ["control_share=0.5 must be a number in (0, 0.5)"]),
        ({"control_share": True}, ["control_share=True"]),
        ({"control": "contrl"}, ["control='contrl' is not a perturbation of any cell", "Did you mean 'control'?"]),
        ({"control": []}, ["control is empty"]),
        ({"control": ["control", *"ABCDEFXY"]}, ["Every cell is a control"]),
        ({"separator": ""}, ["separator='' must be text"]),
        ({"separator": " "}, ["separator=' ' must be text"]),
        ({"targets": "gene"}, ["targets='gene' is not a column"]),
        ({"group_key": "donor"}, ["group_key='donor' is not a column"]),
        ({"group_key": []}, ["group_key is empty"]),
        ({"key_added": "a/b"}, ["key_added='a/b'"]),
        ({"key_added": "line"}, ["key_added='line'", "not a split"]),
    ],
    ids=str,
)
def test_arguments(arguments, words, refuses):
    refuses(lambda a: split_perturbations(a, "guide", **arguments), screen(), *words)


def test_no_such_column_no_cells_no_anndata(refuses):
    refuses(
        lambda a: split_perturbations(a, "guid"), screen(), "perturbation_key='guid' is not", "Did you mean 'guide'?"
    )
    refuses(lambda a: split_perturbations(a, "guide"), screen()[:0].copy(), "adata has no cells")
    with pytest.raises(TypeError, match="adata must be an AnnData"):
        split_perturbations(pd.DataFrame(), "guide")
    with pytest.raises(TypeError, match="targets must be a column of obs, a mapping"):
        split_perturbations(screen(), "guide", targets=["A"])


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "arguments", "words"),
    [
        (["A+", "B"], {}, ["'A+' has an empty part", "separator=None"]),
        (["+", "B"], {}, ["'+' has an empty part"]),
        (["A+ +B"], {}, ["has an empty part"]),
        (
            ["HLA+1", "HLA+1+B"],
            {"targets": {"HLA+1": "HLA+1"}},
            ["'HLA+1+B' contains 'HLA+1'", "targets={'HLA+1+B': [...]}"],
        ),
        (["A", "A+no+guide"], {"control": ["control", "no+guide"]}, ["'A+no+guide' contains 'no+guide'"]),
        (["g1", "g2"], {"targets": {"g1": "A"}}, ["targets lacks 1 of the names (e.g. 'g2')"]),
        (["g1", "g1+g3"], {"targets": {"g1": "A"}}, ["lacks 1 of the names (e.g. 'g3')"]),
        (["g1"], {"targets": {"g1": "A+B"}}, ["may be one target or several", "['A+B']", "['A', 'B']"]),
        (["g1"], {"targets": {"g1": []}}, ["targets['g1']=[] names no target"]),
        (["g1"], {"targets": {"g1": None}}, ["targets['g1']=None names no target"]),
        (["x", "A", "B"], {"targets": {"x": ["A+B"], "A": "A", "B": "B", "y": ["A", "B"]}}, []),
        (["x", "y"], {"targets": {"x": ["A+B"], "y": ["A", "B"]}}, ["'A+B' is the name of two perturbations"]),
    ],
    ids=str,
)
def test_names_that_would_have_to_be_guessed(names, arguments, words, refuses):
    adata = screen(["control", *names])
    if words:
        refuses(lambda a: split_perturbations(a, "guide", val=0, **arguments), adata, *words)
    else:
        split_perturbations(adata, "guide", val=0, **arguments)


def test_target_columns(refuses):
    adata = screen(["control", "g1", "g2", "g3"], gene=lambda o: o["guide"].map({"g1": "A", "g2": "B"}))
    words = ["(targets) is missing for 4 cells that are not controls", "'g3'"]
    refuses(lambda a: split_perturbations(a, "guide", targets="gene"), adata, *words)
    adata.obs["gene"] = np.where(np.arange(adata.n_obs) % 2, "A", "B")
    words = ["names have cells with different values of targets='gene'", "'A', 'B'"]
    refuses(lambda a: split_perturbations(a, "guide", targets="gene"), adata, *words)


# --- what cannot be held out ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "arguments", "words"),
    [
        (["A", "B"], {}, ["There are 2 perturbations of a single target, fewer than", "train, val, test", "val=0"]),
        (["A+B", "B+C", "C+D"], {}, ["There are 0 perturbations of a single target"]),
        (["A", "B", "C"], {"hold_out": "combination"}, ["There are 0 combinations of two or more targets"]),
        (["A+B"], {"hold_out": "combination", "val": 0, "test": 1}, ["leave no perturbation for train"]),
        (
            ["A", "A+B", "A+C"],
            {"hold_out": "combination", "n_seen": 3, "val": 0},
            ["There are 0 combinations of more than 3"],
        ),
        (
            ["A", "X+Y", "Y+Z"],
            {"hold_out": "combination", "n_seen": 2, "val": 0},
            ["n_seen=2 is not possible for 1 of the 2", "0. Ask"],
        ),
        (
            ["A+B", "B+C"],
            {"hold_out": "combination", "n_seen": 0, "val": 0, "test": 1},
            ["n_seen=0", "while train keeps perturbations to fit on"],
        ),
        (["A", "X+Y", "Z+W"], {"hold_out": "combination", "n_seen": 1, "val": 0}, ["n_seen=1 is not possible"]),
    ],
    ids=str,
)
def test_too_few_perturbations(names, arguments, words, refuses):
    refuses(lambda a: split_perturbations(a, "guide", **arguments), screen(["control", *names]), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_contexts": 1}, ["ask for 7 of the 18", "max_contexts=1, min_train_contexts=1 allow at most 6"]),
        ({"min_train_contexts": 2}, ["min_train_contexts=2 allow at most 6"]),
        ({"max_fraction": 0.2}, ["but max_fraction=0.2 allow at most 3"]),
        ({"max_perturbations": 2}, ["but max_perturbations=2 allow at most 6"]),
        ({"max_contexts": 1, "max_fraction": 0.2}, ["max_contexts=1", "max_fraction=0.2 allow at most 3"]),
        ({"min_train_contexts": 3}, ["There are 0 perturbations × contexts", "min_train_contexts=3"]),
        ({"contexts": ["c4"]}, ["contexts='c4' is not a context", "'c1'"]),
        ({"contexts": [("c1", "x")]}, ["contexts=('c1', 'x') is not a context"]),
    ],
    ids=str,
)
def test_caps_that_leave_too_little(arguments, words, refuses):
    adata = screen(["control", *"ABCDEF"], contexts=("c1", "c2", "c3"))
    call = {"hold_out": "context", "covariate_keys": "line", **arguments}
    refuses(lambda a: split_perturbations(a, "guide", **call), adata, *words)


def test_caps_that_stand_in_the_way_together(refuses):
    """Three perturbations and three contexts have room, but B and C only in the same one."""
    rows = [("control", c) for c in "wxyz" for _ in range(5)]
    rows += [("A", "w"), ("A", "y"), ("A", "z"), ("B", "w"), ("B", "x"), ("C", "w"), ("C", "x")]
    call = {"hold_out": "context", "covariate_keys": "line", "val": 0, "contexts": list("xyz")}
    caps = {"max_contexts": 1, "max_perturbations": 1}
    split_perturbations(frame(rows), "guide", **call, **caps, test=0.5)
    words = ["ask for 3 of the 4", "max_contexts=1", "max_perturbations=1 allow at most 2"]
    refuses(lambda a: split_perturbations(a, "guide", **call, **caps, test=0.7), frame(rows), *words)


def test_one_context_only(refuses):
    call = {"hold_out": "context", "covariate_keys": "line"}
    refuses(lambda a: split_perturbations(a, "guide", **call), screen(), "at least 2 contexts", "line='k562'")


def test_too_few_controls(refuses):
    refuses(
        lambda a: split_perturbations(a, "guide"), screen(n_controls=2), "Adata has 2 control cells", "train, val, test"
    )
    rows = [(n, c) for c in ("x", "y") for n in ["A", "B", "C", "D", "E", *(["control"] * 4 if c == "x" else [])]]
    words = ["The context line='y' has 0 control cells", "need at least one each"]
    refuses(lambda a: split_perturbations(a, "guide", covariate_keys="line"), frame(rows), *words)


def test_too_few_control_units(refuses):
    adata = screen(lib=library("L1", "L1"))
    words = ["has 1 values of group_key='lib' among its control cells", "train, val, test"]
    refuses(lambda a: split_perturbations(a, "guide", group_key="lib"), adata, *words)
    adata.obs["lib"] = adata.obs["lib"].where(np.arange(adata.n_obs) > 3)
    adata.obs.loc[adata.obs["guide"] == "control", "lib"] = np.nan
    refuses(lambda a: split_perturbations(a, "guide", group_key="lib"), adata, "8 missing values in 8 control cells")


def test_control_units_that_overlap_in_their_contexts(refuses):
    """Each line has two libraries, but the three lines share them in a ring, so one has both in one pool."""
    rings = {"x": ["1", "2"], "y": ["2", "3"], "z": ["3", "1"]}
    rows = [(n, c) for c in "xyz" for n in ["control"] * 4 + list("ABCDE")]
    adata = frame(rows, lib=lambda o: [rings[c][i % 2] for i, c in enumerate(o["line"])])
    call = {"covariate_keys": "line", "group_key": "lib", "val": 0}
    refuses(lambda a: split_perturbations(a, "guide", **call), adata, "are in several contexts and stay whole")


@HYPOTHESIS
@given(data=st.data(), n_seen=st.integers(0, 2), seed=st.integers(0, 999))
def test_seen_members_are_refused_only_where_impossible(data, n_seen, seed):
    every = [c for m in (1, 2, 3) for c in itertools.combinations("ABCDE", m)]
    chosen = data.draw(st.lists(st.sampled_from(every), min_size=3, max_size=9, unique=True))
    fractions = data.draw(
        st.sampled_from([{"train": 0.6, "val": 0.2, "test": 0.2}, {"train": 0.3, "val": 0, "test": 0.7}])
    )
    members = Perturbations.of(chosen, np.empty(0, int), separator="+").members
    sizes = np.diff(members.indptr)
    complete = n_seen > 1 and (sizes == n_seen).any()
    candidates = sizes == n_seen if complete else sizes > max(n_seen, 1)
    assume(candidates.sum() >= 3)
    counts = {"val": 0, **shared_out(int(candidates.sum()), fractions, what="")}
    try:
        codes = draw_seen(members, fractions, n_seen, np.random.default_rng(seed))
    except ValueError:
        assert not possible(members.toarray() > 0, candidates, counts, n_seen, complete=complete)
    else:
        assert possible(members.toarray() > 0, candidates, counts, n_seen, complete=complete)
        assert [(codes == 1).sum(), (codes == 2).sum()] == [counts["val"], counts["test"]]
        assert (seen_in_train(members, codes == 0)[0][np.isin(codes, [1, 2])] == n_seen).all()


def possible(has, candidates, counts, n_seen, *, complete):
    """Brute force over all ways to take combinations, or targets, out of train."""
    if complete:
        for held in itertools.combinations(np.flatnonzero(candidates), counts["val"] + counts["test"]):
            train = ~np.isin(np.arange(len(has)), held)
            if train.any() and all(has[train].any(axis=0)[has[p]].all() for p in held):
                return True
        return False
    for sides in itertools.product((0, 1, 2), repeat=has.shape[1]):
        out = np.array(sides)
        train = ~has[:, out > 0].any(axis=1)
        seen = has[train].any(axis=0)
        fits = candidates & train.any() & ((has & seen).sum(axis=1) == n_seen)
        got = [(fits & ((has & ~seen) <= (out == side)).all(axis=1)).sum() for side in (1, 2)]
        if got[0] >= counts["val"] and got[1] >= counts["test"]:
            return True
    return False


# --- the table ------------------------------------------------------------------------------------------------------


def test_the_table_is_of_perturbation_splits(refuses):
    adata = screen()
    ho.pp.split_cells(adata)
    refuses(ho.get.perturbations, adata, "scheme 'cells'", "heldout.get.split")
    refuses(ho.get.perturbations, screen(), "split_key='split' is not a column")


def test_the_table_proves_that_the_columns_are_the_same(refuses):
    adata = screen(contexts=("x", "y"))
    split_perturbations(adata, "guide", covariate_keys="line", hold_out="context", val=0)
    held = adata.obs["split"] == "test"
    swapped = adata.copy()
    swapped.obs["line"] = np.where(adata.obs["line"] == "x", "y", "x")
    refuses(ho.get.perturbations, swapped, "cells are in another partition than their perturbation", "'line'")
    renamed = adata.copy()
    renamed.obs.loc[held, "guide"] = "new"
    refuses(ho.get.perturbations, renamed, "that the split did not have when it was made", "'new'")
    renamed.obs = renamed.obs.drop(columns="guide")
    refuses(ho.get.perturbations, renamed, "perturbation_key='guide' is not a column")


def test_a_column_of_something_else_is_kept(refuses):
    adata = screen()
    adata.var["split"] = "x"
    split_perturbations(adata, "guide")
    assert (adata.var["split"] == "x").all()
    write_partition(adata, np.zeros(2, dtype=np.int8), key="genes", scheme="genes", params={}, axis="var")
    refuses(lambda a: split_perturbations(a, "guide", key_added="genes"), adata, "already a split in adata.var")
