"""The contract of a split: what leaves it valid, what breaks it, and what the error advises."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import heldout as ho
from heldout._core.partition import (
    PARTITIONS,
    Assignment,
    digests,
    keep_assignments,
    load_assignment,
    read_partition,
    write_partition,
)
from tests.helpers.properties import properties

HYPOTHESIS = properties(80)
NAMES = st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=20, unique=True)


def moved(adata, names, to):
    """Change the column by hand."""
    column = adata.obs["split"].astype(object)
    column[names] = to
    adata.obs["split"] = column
    return list(names)


# --- the assignment -------------------------------------------------------------------------------------------------


@HYPOTHESIS
@given(names=NAMES, data=st.data())
def test_an_assignment_is_a_function_from_names_to_codes(names, data):
    codes = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(names), max_size=len(names))), dtype=np.int8)
    assignment = Assignment.of(names, codes)
    assert assignment.lookup(names).tolist() == codes.tolist()
    order = data.draw(st.permutations(range(len(names))))
    shuffled = Assignment.of([names[i] for i in order], codes[order])
    assert shuffled.hash == assignment.hash
    assert Assignment.load(assignment.stored()).hash == assignment.hash
    strangers = [name + "\N{BULLET}" for name in names]
    known = np.array([name in names for name in strangers])
    assert ((assignment.lookup(strangers) == -1) == ~known).all()

    one = data.draw(st.integers(0, len(names) - 1))
    other = codes.copy()
    other[one] = (codes[one] + 1) % 4
    assert Assignment.of(names, other).hash != assignment.hash
    renamed = [*names[:one], names[one] + "\N{BULLET}", *names[one + 1 :]]
    if len(set(renamed)) == len(names):
        assert Assignment.of(renamed, codes).hash != assignment.hash


@HYPOTHESIS
@given(names=NAMES, data=st.data())
def test_the_hash_of_the_test_set_knows_the_test_set_alone(names, data):
    codes = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(names), max_size=len(names))), dtype=np.int8)
    assignment = Assignment.of(names, codes)
    elsewhere = np.where(codes == 2, 2, np.where(codes == 0, 1, codes))
    assert Assignment.of(names, elsewhere).hash_of(2) == assignment.hash_of(2)
    swapped = np.where(codes == 2, 0, np.where(codes == 0, 2, codes))
    if len(set(codes) & {0, 2}):
        assert Assignment.of(names, swapped).hash_of(2) != assignment.hash_of(2)


def test_digests_are_the_same_on_every_machine():
    expected = [13020603013274838756, 2172499900476119026, 14438852512921010808]
    found = digests(["", "AAAC-1", "细胞"])
    assert found.dtype == np.uint64
    assert found.tolist() == expected
    assert digests(np.array(["", "AAAC-1", "细胞"])).tolist() == expected
    assert digests(pd.Index(["", "AAAC-1", "细胞"])).tolist() == expected
    assert digests(pd.Series(["", "AAAC-1", "细胞"], dtype="string")).tolist() == expected


def test_an_assignment_of_nothing():
    nothing = Assignment.of([], np.array([], dtype=np.int8))
    assert nothing.lookup(["a", "b"]).tolist() == [-1, -1]
    assert nothing.lookup([]).tolist() == []
    assert nothing.hash != Assignment.of(["a"], np.array([0])).hash


# --- what leaves a split valid --------------------------------------------------------------------------------------


def test_masks_rows_and_counts(split):
    partition = read_partition(split)
    assert partition.counts() == {"train": 240, "val": 60, "test": 60, "unused": 0}
    assert (partition.mask("test") == (split.obs["day"] == 19)).all()
    assert (partition.mask("val", "test") == split.obs["day"].isin([0, 19])).all()
    assert partition.rows("train").tolist() == np.flatnonzero(~split.obs["day"].isin([0, 19])).tolist()
    with pytest.raises(ValueError, match=r"A fit needs cells in 'unused', but obs\['split'\] has {'train': 240, "):
        partition.require("train", "unused", purpose="A fit")


def test_a_filter_and_another_order_leave_it_valid(split):
    whole = read_partition(split)
    filtered = split[split.obs["total_counts"] > split.obs["total_counts"].median()].copy()
    reordered = filtered[np.random.default_rng(0).permutation(filtered.n_obs)].copy()
    for adata in (filtered, reordered, split[split.obs["day"] != 19], split[:0]):
        partition = read_partition(adata)
        assert partition.hash == whole.hash
        assert partition.test_hash == whole.test_hash
        expected = pd.Series(whole.codes, index=split.obs_names)[adata.obs_names]
        assert partition.codes.tolist() == expected.tolist()


def test_the_column_may_be_text_and_lose_its_categories(split):
    split.obs["split"] = split.obs["split"].astype(str)
    assert read_partition(split).counts()["test"] == 60
    split.obs["split"] = split.obs["split"].astype("category").cat.reorder_categories(["val", "test", "train"])
    assert read_partition(split).counts()["test"] == 60
    split.obs["split"] = split.obs["split"].astype("string")
    assert read_partition(split).counts()["test"] == 60


def test_it_survives_files_and_a_filter_after_them(split, through_file):
    split.obs_names = [f"Zelle-ä{name}" for name in split.obs_names]
    ho.pp.split_cells(split, key_added="leaky")
    ho.pp.split_groups(split, ["library", "day"], val=0.0, test=0.3)
    stored = through_file(split)
    for key in ("split", "leaky"):
        before, after = read_partition(split, key), read_partition(stored, key)
        assert after.hash == before.hash
        assert after.codes.tolist() == before.codes.tolist()
        assert (after.scheme, after.params) == (before.scheme, before.params)
    assert ho.get.split(stored, group_key="library").equals(ho.get.split(split, group_key="library"))
    twice = through_file(stored[stored.obs["day"] > 2].copy())
    assert read_partition(twice).hash == read_partition(split).hash


def test_new_names_break_it(split):
    split.obs_names = [f"x{name}" for name in split.obs_names]
    with pytest.raises(ValueError, match="360 of 360 names were not there when the split was made"):
        read_partition(split)


# --- what breaks it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("through", [True, False], ids=["after a file", "in memory"])
def test_a_column_edited_by_hand_names_the_cells(split, through, through_file):
    names = moved(split, split.obs_names[[3, 40, 77, 100]], "test")
    if through:
        split = through_file(split)
    with pytest.raises(ValueError, match="4 of 360 names are in another partition") as caught:
        read_partition(split)
    assert all(repr(name) in str(caught.value) for name in names[:3])
    assert "and 1 more" in str(caught.value)
    assert "Make the split again" in str(caught.value)
    ho.pp.split_matched(split, "library", "day", label_key="genotype", test=19)
    assert read_partition(split).counts()["test"] == 60


@pytest.mark.parametrize("value", [np.nan, None, "holdout", "Train", 2])
def test_a_value_that_is_no_partition(split, value):
    moved(split, split.obs_names[:2], value)
    with pytest.raises(
        ValueError, match=r"adata.obs\['split'\] may hold only train, val, test, unused; it also has"
    ) as caught:
        read_partition(split)
    assert repr(str(value)) in str(caught.value) or value is None


def test_new_cells_by_concat(split, lmna):
    new = split[:5].copy()
    new.obs_names = [f"new{i}" for i in range(5)]
    del new.uns["heldout"]
    both = ad.concat([split, new], uns_merge="first")
    with pytest.raises(ValueError, match="5 of 365 names were not there when the split was made") as caught:
        read_partition(both)
    assert "'new0', 'new1', 'new2' and 2 more" in str(caught.value)
    without = ad.concat([split, new])
    with pytest.raises(ValueError, match="no record in uns.*After anndata.concat, make the split again"):
        read_partition(without)


def test_concat_of_two_halves_with_the_record_is_the_split(split):
    halves = ad.concat([split[100:], split[:100]], uns_merge="first")
    assert read_partition(halves).hash == read_partition(split).hash


def adopt(message, adata):
    """Do what the error says."""
    call = message[message.index("heldout.pp.split_assigned(") :]
    call = call[: call.index(")") + 1]
    eval(call, {"heldout": ho, "adata": adata})


@pytest.mark.parametrize("used", [("train", "test"), ("train", "val", "test"), ("train", "test", "unused"), PARTITIONS])
@pytest.mark.parametrize("key", ["mine", "split", "it's"])
def test_the_advice_for_a_column_of_ones_own_works(lmna, used, key):
    lmna.obs[key] = np.random.default_rng(0).choice(used, lmna.n_obs)
    with pytest.raises(ValueError, match="has no record in uns.*so nothing proves how it was made") as caught:
        read_partition(lmna, key)
    wanted = lmna.obs[key].tolist()
    adopt(str(caught.value), lmna)
    adopted = read_partition(lmna)
    assert [PARTITIONS[code] for code in adopted.codes] == wanted
    assert adopted.scheme == "assigned"


def test_no_split_yet_and_a_misspelt_key(lmna):
    with pytest.raises(ValueError, match="split_key='split' is not a column of adata.obs. Make one first"):
        read_partition(lmna)
    ho.pp.split_cells(lmna, key_added="by_cell")
    with pytest.raises(ValueError, match="split_key='by_cells' is not a column.*Did you mean 'by_cell'?"):
        read_partition(lmna, "by_cells")


def test_a_tampered_assignment(split, through_file):
    hash_ = read_partition(split).hash
    for part, value in (("codes", 2), ("members", 1)):
        adata = through_file(split)
        adata.uns["heldout"]["assignments"][hash_][part][7] = value
        with pytest.raises(ValueError, match=f"{hash_[:12]}… was altered.*Make the split again"):
            read_partition(adata)
    del adata.uns["heldout"]["assignments"][hash_]
    with pytest.raises(ValueError, match=f"{hash_[:12]}… is not in uns.*Make the split again"):
        read_partition(adata)


def test_moving_cells_to_test_together_with_the_record_needs_a_new_hash(split):
    """Column and codes changed alike: the hash, which the fits carry, gives it away."""
    name = split.obs_names[3]
    moved(split, [name], "test")
    stored = split.uns["heldout"]["assignments"][read_hash(split)]
    stored["codes"][stored["members"] == digests([name])[0]] = PARTITIONS.index("test")
    with pytest.raises(ValueError, match="was altered"):
        read_partition(split)


def read_hash(adata, key="split"):
    return adata.uns["heldout"]["splits"][key]["hash"]


def test_a_split_of_the_wrong_hash(split):
    ho.pp.split_cells(split, key_added="leaky")
    split.uns["heldout"]["splits"]["split"]["hash"] = read_hash(split, "leaky")
    with pytest.raises(ValueError, match="are in another partition than when the split was made"):
        read_partition(split)


# --- genes ----------------------------------------------------------------------------------------------------------


def test_a_split_of_genes(lmna, through_file):
    codes = np.arange(150) % 4
    write_partition(lmna, codes, key="gene_split", scheme="genes", params={"n": 4}, axis="var")
    lmna = through_file(lmna)
    partition = read_partition(lmna[:, 149:0:-1], "gene_split", axis="var")
    assert partition.axis == "var"
    assert partition.codes.tolist() == codes[149:0:-1].tolist()
    assert partition.params == {"n": 4}
    with pytest.raises(ValueError, match="split_key='gene_split' is not a column of adata.obs"):
        read_partition(lmna, "gene_split")
    lmna.var.loc["GENE00003", "gene_split"] = "test" if codes[2] != 2 else "train"
    with pytest.raises(ValueError, match=r"adata.var\['gene_split'\] does not match.*1 of 150.*'GENE00003'"):
        read_partition(lmna, "gene_split", axis="var")


def test_cells_and_genes_cannot_share_a_name(split, unchanged):
    with (
        unchanged(split),
        pytest.raises(ValueError, match="key_added='split' is already a split in adata.obs"),
    ):
        write_partition(split, np.zeros(150, dtype=int), key="split", scheme="genes", params={}, axis="var")
    del split.obs["split"]
    write_partition(split, np.zeros(150, dtype=int), key="split", scheme="genes", params={}, axis="var")
    assert read_partition(split, axis="var").counts()["train"] == 150


def test_a_column_of_genes_of_ones_own_gets_no_advice_for_cells(lmna):
    lmna.var["mine"] = "train"
    with pytest.raises(ValueError, match=r"adata.var\['mine'\] has no record") as caught:
        read_partition(lmna, "mine", axis="var")
    assert "split_assigned" not in str(caught.value)


# --- what is kept ---------------------------------------------------------------------------------------------------


def test_an_assignment_goes_when_nothing_refers_to_it(split):
    first = read_hash(split)
    ho.pp.split_cells(split)
    assert list(split.uns["heldout"]["assignments"]) == [read_hash(split)] != [first]


def test_an_assignment_stays_while_a_fit_refers_to_it(split):
    first = read_hash(split)
    ho.tl.genotype(split, method="majority")
    ho.pp.split_cells(split)
    assert set(split.uns["heldout"]["assignments"]) == {first, read_hash(split)}
    assert load_assignment(split, first).hash == first
    ho.pp.split_cells(split, rng=1)
    assert set(split.uns["heldout"]["assignments"]) == {first, read_hash(split)}
    ho.tl.genotype(split, method="majority")
    assert list(split.uns["heldout"]["assignments"]) == [read_hash(split)]
    assert keep_assignments(split, splits={}, fits={}) == {}


def test_records_are_plain_values(split):
    record = split.uns["heldout"]["splits"]["split"]
    assert {type(value) for value in record.values()} == {str}
    assert json.loads(record["params"])["test"] == ["19"]
    (stored,) = split.uns["heldout"]["assignments"].values()
    assert {name: array.dtype.str for name, array in stored.items()} == {"members": "<u8", "codes": "|i1"}
