"""Doses: closed-form responses, what other methods do with doses, and how dose series are judged."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.isotonic import IsotonicRegression

import heldout as ho
from heldout._core.fits import read_fit
from heldout._core.partition import read_partition
from heldout.tasks.perturbation.methods.dose import isotonic, monotone
from heldout.tasks.perturbation.pairs import Pair, Pairs
from heldout.tasks.perturbation.task import Task, predict
from tests.helpers.perturbations import (
    CONFIGS,
    DOSED,
    METHODS,
    NETWORKS,
    brute_means,
    dose_series,
    exact,
    simulated,
    task_of,
)


@pytest.fixture(scope="module")
def screen():
    return dose_series()


def noise_free(response, *, doses=(1.0, 3.0, 10.0, 30.0), test=()):
    """Noise-free cells of A, B and A+B at each dose; ``response`` is a function of the name and the dose."""
    effects = {f"{name}@{dose:g}": response(name, dose) for name in ("A", "B") for dose in doses}
    effects |= {f"A+B@{dose:g}": response("A", dose) + response("B", dose) for dose in doses}
    adata, _ = exact(effects, {})
    named = adata.obs["guide"].str.split("@")
    adata.obs["dose"] = [float(parts[1]) if len(parts) > 1 else 0.0 for parts in named]
    adata.obs["side"] = np.where(adata.obs["guide"].isin(test), "test", "train")
    adata.obs["guide"] = named.str[0]
    ho.pp.split_assigned(adata, "side", train=["train"], test=["test"] if test else [])
    return adata


def change(adata, method, asked, config=None, **options):
    """Changes of ``(name, dose)`` predicted by a new fit."""
    fit = task_of(adata, dose_key="dose", **options).fit(method, config)
    pairs = Pairs.of([Pair(tuple(name.split("+")), 0, dose) for name, dose in asked])
    return predict(fit, pairs)


# --- the two responses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_isotonic_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 8))
    values, weights = rng.normal(size=(n, 20)).round(seed % 3), rng.integers(1, 50, n).astype(float)
    expected = [IsotonicRegression().fit(np.arange(n), column, weights).predict(np.arange(n)) for column in values.T]
    np.testing.assert_allclose(isotonic(values, weights), np.transpose(expected), atol=1e-12)
    signs = ({"y_min": 0}, {"y_max": 0, "increasing": False})
    fits = [
        np.transpose([IsotonicRegression(**sign).fit(np.arange(n), c, weights).predict(np.arange(n)) for c in values.T])
        for sign in signs
    ]
    errors = [weights @ (values - fit) ** 2 for fit in fits]
    np.testing.assert_allclose(monotone(values, weights), np.where(errors[0] <= errors[1], *fits), atol=1e-12)


def test_linear_recovers_a_line_and_its_scale():
    slopes = {"A": np.array([1.0, -0.5, 0, 0, 0.2, 0]), "B": np.array([0, 0, 0.7, -0.7, 0, 0])}
    adata = noise_free(lambda name, dose: slopes[name] * np.log1p(dose / 2), test=["A@10"])
    found = change(adata, "dose_linear", [("A", 10.0), ("A+B", 100.0), ("B", 0.01)], perturbation_key="guide")
    expected = [slopes["A"] * np.log1p(5), (slopes["A"] + slopes["B"]) * np.log1p(50), slopes["B"] * np.log1p(0.005)]
    np.testing.assert_allclose(found.change, expected, atol=0.03)  # scales are compared on a grid
    exactly = ho.model.DoseLinearConfig(dose_scale=2.0)
    found = change(adata, "dose_linear", [("A", 10.0), ("A+B", 100.0)], exactly, perturbation_key="guide")
    np.testing.assert_allclose(found.change, expected[:2], atol=1e-5)
    assert not found.fallback.any()


def test_isotonic_is_interpolated_in_the_logarithm_flat_beyond_and_zero_at_dose_zero():
    full = {"A": np.array([2.0, -1.0, 0, 0, 0.5, 0]), "B": np.array([0, 0, 1.0, 1.0, 0, 0])}
    adata = noise_free(lambda name, dose: full[name] * {1.0: 0.2, 3.0: 0.2, 10.0: 1.0, 30.0: 0.9}[dose], test=["A@30"])
    asked = [("A", 1.0), ("A", np.sqrt(30)), ("A", 100.0), ("A", 0.5), ("A", 1e-9), ("B", 30.0), ("B", 10.0)]
    found = change(adata, "dose_isotonic", asked, perturbation_key="guide").change
    for row, share in zip(found[:5], [0.2, 0.6, 1.0, 0.1, 0], strict=True):
        np.testing.assert_allclose(row, share * full["A"], atol=1e-5)
    for row in found[5:]:  # not monotone as measured: both doses get their mean
        np.testing.assert_allclose(row, 0.95 * full["B"], atol=1e-5)


@pytest.mark.parametrize("method", DOSED)
def test_combinations_contexts_and_unknown_targets(method):
    slopes = {"A": np.array([1.0, -0.5, 0, 0, 0.2, 0]), "B": np.array([0, 0, 0.7, -0.7, 0, 0])}
    test = [f"A+B@{dose}" for dose in (1, 3, 10, 30)]
    adata = noise_free(lambda name, dose: slopes[name] * np.log1p(dose), test=test)
    asked = [("A", 3.0), ("B", 3.0), ("A+B", 3.0), ("C", 3.0), ("A+C", 3.0)]
    found = change(adata, method, asked, perturbation_key="guide")
    a, b, ab, c, ac = found.change
    np.testing.assert_allclose(ab, a + b, atol=1e-9)  # the combination is not in train
    np.testing.assert_allclose(c, (a + b) / 2, atol=1e-9)
    np.testing.assert_allclose(ac, a + c, atol=1e-9)
    assert found.fallback.tolist() == [False, False, False, True, True]
    with_context = dose_series(n_contexts=2, covariate_keys="cell_line", contexts=["line2"], test=0.5)
    ho.tl.perturbation(with_context, method=method)
    predicted = ho.tl.predict_profiles(with_context)
    assert set(predicted.obs["cell_line"]) == {"line2"}
    assert not predicted.obs["fallback"].any()


def test_responses_are_nearer_to_the_truth_than_the_nearest_dose():
    for which, test in (("inner", 0.3), ("highest", 0.6)):
        adata = dose_series(n_cells=40, n_control=500, effect_strength=2.0, held_out_doses=which, test=test)
        truth = adata.uns["truth"]
        errors = {}
        for method in ("no_change", "transfer", *DOSED):
            ho.tl.perturbation(adata, method=method, key_added=method)
            predicted = ho.tl.predict_profiles(adata, method)
            at = [list(truth["perturbations"]).index(name) for name in predicted.obs["perturbation"]]
            dose = [list(truth["doses"]).index(value) for value in predicted.obs["dose"]]
            true = truth["profiles"][0][at, dose] - truth["control"][0]
            errors[method] = np.sqrt(((predicted.layers["change"] - true) ** 2).sum(axis=1)).mean()
        assert errors["dose_isotonic"] < errors["transfer"], (which, errors)
        if which == "inner":  # a line overshoots a response that saturates
            assert errors["dose_linear"] < errors["transfer"], errors


def test_nothing_is_invented_where_there_is_no_effect():
    adata = dose_series(n_cells=30, n_control=1000, effect_strength=0.0)
    sizes = {}
    for method in ("transfer", *DOSED):
        ho.tl.perturbation(adata, method=method, key_added=method)
        sizes[method] = np.linalg.norm(ho.tl.predict_profiles(adata, method).layers["change"], axis=1).mean()
    assert max(sizes[method] for method in DOSED) < 0.5 * sizes["transfer"], sizes


# --- what holds for them as for all methods -------------------------------------------------------------------------


@pytest.mark.parametrize("method", DOSED)
def test_fits_see_no_held_out_value_and_no_order(screen, method, any_array_type):
    spoilt, dense = screen.copy(), screen.copy()
    rows = (screen.obs["split"] != "train").to_numpy()
    X = screen.X.toarray()
    X[rows] = np.random.default_rng(0).uniform(0, 9, (rows.sum(), X.shape[1]))
    spoilt.X, dense.X = X, screen.X.toarray()
    assert task_of(spoilt).fit(method).hash == task_of(dense).fit(method).hash
    other = screen[np.random.default_rng(0).permutation(screen.n_obs)].copy()
    other.X = any_array_type(other.X.toarray())
    pairs = task_of(screen).observed("test").pairs
    found = [predict(task_of(data).fit(method), pairs).change for data in (screen, other)]
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)


@pytest.mark.parametrize("method", [*DOSED, "moved_cells"])
@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_predictions_are_the_same_after_reading(screen, method, form, tmp_path):
    adata = screen.copy()
    ho.tl.perturbation(adata, method=method)
    getattr(adata, f"write_{form}")(tmp_path / f"screen.{form}")
    again = getattr(ad, f"read_{form}")(tmp_path / f"screen.{form}")
    name = adata.uns["truth"]["perturbations"][0]
    for options in ({}, {"perturbations": [name], "doses": [0.5, 7]}):
        first, second = (ho.tl.predict_profiles(data, **options) for data in (adata, again))
        np.testing.assert_array_equal(first.layers["change"], second.layers["change"])
        pd.testing.assert_frame_equal(first.obs, second.obs)
        first, second = (ho.tl.predict_cells(data, n_cells=3, **options) for data in (adata, again))
        np.testing.assert_array_equal(first.X, second.X)


def test_each_dose_has_its_draws_and_other_doses_do_not_change_them(screen):
    adata = screen.copy()
    ho.tl.perturbation(adata, method="moved_cells")
    name = adata.uns["truth"]["perturbations"][0]
    alone = ho.tl.predict_cells(adata, perturbations=[name], doses=2.0, n_cells=4)
    several = ho.tl.predict_cells(adata, perturbations=[name], doses=[1.0, 2.0], n_cells=4)
    np.testing.assert_array_equal(several[several.obs["dose"] == 2.0].X, alone.X)
    assert several.obs_names.is_unique
    assert several.obs_names[0].startswith(f"{name}|1|")


# --- methods without a response -------------------------------------------------------------------------------------


def test_other_closed_forms_take_the_nearest_dose_or_the_mean():
    slopes = {"A": np.array([1.0, -0.5, 0, 0, 0.2, 0]), "B": np.array([0, 0, 0.7, -0.7, 0, 0])}
    adata = noise_free(lambda name, dose: slopes[name] * dose / 10, test=["A@10", "A+B@10", "A+B@30"])
    asked = [("A", 10.0), ("A", 1.5), ("A+B", 25.0), ("A", 500.0)]
    nearest = {"transfer": [30, 1, (3, 3), 30], "additive": [30, 1, (30, 30), 30], "moved_cells": [30, 1, (3, 3), 30]}
    for method, doses in nearest.items():
        found = change(adata, method, asked, perturbation_key="guide").change
        for row, dose in zip(found, doses, strict=True):
            a, b = dose if isinstance(dose, tuple) else (dose, 0)
            np.testing.assert_allclose(row, (a * slopes["A"] + b * slopes["B"]) / 10, atol=1e-4)
    train = (adata.obs["split"] == "train").to_numpy()
    means = brute_means(adata, train & (adata.obs["guide"] == "A").to_numpy(), key="dose")
    control = adata.X.toarray()[(adata.obs["guide"] == "control").to_numpy()].mean(axis=0)
    found = change(adata, "mean", asked, perturbation_key="guide").change
    assert (found == found[0]).all()
    assert np.isfinite(change(adata, "latent_additive", asked, perturbation_key="guide").change).all()
    np.testing.assert_allclose(means[30.0 if 30.0 in means else "30.0"] - control, 3 * slopes["A"], atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_fits_a_dose_series(screen, method):
    """Networks see the dose as a number, so that their cells depend on it."""
    adata = screen.copy()
    ho.tl.perturbation(adata, method=method, config=CONFIGS.get(method))
    predicted = ho.tl.predict_profiles(adata)
    assert predicted.obs["predicted"].all()
    assert set(predicted.obs["dose"]) <= {1.0, 10.0}
    if method in NETWORKS:
        name = adata.uns["truth"]["perturbations"][0]
        found = ho.tl.predict_profiles(adata, perturbations=[name], doses=[0.1, 100])
        assert np.abs(found.X[0] - found.X[1]).max() > 0.01


# --- the verbs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [*DOSED, *NETWORKS])
def test_the_unit_of_doses_does_not_matter(screen, method):
    adata = screen.copy()
    adata.obs["nM"] = 1000 * adata.obs["dose"]
    adata.uns.pop("heldout")
    ho.pp.split_assigned(adata, "split", key_added="plain", train=["train"], test=["test"])
    asked = list(task_of(screen).observed("test").pairs)
    cells = []
    for dose_key, unit in (("dose", 1.0), ("nM", 1000.0)):
        task = Task.of(adata, read_partition(adata, "plain"), "perturbation", dose_key=dose_key)
        fit = task.fit(method, CONFIGS.get(method))
        pairs = Pairs.of([pair._replace(dose=unit * pair.dose) for pair in asked])
        prediction = predict(fit, pairs, task.controls(fit.arrays["control"]))
        cells.append([prediction.cells(i, 5, np.random.default_rng(0)) for i in range(len(pairs))])
    np.testing.assert_allclose(cells[1], cells[0], atol=1e-4)


def test_the_unit_of_an_evaluation_is_the_perturbation():
    adata = dose_series(n_perturbations=4, test=0.8)
    ho.tl.perturbation(adata, method="dose_linear")
    table = ho.tl.evaluate(adata, "perturbation", n_bootstrap=50)
    assert {"dose_isotonic", "transfer"} <= set(table["method"])
    test = adata.obs[(adata.obs["split"] == "test") & (adata.obs["perturbation"] != "control")]
    held = test[["perturbation", "dose"]].astype({"perturbation": str}).drop_duplicates()
    row = table[(table["method"] == "dose_linear") & (table["metric"] == "l2")].iloc[0]
    assert row["n"] == held["perturbation"].nunique() < len(held)
    predicted = ho.tl.predict_profiles(adata)
    truth = [
        adata.X[
            ((adata.obs["split"] == "test") & (adata.obs["perturbation"] == p) & (adata.obs["dose"] == d)).to_numpy()
        ]
        for p, d in zip(predicted.obs["perturbation"], predicted.obs["dose"], strict=True)
    ]
    distance = [np.linalg.norm(np.asarray(t.mean(axis=0)).ravel() - x) for t, x in zip(truth, predicted.X, strict=True)]
    by_unit = pd.Series(distance).groupby(predicted.obs["perturbation"].to_numpy()).mean()
    assert row["estimate"] == pytest.approx(by_unit.mean(), rel=1e-4)


def test_predictions_of_another_tool_are_matched_by_dose(screen):
    adata = screen.copy()
    ho.tl.perturbation(adata, method="dose_linear")
    options = {"baselines": ["no_change"], "n_bootstrap": 20}
    expected = ho.tl.evaluate(adata, "perturbation", **options).query("role == 'model' and metric == 'l2'")
    other = ho.tl.predict_profiles(adata)
    other.obs["dose"] = other.obs["dose"].astype(np.float32)
    found = ho.tl.score_predictions(adata, {"other": other}, **options).query("role == 'model' and metric == 'l2'")
    assert found["estimate"].iloc[0] == pytest.approx(expected["estimate"].iloc[0], rel=1e-5)
    other.obs["dose"] *= 7
    with pytest.raises(ValueError, match="only at other doses"):
        ho.tl.score_predictions(adata, {"other": other}, **options)


def test_doses_are_asked_for(screen):
    adata = screen.copy()
    ho.tl.perturbation(adata, method="dose_isotonic")
    name = adata.uns["truth"]["perturbations"][0]
    every = ho.tl.predict_profiles(adata, perturbations=[name])
    assert every.obs["dose"].tolist() == read_fit(adata, "perturbation").info["doses"]
    held = ho.tl.predict_profiles(adata, doses=[2, 5])
    assert sorted(set(held.obs["dose"])) == [2.0, 5.0]
    for doses, words in ((0, "doses=0"), ([1, -1], "doses=-1"), ([], "doses is empty"), ("1", "doses='1'")):
        with pytest.raises((ValueError, TypeError), match=words):
            ho.tl.predict_profiles(adata, perturbations=[name], doses=doses)


def test_a_screen_without_doses_refuses_them():
    adata = simulated()
    ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.5)
    with pytest.raises(ValueError, match="method='dose_linear' needs doses"):
        ho.tl.perturbation(adata, method="dose_linear")
    ho.tl.perturbation(adata, method="additive")
    with pytest.raises(ValueError, match="the fit has no doses"):
        ho.tl.predict_profiles(adata, doses=1.0)
    assert "dose" not in ho.tl.predict_profiles(adata).obs
    assert "dose_key" not in read_fit(adata, "perturbation").info["names"]


def test_dose_key_is_an_argument_where_the_split_does_not_know_it():
    adata = simulated()
    adata.obs["dose"] = np.where(adata.obs["perturbation"] == "control", 0.0, 10.0 ** (np.arange(adata.n_obs) % 3))
    ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.5)
    ho.tl.perturbation(adata, method="dose_linear", dose_key="dose")
    predicted = ho.tl.predict_profiles(adata)
    assert sorted(set(predicted.obs["dose"])) == [1.0, 10.0, 100.0]
    assert len(ho.tl.evaluate(adata, "perturbation", n_bootstrap=20))
    ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", dose_key="dose", val=0, test=0.5)
    with pytest.raises(ValueError, match="dose_key='other' differs"):
        ho.tl.perturbation(adata, method="dose_linear", dose_key="other", key_added="again")


def test_simulated_doses_follow_their_hill_functions():
    adata = ho.datasets.doses_simulated(n_perturbations=4, n_genes=60, n_cells=5, doses=(10, 1, 0.1), rng=3)
    truth = adata.uns["truth"]
    assert truth["doses"].tolist() == [0.1, 1.0, 10.0]
    expected = [
        [d**h / (d**h + e**h) for d in truth["doses"]] for h, e in zip(truth["hill"], truth["ec50"], strict=True)
    ]
    np.testing.assert_allclose(truth["response"], expected)
    assert ((truth["ec50"] >= 0.1) & (truth["ec50"] <= 10)).all()
    counts = adata.obs.groupby(["perturbation", "dose"], observed=True).size()
    assert (counts.drop("control") == 5).all()
    again = ho.datasets.doses_simulated(n_perturbations=4, n_genes=60, n_cells=5, doses=(0.1, 1, 10), rng=3)
    assert (again.X != adata.X).nnz == 0
    for options, words in (
        ({"doses": (1, 1)}, "each once"),
        ({"doses": (0, 1)}, "doses=0"),
        ({"doses": ()}, "each once"),
    ):
        with pytest.raises(ValueError, match=words):
            ho.datasets.doses_simulated(**options)
