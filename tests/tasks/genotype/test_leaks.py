"""A genotype evaluation with units on both sides of the split has no verdict, and each table and picture says so."""

from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pytest

import heldout as ho
from heldout._core.leaks import TITLE

INFERENCE = ["ci_low", "ci_high", "p_value", "difference_low", "difference_high", "difference_p"]


def study(*, paired: bool = False, **columns: str) -> ad.AnnData:
    """Twelve donors with two libraries each; ``columns`` are further columns, named after the column they copy."""
    draws = np.random.default_rng(0)
    library = np.repeat(np.arange(24), 10)
    donor = library // 2
    X = draws.normal(5, 1, size=(len(library), 8)) + draws.normal(size=(12, 8))[donor]
    adata = ad.AnnData(X.clip(0.1).astype(np.float32))
    adata.obs["library"] = [f"L{i:02d}" for i in library]
    adata.obs["donor"] = [f"D{i:02d}" for i in donor]
    adata.obs["lane"] = [f"lane {i % 3}" for i in library]
    sick = (library if paired else donor) % 2 == 1
    adata.obs["status"] = np.where(sick, "sick", "healthy")
    for name, source in columns.items():
        adata.obs[name] = adata.obs[source]
    return adata


def judged(adata: ad.AnnData, group_key: str | None = None, **options: object):
    ho.tl.genotype(adata, "status", method="pseudobulk_logistic", group_key=group_key)
    return ho.tl.evaluate_genotype(adata, baselines=["majority"], n_bootstrap=50, **options)


@pytest.fixture
def leaking() -> ad.AnnData:
    adata = study()
    adata.obs["set"] = np.where(np.random.default_rng(1).random(adata.n_obs) < 0.4, "te", "tr")
    ho.pp.split_assigned(adata, "set", train=["tr"], test=["te"])
    judged(adata, "donor")
    return adata


def test_a_leaking_split_earns_no_verdict(leaking):
    table = ho.get.evaluation(leaking).table
    assert set(table["verdict"]) == {"leaks"}
    assert table.columns[0] == "verdict"
    assert table[INFERENCE].isna().all(axis=None)
    assert (table["p_kind"] == "").all()
    assert table["estimate"].notna().any()
    claims = ho.get.claims(leaking)
    assert claims["status"].tolist() == ["leaks"]
    assert claims["p_value"].isna().all()


def test_the_leak_comes_first_in_each_report(leaking, tmp_path):
    leaking.write_h5ad(tmp_path / "a.h5ad")
    for adata in (leaking, ad.read_h5ad(tmp_path / "a.h5ad")):
        report = ho.get.evaluation(adata)
        assert str(report).startswith(TITLE)
        assert report._repr_html_().startswith(f"<p><b>{TITLE}")
        assert report.answer.startswith("Leaks: 12 of 12 values of donor in test are also in train or val")
        assert ho.get.summary(adata).startswith("Leaks: 12 of 12")
        board = ho.get.leaderboard(adata, baselines=["majority"])
        assert str(board).startswith(TITLE)
        assert board._repr_html_().startswith(f"<p><b>{TITLE}")
        scores = board.drop(["chance", "ceiling"], errors="ignore").to_numpy().ravel()
        assert all(text.startswith("leaks") for text in scores if text)
        assert "better" not in f"{board} {ho.get.summary(adata)}"


def test_the_leak_comes_first_in_each_picture(leaking):
    axes = [ho.pl.roc(leaking), ho.pl.confusion(leaking), *ho.pl.leaderboard(leaking)]
    assert all(ax.get_title(loc="left").startswith("LEAKS") for ax in axes)
    plt.close("all")


def test_an_undeclared_unit_on_both_sides_leaks():
    adata = study()
    adata.obs["half"] = [f"{name}{i % 2}" for i, name in enumerate(adata.obs["status"])]
    halves = sorted(adata.obs["half"].unique())
    ho.pp.split_assigned(adata, "half", train=halves[::2], test=halves[1::2])
    report = judged(adata)
    assert report.answer.startswith("Leaks: The column library looks like the independent unit, but was not declared.")
    assert set(report["verdict"]) == {"leaks"}


def test_other_samples_of_the_same_donor_leak_unless_the_claim_is_about_samples():
    adata = study()
    first = sorted(adata.obs["library"].unique())[::2]
    rest = sorted(set(adata.obs["library"]) - set(first))
    ho.pp.split_assigned(adata, "library", train=first, test=rest)
    assert "The column donor looks like the independent unit" in judged(adata).answer
    declared = judged(adata, claim_keys=["donor"])
    assert "leaks" not in set(declared["verdict"])
    assert ho.get.claims(adata).set_index("level")["status"]["donor"] == "not tested"


def by_library(adata):
    names = sorted(adata.obs["library"].unique())
    ho.pp.split_assigned(adata, "library", train=names[::2], test=names[1::2], label_key="status")


def by_half(adata):
    adata.obs["half"] = [f"{name}{i % 2}" for i, name in enumerate(adata.obs["status"])]
    halves = sorted(adata.obs["half"].unique())
    ho.pp.split_assigned(adata, "half", train=halves[::2], test=halves[1::2], label_key="status")


@pytest.mark.parametrize(
    ("split", "options", "leaks"),
    [
        (by_library, {}, True),
        (by_half, {}, True),
        (lambda a: ho.pp.split_groups(a, "donor", "status", val=0, test=0.5), {"plate": "lane"}, False),
        (
            lambda a: ho.pp.split_groups(a, "library", "status", pair_key="donor", val=0, test=0.5),
            {"paired": True},
            False,
        ),
    ],
    ids=["other samples of a donor", "half of a library", "lanes", "pairs"],
)
def test_the_audit_fails_where_the_evaluation_leaks(split, options, leaks):
    adata = study(**options)
    split(adata)
    assert (set(judged(adata)["verdict"]) == {"leaks"}) == leaks
    status = set(ho.tl.audit(adata, items=["group_overlap"])["status"])
    assert ("fail" in status) == leaks
    assert leaks or "warn" in status, "lanes are still named"


@pytest.mark.parametrize("options", [{}, {"lane_id": "lane", "batch": "lane"}])
def test_clean_splits_keep_their_verdict(options):
    adata = study(**options)
    ho.pp.split_groups(adata, "donor", "status", val=0, test=0.5)
    report = judged(adata)
    assert "leaks" not in set(report["verdict"])
    assert not str(report).startswith("LEAKS")
    assert not str(ho.get.leaderboard(adata)).startswith("LEAKS")
    assert report.table["ci_low"].notna().any()


def test_both_labels_of_a_donor_do_not_tell_the_label():
    adata = study(paired=True)
    libraries = sorted(adata.obs["library"].unique())
    train = [name for i, name in enumerate(libraries) if i % 4 in (0, 3)]
    ho.pp.split_assigned(adata, "library", train=train, test=sorted(set(libraries) - set(train)))
    assert "leaks" not in set(judged(adata)["verdict"])


def test_val_leaks_when_its_units_are_in_train_and_train_itself_does_not():
    adata = study()
    ho.pp.split_cells(adata, val=0.3, test=0.3)
    ho.tl.genotype(adata, "status", method="pseudobulk_logistic", group_key="donor")
    for partition, leaks in (("val", True), ("train", False)):
        table = ho.tl.evaluate_genotype(adata, partition=partition, baselines=["majority"], n_bootstrap=20)
        assert (set(table["verdict"]) == {"leaks"}) is leaks


def test_a_comparison_over_folds_that_share_donors_leaks():
    adata = study()
    ho.pp.folds(adata, "library", "status", n_folds=4)
    table = ho.tl.compare(adata, "status", methods=["majority", "nearest_centroid"])
    assert set(table["verdict"]) == {"leaks"}
    assert table[["ci_low", "ci_high", "difference_low"]].isna().all(axis=None)
    assert str(ho.get.leaderboard(adata)).startswith(TITLE)
    ax = ho.pl.paired(adata, method="nearest_centroid", baseline="majority")
    assert ax.get_title(loc="left").startswith("LEAKS")
    plt.close("all")
    ho.pp.folds(adata, "donor", "status", n_folds=4)
    clean = ho.tl.compare(adata, "status", methods=["majority", "nearest_centroid"], key_added="clean")
    assert "leaks" not in set(clean["verdict"])
