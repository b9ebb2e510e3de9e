"""tl.evaluate: the table in the AnnData, the ledger, and what is refused."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

import heldout as ho


@pytest.fixture
def adata() -> ad.AnnData:
    """Forty groups of twelve cells with an effect of the label on three genes; nothing but numpy."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 12)
    sick = (groups % 2).astype(bool)
    X = rng.normal(5, 1, size=(480, 20)).astype(np.float32).clip(0.1)
    X[sick, :3] += 1.0
    adata = ad.AnnData(X)
    adata.obs["donor"] = [f"D{g:02d}" for g in groups]
    adata.obs["status"] = np.where(sick, "sick", "healthy")
    adata.obs["total_counts"] = X.sum(axis=1)
    ho.pp.split_groups(adata, "donor", "status", val=0.2, test=0.5)
    return adata


def test_the_table(adata):
    ho.tl.genotype(adata, "status", method="logistic")
    table = ho.tl.evaluate(adata)
    assert set(table["level"]) == {"donor", "cell"}
    assert set(table["method"]) == {"logistic", "majority", "qc_logistic", "pseudobulk_logistic"}
    assert len(table) == 4 * 2 * 6
    test = (adata.obs["split"] == "test").to_numpy()
    labels = (adata.obs["status"] == "sick").to_numpy()[test].astype(int)
    log_p = adata.obsm["genotype_log_probability"][test]
    rows = table.query("role == 'model' and level == 'cell'").set_index("metric")["estimate"]
    assert rows["auc"] == pytest.approx(ho.metrics.roc_auc(labels, log_p))
    assert rows["accuracy"] == pytest.approx(ho.metrics.accuracy(labels, log_p))
    assert rows["loss"] == pytest.approx(ho.metrics.log_loss(labels, log_p))
    donor = table.query("role == 'model' and level == 'donor' and metric == 'auc'").iloc[0]
    assert donor["estimate"] > 0.9
    assert donor["n"] == donor["n_groups"] == 20
    assert donor["p_value"] < 0.001
    majority = table.query("method == 'majority' and metric == 'auc'")
    assert (majority["estimate"] == 0.5).all()


def test_scores_of_groups_are_stored(adata):
    ho.tl.genotype(adata, "status", method="logistic")
    ho.tl.evaluate(adata, baselines=["majority"])
    scores = ho.get.scores(adata).query("role == 'model'")
    assert len(scores) == 20
    assert scores["n_cells"].sum() == (adata.obs["split"] == "test").sum()
    right = scores["log_odds"].gt(0).eq(scores["label"].eq("sick")).mean()
    table = ho.get.evaluation(adata)
    shown = table.query("role == 'model' and level == 'donor' and metric == 'accuracy'")["estimate"].item()
    assert right == pytest.approx(shown)


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_tables_survive_a_file(adata, tmp_path, kind):
    ho.tl.genotype(adata, "status", method="logistic")
    table = ho.tl.evaluate(adata)
    path = tmp_path / f"x.{kind}"
    getattr(adata, f"write_{kind}")(path)
    again = getattr(ad, f"read_{kind}")(path)
    back = ho.get.evaluation(again)
    for column in table:
        if table[column].dtype == float:
            np.testing.assert_array_equal(back[column].to_numpy(), table[column].to_numpy())
        else:
            assert back[column].astype(str).tolist() == table[column].astype(str).tolist()
    assert ho.get.ledger(again)["look"].tolist() == [1]


def test_the_ledger_counts_looks_at_test_but_not_at_val(adata, caplog):
    ho.tl.genotype(adata, "status", method="logistic")
    assert (ho.tl.evaluate(adata, partition="val", baselines=[])["look"] == 0).all()
    assert (ho.tl.evaluate(adata, baselines=[])["look"] == 1).all()
    assert not caplog.records
    ho.tl.genotype(adata, "status", method="majority", key_added="other")
    with caplog.at_level(logging.WARNING, "heldout"):
        assert (ho.tl.evaluate(adata, "other", baselines=[])["look"] == 2).all()
    assert "look 2 at the same test set" in caplog.text
    assert ho.get.ledger(adata)["key"].tolist() == ["genotype", "other"]


def test_a_part_of_the_test_set_is_called_so(adata, caplog):
    ho.tl.genotype(adata, "status", method="logistic")
    dropped = sorted(adata.obs.loc[adata.obs["split"] == "test", "donor"].unique())[0]
    part = adata[adata.obs["donor"] != dropped].copy()
    with caplog.at_level(logging.WARNING, "heldout"):
        table = ho.tl.evaluate(part, baselines=[])
    assert table["note"].str.startswith("12 of 240 test cells of the split are not here").all()
    assert "score on a part of the test set" in caplog.text


def test_bootstrap_is_reproducible(adata):
    ho.tl.genotype(adata, "status", method="logistic")
    first, second = (ho.tl.evaluate(adata, rng=1, baselines=["majority"]) for _ in range(2))
    np.testing.assert_array_equal(first["ci_low"], second["ci_low"])
    other = ho.tl.evaluate(adata, rng=2, baselines=["majority"])
    assert not np.array_equal(first["ci_low"], other["ci_low"])


def test_a_matched_day_has_no_interval_and_no_verdict(lmna):
    ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=19, val=0)
    ho.tl.genotype(lmna, method="logistic", mask_var=None)
    table = ho.tl.evaluate(lmna)
    assert table["ci_low"].isna().all()
    assert set(table.query("role == 'model'")["verdict"]) == {"unidentifiable"}
    assert table.query("role == 'model' and level == 'library' and metric == 'auc'")["p_value"].item() >= 0.5


def test_bad_input(adata):
    ho.tl.genotype(adata, "status", method="logistic")
    before = adata.copy()
    for arguments, match in (
        ({"key": "genotyp"}, "There is no fit 'genotyp'.*Did you mean 'genotype'"),
        ({"baselines": ["logistik"]}, "'logistik' is not a genotype method.*Did you mean 'logistic'"),
        ({"group_key": "donors"}, "group_key='donors' is not a column.*Did you mean 'donor'"),
    ):
        with pytest.raises(ValueError, match=match):
            ho.tl.evaluate_genotype(adata, **arguments)
    adata.obs["pair"] = adata.obs["donor"].str[1:].astype(int) // 2
    with pytest.raises(ValueError, match="groups have cells of two classes.*finer group_key"):
        ho.tl.evaluate_genotype(adata, group_key="pair")
    assert adata.uns["heldout"].keys() == before.uns["heldout"].keys()
    assert len(ho.get.ledger(adata)) == 0


def test_a_split_of_cells_needs_a_group(adata):
    ho.pp.split_cells(adata)
    ho.tl.genotype(adata, "status", method="logistic")
    with pytest.raises(ValueError, match="No group is known.*Pass group_key"):
        ho.tl.evaluate(adata)
    assert set(ho.tl.evaluate_genotype(adata, group_key="donor", baselines=[])["level"]) == {"donor", "cell"}


def test_an_empty_test_partition(adata):
    ho.pp.split_groups(adata, "donor", "status", val=0.5, test=0)
    ho.tl.genotype(adata, "status", method="logistic")
    with pytest.raises(ValueError, match="needs cells in 'test'"):
        ho.tl.evaluate(adata)


def test_one_class_in_test_is_unidentifiable(adata):
    sick = sorted(set(adata.obs.loc[adata.obs["status"] == "sick", "donor"]))
    healthy = sorted(set(adata.obs["donor"]) - set(sick))
    ho.pp.split_assigned(adata, "donor", train=[*sick[:10], *healthy], test=sick[10:])
    ho.tl.genotype(adata, "status", method="logistic")
    table = ho.tl.evaluate(adata)
    assert table.query("metric == 'auc'")["estimate"].isna().all()
    assert set(table.query("role == 'model'")["verdict"]) == {"unidentifiable"}
    assert table["note"].str.contains("one class has no group in this partition").all()


def test_the_error_without_an_evaluation_says_what_to_call():
    adata = ho.datasets.lmna_simulated(n_cells=10, n_genes=100)
    with pytest.raises(ValueError, match=r"no fit to evaluate.*Call heldout\.tl\.genotype or heldout\.tl\.forecast"):
        ho.tl.evaluate(adata)
    with pytest.raises(ValueError, match=r"Nothing was fitted yet\. Call heldout\.tl\.genotype"):
        ho.tl.evaluate(adata, "genotype")
    with pytest.raises(ValueError, match="no evaluation and no fit 'genotype'. Nothing was fitted yet"):
        ho.get.evaluation(adata, "genotype")
    ho.pp.folds(adata, "library", "genotype", n_folds=4)
    ho.tl.genotype(adata, method="majority", split_key=ho.get.fold_keys(adata)[0])
    with pytest.raises(ValueError, match=r"fit 'genotype' was not evaluated\. Call heldout\.tl\.evaluate"):
        ho.get.evaluation(adata, "genotype")
    with pytest.raises(ValueError, match=r"no evaluation and no fit 'genotyp'\. Did you mean 'genotype'"):
        ho.get.evaluation(adata, "genotyp")
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.tl.compare(adata, "genotype", methods=["majority", "qc_logistic"])
    for read in (ho.get.evaluation, ho.get.scores):
        with pytest.raises(ValueError, match=r"'comparison' is a comparison.*heldout\.get\.comparison\(adata, 'comp"):
            read(adata, "comparison")
    assert ho.get.summary(adata) == ho.get.summary(adata, "comparison")
    first, last = ho.get.summary(adata).split("\n")
    assert first.startswith(("majority", "qc_logistic"))
    assert {first.split(":")[0], last.split(":")[0]} == {"majority", "qc_logistic"}
