"""Held-out groups of a comparison, pooled over folds: AUC, interval, p-value with repeated fits, sentence."""

from __future__ import annotations

from itertools import product

import anndata as ad
import numpy as np
import pytest

import heldout as ho
from heldout.tasks.genotype.pooled import Pooled

METHODS = ["majority", "nearest_centroid"]


def _cells(effect: float, n_patients: int, seed: int = 0) -> ad.AnnData:
    """Patients with one control and one treated sample of six cells each."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), 12)
    treated = np.tile(np.repeat([False, True], 6), n_patients)
    X = 5 + rng.normal(size=(n_patients, 8))[patient] + rng.normal(size=(len(patient), 8))
    X[treated, :3] += effect
    adata = ad.AnnData(X.astype(np.float32).clip(0.1))
    adata.obs["patient"] = [f"P{p}" for p in patient]
    adata.obs["condition"] = np.where(treated, "treated", "control")
    adata.obs["sample"] = adata.obs["patient"] + "_" + adata.obs["condition"]
    return adata


@pytest.fixture(scope="module")
def pairs() -> ad.AnnData:
    adata = _cells(4.0, 5)
    ho.pp.folds(adata, "patient", scheme="leave_one_group_out", val=0)
    ho.tl.compare(adata, "condition", methods=METHODS, group_key="sample", n_refits=32)
    return adata


def test_pairs_are_counted(pairs):
    first = ho.get.summary(pairs, "comparison").split("\n")[0]
    assert first == (
        "nearest_centroid: in 5 of 5 held-out pairs, treated was ranked above control (p = 0.062, the smallest "
        "possible)."
    )


def test_p_repeats_every_fit(pairs):
    """The p-value by hand: all 2^5 labellings within patients, with all folds fitted again for each."""
    X = pairs.X.reshape(10, 6, 8).mean(axis=1)
    patient, y = np.repeat([f"P{p}" for p in range(5)], 2), np.tile([0, 1], 5)

    def right(labels):
        found = []
        for held_out in np.unique(patient):
            inside, train = patient == held_out, patient != held_out
            sd = pairs.X[(pairs.obs["patient"] != held_out).to_numpy()].std(axis=0)
            means = [(X / sd)[train & (labels == c)].mean(axis=0) for c in (0, 1)]
            distance = [(((X / sd)[inside] - mean) ** 2).sum(axis=1) for mean in means]
            odds = distance[0] - distance[1]
            found.append(float(odds[labels[inside] == 1][0] > odds[labels[inside] == 0][0]))
        return np.mean(found)

    null = []
    for flips in product([0, 1], repeat=5):
        flip = dict(zip(np.unique(patient), flips, strict=True))
        null.append(right(np.array([label ^ flip[p] for label, p in zip(y, patient, strict=True)])))
    row = ho.get.comparison(pairs, by="pooled").set_index("method").loc["nearest_centroid"]
    assert row["p_value"] == pytest.approx(np.mean(np.array(null) >= right(y) - 1e-9))
    assert row["p_smallest"] == pytest.approx(2 / 32)
    assert row["pairs"] == "within folds"


def test_without_refits_there_is_no_p(pairs):
    other = _cells(0.0, 4)
    ho.pp.folds(other, "patient", scheme="leave_one_group_out", val=0)
    ho.tl.compare(other, "condition", methods=METHODS, group_key="sample")
    table = ho.get.comparison(other, by="pooled")
    assert table["p_value"].isna().all()
    assert "p =" not in ho.get.summary(other, "comparison")
    majority = table.set_index("method").loc["majority"]
    assert majority["estimate"] == 0.5
    assert majority["ci_low"] < 0.1


def test_single_groups_are_compared_with_all_others(tmp_path):
    adata = _cells(4.0, 8)
    adata = adata[(adata.obs["condition"] == "treated") == (adata.obs["patient"].str[1].astype(int) % 2 == 1)].copy()
    ho.pp.folds(adata, "patient", scheme="leave_one_group_out", val=0)
    ho.tl.compare(adata, "condition", methods=["nearest_centroid"], n_refits=20)
    row = ho.get.comparison(adata, by="pooled").iloc[0]
    assert row["pairs"] == "all"
    assert row["n_folds"] == row["n_groups"] == 8
    groups = ho.get.comparison(adata, by="group")
    odds = groups["log_probability_treated"] - groups["log_probability_control"]
    treated = (groups["label"] == "treated").to_numpy()
    wins = odds.to_numpy()[treated][:, None] > odds.to_numpy()[~treated]
    assert row["estimate"] == pytest.approx(wins.mean())
    assert "8 patients" in row["sentence"]
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = ho.get.comparison(ad.read_h5ad(tmp_path / "a.h5ad"), by="pooled")
    assert again.equals(ho.get.comparison(adata, by="pooled"))


def test_pooled_interval_is_wider_than_for_independent_folds():
    rng = np.random.default_rng(0)
    labels, folds = np.tile([0, 1], 6), np.repeat(np.arange(6), 2)
    pooled = Pooled(np.arange(12).astype(str).astype(object), labels, folds, np.zeros(12, dtype=int), 2)
    log_p = np.log(rng.dirichlet([1, 1], 12))
    found = pooled.interval(log_p)
    alone = ho.metrics.auc_interval_unequal(labels, log_p[:, 1] - log_p[:, 0], blocks=folds)
    assert found.estimate == pytest.approx(alone.estimate)
    assert found.high > alone.high
    assert found.high - found.low > alone.high - alone.low


def test_leaking_folds_have_nothing_to_pool():
    adata = _cells(1.0, 6)
    adata.obs["half"] = [f"{s}_{i % 2}" for i, s in enumerate(adata.obs["sample"])]
    ho.pp.folds(adata, "half", "condition", n_folds=2, val=0)
    ho.tl.compare(adata, "condition", methods=METHODS, group_key="sample", n_refits=10)
    with pytest.raises(ValueError, match="folds leak"):
        ho.get.comparison(adata, by="pooled")
    with pytest.raises(ValueError, match="n_refits=-1"):
        ho.tl.compare(adata, "condition", methods=METHODS, n_refits=-1)


def test_interrupted_refits_keep_the_comparison(monkeypatch):
    adata = _cells(2.0, 4)
    ho.pp.folds(adata, "patient", scheme="leave_one_group_out", val=0)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("heldout.tl._compare.refits", stop)
    with pytest.raises(KeyboardInterrupt):
        ho.tl.compare(adata, "condition", methods=METHODS, group_key="sample", n_refits=10)
    assert set(ho.get.comparison(adata)["method"]) == set(METHODS)
    assert ho.get.comparison(adata, by="pooled")["p_value"].isna().all()
    assert METHODS[0] in ho.get.summary(adata, "comparison"), "kept without p-values, as the log says"
    monkeypatch.undo()
    looks = len(adata.uns["heldout"]["ledger"])
    ho.tl.compare(adata, "condition", methods=METHODS, group_key="sample", n_refits=10)
    assert len(adata.uns["heldout"]["ledger"]) == looks, "the fits are kept, so there is no new look"
    assert ho.get.comparison(adata, by="pooled")["p_value"].notna().all()


def _two_people() -> ad.AnnData:
    """Eight samples of two donors, who are the classes, as in a study of one patient and one relative."""
    rng = np.random.default_rng(0)
    sample = np.repeat(np.arange(8), 6)
    adata = ad.AnnData(rng.gamma(5, size=(48, 6)).astype(np.float32))
    adata.obs["sample"] = [f"S{s}" for s in sample]
    adata.obs["donor"] = np.where(sample % 2, "patient", "sister")
    adata.obs["condition"] = np.where(sample % 2, "case", "control")
    adata.obs["p_case"] = np.clip(rng.random(48), 0.05, 0.95)
    ho.pp.folds(adata, "sample", "condition", n_folds=4, val=0)
    return adata


def test_a_declared_level_is_no_leak():
    adata = _two_people()
    leaking = ho.tl.compare(adata, methods=METHODS, key_added="undeclared")
    assert set(leaking["verdict"].dropna()) <= {"leaks", ""}
    declared = ho.tl.compare(adata, methods=METHODS, claim_keys="donor")
    assert "leaks" not in set(declared["verdict"])
    with pytest.raises(ValueError, match="donor"):
        ho.tl.score_probabilities(adata, "p_case", fold_key="fold", positive_class="case")
    ho.tl.score_probabilities(adata, "p_case", fold_key="fold", positive_class="case", claim_keys=["donor"])


def test_a_declared_level_must_be_a_column():
    with pytest.raises(ValueError, match="claim_keys='person'"):
        ho.tl.compare(_two_people(), methods=METHODS, claim_keys="person")


@pytest.mark.parametrize(("long", "said"), [(0.0, True), (3600.0, False)])
def test_the_time_of_many_refits_is_said(monkeypatch, caplog, long, said):
    adata = _cells(2.0, 4)
    ho.pp.folds(adata, "patient", scheme="leave_one_group_out", val=0)
    monkeypatch.setattr("heldout.tl._compare._LONG", long)
    ho.tl.compare(adata, "condition", methods=["nearest_centroid"], group_key="sample", n_refits=5)
    words = "'nearest_centroid': repeating its fits for 5 labellings takes about 0 minutes"
    assert caplog.text.count(words) == said
