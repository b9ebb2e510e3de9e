"""Methods that predict cells: what they see, what they answer with, and how their cells are judged."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import wasserstein_distance

import heldout as ho
from heldout._core.fits import read_fit
from heldout._core.partition import read_partition
from heldout.metrics import energy_distance
from heldout.tasks.perturbation.methods.moved_cells import MovedCells
from heldout.tasks.perturbation.pairs import Pairs
from heldout.tasks.perturbation.predict import predicted_cells
from heldout.tasks.perturbation.predictions import Generated, Shifted
from heldout.tasks.perturbation.task import predict
from tests.helpers.perturbations import brute_means, combinations, contexts, exact, task_of

FEW = {"baselines": ["additive"], "n_bootstrap": 20}


@pytest.fixture(scope="module")
def partial():
    """A screen in which half of the cells respond to each perturbed gene, with half of the pairs in test."""
    return combinations(n_singles=15, n_doubles=20, n_genes=120, n_cells=60, responders=0.5, effect_strength=10, rng=1)


@pytest.fixture(scope="module")
def judged(partial):
    adata = partial.copy()
    ho.tl.perturbation(adata, method="moved_cells")
    return pd.DataFrame(ho.tl.evaluate(adata, "perturbation", **FEW)).set_index(["method", "metric"])


def cells_of(fit, task, targets, context=0, n=400):
    prediction = predict(fit, Pairs([targets], np.array([context])), task.controls(fit.arrays["control"]))
    return prediction, prediction.cells(0, n, np.random.default_rng(0))


def test_moved_cells_have_the_additive_mean_and_are_nearer_to_the_cells(judged):
    """A mean change moves all cells alike; where only some cells respond, measured cells of a member say how many."""
    distance = judged["estimate"].xs("energy_distance", level="metric")
    shifted = distance["moved_cells (shifted controls)"]
    assert distance["moved_cells"] < 0.65 * shifted
    assert shifted == pytest.approx(distance["additive"], rel=0.1)
    for metric in ("mmd", "variance_error", "gene_wasserstein"):
        assert judged.loc[("moved_cells", metric), "estimate"] < judged.loc[("additive", metric), "estimate"], metric
    means = judged["estimate"].xs("l2", level="metric")
    assert means["moved_cells"] == pytest.approx(means["additive"], rel=0.05)


def test_a_generative_method_stands_beside_its_own_mean(judged):
    row = judged.loc[("moved_cells", "energy_distance")]
    assert (row["verdict"], row["baseline"]) == ("better", "additive")
    assert row["note"] == "better than shifted controls"
    assert judged.loc[("moved_cells (shifted controls)", "l2"), "role"] == "control"


def test_moved_cells_stand_beside_other_generative_methods_by_default(partial, monkeypatch):
    """A toy generative method, resampled train cells, is one class and one registry line."""
    from heldout._core.method import Method
    from heldout.tasks.perturbation import METHODS

    toy = Method("resampled", "model", "all train cells", f"{__name__}:Resampled")
    monkeypatch.setitem(METHODS._methods, "resampled", toy)
    adata = partial.copy()
    ho.tl.perturbation(adata, method="resampled")
    table = pd.DataFrame(ho.tl.evaluate(adata, "perturbation", n_bootstrap=20))
    assert {"resampled (shifted controls)", "moved_cells", "additive"} < set(table["method"])
    assert set(table.query("metric == 'energy_distance' and method == 'resampled'")["verdict"]) == {"not better"}
    cells = predicted_cells(adata, read_fit(adata, "perturbation"), key="perturbation", n_cells=5)
    assert cells.shape == (50, 120)


class Resampled(MovedCells):
    """Any train cell, whatever was asked for."""

    def predict(self, fitted, pairs, controls, *, seed):
        kept = sparse.csr_matrix(
            tuple(fitted.arrays[name] for name in ("values", "genes", "cells")),
            shape=(fitted.arrays["groups"][-1], 120),
        )

        def sample(pair, n, rng):
            return kept[rng.integers(kept.shape[0], size=n)].toarray()

        return Generated(sample, np.zeros(len(pairs), dtype=bool), pairs, controls, seed)


def test_cells_of_a_pair_are_those_of_the_stronger_member_moved_by_the_other():
    effects = {"A": np.array([3.0, 0, 0, 0, 0, 0]), "B": np.array([0, 1.0, 0, 0, 0, 0]), "C": np.full(6, 0.5)}
    adata, profiles = exact(effects, {("A", "B"): 0, ("B", "C"): 0})
    rng = np.random.default_rng(0)
    X = adata.X.toarray()
    X[adata.obs["guide"] == "A"] += rng.choice([-1.0, 1.0], (4, 1))  # only the cells of A vary
    adata.X = X
    adata.obs["side"] = np.where(adata.obs["guide"] == "A+B", "test", "train")
    ho.pp.split_assigned(adata, "side", train=["train"], test=["test"])
    task = task_of(adata, perturbation_key="guide")
    fit = task.fit("moved_cells")
    measured = X[adata.obs["guide"] == "A"] + (profiles["B"] - profiles["control"])
    _, cells = cells_of(fit, task, ("A", "B"), n=8)
    expected = np.repeat(measured, 2, axis=0)
    np.testing.assert_allclose(np.sort(cells, axis=0), np.sort(expected, axis=0), rtol=1e-6)
    seen, cells = cells_of(fit, task, ("B", "C"), n=4)  # train has it: its own cells
    np.testing.assert_allclose(cells, X[adata.obs["guide"] == "B+C"], rtol=1e-6)
    assert not seen.fallback.any()
    unseen, _ = cells_of(fit, task, ("A", "D"), n=4)
    assert unseen.fallback.all()


def test_cells_of_a_held_out_context_are_those_of_other_contexts_moved_by_the_controls():
    adata = contexts(rng=5)
    train = (adata.obs["split"] == "train").to_numpy()
    line = adata.obs["cell_line"].to_numpy()
    test = adata.obs[(adata.obs["split"] == "test") & (adata.obs["n_targets"] > 0)].iloc[0]
    other = next(name for name in ("line1", "line2") if name != test["cell_line"])
    here, there = (brute_means(adata, train & (line == name)) for name in (test["cell_line"], other))
    task = task_of(adata)
    targets = tuple(sorted(test["perturbation"].split("+")))
    prediction, cells = cells_of(task.fit("moved_cells"), task, targets, int(test["cell_line"] == "line2"), n=15)
    expected = there[test["perturbation"]] + here["control"] - there["control"]
    np.testing.assert_allclose(cells.mean(axis=0), expected, atol=1e-5)
    assert not prediction.fallback.any()


def test_what_is_known_of_no_cell_moves_the_controls():
    adata = combinations()
    task = task_of(adata)
    fit = task.fit("moved_cells")
    prediction, cells = cells_of(fit, task, ("X", "Y"), n=300)
    latent = predict(task.fit("latent_additive"), Pairs([("X", "Y")], np.zeros(1, int)))
    assert prediction.fallback.all()
    shift = cells.mean(axis=0) - fit.arrays["control"][0]
    np.testing.assert_allclose(shift, latent.change[0], atol=0.15)


def test_every_mean_method_answers_with_moved_controls():
    adata = combinations()
    task = task_of(adata)
    fit = task.fit("additive")
    controls = adata[(adata.obs["split"] == "train") & (adata.obs["perturbation"] == "control")].X.toarray()
    prediction, cells = cells_of(fit, task, ("GENE00001", "GENE00002"), n=len(controls))
    assert isinstance(prediction, Shifted)
    np.testing.assert_allclose(np.sort(cells, axis=0), np.sort(controls + prediction.change[0], axis=0), rtol=1e-6)


def test_the_change_of_a_generated_prediction_does_not_depend_on_the_other_rows(partial):
    task = task_of(partial)
    fit = task.fit("moved_cells")
    test = sorted(partial.obs.loc[partial.obs["split"] == "test", "perturbation"].astype(str).unique())
    targets = [tuple(name.split("+")) for name in test if name != "control"]
    controls = task.controls(fit.arrays["control"])
    together = predict(fit, Pairs(targets, np.zeros(len(targets), int)), controls).change
    alone = predict(fit, Pairs(targets[2:3], np.zeros(1, int)), controls).change
    np.testing.assert_array_equal(together[2:3], alone)


def test_a_generative_fit_is_stored_and_predicts_the_same_bits(partial, through_file):
    adata = partial.copy()
    ho.tl.perturbation(adata, method="moved_cells")
    before = predicted_cells(adata, read_fit(adata, "perturbation"), key="perturbation", n_cells=10)
    again = through_file(adata)
    after = predicted_cells(again, read_fit(again, "perturbation"), key="perturbation", n_cells=10)
    np.testing.assert_array_equal(before.X, after.X)
    pd.testing.assert_frame_equal(before.obs, after.obs)


@pytest.mark.parametrize("kind", ["csc", "dense", "dask"])
def test_cells_of_other_matrices_are_the_same(partial, kind):
    adata = partial.copy()
    make = {
        "csc": sparse.csc_matrix,
        "dense": lambda X: X.toarray(),
        "dask": lambda X: da.from_array(X.toarray(), chunks=(200, -1)),
    }[kind]
    expected = task_of(partial).fit("moved_cells")
    adata.X = make(adata.X)
    found = task_of(adata).fit("moved_cells")
    for name, array in expected.arrays.items():
        np.testing.assert_allclose(found.arrays[name], array, rtol=1e-6, atol=1e-9, err_msg=name)


def test_test_cells_change_no_bit_of_a_fit_and_the_order_of_rows_does_not_matter(partial):
    expected = task_of(partial).fit("moved_cells")
    shuffled = partial[np.random.default_rng(0).permutation(partial.n_obs)].copy()
    spoilt = partial.copy()
    spoilt.X = sparse.csr_matrix(np.where((partial.obs["split"] == "test").to_numpy()[:, None], 3, partial.X.toarray()))
    found = task_of(spoilt).fit("moved_cells")
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array, err_msg=name)
    again = task_of(shuffled).fit("moved_cells")
    for name in ("fitted.values", "fitted.genes", "fitted.cells", "fitted.groups"):
        np.testing.assert_array_equal(again.arrays[name], expected.arrays[name], err_msg=name)


def test_methods_that_read_profiles_never_fetch_cells(partial):
    task = task_of(partial)
    data = task.data(task.observed("train"))
    for method in ("additive", "latent_additive", "informed_additive"):
        task.fit(method, data=data)
    assert data.cells.cache_info().currsize == 0
    task.fit("moved_cells", data=data)
    assert data.cells.cache_info().currsize == 1


def test_a_method_that_reads_profiles_gets_no_cells(partial, monkeypatch):
    monkeypatch.setattr(MovedCells, "reads", "profiles")
    with pytest.raises(TypeError, match='Set reads = "cells"'):
        task_of(partial).fit("moved_cells")


def test_cells_hide_what_a_method_may_not_see(partial):
    task = task_of(partial)
    cells = task.data(task.observed("train")).cells()
    test = (partial.obs["split"] == "test").to_numpy()
    assert (cells.perturbation[test] == -2).all()
    assert set(cells.train) == set(np.flatnonzero(partial.obs["split"] == "train"))
    controls = cells.controls(0)
    assert (partial.obs["perturbation"].iloc[controls] == "control").all()
    assert (partial.obs["split"].iloc[controls] == "train").all()


def test_predicted_cells_are_an_adata():
    adata = contexts()
    ho.tl.perturbation(adata, method="transfer")
    fit = read_fit(adata, "perturbation")
    cells = ho.tl.predict_cells(adata, "perturbation", perturbations=["GENE00001"], n_cells=7)
    assert cells.X.dtype == np.float32
    assert list(cells.obs.columns) == ["perturbation", "cell_line", "n_targets", "n_seen", "fallback"]
    assert cells.obs["cell_line"].value_counts().to_dict() == {"line1": 7, "line2": 7}
    assert cells.obs_names.is_unique
    assert cells.uns["heldout"]["predicted"]["fit"] == fit.hash
    again = predicted_cells(adata, fit, key="perturbation", perturbations=["GENE00001"], n_cells=7, rng=0)
    np.testing.assert_array_equal(cells.X, again.X)
    with pytest.raises(ValueError, match="n_cells=0 must be an integer >= 1"):
        ho.tl.predict_cells(adata, n_cells=0)
    with pytest.raises(ValueError, match=r"at=3 is not an option for fit 'perturbation', a 'perturbation.transfer'"):
        ho.tl.predict_cells(adata, at=3)


@pytest.mark.parametrize("method", ["additive", "moved_cells"])
def test_a_seed_gives_the_same_cells_whatever_else_is_predicted(method):
    adata = combinations()
    ho.tl.perturbation(adata, method=method)
    every = ho.tl.predict_cells(adata, n_cells=9, rng=3)
    names = list(dict.fromkeys(every.obs["perturbation"]))
    for asked in (names[-1:], names[::-1]):
        some = ho.tl.predict_cells(adata, perturbations=asked, n_cells=9, rng=3)
        for name in asked:
            found, before = (of.X[(of.obs["perturbation"] == name).to_numpy()] for of in (some, every))
            np.testing.assert_array_equal(found, before)
    assert (ho.tl.predict_cells(adata, n_cells=9, rng=4).X != every.X).any()


def test_cells_do_not_depend_on_the_order_of_the_controls():
    adata = combinations()
    ho.tl.perturbation(adata, method="additive")
    other = adata[adata.obs["perturbation"] == "control"].copy()
    shuffled = other[np.random.default_rng(0).permutation(other.n_obs)].copy()
    first, second = (
        ho.tl.predict_cells(of, "perturbation", perturbations=["GENE00001"], n_cells=20, reference=adata)
        for of in (other, shuffled)
    )
    np.testing.assert_allclose(first.X, second.X, rtol=1e-6)


def test_cells_of_another_adata_start_from_its_own_controls():
    adata = combinations()
    ho.tl.perturbation(adata, method="additive")
    fit = read_fit(adata, "perturbation")
    other = adata[adata.obs["perturbation"] == "control"].copy()
    other.X = other.X.toarray() + 1.0
    name = adata.obs.loc[(adata.obs["split"] == "test") & (adata.obs["n_targets"] == 2), "perturbation"].iloc[0]
    cells = predicted_cells(other, fit, key="perturbation", perturbations=[name], n_cells=other.n_obs, reference=adata)
    change = predict(fit, Pairs([tuple(name.split("+"))], np.zeros(1, int))).change[0]
    np.testing.assert_allclose(cells.X.mean(axis=0), other.X.mean(axis=0) + change, rtol=1e-5)


def test_scores_of_cells_are_those_of_the_metrics(partial):
    """Given all test cells as the prediction, against an independent computation for one perturbation."""
    adata = partial.copy()
    few = adata[(adata.obs["split"] == "test").to_numpy()].copy()
    table = pd.DataFrame(ho.tl.score_predictions(adata, {"x": few}, baselines=["no_change"], n_bootstrap=20))
    table = table.set_index(["method", "metric"])["estimate"]
    for metric in ("gene_wasserstein", "zero_share_error", "variance_error"):
        assert table["x", metric] == pytest.approx(0, abs=1e-9)
    rows = adata.uns["heldout"]["scores"]["predictions"].query("method == 'no_change'").iloc[0]
    truth = few[few.obs["perturbation"] == rows["perturbation"]].X.toarray().astype(float)
    train = adata[(adata.obs["split"] == "train") & (adata.obs["perturbation"] == "control")].X.toarray()
    rng = np.random.default_rng(0)
    as_many = [train[rng.choice(len(train), len(truth), replace=False)] for _ in range(5)]  # as there are measured
    drawn = [[wasserstein_distance(truth[:, g], few[:, g]) for g in range(adata.n_vars)] for few in as_many]
    assert rows["gene_wasserstein"] == pytest.approx(np.mean(drawn), rel=0.1)
    assert rows["energy_distance"] == pytest.approx(energy_distance(truth, train), rel=0.4, abs=0.1)


def test_the_split_is_checked_before_controls_are_drawn():
    adata = combinations()
    ho.tl.perturbation(adata, method="additive")
    fit = read_fit(adata, "perturbation")
    partition = read_partition(adata, "split")
    assert partition.hash == fit.split_hash
    names = adata.obs_names[adata.obs["split"] == "test"][:5]
    adata.obs.loc[names, "split"] = "train"
    with pytest.raises(ValueError, match="split"):
        predicted_cells(adata, fit, key="perturbation", perturbations=["GENE00001"])
