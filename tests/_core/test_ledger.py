"""Each look at a test set is counted."""

import logging

import numpy as np
import pytest

import heldout as ho
from heldout._core.fits import read_fit
from heldout._core.ledger import COLUMNS
from heldout._core.partition import read_partition


def look(adata, **options):
    return ho.tl.evaluate(adata, baselines=["majority"], n_bootstrap=10, **options)


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture
def fitted(split):
    """A split with the plainest of models."""
    ho.tl.genotype(split, method="majority")
    return split


def test_looks_are_counted_and_the_second_warns(fitted, caplog):
    with caplog.at_level(logging.WARNING, logger="heldout"):
        assert set(look(fitted)["look"]) == {1}
        assert warnings_of(caplog) == []
        ho.tl.genotype(fitted, method="qc_logistic", key_added="other")
        assert set(look(fitted, key="other")["look"]) == {2}
    assert any("look 2 at the same test set" in message for message in warnings_of(caplog))
    ledger = ho.get.ledger(fitted)
    assert list(ledger.columns) == list(COLUMNS)
    assert ledger["look"].tolist() == [1, 2]
    assert ledger["test_set"].unique().tolist() == [read_partition(fitted).test_hash]
    assert ledger["fit"].tolist() == [read_fit(fitted, key).hash for key in ("genotype", "other")]


def test_other_baselines_of_the_same_fit_are_the_same_look(fitted, through_file, caplog):
    look(fitted)
    ho.tl.genotype(fitted, method="qc_logistic", key_added="other")
    look(fitted, key="other")
    caplog.clear()
    stored = through_file(fitted)
    with caplog.at_level(logging.WARNING, logger="heldout"):
        for options in ({"baselines": ["qc_logistic", "logistic"]}, {"n_bootstrap": 20}, {"rng": 3}):
            table = ho.tl.evaluate(stored, "genotype", **{"baselines": ["majority"], "n_bootstrap": 10, **options})
            assert set(table["look"]) == {1}
    assert warnings_of(caplog) == []
    ledger = ho.get.ledger(stored)
    assert ledger["look"].tolist() == [1, 2, 1, 1, 1], "each evaluation is recorded, with the number of its look"
    assert ledger["key"].tolist() == ["genotype", "other", "genotype", "genotype", "genotype"]


def test_another_unit_or_other_cells_of_the_same_fit_are_a_new_look(fitted):
    look(fitted)
    test = (fitted.obs["split"] == "test").to_numpy()
    assert set(look(fitted[~test | (np.cumsum(test) > 1)].copy())["look"]) == {2}, "a test cell was left out"
    fitted.obs["half"] = fitted.obs["library"].astype(str) + np.where(np.arange(fitted.n_obs) % 2, "a", "b")
    options = {"baselines": ["majority"], "n_bootstrap": 10}
    assert set(ho.tl.evaluate_genotype(fitted, group_key="half", **options)["look"]) == {2}
    assert set(ho.tl.evaluate_genotype(fitted, claim_keys=["day"], **options)["look"]) == {3}
    ho.tl.genotype(fitted, method="logistic", mask_var=None)
    assert set(look(fitted)["look"]) == {4}, "the same key, another fit"


def test_looks_survive_files(fitted, through_file, caplog):
    look(fitted)
    stored = through_file(fitted)
    ho.tl.genotype(stored, method="qc_logistic")
    with caplog.at_level(logging.WARNING, logger="heldout"):
        look(stored)
    assert any("look 2 at the same test set" in message for message in warnings_of(caplog))
    ledger = ho.get.ledger(stored)
    assert ledger["look"].tolist() == [1, 2]
    assert ledger["look"].dtype.kind == "i"
    assert ledger["key"].tolist() == ["genotype"] * 2


def test_looks_belong_to_the_test_set_not_to_the_fit_or_the_split(fitted):
    look(fitted)
    ho.tl.genotype(fitted, method="qc_logistic", key_added="other")
    assert set(look(fitted, key="other")["look"]) == {2}
    ho.pp.split_matched(fitted, "library", "day", label_key="genotype", test=19, val=9)
    ho.tl.genotype(fitted, method="majority")
    assert set(look(fitted)["look"]) == {3}
    ho.pp.split_matched(fitted, "library", "day", label_key="genotype", test=16, val=0)
    ho.tl.genotype(fitted, method="majority")
    assert set(look(fitted)["look"]) == {1}
    assert ho.get.ledger(fitted)["look"].tolist() == [1, 2, 3, 1]


def test_cells_dropped_since_do_not_make_a_new_test_set(fitted):
    look(fitted)
    ho.tl.genotype(fitted, method="qc_logistic")
    fewer = fitted[1:].copy()
    assert set(look(fewer)["look"]) == {2}
    fewer = fitted[:-1].copy()
    assert set(look(fewer)["look"]) == {2}


def test_other_partitions_are_not_looks_at_the_test_set(fitted):
    for partition in ("val", "train"):
        assert set(look(fitted, partition=partition)["look"]) == {0}
    assert len(ho.get.ledger(fitted)) == 0


def test_a_failing_evaluation_is_no_look(fitted, unchanged):
    look(fitted)
    with unchanged(fitted), pytest.raises(ValueError, match="nonsense"):
        ho.tl.evaluate(fitted, baselines=["nonsense"])
    with unchanged(fitted), pytest.raises(ValueError, match="group_key"):
        ho.tl.evaluate_genotype(fitted, group_key="librari")
    assert ho.get.ledger(fitted)["look"].tolist() == [1]


def test_labels_of_test_cells_are_shown_after_a_look(fitted):
    test = (fitted.obs["split"] == "test").to_numpy()
    before = ho.get.predictions(fitted)
    assert before["label"].isna().tolist() == test.tolist()
    assert before["prediction"].notna().all()
    look(fitted)
    after = ho.get.predictions(fitted)
    assert after["label"].tolist() == fitted.obs["genotype"].tolist()
    ho.tl.genotype(fitted, method="qc_logistic", key_added="other")
    assert ho.get.predictions(fitted, "other")["label"].isna().sum() == test.sum()


def test_the_audit_counts_test_sets_that_overlap(fitted):
    look(fitted)
    first = (fitted.obs["split"] == "test").to_numpy()
    groups = list(fitted.obs.loc[first, "library"].unique())
    rest = [name for name in fitted.obs["library"].unique() if name not in groups]
    ho.pp.split_assigned(fitted, "library", train=rest, test=groups[:1], key_added="half")
    table = ho.tl.audit(fitted, split_key="half", items=["test_looks"])
    (found,) = table[table["item"] == "test_looks"].itertuples()
    n = int((fitted.obs["library"] == groups[0]).sum())
    assert (found.status, found.value) == ("warn", n)
    ho.pp.split_assigned(fitted, "library", train=rest[1:] + groups, test=rest[:1], key_added="apart")
    table = ho.tl.audit(fitted, split_key="apart", items=["test_looks"])
    (found,) = table[table["item"] == "test_looks"].itertuples()
    assert found.status == "pass"


def swapped(adata, key="swapped"):
    """A split whose val cells are the test cells of ``split``, and the other way round."""
    old = adata.obs["split"].astype(str)
    adata.obs["adopted"] = old.map({"train": "train", "val": "test", "test": "val", "unused": "unused"})
    ho.pp.split_assigned(adata, "adopted", train=["train"], val=["val"], test=["test"], key_added=key)
    return key


@pytest.fixture
def with_val(split):
    """A split with val, and another split whose val cells are its test cells."""
    ho.pp.split_matched(split, "library", "day", label_key="genotype", test=19, val=0)
    swapped(split)
    return split


def test_val_cells_that_another_split_tests_are_test_cells(with_val, caplog):
    options = {"baselines": [], "n_bootstrap": 10, "group_key": "library"}
    for method, number in (("majority", 1), ("qc_logistic", 2)):
        ho.tl.genotype(with_val, method=method, split_key="swapped", key_added="other", group_key="library")
        with caplog.at_level(logging.WARNING, logger="heldout"):
            report = ho.tl.evaluate_genotype(with_val, "other", partition="val", **options)
        assert set(report["look"]) == {number}
    n = int((with_val.obs["split"] == "test").sum())
    assert any(f"{n} val cells are test cells of the split 'split'" in message for message in warnings_of(caplog))
    assert "look 2 at test cells of the split 'split'" in str(report)
    ledger = ho.get.ledger(with_val)
    assert ledger[["partition", "look"]].values.tolist() == [["val", 1], ["val", 2]]
    ho.tl.genotype(with_val, method="majority")
    assert set(look(with_val, key="genotype")["look"]) == {3}, "the same cells, now as test"
    (found,) = ho.tl.audit(with_val, items=["test_looks"]).query("item == 'test_looks'").itertuples()
    assert (found.status, found.value) == ("warn", 3)
    assert "2 rows of the ledger scored them as val" in found.finding


def test_labels_of_val_cells_that_another_split_tests_are_shown_after_a_look(with_val):
    ho.tl.genotype(with_val, method="majority", split_key="swapped", key_added="other", group_key="library")
    val = (with_val.obs["swapped"] == "val").to_numpy()
    test = (with_val.obs["swapped"] == "test").to_numpy()
    assert ho.get.predictions(with_val, "other")["label"].isna().tolist() == (val | test).tolist()
    with pytest.raises(ValueError, match="partition='val'"):
        ho.pl.confusion(with_val, "other", partition="val")
    ho.tl.evaluate_genotype(with_val, "other", partition="val", baselines=[], n_bootstrap=10, group_key="library")
    assert ho.get.predictions(with_val, "other")["label"].isna().tolist() == test.tolist(), "test has no look"


def test_a_sweep_on_test_cells_of_another_split_is_a_look(with_val):
    config = ho.model.MLPConfig(max_epochs=1, n_hidden=4)
    options = {"grid": {"n_layers": [1]}, "config": config, "baselines": [], "mask_var": None}
    ho.tl.sweep(with_val, split_key="swapped", group_key="library", **options)
    assert ho.get.ledger(with_val)[["partition", "look"]].values.tolist() == [["val", 1], ["test", 1]]


def test_val_of_a_fold_is_no_look_at_the_other_folds(lmna):
    ho.pp.folds(lmna, "library", "genotype", n_folds=3)
    ho.tl.genotype(lmna, method="majority", split_key="fold_0")
    assert set(look(lmna, partition="val")["look"]) == {0}
    assert len(ho.get.ledger(lmna)) == 0


def test_looks_at_test_sets_that_overlap_are_included(fitted, through_file, caplog):
    look(fitted)
    libraries = fitted.obs["library"]
    first = (fitted.obs["split"] == "test").to_numpy()
    groups = sorted(libraries[first].unique())
    rest = [name for name in libraries.unique() if name not in groups]
    first_half = {"train": rest, "test": groups[:1]}
    ho.pp.split_assigned(fitted, "library", **first_half)
    ho.tl.genotype(fitted, method="majority")
    stored = through_file(fitted)
    n = int((libraries == groups[0]).sum())
    with caplog.at_level(logging.WARNING, logger="heldout"):
        report = look(stored)
    assert set(report["look"]) == {2}, "the first split was replaced, but the ledger has kept it"
    said = f"look 2 at this test set; 1 earlier look was at other sets with up to {n} of these {n} cells"
    assert said in str(report)
    assert any(said in message for message in warnings_of(caplog))
    ho.pp.split_assigned(stored, "library", train=rest[1:], test=[*groups, rest[0]])
    ho.tl.genotype(stored, method="majority")
    assert set(look(stored)["look"]) == {3}
    ho.pp.split_assigned(stored, "library", train=rest[1:] + groups, test=rest[:1])
    ho.tl.genotype(stored, method="majority")
    assert set(look(stored)["look"]) == {2}, "only the set of all three overlaps with it"
