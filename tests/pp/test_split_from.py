"""A published split: it survives files, it is refused when it was altered, and it is the same split elsewhere."""

import importlib.util
import json
import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import heldout as ho
from heldout._core.fits import check_split, read_fit
from heldout._core.partition import PARTITIONS, read_partition, write_partition
from heldout.get import split_table
from heldout.pp import split_from
from tests.helpers.splits import assert_same_split, published, shuffled

needs_pyarrow = pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")
SUFFIXES = [".csv", ".csv.gz", pytest.param(".parquet", marks=needs_pyarrow)]


@pytest.fixture
def split(lmna):
    return published(lmna)


@pytest.fixture
def fresh(_lmna):
    return shuffled(_lmna)


@pytest.fixture
def table(split):
    return split_table(split)


def written(table, path):
    """Write the table as a user would."""
    (table.to_parquet if path.suffix == ".parquet" else table.to_csv)(path)
    return path


# --- the table ------------------------------------------------------------------------------------------------------


def test_the_table_is_small_and_plain(split, table, unchanged):
    with unchanged(split):
        split_table(split)
    assert table.index.name == "cell"
    assert table.index.tolist() == split.obs_names.tolist()
    assert table.columns.tolist() == ["partition", "split_hash", "record"]
    assert table["partition"].tolist() == split.obs["split"].tolist()
    assert table["split_hash"].unique().tolist() == [read_partition(split).hash]
    assert (table["record"].iloc[1:] == "").all()
    record = json.loads(table["record"].iloc[0])
    assert (record["scheme"], record["params"]["match_key"]) == ("matched", "day")


def test_dropped_cells_stay_in_the_table_by_digest(split, fresh):
    table = split_table(split[split.obs["day"] != 19].copy())
    assert table.index.str.fullmatch("blake2b:[0-9a-f]{16}").sum() == 60
    assert (table["partition"] == "test").sum() == 60
    split_from(fresh, table)
    assert_same_split(fresh, split)


@pytest.mark.parametrize(("key", "axis", "word"), [("splitt", "obs", "split"), ("split", "var", "adata.var")])
def test_the_table_of_a_split_that_is_not_there(split, refuses, key, axis, word):
    refuses(lambda a: split_table(a, key, axis=axis), split, f"split_key={key!r}", word)


def test_the_table_of_a_column_edited_by_hand(split, refuses):
    split.obs["split"] = "train"
    refuses(split_table, split, "does not match its record")
    refuses(lambda a: split_table(a, axis="cells"), split, "axis='cells'", "'obs'", "'var'")


# --- round trips ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("as_text", [True, False], ids=["str", "Path"])
def test_through_a_file(split, fresh, table, tmp_path, suffix, as_text):
    path = written(table, tmp_path / f"split{suffix}")
    split_from(fresh, str(path) if as_text else path)
    assert_same_split(fresh, split)
    assert list(fresh.obs["split"].cat.categories) == list(PARTITIONS)
    again = split_table(fresh)
    assert again.drop(columns="record").loc[table.index].equals(table.drop(columns="record"))
    assert again["record"].iloc[0] == table["record"].iloc[0]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_that_files_spoil(tmp_path, suffix):
    names = ["NA", "nan", "", "001", "1e5", "TRUE", "a,b", 'q"u"o', "'x'", " x ", "zwei\nZeilen", "细胞", "ä;ö"]
    adata = ad.AnnData(np.ones((len(names), 1), dtype=np.float32), obs=pd.DataFrame(index=names))
    other = adata.copy()
    ho.pp.split_cells(adata, val=0.2, test=0.4)
    split_from(other, written(split_table(adata), tmp_path / f"split{suffix}"))
    assert_same_split(other, adata)


def test_a_name_that_a_csv_cannot_hold_is_refused(lmna, refuses, tmp_path):
    lmna.obs_names = ["a\rb", *lmna.obs_names[1:]]
    ho.pp.split_cells(lmna)
    path = written(split_table(lmna), tmp_path / "split.csv")
    # older versions of Python do not quote a lone carriage return
    path.write_bytes(path.read_bytes().replace(b'"a\rb"', b"a\rb"))
    refuses(lambda a: split_from(a, path), lmna, "table['partition'] must have only")


@pytest.mark.parametrize(("encoding", "sep"), [("utf-8-sig", ","), ("utf-16", "\t"), ("cp1252", ";")])
def test_a_csv_that_passed_a_spreadsheet(encoding, sep, split, fresh, table, tmp_path):
    table.to_csv(tmp_path / "split.csv", encoding=encoding, sep=sep, lineterminator="\r\n")
    split_from(fresh, tmp_path / "split.csv")
    assert_same_split(fresh, split)


def test_a_csv_read_by_the_user(split, fresh, table, tmp_path):
    written(table, tmp_path / "split.csv")
    for frame in (pd.read_csv(tmp_path / "split.csv"), pd.read_csv(tmp_path / "split.csv", index_col=0)):
        split_from(fresh, frame)
        assert_same_split(fresh, split)


def test_neither_order_matters(split, fresh, table):
    shuffled = table.sample(frac=1, random_state=1)
    before = shuffled.copy()
    split_from(fresh, shuffled)
    pd.testing.assert_frame_equal(shuffled, before)
    assert_same_split(fresh, split)


@pytest.mark.parametrize(
    "make",
    [
        lambda a: ho.pp.split_groups(a, "library", "genotype", val=0.2, test=0.2),
        lambda a: ho.pp.split_cells(a),
        lambda a: ho.pp.split_assigned(a, "day", train=[0, 2], test=[19]),
    ],
    ids=["groups", "cells", "assigned"],
)
def test_other_schemes(lmna, fresh, make):
    make(lmna)
    split_from(fresh, split_table(lmna))
    assert_same_split(fresh, lmna)


def test_another_key_and_a_copy(fresh, split, table, unchanged):
    with unchanged(fresh):
        changed = split_from(fresh, table, key_added="published", copy=True)
    assert read_partition(changed, "published").hash == read_partition(split).hash
    assert split_from(fresh, table) is None


def test_a_split_of_genes(lmna, fresh):
    codes = np.arange(lmna.n_vars) % 3
    write_partition(lmna, codes, key="genes", scheme="genes", params={"rng": 0}, axis="var")
    table = split_table(lmna, "genes", axis="var")
    assert table.index.name == "gene"
    split_from(fresh, table, key_added="genes")
    one, two = (read_partition(adata, "genes", axis="var") for adata in (lmna, fresh))
    assert (one.hash, one.codes.tolist(), one.params) == (two.hash, two.codes.tolist(), two.params)
    assert "genes" not in fresh.obs


def test_it_survives_a_file(split, fresh, table, tmp_path):
    split_from(fresh, table)
    fresh.write_h5ad(tmp_path / "fresh.h5ad")
    assert_same_split(ad.read_h5ad(tmp_path / "fresh.h5ad"), split)


def test_a_fit_on_the_published_split_is_accepted_elsewhere(split, fresh, table):
    ho.tl.genotype(split, "genotype", method="qc_logistic")
    fit = read_fit(split, "genotype")
    split_from(fresh, table)
    check_split(fresh, fit, read_partition(fresh), key="genotype")
    fresh.uns["heldout"]["fits"] = split.uns["heldout"]["fits"]
    ho.tl.predict(fresh, "genotype")
    expected = split.obs["genotype_probability"]
    np.testing.assert_array_equal(fresh.obs.loc[expected.index, "genotype_probability"], expected)

    ho.pp.split_cells(fresh)
    with pytest.raises(ValueError, match="was made on another split"):
        check_split(fresh, fit, read_partition(fresh), key="genotype")


def test_the_split_of_an_older_fit_is_kept(fresh, table):
    ho.pp.split_cells(fresh)
    ho.tl.genotype(fresh, "genotype", method="majority")
    old = read_partition(fresh).hash
    split_from(fresh, table)
    assert set(fresh.uns["heldout"]["assignments"]) == {old, table["split_hash"].iloc[0]}


# --- other cells ----------------------------------------------------------------------------------------------------


def test_cells_of_the_table_that_are_not_at_hand(split, fresh, table, caplog):
    few = fresh[fresh.obs["day"] != 19][:200].copy()
    with caplog.at_level(logging.WARNING, logger="heldout"):
        split_from(few, table)
    assert_same_split(few, split[few.obs_names])
    counts = {name: read_partition(few).missing(name) for name in PARTITIONS}
    assert counts["test"] == 60
    assert "160 of the 360 cells of the table are not in adata (" in caplog.text
    assert f"{counts['train']} train, {counts['val']} val, 60 test)" in caplog.text


def test_a_view_becomes_actual_and_its_parent_stays(split, fresh, table, unchanged):
    view = fresh[:50]
    with unchanged(fresh):
        split_from(view, table)
    assert not view.is_view
    assert read_partition(view).hash == read_partition(split).hash


def test_no_word_when_all_cells_are_there(fresh, table, caplog):
    with caplog.at_level(logging.WARNING, logger="heldout"):
        split_from(fresh, table)
    assert not caplog.records


@pytest.fixture
def more(fresh):
    """The same cells and four more."""
    new = fresh[:4].copy()
    new.obs_names = [f"new{i}" for i in range(4)]
    return ad.concat([fresh, new])


def test_cells_that_are_not_in_the_table(more, table, refuses):
    refuses(lambda a: split_from(a, table), more, "4 of the 364 cells", "'new0'", "and 1 more", "missing='unused'")


def test_cells_that_are_not_in_the_table_to_unused(split, more, table):
    split_from(more, table, missing="unused")
    published, partition = read_partition(split), read_partition(more)
    assert partition.counts() == {**published.counts(), "unused": 4}
    assert more.obs_names[partition.mask("unused")].tolist() == [f"new{i}" for i in range(4)]
    assert partition.hash != published.hash
    assert partition.test_hash == published.test_hash
    assert partition.params == {**published.params, "split_from": {"hash": published.hash, "n_missing": 4}}
    again = split[:].copy()
    split_from(again, split_table(more))
    assert read_partition(again).hash == partition.hash


def test_unused_changes_nothing_where_all_cells_are_listed(split, fresh, table):
    split_from(fresh, table, missing="unused")
    assert_same_split(fresh, split)


@pytest.mark.parametrize("missing", ["error", "unused"])
def test_no_common_cell(fresh, table, refuses, missing):
    fresh.obs_names = [f"{name}-1" for name in fresh.obs_names]
    words = ("360 of the 360 cells", repr(fresh.obs_names[0]), "adata.obs_names differ in spelling")
    refuses(lambda a: split_from(a, table, missing=missing), fresh, *words)


# --- what is refused ------------------------------------------------------------------------------------------------


def with_values(table, column, rows, value):
    """Return the table with some values of a column changed."""
    table = table.astype(object)
    table.iloc[rows, table.columns.get_loc(column)] = value
    return table


def renamed(table):
    return table.rename(index={table.index[7]: "someone"})


def other_record(table, text):
    return with_values(table, "record", 0, text)


ALTERED = {
    "a cell moved": (lambda t: with_values(t, "partition", [3], "test"), ["table was altered", "360 names"]),
    "two swapped": (lambda t: t.set_index(t.index[::-1]), ["table was altered"]),
    "a cell renamed": (renamed, ["table was altered", "dtype=str"]),
    "a row removed": (lambda t: t.drop(index=t.index[20]), ["table was altered", "359 names"]),
    "test removed": (lambda t: t[t["partition"] != "test"], ["table was altered"]),
    "another hash": (lambda t: t.assign(split_hash="0" * 64), ["table was altered", "split_hash is 000000000000…"]),
    "wrong partition": (lambda t: with_values(t, "partition", [3, 4], "holdout"), ["'holdout'", "train, val, test"]),
    "no partition": (lambda t: with_values(t, "partition", [3], np.nan), ["'nan'", "train, val, test"]),
    "a name twice": (lambda t: pd.concat([t, t.iloc[[5]]]), ["1 cells more than once", "Get the original"]),
    "no rows": (lambda t: t[:0], ["table['split_hash'] must have one value, but it has 0"]),
    "two hashes": (lambda t: with_values(t, "split_hash", [3], "x"), ["table['split_hash']", "it has 2"]),
    "a hash missing": (lambda t: with_values(t, "split_hash", [3], np.nan), ["table['split_hash']"]),
    "no index": (lambda t: t.reset_index(drop=True), ["'cell'", "'partition'", "Write the table with its index"]),
    "both axes": (lambda t: t.assign(gene="x").reset_index(), ["'cell'", "exactly one"]),
    "columns missing": (lambda t: t[["partition"]], ["lacks the column(s) 'split_hash', 'record'", "split_assigned"]),
    "record removed": (lambda t: t[1:], ["altered"]),
    "record emptied": (lambda t: other_record(t, ""), ["table['record'] must have one value, but it has 0"]),
    "record is text": (lambda t: other_record(t, "day-matched"), ["table['record'] must be JSON", "'day-matched'"]),
    "record is a list": (lambda t: other_record(t, "[1]"), ["table['record'] must be JSON"]),
    "record lacks params": (lambda t: other_record(t, '{"schema": 1, "scheme": "x"}'), ["must be JSON with schema"]),
    "newer schema": (
        lambda t: other_record(t, '{"schema": 2, "scheme": "x", "params": {}}'),
        ["schema 2", "reads up to schema 1", "pip install -U heldout"],
    ),
    "a name missing": (
        lambda t: with_values(t.reset_index(), "cell", [2], np.nan),
        ["1 rows without a name", "keep_default_na=False"],
    ),
}


@pytest.mark.parametrize(("change", "words"), ALTERED.values(), ids=ALTERED.keys())
def test_an_altered_table(fresh, table, refuses, change, words):
    refuses(lambda a: split_from(a, change(table)), fresh, *words)


def test_a_dropped_cell_listed_by_name_too(split, table, fresh, refuses):
    unnamed = split_table(split[1:].copy())
    both = pd.concat([unnamed, table.iloc[[0]].assign(record="")])
    refuses(lambda a: split_from(a, both), fresh, "1 cells more than once", repr(table.index[0]))


def test_a_file_altered_by_hand(fresh, table, refuses, tmp_path):
    path = written(table, tmp_path / "split.csv")
    path.write_text(path.read_text().replace(",val,", ",train,", 1))
    refuses(lambda a: split_from(a, path), fresh, "table was altered")
    path.write_text("")
    refuses(lambda a: split_from(a, path), fresh)


def test_a_file_that_is_not_one(fresh, table, refuses, unchanged, tmp_path):
    refuses(lambda a: split_from(a, "split.tsv"), fresh, "table='split.tsv'", ".csv.gz", ".parquet")
    with unchanged(fresh), pytest.raises(FileNotFoundError, match="absent"):
        split_from(fresh, tmp_path / "absent.csv")
    with unchanged(fresh), pytest.raises(TypeError, match="table must be a DataFrame or the path of a file, got list"):
        split_from(fresh, [table])


def test_parquet_without_pyarrow(fresh, unchanged, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with unchanged(fresh), pytest.raises(ImportError, match=r"split.parquet.* needs pyarrow: pip install pyarrow"):
        split_from(fresh, "split.parquet")


def test_bad_arguments(fresh, table, refuses):
    refuses(lambda a: split_from(a, table, missing="drop"), fresh, "missing='drop'", "'error'", "'unused'")
    refuses(lambda a: split_from(a, table, key_added="a/b"), fresh, "key_added='a/b'")
    refuses(lambda a: split_from(a, table, key_added="day"), fresh, "key_added='day'", "not a split")


def test_cells_with_one_name(split, fresh, table, refuses):
    fresh.obs_names = ["x", "x", *fresh.obs_names[2:]]
    refuses(lambda a: split_from(a, table), fresh, "adata.obs_names has 1 duplicated names")
    refuses(lambda a: split_table(a), fresh, "adata.obs_names has 1 duplicated names")
