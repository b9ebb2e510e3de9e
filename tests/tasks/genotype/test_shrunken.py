"""Logistic regression on shrunken group means, against a reference and on donors with unequal cell numbers."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

import heldout as ho
from heldout.model import LogisticConfig, ShrunkenConfig
from heldout.tasks.genotype.baselines import PseudobulkLogistic
from heldout.tasks.genotype.interface import Data
from heldout.tasks.genotype.penalty import balanced_weights
from heldout.tasks.genotype.shrunken import PseudobulkShrunken

METHOD = PseudobulkShrunken()


def donors(seed: int, *, n_donors: int = 80, n_train: int = 40, n_classes: int = 2, n_genes: int = 60):
    """Cells of donors with 2 or 100 cells. Donors differ in every gene, and classes in the first ten."""
    rng = np.random.default_rng(seed)
    labels_of = np.arange(n_donors) % n_classes
    n = np.where(rng.random(n_donors) < 0.6, 2, 100)
    level = rng.normal(scale=0.5, size=(n_donors, n_genes))
    for c in range(n_classes):
        level[labels_of == c, :10] += rng.normal(scale=0.8, size=10)
    groups = np.repeat(np.arange(n_donors), n)
    X = (level[groups] + rng.normal(scale=3.0, size=(len(groups), n_genes))).astype(np.float32)
    train = np.flatnonzero(groups < n_train)
    return Data(X, labels_of[groups], n_classes, train, np.arange(0), groups=groups)


def predicted(method, fitted, data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Class and log-probabilities of each test donor; logits of cells are averaged if the method predicts cells."""
    test = np.setdiff1d(np.unique(data.groups), data.groups[data.train])
    rows = [np.flatnonzero(data.groups == group) for group in test]
    log_p = np.stack([method.predict(fitted, data.X[r]).astype(float).mean(axis=0) for r in rows])
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    return np.array([data.labels[r[0]] for r in rows]), log_p


def reference(data: Data, info: dict, X_new: np.ndarray) -> np.ndarray:
    """Probabilities of one new group, written out gene by gene, with scikit-learn on the whole matrix."""
    names = np.unique(data.groups[data.train])
    cells = [data.X[data.train][data.groups[data.train] == name].astype(float) for name in names]
    labels = np.array([data.labels[data.groups == name][0] for name in names])
    means = np.stack([part.mean(axis=0) for part in cells])
    within = sum(((part - part.mean(axis=0)) ** 2).sum(axis=0) for part in cells) / sum(len(p) - 1 for p in cells)
    spread = means.var(axis=0, ddof=1)
    between = spread - within * np.mean([1 / len(part) for part in cells])
    between[between < 1e-6 * spread] = 0

    def shrunk(part: np.ndarray) -> np.ndarray:
        out = np.zeros(part.shape[1])
        for gene in np.flatnonzero(between):
            share = between[gene] / (between[gene] + within[gene] / len(part))
            deviation = part[:, gene].mean() - means[:, gene].mean()
            out[gene] = share * deviation / np.sqrt(between[gene])
        return out

    X = np.stack([shrunk(part) for part in cells])
    scale = (X**2).sum() / len(X)
    logits = 0.0
    for C, weight, temperature in zip(info["Cs"], info["weights"], info["temperatures"], strict=True):
        model = LogisticRegression(C=C / scale, class_weight="balanced", tol=1e-10, max_iter=10000).fit(X, labels)
        logits = logits + weight / temperature * model.decision_function(shrunk(X_new.astype(float))[None])
    return softmax(logits, axis=1) if logits.ndim == 2 else np.stack([expit(-logits), expit(logits)], axis=1)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_it_equals_the_formula_with_scikit_learn(n_classes):
    data = donors(1, n_donors=50, n_train=31, n_classes=n_classes)
    fitted = METHOD.fit(data, ShrunkenConfig(), seed=0)
    for group in (35, 36, 41):
        X = data.X[data.groups == group]
        found = METHOD.predict(fitted, X)
        assert found.shape == (len(X), n_classes)
        expected = np.repeat(reference(data, fitted.info, X), len(X), axis=0)
        np.testing.assert_allclose(np.exp(found), expected, atol=1e-5)


@pytest.mark.parametrize("convert", [sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix, da.from_array])
def test_kinds_of_matrix_agree(convert):
    data = donors(2)
    X = convert(data.X)
    expected = METHOD.fit(data, ShrunkenConfig(), seed=0)
    found = METHOD.fit(Data(X, data.labels, 2, data.train, data.val, groups=data.groups), ShrunkenConfig(), seed=0)
    for name, array in expected.arrays.items():
        np.testing.assert_allclose(found.arrays[name], array, rtol=1e-4, atol=1e-6)
    part = np.flatnonzero(data.groups == 60)
    one = X[part[0] : part[-1] + 1] if convert is not sparse.csc_matrix else X.tocsr()[part]
    np.testing.assert_allclose(METHOD.predict(found, one), METHOD.predict(expected, data.X[part]), atol=1e-4)


def test_shrinkage_wins_where_donors_have_unequal_numbers_of_cells():
    losses = []
    for seed in range(5):
        data = donors(seed)
        found = METHOD.fit(data, ShrunkenConfig(), seed=0)
        plain = PseudobulkLogistic().fit(data, LogisticConfig(), seed=0)
        pairs = [predicted(METHOD, found, data), predicted(PseudobulkLogistic(), plain, data)]
        losses.append([log_loss(labels, np.exp(log_p)) for labels, log_p in pairs])
    shrunken, unshrunken = np.mean(losses, axis=0)
    assert shrunken < 0.69
    assert shrunken < unshrunken - 0.1


def test_the_number_of_cells_of_a_new_group_decides_how_far_it_is_shrunk():
    data = donors(3)
    fitted = METHOD.fit(data, ShrunkenConfig(), seed=0)
    X = data.X[data.groups == 60][:1]
    few, many = (METHOD.predict(fitted, np.repeat(X, n, axis=0))[0].astype(float) for n in (1, 1000))
    neutral = fitted.arrays["intercept"][0]
    assert abs(few[1] - few[0] - neutral) < 0.5 * abs(many[1] - many[0] - neutral)


def test_equal_cells_give_equal_weights_and_equal_probabilities():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 20)
    data = Data(np.ones((240, 5)), groups % 2, 2, np.arange(240), np.arange(0), groups=groups)
    fitted = METHOD.fit(data, ShrunkenConfig(), seed=0)
    np.testing.assert_allclose(fitted.info["weights"], 1 / 6)
    np.testing.assert_allclose(np.exp(METHOD.predict(fitted, rng.normal(size=(4, 5)))), 0.5, atol=1e-6)


def test_classes_weigh_the_same_and_groups_of_a_class_too():
    groups = np.array([0, 0, 0, 1, 2, 2])
    labels = np.array([0, 0, 0, 0, 1, 1])
    np.testing.assert_allclose(balanced_weights(labels, groups), [0.5, 0.5, 0.5, 1.5, 1.5, 1.5])


def test_one_train_group_of_a_class_falls_back_to_the_usual_penalty():
    data = donors(4, n_donors=6, n_train=3)
    fitted = METHOD.fit(data, ShrunkenConfig(), seed=0)
    assert fitted.info["C"] == 10.0
    assert set(fitted.info["temperatures"]) == {1.0}
    assert fitted.info["penalty"] == "fixed, because a class has fewer than two groups to leave out"


def test_it_predicts_again_from_a_file(split, through_file):
    ho.tl.genotype(split, method="pseudobulk_shrunken", mask_var=None)
    before = split.obsm["genotype_log_probability"].copy()
    again = through_file(split)
    ho.tl.predict(again)
    np.testing.assert_array_equal(again.obsm["genotype_log_probability"], before)
    ho.pp.split_cells(split)
    with pytest.raises(ValueError, match="pseudobulk_shrunken needs groups. Pass group_key"):
        ho.tl.genotype(split, method="pseudobulk_shrunken", mask_var=None, key_added="other")
