"""Each look at a test set is counted."""

import logging

import numpy as np
import pytest

import heldout as ho
from heldout._core.fits import read_fit
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
    assert list(ledger.columns) == ["time", "key", "method", "fit", "split", "test_set", "judged", "look"]
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
