"""Splits: what must hold for every input, the published ones, and what is refused with which words."""

import itertools
import json
import tracemalloc

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import heldout as ho
from heldout._core.partition import PARTITIONS, read_partition
from heldout._core.store import as_names
from heldout.splitting._allocate import EXACT_LIMIT, allocate, draw
from heldout.splitting._components import components
from heldout.splitting._groups import Groups

HYPOTHESIS = settings(max_examples=80, deadline=None, derandomize=True, database=None)


def gsm(*last_two):
    return [f"GSM83250{number}" for number in last_two]


def assigned(adata, key="split"):
    """Partition of each cell by name."""
    return dict(zip(adata.obs_names, adata.obs[key].astype(str), strict=True))


def groups_in(adata, partition, group_key="library"):
    return sorted(adata.obs.loc[adata.obs["split"] == partition, group_key].astype(str).unique())


def cells(groups, labels=None, repeats=3, **columns):
    """AnnData with ``repeats`` cells a group; ``columns`` are given a group."""
    columns = {"group": groups, **({} if labels is None else {"label": labels}), **columns}
    obs = pd.DataFrame({name: np.repeat(np.asarray(values), repeats) for name, values in columns.items()})
    obs.index = [f"cell{i}" for i in range(len(obs))]
    return ad.AnnData(np.ones((len(obs), 2), dtype=np.float32), obs=obs)


@st.composite
def labelled_groups(draw_, min_size=2):
    """A class for each group: two to four classes with at least ``min_size`` groups each."""
    sizes = draw_(st.lists(st.integers(min_size, 7), min_size=2, max_size=4))
    names = [f"class{i}" for i, size in enumerate(sizes) for _ in range(size)]
    return draw_(st.permutations(names))


# --- what holds for every split -------------------------------------------------------------------------------------


@HYPOTHESIS
@given(labels=labelled_groups(min_size=3), seed=st.integers(0, 2**31), val=st.sampled_from([0.1, 0.2, 0.4]))
def test_split_groups_keeps_groups_whole_and_classes_everywhere(labels, seed, val):
    adata = cells([f"g{i}" for i in range(len(labels))], labels)
    ho.pp.split_groups(adata, "group", "label", val=val, test=0.3, rng=seed)
    split = adata.obs["split"]
    assert list(split.cat.categories) == list(PARTITIONS)
    assert split.notna().all()
    assert (adata.obs.groupby("group")["split"].nunique() == 1).all()
    for partition in ("train", "val", "test"):
        assert set(adata.obs.loc[split == partition, "label"]) == set(labels)
    assert not (split == "unused").any()

    order = np.random.default_rng(seed).permutation(adata.n_obs)
    other = adata[order].copy()
    del other.uns["heldout"], other.obs["split"]
    ho.pp.split_groups(other, "group", "label", val=val, test=0.3, rng=seed)
    assert assigned(other) == assigned(adata)
    assert read_partition(other).hash == read_partition(adata).hash


@HYPOTHESIS
@given(n=st.integers(10, 120), seed=st.integers(0, 2**31), val=st.sampled_from([0.0, 0.15, 0.5]))
def test_split_cells_has_the_shares_and_does_not_depend_on_order(n, seed, val):
    adata = cells([f"g{i}" for i in range(n)], repeats=1)
    ho.pp.split_cells(adata, val=val, test=0.25, rng=seed)
    counts = read_partition(adata).counts()
    assert sum(counts.values()) == n
    assert counts["unused"] == 0
    for partition, share in (("train", 0.75 - val), ("val", val), ("test", 0.25)):
        assert abs(counts[partition] - share * n) <= 1

    other = adata[np.random.default_rng(seed).permutation(n)].copy()
    ho.pp.split_cells(other, val=val, test=0.25, rng=seed)
    assert assigned(other) == assigned(adata)


@HYPOTHESIS
@given(data=st.data())
def test_split_matched_takes_all_groups_of_the_value(data):
    n_days = data.draw(st.integers(3, 5))
    labels, days = ["a", "b"] * n_days, [day for day in range(n_days) for _ in "ab"]
    more = data.draw(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, n_days - 1)), max_size=6))
    labels, days = labels + [label for label, _ in more], days + [day for _, day in more]
    test, val = data.draw(st.permutations(range(n_days)))[:2]
    adata = cells([f"g{i}" for i in range(len(labels))], labels, day=days)
    ho.pp.split_matched(adata, "group", "day", label_key="label", test=test, val=val)
    expected = np.where(adata.obs["day"] == test, "test", np.where(adata.obs["day"] == val, "val", "train"))
    assert adata.obs["split"].astype(str).tolist() == expected.tolist()

    other = adata[data.draw(st.permutations(range(adata.n_obs)))].copy()
    ho.pp.split_matched(other, "group", "day", label_key="label", test=test, val=val)
    assert read_partition(other).hash == read_partition(adata).hash


@HYPOTHESIS
@given(codes=st.lists(st.sampled_from(PARTITIONS), min_size=1, max_size=12), seed=st.integers(0, 100))
def test_split_assigned_does_as_told(codes, seed):
    codes = ["train", *codes]
    names = [f"g{i}" for i in range(len(codes))]
    lists = {p: [n for n, c in zip(names, codes, strict=True) if c == p] for p in ("train", "val", "test")}
    adata = cells(names, part=codes)
    ho.pp.split_assigned(adata, "group", **lists)
    assert adata.obs["split"].astype(str).tolist() == adata.obs["part"].tolist()

    other = adata[np.random.default_rng(seed).permutation(adata.n_obs)].copy()
    ho.pp.split_assigned(other, "group", **{name: groups[::-1] for name, groups in lists.items()})
    assert read_partition(other).hash == read_partition(adata).hash


def union_find(*columns):
    """Component number of each row, the slow and plain way."""
    parent = list(range(len(columns[0])))

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for column in columns:
        for i, j in itertools.combinations(range(len(column)), 2):
            if column[i] == column[j]:
                parent[root(i)] = root(j)
    return [root(i) for i in range(len(parent))]


def same_sets(one, other):
    """Whether two labellings cut the rows into the same sets."""
    pairs = set(zip(one, other, strict=True))
    return len(pairs) == len(set(one)) == len(set(other))


@HYPOTHESIS
@given(
    rows=st.lists(
        st.tuples(*[st.sampled_from(["a", "b", "c", "d", "a+b", "a|b", "|", "+", r"a\+b", "é"])] * 3),
        min_size=1,
        max_size=14,
    ),
    n_columns=st.integers(1, 3),
)
def test_components_are_those_of_union_find(rows, n_columns):
    columns = [np.array(column, dtype=object) for column in zip(*rows, strict=True)][:n_columns]
    assert same_sets(components(*columns), union_find(*columns))


def test_components_survive_many_cells_of_the_same_pair_and_say_what_they_are():
    library = np.repeat(np.array(["L2", "L1", "L3"], dtype=object), 256)  # 256 equal edges are 0 in int8
    donor = np.repeat(np.array(["D1", "D1", "D2"], dtype=object), 256)
    assert list(dict.fromkeys(components(library, donor))) == ["L1+L2|D1", "L3|D2"]


@pytest.mark.parametrize(
    ("library", "donor"),
    [
        (["a|b", "a"], ["c", "b|c"]),
        (["a+b", "a", "b"], ["x", "x|", "x|"]),
        (["a+b", "a", "b", "c"], ["x+y", "x", "x", "y"]),
        (["a|b", "a", r"a\|b"], ["c", "b|c", "c|"]),
    ],
)
def test_components_that_would_be_called_the_same_stay_apart(library, donor):
    columns = np.array(library, dtype=object), np.array(donor, dtype=object)
    assert same_sets(components(*columns), union_find(*columns))


def test_group_columns_are_merged_into_what_must_stay_together():
    rng = np.random.default_rng(0)
    library = np.arange(24)
    adata = cells(library, library=library, donor=library // 2, chip=np.where(library < 4, 0, library))
    adata = adata[rng.permutation(adata.n_obs)].copy()
    ho.pp.split_groups(adata, ["library", "donor", "chip"], val=0.3, test=0.3)
    for key in ("library", "donor", "chip"):
        assert (adata.obs.groupby(key)["split"].nunique() == 1).all()
    record = adata.uns["heldout"]["splits"]["split"]
    assert "0+1+2+3|0+1|0" in sum(json.loads(record["params"])["groups"].values(), [])
    assert read_partition(adata).group_key == ["library", "donor", "chip"]


def test_a_component_with_two_labels_is_refused(refuses):
    adata = cells(range(6), ["a", "b"] * 3, donor=[0, 0, 1, 2, 3, 4])
    refuses(
        lambda a: ho.pp.split_groups(a, ["group", "donor"], "label"), adata, "label_key='label'", "'0+1|0'", "'a', 'b'"
    )


def test_one_seed_one_split_and_other_seeds_other_splits(lmna):
    def made(rng):
        adata = ho.pp.split_groups(lmna, "library", "genotype", val=0, test=0.25, rng=rng, copy=True)
        return read_partition(adata).hash

    assert made(3) == made(3) == made(np.int64(3)) == made(np.random.default_rng(3))
    assert len({made(seed) for seed in range(20)}) > 10


def test_every_assignment_with_the_best_counts_is_drawn():
    classes = np.array([0, 0, 0, 1, 1])
    table = np.array([[2, 1], [1, 1]])
    drawn = {tuple(draw(classes, table, np.random.default_rng(seed))) for seed in range(200)}
    assert len(drawn) == 3 * 2


@HYPOTHESIS
@given(
    one=st.lists(st.integers(0, 3), min_size=4, max_size=4), other=st.lists(st.integers(0, 3), min_size=4, max_size=4)
)
def test_the_hash_changes_exactly_when_the_assignment_changes(one, other):
    def made(codes):
        lists = {p: [i for i, c in enumerate(codes) if PARTITIONS[c] == p] for p in ("train", "val", "test")}
        adata = cells(range(5), repeats=2)
        ho.pp.split_assigned(adata, "group", train=[4, *lists["train"]], val=lists["val"], test=lists["test"])
        return read_partition(adata).hash

    assert (made(one) == made(other)) == (one == other)


def test_the_hash_does_not_know_how_the_split_was_made_nor_what_the_column_is_called(lmna):
    ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=19, val=0)
    lists = {p: groups_in(lmna, p) for p in ("train", "val", "test")}
    ho.pp.split_assigned(lmna, "library", **lists, key_added="again")
    assert read_partition(lmna, "again").hash == read_partition(lmna).hash
    assert list(lmna.uns["heldout"]["assignments"]) == [read_partition(lmna).hash]


def test_the_hash_is_the_same_on_every_machine():
    """Written down once: a change of this number makes every stored split unreadable."""
    adata = cells(["é", "b", "c"], repeats=1)
    adata.obs_names = ["zelle-ä", "AAAC-1", "细胞"]
    ho.pp.split_assigned(adata, "group", train=["é"], val=["b"], test=["c"])
    partition = read_partition(adata)
    assert partition.hash == "1f885942ed4dadc3fa1bc5fe83a957942e7d0c22dfff07dbdfb7b811f79904fc"
    assert partition.test_hash == "116e586561f1c4449c18cc1fd1f1fb0189c1cc5c43cd62332827467b1b5ecd20"


def test_the_draw_of_a_seed_is_the_same_on_every_machine(lmna):
    ho.pp.split_groups(lmna, "library", "genotype", val=0.2, test=0.2, rng=0)
    assert {p: groups_in(lmna, p) for p in ("val", "test")} == {"val": gsm(46, 54), "test": gsm(47, 53, 57)}


# --- how many groups go where ---------------------------------------------------------------------------------------


def objective(table, sizes, fractions):
    """What is minimised, as the module says."""
    ideal = sizes[:, None] * fractions
    return ((table - ideal) ** 2).sum() + ((table.sum(axis=0) - sizes.sum() * fractions) ** 2).sum()


def brute_force(sizes, fractions):
    """The least objective over all assignments of single groups to partitions, with no empty class anywhere."""
    classes = np.repeat(np.arange(len(sizes)), sizes)
    best = np.inf
    for codes in itertools.product(range(len(fractions)), repeat=len(classes)):
        table = np.zeros((len(sizes), len(fractions)), dtype=int)
        np.add.at(table, (classes, codes), 1)
        if table.all():
            best = min(best, objective(table, sizes, fractions))
    return best


@pytest.mark.parametrize("fractions", [(0.6, 0.2, 0.2), (0.8, 0.1, 0.1), (1 / 3, 1 / 3, 1 / 3), (0.05, 0.05, 0.9)])
@pytest.mark.parametrize("sizes", [(3,), (7,), (3, 4), (3, 5), (4, 4)])
def test_counts_are_the_optimum_of_all_assignments_to_three(sizes, fractions):
    sizes, fractions = np.array(sizes), np.array(fractions)
    table = allocate(sizes, fractions)
    assert table.sum(axis=1).tolist() == sizes.tolist()
    assert table.min() >= 1
    assert objective(table, sizes, fractions) == pytest.approx(brute_force(sizes, fractions), abs=1e-9)


@pytest.mark.parametrize("fractions", [(0.8, 0.2), (0.5, 0.5), (0.3, 0.7)])
@pytest.mark.parametrize("sizes", [(2, 2, 2), (5, 2), (2, 3, 4), (9,), (6, 5), (2, 2, 2, 2)])
def test_counts_are_the_optimum_of_all_assignments_to_two(sizes, fractions):
    sizes, fractions = np.array(sizes), np.array(fractions)
    table = allocate(sizes, fractions)
    assert table.min() >= 1
    assert objective(table, sizes, fractions) == pytest.approx(brute_force(sizes, fractions), abs=1e-9)


@HYPOTHESIS
@given(
    sizes=st.lists(st.integers(3, 12), min_size=1, max_size=2), val=st.floats(0.05, 0.45), test=st.floats(0.05, 0.45)
)
def test_counts_are_the_optimum_of_all_tables(sizes, val, test):
    sizes, fractions = np.array(sizes), np.array([1 - val - test, val, test])
    rows = [[(a, b, size - a - b) for a in range(1, size - 1) for b in range(1, size - a)] for size in sizes.tolist()]
    tables = np.array(list(itertools.product(*rows)))
    table = allocate(sizes, fractions)
    assert table.min() >= 1
    assert table.sum(axis=1).tolist() == sizes.tolist()
    costs = ((tables - sizes[:, None] * fractions) ** 2).sum(axis=(1, 2))
    costs += ((tables.sum(axis=1) - sizes.sum() * fractions) ** 2).sum(axis=1)
    assert objective(table, sizes, fractions) == pytest.approx(costs.min(), abs=1e-6)


@pytest.mark.parametrize("sizes", [(EXACT_LIMIT - 1, 2), (20, 20, 20), (30, 31), (2000, 1000), (2, 500), (2,) * 40])
def test_many_groups_get_the_shares_and_every_class_in_both(sizes):
    sizes, fractions = np.array(sizes), np.array([0.75, 0.25])
    table = allocate(sizes, fractions)
    assert table.sum(axis=1).tolist() == sizes.tolist()
    assert table.min() >= 1
    assert (np.abs(table - sizes[:, None] * fractions) <= 1).all()


# --- published splits -----------------------------------------------------------------------------------------------


def test_the_published_lists_are_one_call(lmna):
    lists = {"train": gsm(46, 47, 48, 50, 51, 53, 55, 57), "val": gsm(49, 54), "test": gsm(52, 56)}
    ho.pp.split_assigned(lmna, "library", **lists, label_key="genotype")
    for partition, libraries in lists.items():
        assert groups_in(lmna, partition) == libraries
        assert set(lmna.obs.loc[lmna.obs["split"] == partition, "genotype"]) == {"control", "patient"}
    assert read_partition(lmna).counts() == {"train": 240, "val": 60, "test": 60, "unused": 0}
    record = read_partition(lmna)
    assert record.scheme == "assigned"
    assert record.params == {
        "group_key": "library",
        "label_key": "genotype",
        **lists,
        "groups": {**lists, "unused": []},
    }


def test_the_published_day_matched_split(lmna):
    ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=19, val=0)
    assert groups_in(lmna, "test") == gsm(52, 57)
    assert groups_in(lmna, "val") == gsm(46, 54)
    assert groups_in(lmna, "train") == gsm(47, 48, 49, 50, 51, 53, 55, 56)


def test_several_test_days(lmna):
    ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=[19, 16])
    assert groups_in(lmna, "test") == gsm(51, 52, 56, 57)
    assert groups_in(lmna, "val") == []


def test_groups_in_no_list_are_unused(lmna):
    ho.pp.split_assigned(lmna, "library", train=gsm(46, 54), test=gsm(52, 57))
    assert len(groups_in(lmna, "unused")) == 8


def test_table_of_a_split(lmna):
    ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=19, val=0)
    table = ho.get.split(lmna)
    assert list(table.columns) == ["library", "genotype", "day", "partition", "n_cells"]
    assert table["n_cells"].tolist() == [30] * 12
    assert table["partition"].astype(str).tolist() == ["train"] * 8 + ["val"] * 2 + ["test"] * 2
    ho.pp.split_cells(lmna, key_added="cells")
    assert ho.get.split(lmna, "cells")["n_cells"].tolist() == [216, 72, 72]
    assert ho.get.split(lmna, "cells", group_key="library")["n_cells"].sum() == 360
    with pytest.raises(ValueError, match="group_key='librari' is not a column"):
        ho.get.split(lmna, group_key="librari")


# --- kinds of columns -----------------------------------------------------------------------------------------------

KINDS = {
    "text": lambda x: pd.Series([f"g{i}" for i in x], dtype=object),
    "string": lambda x: pd.Series([f"g{i}" for i in x], dtype="string"),
    "categorical": lambda x: pd.Series(pd.Categorical([f"g{i}" for i in x], categories=[f"g{i}" for i in range(99)])),
    "int": lambda x: pd.Series(x, dtype="int32"),
    "nullable int": lambda x: pd.Series(x, dtype="Int64"),
    "float": lambda x: pd.Series(x, dtype="float32"),
    "nullable float": lambda x: pd.Series(x, dtype="Float64"),
    "int categories": lambda x: pd.Series(pd.Categorical(x, categories=range(99))),
    "float categories": lambda x: pd.Series(pd.Categorical([float(i) for i in x])),
    "mixed": lambda x: pd.Series([i if i % 2 else f"g{i}" for i in x], dtype=object),
}


@pytest.mark.parametrize("kind", KINDS)
def test_group_columns_of_every_kind(kind):
    adata = cells(range(10), ["a", "b"] * 5)
    adata.obs["group"] = KINDS[kind](np.repeat(np.arange(10), 3).tolist()).set_axis(adata.obs_names)
    ho.pp.split_groups(adata, "group", "label", rng=1)
    assert (adata.obs.groupby("group", observed=True)["split"].nunique() == 1).all()
    first, second = adata.obs["group"].iloc[0], adata.obs["group"].iloc[3]
    ho.pp.split_assigned(adata, "group", train=[first], test=[second])
    assert read_partition(adata).counts() == {"train": 3, "val": 0, "test": 3, "unused": 24}


@pytest.mark.parametrize("stored", ["int64", "float32", "category", "float categories", "text", "Int64"])
@pytest.mark.parametrize(
    "given_", [19, 19.0, np.float32(19), np.int8(19), "19", [19], np.array([19.0]), (19, 30)], ids=repr
)
def test_day_values_match_whatever_they_are_stored_as(lmna, stored, given_):
    day = lmna.obs["day"]
    lmna.obs["day"] = {
        "category": lambda: day.astype("category"),
        "float categories": lambda: day.astype(float).astype("category"),
        "text": lambda: day.astype(str),
    }.get(stored, lambda: day.astype(stored))()
    ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=given_)
    assert {"GSM8325052", "GSM8325057"} <= set(groups_in(lmna, "test"))


def test_a_whole_day_is_found_among_days_that_are_not(lmna, refuses):
    lmna.obs["day"] = lmna.obs["day"].astype(float).replace(2.0, 2.5)
    for value in (19, 19.0):
        ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=value, val=[0])
        assert groups_in(lmna, "test") == gsm(52, 57)
    refuses(
        lambda a: ho.pp.split_matched(a, "library", "day", label_key="genotype", test=2.5), lmna, "test", "'patient'"
    )


@pytest.mark.parametrize("dtype", [bool, "boolean", int, float, "category", object])
def test_labels_of_every_kind(lmna, dtype):
    lmna.obs["sick"] = (lmna.obs["genotype"] == "patient").astype(dtype)
    ho.pp.split_groups(lmna, "library", "sick")
    for partition in ("train", "val", "test"):
        assert lmna.obs.loc[lmna.obs["split"] == partition, "sick"].nunique() == 2


def test_unused_categories_are_no_classes(lmna, refuses):
    lmna.obs["genotype"] = lmna.obs["genotype"].cat.add_categories(["carrier"])
    lmna.obs["library"] = lmna.obs["library"].cat.add_categories(["GSM0"])
    ho.pp.split_groups(lmna, "library", "genotype")
    ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=19, val=0)
    refuses(lambda a: ho.pp.split_assigned(a, "library", train=["GSM0"]), lmna, "train names 'GSM0'", "not a group")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([19.0, 0.5], ["19", "0.5"]),
        (np.array([0.1, 2], dtype=np.float32), ["0.1", "2"]),
        ([-0.0, 0], ["0", "0"]),
        ([1, "1", 1.0], ["1", "1", "1"]),
        ([True, False], ["True", "False"]),
        ([1e300], [str(int(1e300))]),
        (pd.Series([2.0, 1.5], dtype="Float64"), ["2", "1.5"]),
        (pd.Categorical([1.0, 2.0, 1.0]), ["1", "2", "1"]),
        (pd.Categorical(["a", None, "b"]), ["a", "nan", "b"]),
        (pd.Series([], dtype=object), []),
    ],
)
def test_names_of_values(values, names):
    found = as_names(values)
    assert found.dtype == object
    assert found.tolist() == names


def test_lists_may_be_any_iterable(lmna):
    train, test = gsm(46, 54), gsm(52, 57)
    made = []
    for kind in (list, tuple, set, iter, np.array, pd.Index, pd.Series, pd.Categorical):
        ho.pp.split_assigned(lmna, "library", train=kind(train), test=kind(test))
        made.append(read_partition(lmna).hash)
    assert len(set(made)) == 1
    ho.pp.split_assigned(lmna, "library", train="GSM8325046")
    assert groups_in(lmna, "train") == ["GSM8325046"]


def test_fractions_and_keys_may_be_numpy_and_pandas(lmna):
    ho.pp.split_groups(lmna, pd.Index(["library"]), "genotype", val=np.float32(0.25), test=np.float64(0.25))
    partition = read_partition(lmna)
    assert partition.params["val"] == 0.25
    assert partition.group_key == ["library"]


# --- in place, copy, view -------------------------------------------------------------------------------------------

CALLS = {
    "groups": lambda a, **k: ho.pp.split_groups(a, "library", "genotype", **k),
    "matched": lambda a, **k: ho.pp.split_matched(a, "library", "day", label_key="genotype", test=19, val=0, **k),
    "assigned": lambda a, **k: ho.pp.split_assigned(a, "library", train=gsm(46, 54), test=gsm(52, 57), **k),
    "cells": lambda a, **k: ho.pp.split_cells(a, **k),
}


@pytest.mark.parametrize("scheme", CALLS)
def test_in_place_copy_and_view(lmna, scheme):
    copied = CALLS[scheme](lmna, copy=True)
    assert "split" not in lmna.obs
    assert "heldout" not in lmna.uns
    view = lmna[lmna.obs["total_counts"] > 0]
    assert CALLS[scheme](view) is None
    assert not view.is_view
    assert "split" not in lmna.obs
    assert "heldout" not in lmna.uns
    assert CALLS[scheme](lmna) is None
    assert assigned(lmna) == assigned(copied) == assigned(view)
    assert read_partition(lmna).scheme == scheme


def test_a_second_split_beside_the_first(lmna):
    CALLS["matched"](lmna)
    first = read_partition(lmna).hash
    CALLS["cells"](lmna, key_added="leaky")
    assert read_partition(lmna).hash == first != read_partition(lmna, "leaky").hash
    assert set(lmna.uns["heldout"]["assignments"]) == {first, read_partition(lmna, "leaky").hash}


# --- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["group_key", "label_key", "match_key"])
def test_a_missing_column_is_named_with_what_is_near(lmna, name, refuses):
    columns = {"group_key": "library", "match_key": "day", "label_key": "genotype"}
    wanted = columns[name]
    columns[name] = wanted[:-1] + "x"
    refuses(
        lambda a: ho.pp.split_matched(a, **columns, test=19),
        lmna,
        f"{name}={columns[name]!r} is not a column of adata.obs",
        f"Did you mean {wanted!r}?",
    )


@pytest.mark.parametrize("name", ["library", "genotype", "day"])
def test_missing_values_are_counted(lmna, name, refuses):
    lmna.obs[name] = lmna.obs[name].where(np.arange(360) >= 7)
    argument = {"library": "group_key", "genotype": "label_key", "day": "match_key"}[name]
    refuses(
        CALLS["matched"],
        lmna,
        f"adata.obs[{name!r}] ({argument}) has 7 missing values in 360 cells",
        ".notna()].copy()",
    )
    rest = lmna[lmna.obs[name].notna()].copy()
    CALLS["matched"](rest)


def test_a_group_with_two_labels(lmna, refuses):
    labels = lmna.obs["genotype"].astype(str).to_numpy(copy=True)
    labels[5] = "patient"
    lmna.obs["genotype"] = labels
    for call in (CALLS["groups"], CALLS["matched"]):
        refuses(call, lmna, "1 of 12 groups", "label_key='genotype'", "'GSM8325046' has 'control', 'patient'", "finer")


def test_a_group_on_two_days(lmna, refuses):
    day = lmna.obs["day"].to_numpy(copy=True)
    day[0] = 30
    lmna.obs["day"] = day
    refuses(CALLS["matched"], lmna, "match_key='day'", "'GSM8325046' has '0', '30'")


def test_one_class_in_a_partition(lmna, refuses):
    def matched(test, val=()):
        return lambda a: ho.pp.split_matched(a, "library", "day", label_key="genotype", test=test, val=val)

    refuses(matched(30), lmna, "test would have no group with genotype 'patient'", "'GSM8325053'", "choose other")
    refuses(matched(19, 2), lmna, "val would have no group with genotype 'patient'", "'GSM8325047'")
    refuses(matched([0, 9, 16, 19]), lmna, "train would have no group with genotype 'patient'", "'GSM8325047'")
    refuses(
        lambda a: ho.pp.split_assigned(a, "library", train=gsm(46, 54), test=gsm(47), label_key="genotype"),
        lmna,
        "test would have no group with genotype 'patient'",
    )


def test_one_class_altogether(lmna, refuses):
    control = lmna[lmna.obs["genotype"] == "control"].copy()
    refuses(CALLS["matched"], control, "label_key='genotype' has one class only ('control')")


def test_nothing_left_for_train(lmna, refuses):
    some = lmna[lmna.obs["day"].isin([0, 9])].copy()
    refuses(
        lambda a: ho.pp.split_matched(a, "library", "day", label_key="genotype", test=9, val=0),
        some,
        "test=['9'] and val=['0'] take every group",
        "match_key='day'",
    )
    refuses(lambda a: ho.pp.split_assigned(a, "library", train=[], test=gsm(46)), lmna, "train is empty")


def test_too_few_groups_of_a_class_name_the_class(lmna, refuses):
    few = lmna[lmna.obs["library"].isin(gsm(46, 47, 48, 49, 54, 55))].copy()
    refuses(
        lambda a: ho.pp.split_groups(a, "library", "genotype"),
        few,
        "every class in train, val, test",
        "at least 3 groups",
        "only 2 of 'patient'",
        "val=0",
    )
    ho.pp.split_groups(few, "library", "genotype", val=0)
    assert groups_in(few, "test")
    refuses(lambda a: ho.pp.split_groups(a, "genotype"), lmna, "at least 3 groups")


def test_unknown_groups_and_groups_listed_twice(lmna, refuses):
    refuses(
        lambda a: ho.pp.split_assigned(a, "library", train=gsm(46), test=["GSM832505"]),
        lmna,
        "test names 'GSM832505'",
        "Did you mean 'GSM8325",
    )
    refuses(
        lambda a: ho.pp.split_assigned(a, "library", train=gsm(46, 47), val=gsm(47)),
        lmna,
        "'GSM8325047' is listed in 'train' and again in 'val'",
        "take it out",
    )
    refuses(lambda a: ho.pp.split_assigned(a, "library", train=gsm(46, 46)), lmna, "'GSM8325046' is listed in 'train'")


def test_unknown_match_values_and_values_asked_for_twice(lmna, refuses):
    def matched(test, val=()):
        return lambda a: ho.pp.split_matched(a, "library", "day", label_key="genotype", test=test, val=val)

    refuses(matched(18), lmna, "test='18' is not a value of match_key", "'19'")
    refuses(matched(19, "zero"), lmna, "val='zero' is not a value of match_key", "'0', '16', '19'")
    refuses(matched([19], 19), lmna, "test='19'", "already asked for", "take it out")
    refuses(matched([19, 19.0]), lmna, "test='19'", "already asked for")
    refuses(matched([]), lmna, "test is empty", "match_key='day'")
    refuses(matched(np.nan), lmna, "test='nan' is not a value")


@pytest.mark.parametrize("split", [lambda a, **k: ho.pp.split_groups(a, "library", **k), ho.pp.split_cells])
@pytest.mark.parametrize(
    ("fractions", "words"),
    [
        ({"val": -0.1}, ["val=-0.1", "[0, 1)"]),
        ({"test": 1.0}, ["test=1.0", "[0, 1)"]),
        ({"test": 20}, ["test=20", "[0, 1)"]),
        ({"val": np.nan}, ["val=nan", "[0, 1)"]),
        ({"val": "0.2"}, ["val='0.2'", "[0, 1)"]),
        ({"val": 0.5, "test": 0.5}, ["val=0.5 and test=0.5", "0 < val + test < 1"]),
        ({"val": 0.7, "test": 0.6}, ["val=0.7 and test=0.6", "leave a share for train"]),
        ({"val": 0, "test": 0}, ["val=0 and test=0", "hold something out"]),
    ],
)
def test_fractions_out_of_range(lmna, split, fractions, words, refuses):
    refuses(lambda a: split(a, **fractions), lmna, *words)


def test_shares_that_round_to_nothing(lmna, refuses):
    refuses(lambda a: ho.pp.split_cells(a, val=0.001), lmna, "val=0.001 of 360 cells", "0 to leave the partition out")
    refuses(ho.pp.split_cells, lmna[:1].copy(), "of 1 cells")
    for name, call in CALLS.items():
        refuses(call, lmna[:0].copy(), "0 cells" if name == "cells" else "adata has no cells")


@pytest.mark.parametrize("scheme", CALLS)
@pytest.mark.parametrize("key", ["a/b", "", 3, None])
def test_a_key_that_files_cannot_hold(lmna, scheme, key, refuses):
    refuses(lambda a: CALLS[scheme](a, key_added=key), lmna, f"key_added={key!r}", "without '/'", "another name")


@pytest.mark.parametrize("scheme", CALLS)
def test_duplicate_names(lmna, scheme, refuses):
    names = lmna.obs_names.to_numpy(dtype=object, copy=True)
    names[1] = names[0]
    lmna.obs_names = names
    refuses(CALLS[scheme], lmna, "adata.obs_names has 1 duplicated", "'GSM8325046_000001'", "obs_names_make_unique()")


@pytest.mark.parametrize("scheme", CALLS)
@pytest.mark.parametrize("what", [None, pd.DataFrame({"library": ["a"]}), np.eye(3)])
def test_not_an_anndata(scheme, what):
    with pytest.raises(TypeError, match=f"adata must be an AnnData, got {type(what).__name__}"):
        CALLS[scheme](what)


def test_a_failing_call_leaves_a_view_a_view(lmna, refuses):
    view = lmna[lmna.obs["day"] != 19]
    refuses(CALLS["matched"], view, "test='19' is not a value of match_key")
    assert view.is_view


def test_no_group_key(lmna, refuses):
    refuses(lambda a: ho.pp.split_groups(a, []), lmna, "group_key is empty", "split_cells")


def test_a_failing_call_leaves_an_earlier_split(lmna, refuses):
    CALLS["matched"](lmna)
    refuses(lambda a: ho.pp.split_groups(a, "genotype"), lmna, "at least 3 groups")
    assert read_partition(lmna).scheme == "matched"


def test_long_names_of_merged_groups_cost_no_memory_for_each_cell():
    merged = np.array(["+".join(f"library{i}" for i in range(1000))] * 20_000 + ["other"], dtype=object)
    tracemalloc.start()
    groups = Groups.of(merged, np.array(["a"] * 20_000 + ["b"], dtype=object))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert groups.labels.tolist() == ["a", "b"]
    assert peak < 20e6


def test_a_label_with_one_class_is_refused(lmna, refuses):
    lmna.obs["same"] = "control"
    refuses(lambda a: ho.pp.split_groups(a, "library", "same"), lmna, "label_key='same'", "one class only", "'control'")


def test_a_column_that_is_no_split_is_not_overwritten(lmna, refuses):
    refuses(
        lambda a: ho.pp.split_groups(a, "library", "genotype", key_added="day"),
        lmna,
        "key_added='day'",
        "no split",
        "lost",
    )
    lmna.obs["mine"] = np.where(lmna.obs["day"] == 19, "test", "train")
    ho.pp.split_assigned(lmna, "mine", train=["train"], test=["test"], key_added="mine")
    assert read_partition(lmna, "mine").counts()["test"] == 60
