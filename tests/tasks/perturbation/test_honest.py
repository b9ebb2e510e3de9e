"""What an evaluation of perturbations promises, against screens of which the truth is known."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import heldout as ho
from heldout._core.metric import metric_of
from tests.helpers.perturbations import combinations

FEW = {"baselines": ["no_change", "mean"], "n_bootstrap": 20}


def known_screen(seed, *, n_genes=200, n_perturbations=40, n_cells=30):
    """Normal cells, two thirds of the perturbations in test, and their profiles without noise."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(2, 4, n_genes)
    effects = rng.normal(0, 0.15, (n_perturbations, n_genes)) * (rng.random((n_perturbations, n_genes)) < 0.3)
    names = [f"P{i}" for i in range(n_perturbations)]
    mean = np.vstack([np.tile(base, (400, 1)), np.repeat(base + effects, n_cells, axis=0)])
    obs = pd.DataFrame({"guide": ["control"] * 400 + list(np.repeat(names, n_cells))})
    obs.index = [f"cell{seed}_{i}" for i in range(len(obs))]
    var = pd.DataFrame(index=[f"G{i}" for i in range(n_genes)])
    adata = ad.AnnData(np.abs(rng.normal(mean, 0.5)).astype(np.float32), obs=obs, var=var)
    ho.pp.split_perturbations(adata, "guide", val=0, test=0.66)
    truth = ad.AnnData((base + effects).astype(np.float32), obs=pd.DataFrame({"guide": names}, index=names), var=var)
    return adata, truth


def test_what_is_free_of_noise_does_not_beat_the_ceiling_and_comes_near_it():
    """With 30 cells noise is as large as effects, so half of the cells is far worse than the best prediction."""
    tables = []
    for seed in range(4):
        adata, truth = known_screen(seed)
        tables.append(ho.tl.score_predictions(adata, truth, **FEW))
    rows = pd.concat(tables).query("method == 'predicted'").groupby("metric")[["estimate", "ceiling"]].mean()
    for metric, row in rows.drop("variance_ratio").iterrows():
        lead = (row["ceiling"] - row["estimate"]) * metric_of(metric).sign
        # Genes are independent here, so this error is 0 but for sampling, and its ceiling is too.
        noise = 0.002 if metric == "coexpression_error" else 1e-9
        assert lead >= -0.03 * abs(row["ceiling"]) - noise, metric
    for metric in ("l2", "rmse", "pearson_delta", "pearson_delta_perturbed", "cosine_logfc", "discrimination"):
        assert rows.loc[metric, "estimate"] == pytest.approx(rows.loc[metric, "ceiling"], rel=0.06), metric


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        (lambda train, control: ~train, ["needs cells in 'train'"]),
        (lambda train, control: ~(train & control), ["no control cells", "train"]),
        (lambda train, control: ~train | control, ["no perturbed cells in train"]),
    ],
)
def test_scoring_without_what_it_rests_on_is_refused(refuses, keep, words):
    adata = combinations()
    ho.tl.perturbation(adata, method="additive")
    train, control = adata.obs["split"] == "train", adata.obs["perturbation"] == "control"
    fewer = adata[keep(train, control)].copy()
    assert ho.tl.predict_profiles(fewer, "perturbation").n_obs == 6  # predicting needs none of it
    refuses(lambda a: ho.tl.evaluate(a, "perturbation", **FEW), fewer, *words)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"partition": "tset"}, ["partition", "tset", "test"]),
        ({"baselines": "mean"}, ["baselines='mean'", "['mean']"]),
        ({"baselines": ["maen"]}, ["maen", "mean"]),
        ({"n_bootstrap": -1}, ["n_bootstrap"]),
    ],
)
def test_how_to_score_is_checked_before(refuses, given, words):
    adata = combinations()
    ho.tl.perturbation(adata, method="additive")
    predicted = ho.tl.predict_profiles(adata, "perturbation")
    refuses(lambda a: ho.tl.evaluate(a, "perturbation", **{**FEW, **given}), adata, *words)
    refuses(lambda a: ho.tl.score_predictions(a, predicted, **{**FEW, **given}), adata, *words)


def test_the_evaluation_of_a_fit_is_not_replaced_by_other_predictions(refuses):
    adata = combinations()
    ho.tl.perturbation(adata, method="additive")
    predicted = ho.tl.predict_profiles(adata, "perturbation")
    refuses(
        lambda a: ho.tl.score_predictions(a, predicted, key_added="perturbation", **FEW),
        adata,
        "key_added='perturbation'",
        "name of a fit",
    )
    with pytest.raises(ValueError, match="the fit has one context"):
        ho.tl.predict_profiles(adata, "perturbation", contexts=["K562"])


def test_a_part_of_many_perturbations_says_what_drawn_controls_do(monkeypatch):
    adata = combinations(n_doubles=40, n_control=60)
    ho.tl.perturbation(adata, method="additive")
    widths = []
    for most in (100, 8):
        monkeypatch.setattr("heldout.tasks.perturbation.judging.table.MOST_MOVED", most)
        table = ho.tl.evaluate(adata, "perturbation", baselines=["mean"], n_bootstrap=1000)
        rows = table.query("role == 'model'").set_index("metric")
        widths.append(rows["ci_high"] - rows["ci_low"])
    chosen = ["pearson_delta", "cosine_logfc"]
    np.testing.assert_allclose(widths[1][chosen], widths[0][chosen], rtol=0.15)
    np.testing.assert_array_equal(widths[1]["l2"], widths[0]["l2"])
