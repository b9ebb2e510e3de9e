"""Whole groups that meet several shares at once: proven against every assignment, and what a stable draw keeps."""

import itertools
import logging
import time

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import heldout as ho
from heldout._core.partition import read_partition
from heldout.splitting import _balance
from heldout.splitting._balance import balance, balance_rows, deviation
from heldout.splitting._group_draws import by_hash
from heldout.splitting._groups import Groups
from tests.helpers.properties import properties
from tests.helpers.splits import assigned, cells

HYPOTHESIS = properties(60)
SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}


def unequal(n_groups, seed, n_days=3):
    """AnnData with groups of very different size, two labels, days by group and sex by cell."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 60, n_groups)
    adata = cells(np.repeat(np.arange(n_groups), sizes), repeats=1)
    group = adata.obs["group"].to_numpy()
    adata.obs["label"] = np.where(np.arange(n_groups) % 2, "a", "b")[group]
    adata.obs["day"] = rng.integers(0, n_days, n_groups)[group]
    adata.obs["sex"] = np.where(rng.random(adata.n_obs) < rng.random(n_groups)[group], "f", "m")
    return adata


def objective(adata, columns, *, by, split="split", wanted=SHARES):
    """The documented sum, from the table of cells: the slow and plain way."""
    total = 0.0
    for column in [None, *columns]:
        values = np.zeros(adata.n_obs) if column is None else adata.obs[column]
        one_value = adata.obs.assign(value=values).groupby("group")["value"].nunique().eq(1).all()
        terms = []
        for value in np.unique(values):
            rows = adata.obs[np.asarray(values == value)]
            if by == "groups" and one_value:
                rows = rows.drop_duplicates("group")
            got = rows[split].value_counts(normalize=True)
            terms.append(sum(abs(got.get(p, 0) - share) for p, share in wanted.items()))
        total += np.mean(terms)
    return total


def every_assignment(classes, n_parts):
    """All assignments with every class in every partition, (n × G)."""
    parts = np.array(list(itertools.product(range(n_parts), repeat=len(classes))), dtype=np.int8)
    keep = np.ones(len(parts), dtype=bool)
    for number, part in itertools.product(np.unique(classes), range(n_parts)):
        keep &= (parts[:, classes == number] == part).any(axis=1)
    return parts[keep]


# --- the optimum ----------------------------------------------------------------------------------------------------


@st.composite
def problems(draw):
    n_parts = draw(st.integers(2, 3))
    n_classes = draw(st.integers(1, 2))
    n_groups = draw(st.integers(n_parts * n_classes, 9 if n_parts == 3 else 11))
    classes = np.arange(n_groups) % n_classes
    sizes = np.array(draw(st.lists(st.integers(1, 40), min_size=n_groups, max_size=n_groups)))
    covariate = np.array(draw(st.lists(st.integers(0, 2), min_size=n_groups, max_size=n_groups)))
    weights = [sizes, *(sizes * (classes == c) for c in range(n_classes))]
    weights += [(covariate == value) * (sizes if draw(st.booleans()) else 1) for value in np.unique(covariate)]
    importance = np.array(
        draw(st.lists(st.sampled_from([0.25, 0.5, 1.0]), min_size=len(weights), max_size=len(weights)))
    )
    shares = np.array(
        draw(st.sampled_from({2: [(0.5, 0.5), (0.7, 0.3)], 3: [(0.6, 0.2, 0.2), (0.5, 0.3, 0.2)]}[n_parts]))
    )
    return np.array(weights), importance, classes, shares


@HYPOTHESIS
@given(problem=problems(), seed=st.integers(0, 1000))
def test_no_assignment_is_better(problem, seed):
    weights, importance, classes, shares = problem
    parts = every_assignment(classes, len(shares))
    reached = np.stack([(weights @ (parts == p).T) / weights.sum(axis=1)[:, None] for p in range(len(shares))])
    best = (importance @ np.abs(reached - shares[:, None, None]).sum(axis=0)).min()

    found = balance(weights, importance, classes, shares, np.random.default_rng(seed))
    assert found.proven
    assert found.deviation == pytest.approx(best, abs=2e-6)
    assert found.deviation == pytest.approx(deviation(weights, importance, shares, found.parts))
    assert all((found.parts[classes == c] == p).any() for c in np.unique(classes) for p in range(len(shares)))


@properties(20)
@given(n=st.integers(6, 12), seed=st.integers(0, 1000), by=st.sampled_from(["groups", "cells"]))
def test_the_record_has_the_documented_sum(n, seed, by):
    adata = unequal(n, seed)
    ho.pp.split_groups(adata, "group", "label", share_of=by, covariate_keys=["day", "sex"], rng=seed)
    params = read_partition(adata).params
    assert params["balance"]["proven"]
    assert params["balance"]["deviation"] == pytest.approx(objective(adata, ["label", "day", "sex"], by=by), abs=1e-8)
    assert (adata.obs.groupby("group")["split"].nunique() == 1).all()
    assert (adata.obs.groupby("label")["split"].nunique() == 3).all()

    # no better by what the plain split could have drawn
    for other in range(5):
        ho.pp.split_groups(adata, "group", "label", rng=other, key_added="plain")
        plain = objective(adata, ["label", "day", "sex"], by=by, split="plain")
        assert params["balance"]["deviation"] <= plain + 2e-6


@properties(20)
@given(seed=st.integers(0, 1000), by=st.sampled_from(["groups", "cells"]), days=st.booleans())
def test_the_order_of_the_cells_does_not_matter(seed, by, days):
    assume(days or by == "cells")
    adata = unequal(10, seed)
    other = adata[np.random.default_rng(seed).permutation(adata.n_obs)].copy()
    for one in (adata, other):
        ho.pp.split_groups(one, "group", "label", share_of=by, covariate_keys=["day"] * days, rng=seed)
    assert assigned(adata) == assigned(other)


def test_groups_that_are_alike_are_drawn():
    adata = cells(range(12), ["a", "b"] * 6, day=np.arange(12) // 4)
    made = {
        ho.pp.split_groups(adata, "group", "label", covariate_keys="day", val=0, test=0.5, rng=seed, copy=True)
        .obs.drop_duplicates("group")["split"]
        .astype(str)
        .str.cat(sep=" ")
        for seed in range(30)
    }
    assert len(made) > 15


def test_days_and_cells_are_balanced_where_the_plain_split_is_not():
    adata = unequal(20, 3)
    adata.obs["day"] = adata.obs["group"] // 2 % 4
    ho.pp.split_groups(adata, "group", "label", share_of="cells", covariate_keys="day")
    shares = adata.obs["split"].value_counts(normalize=True)
    assert {name: round(shares[name], 2) for name in SHARES} == SHARES
    by_day = adata.obs.groupby("day")["split"].value_counts(normalize=True).unstack()
    ho.pp.split_groups(adata, "group", "label", key_added="plain")
    plain = adata.obs.groupby("day")["plain"].value_counts(normalize=True).unstack()
    wanted = np.array([0.6, 0.2, 0.2])
    columns = list(SHARES)
    assert np.abs(by_day[columns] - wanted).to_numpy().sum() < np.abs(plain[columns] - wanted).to_numpy().sum() / 2


@pytest.mark.parametrize(
    ("label", "covariates"), [(None, ()), ("label", ()), ("label", "day"), ("label", ["day", "sex"])]
)
def test_twenty_groups_are_proven_in_seconds(label, covariates):
    adata = unequal(20, 1)
    start = time.perf_counter()
    ho.pp.split_groups(adata, "group", label, share_of="cells", covariate_keys=covariates)
    assert time.perf_counter() - start < _balance.SEARCH_SECONDS
    assert read_partition(adata).params["balance"]["proven"]


def test_many_groups_come_within_the_tolerance(caplog):
    adata = unequal(120, 0)
    with caplog.at_level(logging.INFO, logger="heldout"):
        ho.pp.split_groups(adata, "group", "label", share_of="cells", covariate_keys="sex")
    balance_ = read_partition(adata).params["balance"]
    assert balance_["deviation"] - balance_["bound"] <= _balance.TOLERANCE * (1 + balance_["deviation"])
    assert "The total deviation of the shares is" in caplog.text
    assert "was stopped after" not in caplog.text


@pytest.mark.parametrize("seconds", [0, 1e-9])
def test_a_search_that_is_cut_off_says_so_and_still_keeps_the_classes(monkeypatch, caplog, seconds):
    monkeypatch.setattr(_balance, "SEARCH_SECONDS", seconds)
    adata = unequal(40, 0)
    ho.pp.split_groups(adata, "group", "label", share_of="cells", covariate_keys=["day", "sex"])
    assert "was stopped after" in caplog.text
    assert not read_partition(adata).params["balance"]["proven"]
    assert (adata.obs.groupby("label")["split"].nunique() == 3).all()
    assert (adata.obs.groupby("group")["split"].nunique() == 1).all()


def test_a_search_of_many_groups_ends_at_the_same_node_everywhere(monkeypatch, caplog):
    monkeypatch.setattr(_balance, "TOLERANCE", 0)
    monkeypatch.setattr(_balance, "MAX_NODES", 20)
    adata = unequal(60, 0, n_days=7)
    hashes = set()
    for _ in range(2):
        ho.pp.split_groups(adata, "group", "label", share_of="cells", covariate_keys=["day", "sex"])
        hashes.add(read_partition(adata).hash)
    assert len(hashes) == 1
    assert not read_partition(adata).params["balance"]["proven"]
    assert "was stopped after" not in caplog.text


def test_rows_count_groups_or_cells():
    groups = Groups.of(np.array(list("xxxyyz"), dtype=object), np.array(list("aaabba"), dtype=object))
    day, sex = np.array(list("112222"), dtype=object), np.array(list("fmffff"), dtype=object)
    rows, importance = balance_rows(groups, [np.array(list("111112"), dtype=object)])
    assert rows.tolist() == [[1, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert importance.tolist() == [1, 0.5, 0.5, 0.5, 0.5]
    rows, _ = balance_rows(groups, [day, sex], by_cells=True)
    assert rows.tolist() == [[3, 2, 1], [3, 0, 1], [0, 2, 0], [2, 0, 0], [1, 2, 1], [2, 2, 1], [1, 0, 0]]
    assert balance_rows(groups, [day])[0].tolist() == [[1, 1, 1], [1, 0, 1], [0, 1, 0], [2, 0, 0], [1, 2, 1]]


def test_what_balance_refuses(lmna, refuses):
    def call(**arguments):
        return lambda a: ho.pp.split_groups(a, "library", "genotype", **arguments)

    refuses(call(share_of="cell"), lmna, "share_of='cell' must be one of 'groups', 'cells'")
    refuses(call(covariate_keys="dai"), lmna, "covariate_keys='dai' is not a column", "Did you mean 'day'?")
    four = lmna[lmna.obs["library"].isin([f"GSM83250{n}" for n in (46, 47, 54, 55)])].copy()
    refuses(call(share_of="cells"), four, "A split with every class in train, val, test needs", "val=0")
    lmna.obs["day"] = lmna.obs["day"].where(lmna.obs["day"] > 0)
    refuses(call(covariate_keys="day"), lmna, "adata.obs['day'] (covariate_keys) has", "missing values")


# --- stable ---------------------------------------------------------------------------------------------------------


@HYPOTHESIS
@given(n=st.integers(1, 60), seed=st.integers(0, 2**40), data=st.data())
def test_groups_keep_their_partition_whatever_others_there_are(n, seed, data):
    names = np.array([f"g{i}" for i in range(60)], dtype=object)
    some = np.array(data.draw(st.lists(st.sampled_from(names), min_size=n, max_size=n, unique=True)), dtype=object)
    whole = dict(zip(names, by_hash(names, SHARES, seed), strict=True))
    assert by_hash(some, SHARES, seed).tolist() == [whole[name] for name in some]


def test_appended_donors_move_none():
    adata = cells([f"d{i}" for i in range(40)], ["a", "b"] * 20)
    first = adata[: 25 * 3].copy()
    for one in (first, adata):
        ho.pp.split_groups(one, "group", "label", stable=True, test=0.3, rng=0)
    assert assigned(adata[: 25 * 3]) == assigned(first)
    assert read_partition(adata).params["stable"]
    ho.pp.split_groups(adata, "group", "label", stable=True, test=0.3, rng=1, key_added="other")
    assert assigned(adata, "other") != assigned(adata)


def test_stable_draws_have_the_shares_on_average_and_val_moves_no_test():
    names = np.array([f"g{i}" for i in range(20000)], dtype=object)
    codes = by_hash(names, SHARES, 0)
    for code, share in enumerate(SHARES.values()):
        assert abs((codes == code).mean() - share) < 5 * np.sqrt(share * (1 - share) / 20000)
    fewer = by_hash(names, {"train": 0.75, "val": 0.05, "test": 0.2}, 0)
    np.testing.assert_array_equal(fewer == 2, codes == 2)


def test_the_stable_draw_is_the_same_on_every_machine():
    assert by_hash(np.array([f"d{i}" for i in range(12)], dtype=object), SHARES, 0).tolist() == [
        1,
        0,
        2,
        2,
        1,
        0,
        0,
        1,
        0,
        0,
        0,
        1,
    ]


def test_stable_with_several_columns_takes_the_one_that_lasts():
    donor = np.arange(30)
    adata = cells(np.arange(60), donor=np.repeat(donor, 2), library=np.arange(60))
    ho.pp.split_groups(adata, ["library", "donor"], stable=True, rng=0)
    ho.pp.split_groups(adata, "donor", stable=True, rng=0, key_added="donors")
    assert assigned(adata) == assigned(adata, "donors")
    grown = adata.copy()
    grown.obs["library"] = grown.obs["library"] // 2 * 10 + np.arange(grown.n_obs) % 4  # other libraries, same donors
    ho.pp.split_groups(grown, ["library", "donor"], stable=True, rng=0)
    assert assigned(grown) == assigned(adata)


def test_what_stable_refuses(lmna, refuses):
    def call(**arguments):
        return lambda a: ho.pp.split_groups(a, "library", "genotype", **{"stable": True, "rng": 0, **arguments})

    refuses(call(share_of="cells"), lmna, "share_of='cells' and stable=True do not fit together", "Leave one")
    refuses(call(covariate_keys="day"), lmna, "covariate_keys=['day'] and stable=True")
    for rng in (None, np.random.default_rng(0), True, 1.0):
        with pytest.raises(TypeError, match="rng=.* must be an integer seed"):
            call(rng=rng)(lmna)
    refuses(
        call(val=0, test=0.01), lmna, "stable=True with rng=0 draws no group with genotype 'control', 'patient'", "rng"
    )
    refuses(lambda a: ho.pp.split_groups(a, "library", stable=True, val=1e-6), lmna, "draws no group for val", "larger")
    lmna.obs["again"] = lmna.obs["library"].astype(str) + "x"
    refuses(
        lambda a: ho.pp.split_groups(a, ["library", "again"], stable=True, rng=0),
        lmna,
        "'library' and 'again' each have such values",
        "Name one column",
    )
    donors = lmna.obs["library"].astype(str)
    lmna.obs["one"], lmna.obs["two"] = (donors.replace({"GSM8325046": f"GSM83250{n}"}) for n in (47, 48))
    refuses(lambda a: ho.pp.split_groups(a, ["one", "two"], stable=True, rng=0), lmna, "no column has such values")
