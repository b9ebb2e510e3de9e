"""Closed forms of the perturbation methods, each against an independent computation."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

import heldout as ho
from heldout._core.fits import read_fit
from heldout.tasks.perturbation import METHODS as REGISTRY
from heldout.tasks.perturbation.pairs import Pairs
from heldout.tasks.perturbation.predictions import Controls
from heldout.tasks.perturbation.task import predict
from tests.helpers.perturbations import (
    CONFIGS,
    DOSED,
    IN_MEMORY,
    METHODS,
    brute_means,
    combinations,
    contexts,
    exact,
    simulated,
    task_of,
)


@pytest.fixture(scope="module")
def screen():
    return combinations()


@pytest.fixture(scope="module")
def means(screen):
    return brute_means(screen, (screen.obs["split"] == "train").to_numpy())


def change(adata, method, names, config=None, context=0):
    return change_of(task_of(adata).fit(method, config), names, context)


def change_of(fit, names, context=0):
    targets = [tuple(sorted(name.split("+"))) for name in names]
    control = fit.arrays["control"]
    known = np.vstack([control, np.tile(control[:1], (max(0, context + 1 - len(control)), 1))])  # of another AnnData
    return predict(fit, Pairs(targets, np.full(len(names), context)), Controls.without_cells(known))


def held_out(adata):
    test = adata.obs.loc[adata.obs["split"] == "test", "perturbation"].astype(str).unique()
    return sorted(set(test) - {"control"})


def test_every_method_is_tested():
    assert {*METHODS, *DOSED} == set(REGISTRY.names())


def test_no_change_is_the_train_controls(screen, means):
    ho.tl.perturbation(screen, method="no_change", key_added="a")
    predicted = ho.tl.predict_profiles(screen, "a")
    np.testing.assert_allclose(predicted.X, np.tile(means["control"], (6, 1)), rtol=1e-6)
    assert (predicted.layers["change"] == 0).all()


def test_additive_is_the_sum_of_the_singles(screen, means):
    for name, row in zip(held_out(screen), change(screen, "additive", held_out(screen)).change, strict=True):
        a, b = name.split("+")
        np.testing.assert_allclose(row, means[a] + means[b] - 2 * means["control"], atol=1e-10)


def test_means_over_perturbations_and_over_cells_differ(screen, means):
    names = [name for name in means if name != "control"]
    expected = np.mean([means[name] for name in names], axis=0) - means["control"]
    np.testing.assert_allclose(change(screen, "mean", ["A+B"]).change[0], expected, atol=1e-10)
    smaller = screen[~((screen.obs["perturbation"] == names[0]) & (np.arange(screen.n_obs) % 3 > 0))].copy()
    train = (smaller.obs["split"] == "train").to_numpy()
    perturbed = train & (smaller.obs["perturbation"] != "control").to_numpy()
    of_cells = smaller.X[perturbed].toarray().astype(np.float64).mean(axis=0) - brute_means(smaller, train)["control"]
    np.testing.assert_allclose(change(smaller, "mean_of_cells", ["A+B"]).change[0], of_cells, atol=1e-10)
    assert not np.allclose(change(smaller, "mean", ["A+B"]).change[0], of_cells, atol=1e-4)


def test_linear_is_two_ridge_regressions(screen, means):
    """Y - b regressed on G, and the coefficients on P: scikit-learn's solver instead of ours."""
    names = [name for name in means if name != "control"]
    Y = np.stack([means["control"], *(means[name] for name in names)])
    columns = (Y - Y.mean(axis=1, keepdims=True)).T
    U, S, _ = np.linalg.svd(columns, full_matrices=False)
    G = U[:, :10] * S[:10]
    row = {gene: i for i, gene in enumerate(screen.var_names)}
    P = np.stack([np.zeros(10), *(sum(G[row[t]] for t in name.split("+")) for name in names)])
    changes = Y - means["control"]
    b = changes.mean(axis=0)
    left = Ridge(alpha=0.1, fit_intercept=False).fit(G, (changes - b).T).coef_
    W = Ridge(alpha=0.1, fit_intercept=False).fit(P, left).coef_
    expected = [G @ W @ sum(G[row[t]] for t in name.split("+")) + b for name in held_out(screen)]
    np.testing.assert_allclose(change(screen, "linear", held_out(screen)).change, expected, atol=1e-8)


def test_linear_with_the_singles_as_vectors_is_additive_up_to_its_centre():
    """G = changes of singles, P binary, no penalty: the sum of the changes, less the centre that is counted twice."""
    rng = np.random.default_rng(1)
    effects = {name: rng.normal(size=6) for name in "ABC"}
    adata, _ = exact(effects, {("A", "B"): 0.0, ("B", "C"): 0.0})
    ho.pp.split_perturbations(adata, "guide", hold_out="combination", val=0, test=1)
    ho.pp.embedding(adata, pd.DataFrame(np.eye(3), index=list("ABC")), perturbation_key="guide", key_added="one_hot")
    genes = pd.DataFrame(np.stack(list(effects.values())).T, index=adata.var_names)
    ho.pp.embedding(adata, genes, key_added="effects")
    config = ho.model.LinearConfig(penalty=1e-10, gene_embedding="effects", perturbation_embedding="one_hot")
    found = change(adata, "linear", ["A+B", "B+C"], config).change
    centre = sum(effects.values()) / 4  # of the singles and the controls
    np.testing.assert_allclose(
        found, [effects["A"] + effects["B"] - centre, effects["B"] + effects["C"] - centre], atol=1e-5
    )


def test_latent_additive_without_penalty_is_additive_on_singles():
    adata = simulated()
    ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=1)
    config = ho.model.LatentAdditiveConfig(penalty=1e-9)
    names = held_out(adata)
    found = change(adata, "latent_additive", names, config).change
    np.testing.assert_allclose(found, change(adata, "additive", names).change, atol=1e-6)


def test_latent_additive_reads_targets_from_combinations():
    """C is never alone in train, but its effect follows from B+C and B."""
    rng = np.random.default_rng(0)
    effects = {name: rng.normal(size=6) for name in "ABC"}
    adata, _ = exact(effects, {("A", "C"): 0.0, ("B", "C"): 0.0})
    adata = adata[adata.obs["guide"] != "C"].copy()
    ho.pp.split_assigned(adata, "guide", train=["control", "A", "B", "B+C"], test=["A+C"])
    config = ho.model.LatentAdditiveConfig(penalty=1e-9)
    fit = task_of(adata, perturbation_key="guide").fit("latent_additive", config)
    found = predict(fit, Pairs([("A", "C")], np.zeros(1, int)))
    np.testing.assert_allclose(found.change[0], effects["A"] + effects["C"], atol=1e-6)
    assert not found.fallback[0]


def test_noisy_effects_are_shrunk(screen):
    """The penalty is estimated: with few cells predictions are smaller than sums, and nearer to the truth."""
    noisy = combinations(n_cells=6, n_singles=30, n_doubles=30, n_genes=300)
    ho.tl.perturbation(noisy, method="latent_additive")
    table = ho.tl.evaluate(noisy, "perturbation", baselines=["additive"], n_bootstrap=200)
    rows = table.set_index(["method", "metric"])["estimate"]
    assert rows["latent_additive", "l2"] < 0.95 * rows["additive", "l2"]
    assert rows["latent_additive", "pearson_delta"] > rows["additive", "pearson_delta"]
    assert rows["latent_additive", "variance_ratio"] < rows["additive", "variance_ratio"]


def test_vectors_help_with_unseen_targets_only_where_they_say_something():
    found = {}
    for share in (0.9, 0.0):
        adata = simulated(n_singles=50, n_doubles=0, n_genes=300, n_cells=40, embedding_share=share)
        ho.pp.split_perturbations(adata, "perturbation", val=0, test=0.3)
        fit = task_of(adata).fit("informed_additive")
        found[share] = fit.info["fitted"]["vector_penalty"]
        if share:
            ho.tl.perturbation(adata)
            table = ho.tl.evaluate(adata, "perturbation", baselines=["mean", "latent_additive"], n_bootstrap=300)
            row = table.query("role == 'model' and metric == 'pearson_delta'").iloc[0]
            assert row["verdict"] == "better"
    assert found[0.9] is not None
    assert found[0.0] is None or found[0.0] > 1e3


def test_nearest_takes_the_most_similar_train_perturbation():
    rng = np.random.default_rng(0)
    effects = {name: rng.normal(size=6) for name in "ABCD"}
    adata, _ = exact(effects, {})
    ho.pp.split_assigned(adata, "guide", train=["control", "A", "B", "C"], test=["D"])
    vectors = pd.DataFrame([[1.0, 0], [0, 1], [-1, 0], [0.1, 5]], index=list("ABCD"))
    ho.pp.embedding(adata, vectors, perturbation_key="guide", key_added="v")
    task = task_of(adata, perturbation_key="guide")
    config = ho.model.NearestConfig(perturbation_embedding="v")
    found = predict(task.fit("nearest", config), Pairs([("D",)], np.zeros(1, int))).change[0]
    np.testing.assert_allclose(found, effects["B"], atol=1e-12)
    two = ho.model.NearestConfig(perturbation_embedding="v", n_neighbors=2)
    found = predict(task.fit("nearest", two), Pairs([("D",)], np.zeros(1, int))).change[0]
    np.testing.assert_allclose(found, (effects["B"] + effects["A"]) / 2, atol=1e-12)


def test_a_combination_may_have_a_vector_of_its_own():
    rng = np.random.default_rng(0)
    effects = {name: rng.normal(size=6) for name in "ABC"}
    adata, _ = exact(effects, {("A", "B"): 0.0, ("B", "C"): 0.0})
    ho.pp.split_perturbations(adata, "guide", hold_out="combination", val=0, test=1)
    vectors = pd.DataFrame([[1.0, 0], [0, 1], [-1, 0], [-1.0, 0.1]], index=["A", "B", "C", "A+B"])
    ho.pp.embedding(adata, vectors, perturbation_key="guide", key_added="v")
    config = ho.model.NearestConfig(perturbation_embedding="v")
    found = change(adata, "nearest", ["A+B", "B+C"], config).change
    np.testing.assert_allclose(found[0], effects["C"], atol=1e-6)
    assert not np.allclose(found[1], found[0])


def test_contexts_have_their_own_controls_and_means():
    adata = contexts()
    train = (adata.obs["split"] == "train").to_numpy()
    line = adata.obs["cell_line"].astype(str).to_numpy()
    names = sorted(set(line))
    for number, name in enumerate(names):
        own = brute_means(adata, train & (line == name))
        expected = np.mean([own[p] - own["control"] for p in own if p != "control"], axis=0)
        np.testing.assert_allclose(change(adata, "context_mean", ["A"], context=number).change[0], expected, atol=1e-10)
    test = adata.obs[adata.obs["split"] == "test"].query("perturbation != 'control'")
    held, where = test[["perturbation", "cell_line"]].astype(str).drop_duplicates().iloc[0]
    other = brute_means(adata, train & (line != where))
    found = change(adata, "transfer", [held], context=names.index(where))
    np.testing.assert_allclose(found.change[0], other[held] - other["control"], atol=1e-10)
    assert not found.fallback[0]


@pytest.mark.parametrize("method", METHODS)
def test_a_context_that_train_lacks_has_what_holds_over_all(method):
    adata = contexts()
    single = next(name for name in adata.obs["perturbation"].cat.categories if "+" not in name and name != "control")
    fit = task_of(adata).fit(method, CONFIGS.get(method))
    found, known = (change_of(fit, [single], context=number) for number in (7, 0))
    assert np.isfinite(found.change).all()
    if method in ("no_change", "mean", "mean_of_cells"):
        np.testing.assert_array_equal(found.change, known.change)
    else:
        # the members of a stack differ in this
        expected = method not in ("transfer", "moved_cells", "pooled_transfer", "composed_cells", "residual_flow")
        assert method == "stacked" or found.fallback.all() == expected


@pytest.mark.parametrize("method", METHODS)
def test_no_held_out_value_is_seen(screen, method):
    """Garbage in val and test changes no bit of a fit."""
    spoilt = screen.copy()
    rows = (spoilt.obs["split"] != "train").to_numpy()
    X = spoilt.X.toarray()
    X[rows] = np.random.default_rng(0).uniform(0, 9, (rows.sum(), X.shape[1]))
    spoilt.X = X
    dense = screen.copy()
    dense.X = dense.X.toarray()
    config = CONFIGS.get(method)
    assert task_of(dense).fit(method, config).hash == task_of(spoilt).fit(method, config).hash


@pytest.mark.parametrize("method", IN_MEMORY)
def test_neither_order_of_cells_nor_kind_of_matrix_matters(screen, method, any_array_type):
    order = np.random.default_rng(0).permutation(screen.n_obs)
    other = screen[order].copy()
    other.X = any_array_type(other.X.toarray())
    names = held_out(screen)
    np.testing.assert_allclose(change(other, method, names).change, change(screen, method, names).change, atol=1e-6)


@pytest.mark.parametrize("method", IN_MEMORY)
def test_dask_gives_the_same(screen, method):
    lazy = screen.copy()
    lazy.X = da.from_array(screen.X.toarray(), chunks=(97, 80))
    names = held_out(screen)
    np.testing.assert_allclose(change(lazy, method, names).change, change(screen, method, names).change, atol=1e-6)


def test_a_fit_survives_a_file(screen, through_file):
    ho.tl.perturbation(screen, key_added="kept")
    before = ho.tl.predict_profiles(screen, "kept")
    back = through_file(screen)
    assert read_fit(back, "kept").hash == read_fit(screen, "kept").hash
    after = ho.tl.predict_profiles(back, "kept")
    np.testing.assert_array_equal(after.X, before.X)


@pytest.mark.parametrize("method", ["latent_additive", "pooled_transfer", "stacked"])
@pytest.mark.parametrize("n_singles", [3, 6])
def test_cells_without_noise_in_two_contexts_are_predicted(method, n_singles):
    adata = simulated(n_singles=n_singles, n_doubles=0, n_genes=60, n_contexts=2)
    groups = adata.obs.groupby(["perturbation", "cell_line"], observed=True).ngroup().to_numpy()
    _, first = np.unique(groups, return_index=True)
    adata.X = adata.X[first[groups]]  # all cells of a group are equal
    ho.pp.split_perturbations(adata, "perturbation", val=0, test=0.67, covariate_keys="cell_line")
    ho.tl.perturbation(adata, method=method)
    seen = ho.get.perturbations(adata).query("partition == 'train' and not control")["perturbation"].unique()
    profiles = ho.tl.predict_profiles(adata, perturbations=list(seen))
    assert np.isfinite(profiles.X).all()
