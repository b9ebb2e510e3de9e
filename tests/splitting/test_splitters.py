"""Splitters beside scikit-learn's: its known faults, and its tools with ours."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedGroupKFold,
    cross_val_predict,
    cross_validate,
)

from heldout.splitting import GroupStratifiedKFold, LeaveOneMatchOut, LeaveOnePairOut
from tests.helpers.folds import rows

# --- the faults of StratifiedGroupKFold -----------------------------------------------------------------------------

# Tables of rows (group × class) and the number of folds: StratifiedGroupKFold of scikit-learn 1.9 gives a test set
# without one of the classes, the first and the last only with some seeds of shuffle=True.
ONE_CLASS_FOLDS = {
    "issue 28218": ([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]], 2),
    "three groups": ([[1, 0], [1, 1], [0, 1]], 2),
    "three folds": ([[1, 2], [1, 2], [0, 1], [2, 0]], 3),
}


@pytest.mark.parametrize(("counts", "n_folds"), ONE_CLASS_FOLDS.values(), ids=ONE_CLASS_FOLDS.keys())
def test_no_one_class_fold_where_there_need_be_none(counts, n_folds):
    y, groups = rows(counts)
    for seed in range(25):
        for train, test in GroupStratifiedKFold(n_folds, rng=seed).split(y, y, groups):
            assert not set(groups[train]) & set(groups[test])
            assert set(y[test]) == set(y[train]) == set(y)


def degenerate(splitter, y, groups):
    """Whether a fold lacks a class in train or test; a refusal is no such fold."""
    try:
        return any(set(y[part]) != set(y) for pair in splitter.split(y, y, groups) for part in pair)
    except ValueError:
        return False


def test_random_small_designs_against_scikit_learn():
    rng = np.random.default_rng(0)
    ours, theirs = 0, 0
    for _ in range(150):
        counts = rng.integers(0, 3, (rng.integers(3, 8), 2))
        y, groups = rows(counts)
        if len(set(y)) == 2:
            n_folds = int(rng.integers(2, 5))
            ours += degenerate(GroupStratifiedKFold(n_folds), y, groups)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs += degenerate(StratifiedGroupKFold(n_folds), y, groups)
    assert ours == 0
    if sklearn.__version__.startswith("1.9."):
        assert theirs > 60


def test_as_many_groups_as_folds_never_give_an_empty_fold():
    """Issue #34828: rounding errors leave a fold empty although there is a group for each."""
    for n_groups, seed in itertools.product(range(2, 9), range(10)):
        y, groups = rows(np.random.default_rng(seed).integers(1, 4, (n_groups, 2)))
        tests = [test for _, test in GroupStratifiedKFold(n_groups, rng=seed).split(y, y, groups)]
        assert [len(set(groups[test])) for test in tests] == [1] * n_groups
    y, groups = rows([[0, 2], [1, 2], [0, 2], [2, 0]])  # StratifiedGroupKFold(4): an empty test set
    with pytest.raises(ValueError, match=r"n_folds=4 .* only 2 of '0', 3 of '1'"):
        list(GroupStratifiedKFold(4).split(y, y, groups))
    assert all(len(test) for _, test in GroupStratifiedKFold(4).split(y, None, groups))


def test_more_folds_than_groups_are_refused():
    """Issue #33085: empty train and test sets of simple data."""
    y, groups = rows([[3, 3]] * 3)
    with pytest.raises(ValueError, match=r"n_folds=5 .* at least 5 groups of each class, but there is only 3"):
        list(GroupStratifiedKFold(5).split(y, y, groups))
    with pytest.raises(ValueError, match=r"at least 5 groups, but there is only 3"):
        list(GroupStratifiedKFold(5).split(y, None, groups))


def test_stratification_is_perfect_where_it_can_be_for_every_seed():
    """Issue #24656: four groups with 60 % of a class, two with 40 %, two folds; and groups mixed up by the shuffle."""
    counts = np.array([[4, 6]] * 4 + [[6, 4]] * 2)
    y, groups = rows(counts)
    for seed in range(50):
        for train, test in GroupStratifiedKFold(2, rng=seed).split(y, y, groups):
            assert y[test].mean() == y[train].mean() == pytest.approx(16 / 30)
            assert len(test) == sum(10 for _ in set(groups[test]))


# --- with scikit-learn ----------------------------------------------------------------------------------------------


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    groups, y = np.repeat(np.arange(8), 10), np.repeat([0, 1] * 4, 10)
    return rng.normal(size=(80, 3)) + y[:, None], y, groups, np.repeat([0, 0, 1, 1, 2, 2, 3, 3], 10)


@pytest.mark.parametrize(
    ("cv", "n"), [(GroupStratifiedKFold(4), 4), (LeaveOnePairOut(), 4), (LeaveOnePairOut(pairs="all"), 16)]
)
def test_splitters_run_in_scikit_learn(table, cv, n):
    X, y, groups, _ = table
    result = cross_validate(LogisticRegression(), X, y, groups=groups, cv=cv, scoring="roc_auc")
    assert result["test_score"].shape == (cv.get_n_splits(X, y, groups),) == (n,)
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=cv).fit(X, y, groups=groups)
    assert search.n_splits_ == n
    if n == 4:
        assert cross_val_predict(LogisticRegression(), X, y, groups=groups, cv=cv).shape == (80,)


def test_splitters_take_part_in_metadata_routing(table):
    X, y, groups, _ = table
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=GroupStratifiedKFold(3))  # nested
        result = cross_validate(search, X, y, params={"groups": groups}, cv=GroupStratifiedKFold(4))
    assert len(result["test_score"]) == 4


def test_leave_one_match_out_splitter(table):
    X, y, _, day = table
    y = np.where(day == 2, 0, y)
    tests = [test for _, test in LeaveOneMatchOut().split(X, y, day)]
    assert [set(day[test]) for test in tests] == [{0}, {1}, {3}]
    assert len(cross_validate(LogisticRegression(), X, y, groups=day, cv=LeaveOneMatchOut())["test_score"]) == 3
    assert [day[t[0]] for _, t in LeaveOneMatchOut().split(X, y, day * 9)] == [0, 1, 3]  # 0, 9, 27: by size


def test_splitters_say_their_parameters():
    assert repr(GroupStratifiedKFold(3)) == "GroupStratifiedKFold(n_folds=3, rng=0)"
    assert repr(LeaveOnePairOut(pairs="all")) == "LeaveOnePairOut(pairs='all', rng=0)"
    assert repr(LeaveOneMatchOut()) == "LeaveOneMatchOut()"
    assert GroupStratifiedKFold(3).get_n_splits() == 3


def test_splitters_take_what_pandas_and_lists_hold(table):
    X, y, groups, _ = table
    expected = [test.tolist() for _, test in GroupStratifiedKFold(4).split(X, y, groups)]
    index = np.arange(80)[::-1]
    frame = pd.DataFrame(X, index=index)
    for a, b in ((y.tolist(), groups.tolist()), (pd.Series(y, index=index), pd.Categorical(groups))):
        assert [test.tolist() for _, test in GroupStratifiedKFold(4).split(frame, a, b)] == expected
    assert LeaveOnePairOut().get_n_splits(None, y, groups) == 4


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda y, g: GroupStratifiedKFold(1), "n_folds=1 must be an integer >= 2"),
        (lambda y, g: GroupStratifiedKFold(True), "n_folds=True"),
        (lambda y, g: LeaveOnePairOut(pairs="some"), "pairs='some' must be one of 'each', 'all'"),
        (lambda y, g: list(GroupStratifiedKFold(2).split(y, y)), "groups is None, .* 80 rows"),
        (lambda y, g: list(GroupStratifiedKFold(2).split(y, y[:-1], g)), r"y is of shape \(79,\)"),
        (lambda y, g: list(GroupStratifiedKFold(2).split(y, y, np.where(g == 0, np.nan, g))), "groups has missing"),
        (lambda y, g: list(GroupStratifiedKFold(2).split(y, y * 0, g)), "one class"),
        (lambda y, g: list(LeaveOnePairOut().split(y, None, g)), "needs labels"),
        (lambda y, g: list(LeaveOnePairOut().split(y, np.arange(80) % 2, g)), "8 of 8 groups have several classes"),
        (lambda y, g: list(LeaveOnePairOut().split(y, g == 0, g)), "at least 2 groups .* only 1 of 'True'"),
        (lambda y, g: list(LeaveOneMatchOut().split(y, y, g)), "No value of the match column .* every class"),
        (lambda y, g: list(LeaveOneMatchOut().split(y, y, g < 2)), "every class|without"),
    ],
)
def test_splitters_refuse(table, call, words):
    _, y, groups, _ = table
    if "without" in words:
        y = np.where(groups < 2, np.arange(80) % 2, 0)
    with pytest.raises(ValueError, match=words):
        call(y, groups)
