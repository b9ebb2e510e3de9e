"""Folds: what must hold for every input, scikit-learn's known faults, its tools with our splitters, and refusals."""

import itertools

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.model_selection import (
    LeaveOneGroupOut,
)

import heldout as ho
from heldout._core.partition import PARTITIONS, read_partition
from heldout.get import fold_keys, iterate_folds
from heldout.pp import folds
from heldout.splitting import GroupStratifiedKFold
from heldout.splitting._folds import BALANCE_LIMIT, FoldUnits, kfold
from tests.helpers.folds import HYPOTHESIS, cells, in_partition, labelled, rows, spread

# --- what holds for every k-fold ------------------------------------------------------------------------------------


@HYPOTHESIS
@given(groups=labelled(), seed=st.integers(0, 2**31), data=st.data())
def test_kfold_is_exact(groups, seed, data):
    labels, sizes = groups
    classes = sorted(set(labels))
    n_folds = data.draw(st.integers(2, min(labels.count(c) for c in classes)))
    adata = cells(labels, sizes)
    folds(adata, "group", "label", n_folds=n_folds, val="next" if n_folds > 2 else 0, rng=seed)
    names = fold_keys(adata)
    assert names == [f"fold_{i}" for i in range(n_folds)]
    tests = [in_partition(adata, name, "test") for name in names]
    assert sorted(itertools.chain(*tests)) == sorted(set(adata.obs["group"]))
    assert spread([len(test) for test in tests]) <= 1
    for c in classes:
        of_class = {f"g{i}" for i, label in enumerate(labels) if label == c}
        assert spread([len(test & of_class) for test in tests]) <= 1
    for i, name in enumerate(names):
        read_partition(adata, name)
        assert (adata.obs.groupby("group")[name].nunique() == 1).all()
        for partition in ("train", "test", *(["val"] if n_folds > 2 else [])):
            assert in_partition(adata, name, partition, "label") == set(classes)
        assert in_partition(adata, name, "val") == (tests[(i + 1) % n_folds] if n_folds > 2 else set())


@HYPOTHESIS
@given(
    groups=labelled(least=4),
    seed=st.integers(0, 2**31),
    options=st.sampled_from(
        [
            {"n_folds": 3},
            {"n_folds": 3, "val": 0.3},
            {"n_folds": 2, "n_inner": 2},
            {"scheme": "leave_one_group_out"},
            {"scheme": "leave_one_pair_out"},
            {"scheme": "leave_one_pair_out", "pairs": "all", "val": 0},
            {"scheme": "leave_one_group_out", "val": 0.25},
        ]
    ),
)
def test_folds_are_deterministic_and_independent_of_row_order(groups, seed, options):
    labels, sizes = groups
    assume(options.get("pairs") != "all" or np.prod([labels.count(c) for c in set(labels)]) < 100)
    one = cells(labels, sizes)
    other = one[np.random.default_rng(seed).permutation(one.n_obs)].copy()
    for adata in (one, other):
        folds(adata, "group", "label", rng=seed, **options)
    assert fold_keys(one) == fold_keys(other)
    for name in fold_keys(one):
        assert read_partition(one, name).hash == read_partition(other, name).hash
        assert (one.obs.groupby("group")[name].nunique() == 1).all()
        for partition in {"train", "val", "test"} & set(one.obs[name]):
            if partition != "test" or options.get("scheme") != "leave_one_group_out":
                assert in_partition(one, name, partition, "label") == set(labels)
        assert ("val" in set(one.obs[name])) == (options.get("val") != 0)


@HYPOTHESIS
@given(
    data=st.data(),
    n_groups=st.integers(2, 9),
    n_classes=st.integers(2, 3),
    n_folds=st.integers(2, 3),
    seed=st.integers(0),
)
def test_kfold_of_mixed_groups_finds_the_classes_a_place_exactly_when_there_is_one(
    data, n_groups, n_classes, n_folds, seed
):
    row = st.lists(st.integers(0, 3), min_size=n_classes, max_size=n_classes).filter(any)
    counts = np.array(data.draw(st.lists(row, min_size=n_groups, max_size=n_groups)))
    assume((counts.sum(axis=0) > 0).all())
    y, groups = rows(counts)
    n = n_folds if n_groups <= 7 else 2
    possible = any(
        all((counts[np.array(folds_) == f] > 0).any(axis=0).all() for f in range(n))
        for folds_ in itertools.product(range(n), repeat=n_groups)
    )
    splitter = GroupStratifiedKFold(n, rng=seed)
    if not possible:
        with pytest.raises(ValueError, match="every class in every fold"):
            list(splitter.split(y, y, groups))
        return
    tests = [test for _, test in splitter.split(y, y, groups)]
    assert sorted(np.concatenate(tests)) == list(range(len(y)))
    assert all(set(y[test]) == set(y) for test in tests)
    assert sum(len(set(groups[test])) for test in tests) == n_groups


def test_cells_are_balanced_within_the_exact_counts():
    sizes = [100, 100, 1, 1, 50, 50, 5, 5]
    y, groups = rows([[n, 0] if i < 4 else [0, n] for i, n in enumerate(sizes)])
    for seed in range(20):
        for _, test in GroupStratifiedKFold(2, rng=seed).split(y, y, groups):
            assert np.bincount(y[test]).tolist() == [101, 55]
    surplus = np.array([[9, 0], [1, 0], [1, 0], [0, 9], [0, 1], [0, 1]])  # 2 + 1 groups of a class: the large one alone
    y, groups = rows(surplus)
    for _, test in GroupStratifiedKFold(2).split(y, y, groups):
        assert sorted(np.bincount(y[test])) == [2, 9]


def test_seeds_give_other_folds_when_cells_leave_a_choice():
    y, groups = rows([[2, 0]] * 6 + [[0, 2]] * 6)
    drawn = {tuple(next(GroupStratifiedKFold(3, rng=seed).split(y, y, groups))[1]) for seed in range(30)}
    assert len(drawn) > 20
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    for (_, a), (_, b) in zip(
        GroupStratifiedKFold(3, rng=one).split(y, y, groups),
        GroupStratifiedKFold(3, rng=other).split(y, y, groups),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_thousands_of_groups():
    n = BALANCE_LIMIT + 1
    units = FoldUnits.of(np.arange(n), np.arange(n) % 2)
    assert spread(np.bincount(kfold(units, 7, np.random.default_rng(0)) * 2 + units.has.argmax(axis=1))) <= 1


# --- the other schemes on an AnnData --------------------------------------------------------------------------------


def test_leave_one_group_out(lmna):
    folds(lmna, "library", "genotype", scheme="leave_one_group_out")
    names = fold_keys(lmna)
    assert [in_partition(lmna, name, "test", "library") for name in names] == [
        {library} for library in sorted(set(lmna.obs["library"]))
    ]
    for name in names:
        assert len(in_partition(lmna, name, "val", "library")) == 2
        for partition in ("train", "val"):
            assert in_partition(lmna, name, partition, "genotype") == {"control", "patient"}
    folds(lmna, "library", "genotype", scheme="leave_one_group_out", val=0)
    ours = [(a.tolist(), b.tolist()) for a, b in iterate_folds(lmna)]
    theirs = LeaveOneGroupOut().split(lmna.X, groups=lmna.obs["library"].astype(str))
    assert ours == [(a.tolist(), b.tolist()) for a, b in theirs]


def test_leave_one_pair_out(lmna):
    folds(lmna, "library", "genotype", scheme="leave_one_pair_out")
    times = pd.Series(
        [library for name in fold_keys(lmna) for library in in_partition(lmna, name, "test", "library")]
    ).value_counts()
    of = lmna.obs.groupby("library", observed=True)["genotype"].first()
    assert {of[library]: n for library, n in times.items()} == {"control": 1, "patient": 2}
    for name in fold_keys(lmna):
        for partition in ("val", "test"):
            assert len(in_partition(lmna, name, partition, "library")) == 2
            assert in_partition(lmna, name, partition, "genotype") == {"control", "patient"}
    folds(lmna, "library", "genotype", scheme="leave_one_pair_out", pairs="all", val=0, key_added="pair")
    pairs = {frozenset(in_partition(lmna, name, "test", "library")) for name in fold_keys(lmna, "pair")}
    assert len(pairs) == len(fold_keys(lmna, "pair")) == 32


def test_leave_one_match_out(lmna, caplog):
    folds(lmna, "library", "genotype", scheme="leave_one_match_out", match_key="day")
    names = fold_keys(lmna)
    assert [in_partition(lmna, name, "test", "day") for name in names] == [{0}, {9}, {16}, {19}]
    assert [in_partition(lmna, name, "val", "day") for name in names] == [{9}, {16}, {19}, {0}]
    params = read_partition(lmna, "fold_1").params
    assert params["values"] == ["0", "9", "16", "19"]
    assert params["never_test"] == ["2", "4", "30"]
    assert "in train in each fold: 2, 4, 30" in caplog.text


def test_nested(lmna):
    folds(lmna, "library", "genotype", n_folds=4, n_inner=3)
    names = fold_keys(lmna)
    assert names == [f"fold_{i}_{j}" for i in range(4) for j in range(3)]
    for outer in range(4):
        inner = names[3 * outer : 3 * outer + 3]
        assert len({read_partition(lmna, name).test_hash for name in inner}) == 1
        vals = [library for name in inner for library in in_partition(lmna, name, "val", "library")]
        assert sorted(vals) == sorted(set(lmna.obs["library"]) - in_partition(lmna, inner[0], "test", "library"))


def test_the_record_names_all_columns(lmna):
    lmna.obs["donor"] = lmna.obs["library"].astype(str).replace("GSM8325047", "GSM8325046")
    folds(lmna, ["library", "donor"], "genotype", n_folds=2, val=0, rng=np.random.default_rng(0), key_added="cv")
    partition = read_partition(lmna, "cv_1")
    groups = partition.params.pop("groups")
    assert partition.scheme == "kfold"
    assert partition.group_key == ["library", "donor"]
    assert partition.params == {
        "group_key": ["library", "donor"],
        "label_key": "genotype",
        "n_folds": 2,
        "val": 0.0,
        "rng": None,
        "fold": 1,
        "folds": ["cv_0", "cv_1"],
    }
    assert set(groups) == set(PARTITIONS)
    assert sorted(itertools.chain(*groups.values())) == sorted(
        read_partition(lmna, "cv_0").params["groups"]["train"] + read_partition(lmna, "cv_0").params["groups"]["test"]
    )


def test_copy_view_and_no_label(lmna, unchanged):
    with unchanged(lmna):
        result = folds(lmna, "library", n_folds=12, copy=True)
        view = lmna[:, :5]
        folds(view, "library", n_folds=12)
    assert fold_keys(result) == fold_keys(view) == [f"fold_{i}" for i in range(12)]
    assert set(result.uns["heldout"]["assignments"]) == {read_partition(result, k).hash for k in fold_keys(result)}


def test_other_splits_are_kept_and_folds_survive_h5ad(lmna, tmp_path):
    ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=19, val=0)
    folds(lmna, "library", "genotype", n_folds=4)
    folds(lmna, "library", "genotype", n_folds=3)  # again, with fewer: fold_3 stays a split but is no fold any more
    lmna.write_h5ad(tmp_path / "folds.h5ad")
    back = ad.read_h5ad(tmp_path / "folds.h5ad")
    assert read_partition(back).hash == read_partition(lmna).hash
    assert fold_keys(back) == ["fold_0", "fold_1", "fold_2"]
    assert [(a.tolist(), b.tolist()) for a, b in iterate_folds(back)] == [
        (a.tolist(), b.tolist()) for a, b in iterate_folds(lmna)
    ]


def test_every_fold_is_a_split_for_the_rest_of_the_package(lmna):
    folds(lmna, "library", "genotype", n_folds=4)
    ho.tl.genotype(lmna, split_key="fold_0", config=ho.model.MLPConfig(max_epochs=1))
    ho.tl.evaluate(lmna, "genotype")
    for name in fold_keys(lmna):
        ho.tl.genotype(lmna, method="logistic", split_key=name, key_added=f"logistic_{name}")
    assert lmna.obs["genotype_prediction"].notna().all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_folds": 5}, ["n_folds=5", "at least 5 groups", "only 4 of 'patient'"]),
        ({"n_folds": 2}, ["val='next' leaves no group for train", "val=0"]),
        ({"n_folds": 1}, ["n_folds=1"]),
        ({"n_folds": 2.5}, ["n_folds=2.5"]),
        ({"n_folds": 4, "n_inner": 4}, ["n_folds=4", "only 3 of 'patient'"]),
        ({"n_folds": 4, "n_inner": 1}, ["n_inner=1"]),
        ({"n_folds": 4, "n_inner": 2, "val": 0.2}, ["val=0.2", "n_inner=2"]),
        ({"n_folds": 4, "val": 1}, ["val=1", "'next'"]),
        ({"n_folds": 4, "val": "last"}, ["val='last'"]),
        ({"scheme": "loo"}, ["scheme='loo'", "leave_one_match_out"]),
        ({"scheme": "leave_one_match_out"}, ["match_key=None", "leave_one_match_out"]),
        ({"scheme": "kfold", "match_key": "day"}, ["match_key='day'", "kfold"]),
        ({"scheme": "leave_one_match_out", "match_key": "dya"}, ["match_key='dya'", "'day'"]),
        ({"scheme": "leave_one_match_out", "match_key": "library"}, ["has every class", "k-fold"]),
        ({"scheme": "leave_one_pair_out", "label_key": None}, ["needs labels"]),
        ({"scheme": "leave_one_pair_out", "pairs": "both"}, ["pairs='both'"]),
        ({"label_key": "day", "n_folds": 2}, ["n_folds=2", "only 1 of '2'"]),
        ({"key_added": "a/b"}, ["key_added='a/b'"]),
        ({"n_folds": 4, "key_added": "taken"}, ["taken_2", "not a split"]),
        ({"group_key": "librray"}, ["group_key='librray'", "'library'"]),
        ({"group_key": "day"}, ["label_key='genotype'", "different values"]),
    ],
)
def test_folds_refuse_and_write_nothing(lmna, refuses, options, words):
    lmna.obs["taken_2"] = "mine"
    options = {"group_key": "library", "label_key": "genotype", **options}
    refuses(lambda adata: folds(adata, **options), lmna, *words)


@pytest.mark.parametrize(
    ("scheme", "val", "words"),
    [
        ("leave_one_group_out", "next", ["val='next'", "at least 3", "only 2 of 'b'", "val=0"]),
        ("leave_one_pair_out", "next", ["val='next'", "at least 3", "only 2 of 'b'", "val=0"]),
        ("leave_one_pair_out", 0.5, ["only 1 of 'b'", "val=0"]),
    ],
)
def test_val_is_refused_where_train_would_lose_a_class(refuses, scheme, val, words):
    adata = cells(list("aaabb"))
    refuses(lambda adata: folds(adata, "group", "label", scheme=scheme, val=val), adata, *words)
    folds(adata, "group", "label", scheme=scheme, val=0)


def test_a_single_day_with_both_classes(refuses):
    adata = cells(list("ababa"), day=[0, 0, 1, 2, 3])
    call = {"scheme": "leave_one_match_out", "match_key": "day"}
    refuses(lambda adata: folds(adata, "group", "label", **call), adata, "leaves no group for val", "val=0")
    folds(adata, "group", "label", val=0, **call)
    assert fold_keys(adata) == ["fold_0"]
    adata = cells(list("abaa"), day=[0, 0, 1, 2])
    refuses(lambda adata: folds(adata, "group", "label", val=0, **call), adata, "'0'", "train without 'b'")


def test_fold_keys_refuse(lmna, refuses):
    refuses(fold_keys, lmna, "key='fold'", "no folds")
    folds(lmna, "library", "genotype", n_folds=3)
    ho.pp.split_groups(lmna, "library", "genotype", key_added="fold_1")
    refuses(fold_keys, lmna, "obs['fold_1']", "another split")
    folds(lmna, "library", "genotype", n_folds=3)
    lmna.obs.loc[lmna.obs["fold_2"] == "test", "fold_2"] = "train"
    refuses(lambda adata: list(iterate_folds(adata)), lmna, "does not match its record")
    folds(lmna, "library", "genotype", n_folds=4, n_inner=2)
    refuses(fold_keys, lmna, "nested and not")
