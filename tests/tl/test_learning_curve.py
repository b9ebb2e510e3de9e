"""tl.learning_curve: the scores, the untouched test set, pairs, seeds, failures, the sentence and the plot."""

from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import heldout as ho
from heldout._core.keys import UNS
from heldout.tl import _learning_curve

SIZES = [4, 8]


def donors(effect=1.0, n=16, seed=0, per_donor=1):
    """Donors of two classes with five cells in each of their libraries."""
    rng = np.random.default_rng(seed)
    library = np.repeat(np.arange(n * per_donor), 5)
    donor, patient = library // per_donor, (library // per_donor) % 2
    X = 5 + rng.normal(size=(n, 10))[donor] + 0.5 * rng.normal(size=(len(library), 10))
    X[:, :5] += effect * patient[:, None]
    adata = ad.AnnData(X.astype(np.float32).clip(0.05))
    adata.obs_names = [f"cell{i}" for i in range(adata.n_obs)]
    adata.obs["library"], adata.obs["donor"] = [f"L{i}" for i in library], [f"D{i}" for i in donor]
    adata.obs["disease"] = np.where(patient, "patient", "control")
    ho.pp.split_groups(adata, "donor", "disease", test=0.25, val=0)
    return adata


@pytest.fixture(scope="module")
def _curved():
    adata = donors()
    ho.tl.learning_curve(adata, "disease", methods=["nearest_centroid"], sizes=SIZES, n_repeats=2, n_folds=3)
    return adata


@pytest.fixture
def curved(_curved):
    return _curved.copy()


def test_all_train_groups_give_the_fit_by_hand():
    adata = donors()
    table = ho.tl.learning_curve(
        adata, "disease", methods=["nearest_centroid"], sizes=[4, 12], n_repeats=2, partition="test"
    ).set_index(["metric", "n_train"])
    ho.pp.scale(adata)
    ho.tl.genotype(adata, "disease", method="nearest_centroid")
    wanted = ho.tl.evaluate(adata, baselines=[]).query("level == 'donor'").set_index("metric")["estimate"]
    for metric in ("auc", "loss"):
        assert table.loc[(metric, 12), "estimate"] == pytest.approx(wanted[metric], rel=1e-5)
    assert table["n_repeats"].unstack().loc["auc"].to_dict() == {4: 2, 12: 1}, "the same fit is not made twice"
    assert table.loc[("auc", 12), "train"] == "12 donors (6 control, 6 patient)"


def test_test_cells_are_not_used_by_default(curved):
    other = donors()
    test = (other.obs["split"] == "test").to_numpy()
    other.X[test] = np.random.default_rng(1).random((test.sum(), other.n_vars))
    table = ho.tl.learning_curve(other, "disease", methods=["nearest_centroid"], sizes=SIZES, n_repeats=2, n_folds=3)
    pd.testing.assert_frame_equal(table, ho.get.learning_curve(curved))
    assert not len(ho.get.ledger(curved))


def test_test_groups_are_one_look():
    adata = donors()
    arguments = {"methods": ["nearest_centroid"], "sizes": SIZES, "n_repeats": 2, "partition": "test"}
    ho.tl.learning_curve(adata, "disease", **arguments)
    assert ho.get.ledger(adata)["look"].tolist() == [1]
    ho.tl.genotype(adata, "disease", method="nearest_centroid")
    assert ho.tl.evaluate(adata, baselines=[]).attrs is not None
    assert ho.get.ledger(adata)["look"].tolist() == [1, 2]


def test_libraries_of_a_donor_stay_together(monkeypatch):
    adata, seen = donors(per_donor=2), []
    run = _learning_curve.run

    def watched(cells, *args, **kwargs):
        seen.append(cells.adata.obs.groupby("heldout_learning_curve", observed=True)["donor"].unique())
        return run(cells, *args, **kwargs)

    monkeypatch.setattr(_learning_curve, "run", watched)
    how = {"sizes": [4, 6], "n_repeats": 2, "n_folds": 2, "group_key": "library"}
    table = ho.tl.learning_curve(adata, "disease", methods=["nearest_centroid"], **how)
    assert all(not set(parts["train"]) & set(parts["test"]) for parts in seen)
    assert sorted({len(parts["train"]) for parts in seen}) == [4, 6]
    assert set(table["n_groups"]) == {24}
    assert table["train"].iloc[0] == "4 donors (2 control, 2 patient)"


def test_pairs_stay_together_and_every_class_is_there():
    adata = donors(n=12)
    adata.obs["disease"] = np.where(np.arange(adata.n_obs) % 5 < 2, "treated", "before")
    adata.obs["sample"] = adata.obs["donor"] + "_" + adata.obs["disease"]
    del adata.obs["split"], adata.uns[UNS]
    ho.pp.split_groups(adata, "sample", "disease", pair_key="donor", test=0.17, val=0)
    table = ho.tl.learning_curve(adata, "disease", methods=["nearest_centroid"], sizes=[2, 5], n_repeats=2, n_folds=2)
    assert table["train"].unique().tolist() == [
        "2 donors (2 with before and treated)",
        "5 donors (5 with before and treated)",
    ]
    assert set(table["n_groups"]) == {20}


def test_the_seed_decides(curved):
    arguments = {"methods": ["nearest_centroid"], "sizes": SIZES, "n_repeats": 2, "n_folds": 3, "key_added": "x"}
    same = ho.tl.learning_curve(curved, "disease", **arguments)
    pd.testing.assert_frame_equal(same, ho.get.learning_curve(curved))
    other = ho.tl.learning_curve(curved, "disease", **arguments, rng=1)
    assert not np.allclose(other["estimate"], same["estimate"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("needs two donors")])
def test_nothing_is_written_if_it_does_not_end(monkeypatch, error):
    adata, calls, run = donors(), [], _learning_curve.run

    def stops(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise error
        return run(*args, **kwargs)

    before = adata.copy()
    monkeypatch.setattr(_learning_curve, "run", stops)
    with pytest.raises(type(error) if isinstance(error, Exception) else error) as raised:
        ho.tl.learning_curve(adata, "disease", methods=["nearest_centroid"], sizes=SIZES, n_repeats=2, n_folds=3)
    if isinstance(error, ValueError):
        assert str(raised.value).startswith("nearest_centroid cannot be fitted on 8 train units: needs two donors")
    assert adata.uns[UNS].keys() == before.uns[UNS].keys()
    assert list(adata.obs) == list(before.obs)
    assert not len(ho.get.ledger(adata))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sizes": [4, 40]}, r"sizes: \[40\] cannot be drawn. Train has 12 units, of which 8 are available"),
        ({"sizes": [4]}, "is one number, but a curve needs two"),
        ({"n_repeats": 1}, "n_repeats"),
        ({"n_folds": 9}, "n_folds=9 with every class in every inner fold"),
        ({"partition": "val"}, "partition='val'"),
        ({"methods": ["nearest_centroids"]}, "nearest_centroid"),
    ],
)
def test_what_is_not_possible_is_refused(changed, words):
    arguments = {"methods": ["nearest_centroid"], "sizes": SIZES, "n_repeats": 2, "n_folds": 3, **changed}
    with pytest.raises(ValueError, match=words):
        ho.tl.learning_curve(donors(), "disease", **arguments)


def test_groups_on_both_sides_are_refused():
    adata = donors()
    del adata.obs["split"], adata.uns[UNS]
    ho.pp.split_groups(adata, "library", "disease", test=0.25, val=0)
    adata.obs["site"] = np.where(np.arange(adata.n_obs) % 2, "A", "B") + adata.obs["disease"].astype(str)
    with pytest.raises(ValueError, match="partition='train'"):
        ho.tl.learning_curve(
            adata, "disease", methods=["majority"], group_key="site", partition="test", sizes=[2, 4], n_repeats=2
        )


def test_a_curve_survives_a_file_and_is_told_in_words(curved, tmp_path):
    curved.write_h5ad(tmp_path / "curve.h5ad")
    read = ad.read_h5ad(tmp_path / "curve.h5ad")
    pd.testing.assert_frame_equal(ho.get.learning_curve(read), ho.get.learning_curve(curved), check_dtype=False)
    assert ho.get.summary(read, "learning_curve") == ho.get.summary(curved, "learning_curve")
    first = ho.get.summary(curved, "learning_curve").split("\n")[0]
    repeats = ho.get.learning_curve(curved, by="repeat").groupby("n_train")["auc"].mean()
    assert first.startswith(
        f"nearest_centroid: with 4 donors (2 control, 2 patient) in train the AUC is {repeats[4]:.2f}, with 8 donors"
    )
    assert "scored on 12 held-out train donors" in first


def test_the_plot_names_what_was_counted(curved):
    ax = ho.pl.learning_curve(curved)
    assert ax.get_xlabel() == "train donors (both classes together)"
    assert ax.get_ylabel() == "AUC of 12 held-out donors"
    assert ax.get_xticks().tolist() == SIZES
    estimate = ho.get.learning_curve(curved).query("metric == 'auc'")["estimate"]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), estimate)
    assert ho.pl.learning_curve(curved, metric="loss").get_ylabel().startswith("log-loss (nats)")
    plt.close("all")
