"""A fit and the split that it was made on: a fit is refused on another split, and assignments are kept for fits."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import heldout as ho
from heldout._core.fits import check_split, write_fit
from heldout._core.partition import Assignment, keep_assignments, read_partition, write_partition
from tests.helpers.fits import a_fit, holding


def test_the_same_split_and_fewer_cells_are_fine(split):
    fit = holding(split, a_fit())
    check_split(split, fit, read_partition(split), key="k")
    fewer = split[split.obs["day"] != 19].copy()
    check_split(fewer, fit, read_partition(fewer), key="k")


def test_the_same_split_made_again_on_fewer_cells_is_fine(split):
    fit = holding(split, a_fit())
    fewer = split[::3].copy()
    ho.pp.split_matched(fewer, "library", "day", label_key="genotype", test=19, val=0)
    assert read_partition(fewer).hash != fit.split_hash
    check_split(fewer, fit, read_partition(fewer), key="k")


def test_another_split_counts_the_cells_and_the_leaks(split):
    fit = holding(split, a_fit())
    ho.pp.split_matched(split, "library", "day", label_key="genotype", test=9, val=0)
    with pytest.raises(ValueError, match="Fit 'k' was made on another split") as caught:
        check_split(split, fit, read_partition(split), key="k")
    message = str(caught.value)
    changed = split.obs_names[split.obs["day"].isin([9, 19])]
    assert f"{len(changed)} of 360 names differ (e.g. {changed[0]!r}, {changed[1]!r}" in message
    assert f"{(split.obs['day'] == 9).sum()} of its train and val cells are now test cells" in message
    assert fit.split_hash[:12] in message
    assert read_partition(split).hash[:12] in message
    assert "Fit again" in message


def test_no_leak_is_no_word_of_a_leak(split):
    fit = holding(split, a_fit())
    lists = {p: sorted(split.obs.loc[split.obs["split"] == p, "library"].unique()) for p in ("train", "val", "test")}
    ho.pp.split_assigned(split, "library", train=lists["train"], val=lists["val"], test=lists["test"][:1])
    with pytest.raises(ValueError, match="30 of 360 names differ") as caught:
        check_split(split, fit, read_partition(split), key="k")
    assert "are now test cells" not in str(caught.value)


def test_val_cells_that_become_test_cells_are_a_leak(split):
    fit = holding(split, a_fit())
    ho.pp.split_matched(split, "library", "day", label_key="genotype", test=[0, 19])
    with pytest.raises(ValueError, match="60 of 360 names differ.* 60 of its train and val cells are now test cells"):
        check_split(split, fit, read_partition(split), key="k")


def test_new_cells_differ_from_those_of_the_fit(split, lmna):
    fit = holding(split, a_fit())
    new = split[:5].copy()
    new.obs_names = [f"new{i}" for i in range(5)]
    both = ad.concat([split, new], uns_merge="first")
    ho.pp.split_matched(both, "library", "day", label_key="genotype", test=19, val=0)
    with pytest.raises(ValueError, match="5 of 365 names differ.*'new0', 'new1', 'new2' and 2 more"):
        check_split(both, fit, read_partition(both), key="k")


def test_a_split_of_genes_is_checked_by_gene(lmna):
    write_partition(lmna, np.arange(150) % 2, key="genes", scheme="genes", params={}, axis="var")
    partition = read_partition(lmna, "genes", axis="var")
    fit = a_fit(split_key="genes", split_hash=partition.hash)
    write_fit(lmna, "k", fit, partition)
    codes = np.arange(150) % 2
    codes[7] = 2
    write_partition(lmna, codes, key="genes", scheme="genes", params={}, axis="var")
    with pytest.raises(ValueError, match=r"var\['genes'\].*1 of 150 names differ \(e.g. 'GENE00008'\)"):
        check_split(lmna, fit, read_partition(lmna, "genes", axis="var"), key="k")


def test_a_stored_model_refuses_another_split(split, unchanged):
    ho.tl.genotype(split, method="majority")
    ho.pp.split_matched(split, "library", "day", label_key="genotype", test=9, val=0)
    with unchanged(split), pytest.raises(ValueError, match="150 of 360 names differ.*90 of its train and val cells"):
        ho.tl.predict(split)
    with unchanged(split), pytest.raises(ValueError, match="90 of its train and val cells are now test cells"):
        ho.tl.evaluate(split)


def test_only_assignments_that_are_referred_to_are_kept(split):
    partition = read_partition(split)
    holding(split, a_fit(), "old")
    ho.pp.split_cells(split, key_added="leaky")
    leaky = read_partition(split, "leaky").hash
    fits = split.uns["heldout"]["fits"]
    splits = split.uns["heldout"]["splits"]
    stray = Assignment.of(["a", "b"], np.array([0, 1]))
    split.uns["heldout"]["assignments"][stray.hash] = stray.stored()
    assert set(keep_assignments(split)) == {partition.hash, leaky}
    assert set(keep_assignments(split, splits={"leaky": splits["leaky"]})) == {partition.hash, leaky}
    assert set(keep_assignments(split, splits={"leaky": splits["leaky"]}, fits={})) == {leaky}
    assert set(keep_assignments(split, splits={}, fits=fits)) == {partition.hash}
    assert set(keep_assignments(split, splits={}, fits={}, add=[stray])) == set()
    assert set(keep_assignments(split, splits={}, fits={"k": {"split_hash": stray.hash}}, add=[stray])) == {stray.hash}
