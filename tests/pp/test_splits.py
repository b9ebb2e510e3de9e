"""Splits: what must hold for every input, the published ones, and what is refused with which words."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import heldout as ho
from heldout._core.partition import PARTITIONS, read_partition
from heldout.splitting._allocate import draw
from heldout.splitting._components import components
from tests.helpers.properties import properties
from tests.helpers.splits import assigned, cells, groups_in, gsm

HYPOTHESIS = properties(80)


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
