"""A mixture of forecasts: its weights, what it looks at, and that it is persistence where nothing helps."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

import heldout as ho
from heldout._core.fits import read_fit
from heldout.metrics import energy_distance
from heldout.tasks.forecast import METHODS
from heldout.tasks.forecast.auto import DEFAULTS
from heldout.tasks.forecast.mixing import Past, assigned, choose
from tests.helpers.forecasts import adata_of, snapshots, split

PERSISTENCE = np.array([1.0, 0.0, 0.0])


def past_of(tests, *, ahead=1.0, evidence=1.0, at=None):
    """Backtests of clouds of equal size, the first of which is persistence: (clouds, truth) of each."""

    def mean(x, y, same):
        distance = cdist(x, y)
        return distance[~np.eye(len(x), dtype=bool)].mean() if same else distance.mean()

    return Past(
        within=np.array(
            [[[mean(x, y, i == j) for j, y in enumerate(xs)] for i, x in enumerate(xs)] for xs, _ in tests]
        ),
        to_truth=np.array([[mean(x, truth, False) for x in xs] for xs, truth in tests]),
        of_truth=np.array([mean(truth, truth, True) for _, truth in tests]),
        least=np.full(len(tests), 1e-3),
        ahead=np.broadcast_to(ahead, len(tests)).astype(float),
        evidence=np.broadcast_to(evidence, len(tests)).astype(float),
        at=np.arange(float(len(tests))) if at is None else np.array(at),
        reference=0,
    )


def blobs(*centres, n=80, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, 3)) + [c, 0, 0] for c in centres]


def mixed(n=80, seed=9):
    """A truth of which half stands still and half moves by 3."""
    return np.concatenate(blobs(0, 3, n=n // 2, seed=seed))


def test_the_distance_of_a_mixture_is_that_of_its_cells():
    clouds, truth = blobs(0, 2, 5), mixed()
    past = past_of([(clouds, truth)])
    for i, cells in enumerate(clouds):
        assert past.distances(np.eye(3)[i])[0] == pytest.approx(energy_distance(truth, cells))
    weights = np.array([0.5, 0.3, 0.2])
    many = np.concatenate([cells[: int(w * 80)] for cells, w in zip(blobs(0, 2, 5, seed=5), weights, strict=True)])
    assert past.distances(weights)[0] == pytest.approx(energy_distance(truth, many), abs=0.15)


def test_weights_are_those_of_the_quadratic_programme():
    past = past_of([(blobs(0, 3, 8, seed=s), mixed(seed=20 + s)) for s in range(3)])
    found = choose(past, PERSISTENCE, ahead=1.0, shrinkage=0.0)

    def lost(w):
        return float((past.distances(w) / past.scale).sum())

    limits = {"type": "eq", "fun": lambda w: w.sum() - 1}
    reference = minimize(lost, np.full(3, 1 / 3), bounds=[(0, 1)] * 3, constraints=limits, method="SLSQP")
    np.testing.assert_allclose(found.weights, reference.x, atol=0.02)
    np.testing.assert_allclose(found.weights, [0.5, 0.5, 0], atol=0.08)
    assert found.reason == "mixture"
    assert (found.gains > 0.5).all()


def test_what_is_worse_than_persistence_is_persistence():
    """Candidates that helped once by chance do not help on backtests that had no part in the choice."""
    past = past_of([(blobs(0, 1, -1, seed=s), blobs(0 if s else 1, seed=40 + s)[0]) for s in range(4)])
    found = choose(past, PERSISTENCE, ahead=1.0, shrinkage=0.2)
    np.testing.assert_array_equal(found.weights, PERSISTENCE)
    assert found.reason == "persistence"


def test_a_time_does_not_weight_itself():
    """One candidate is right at a time that is predicted four times, another one at the other time."""
    tests = [(blobs(0, 3, -3, seed=s), blobs(3 if s < 4 else -3, seed=40 + s)[0]) for s in range(5)]
    found = choose(past_of(tests, at=[5.0] * 4 + [7.0]), PERSISTENCE, ahead=1.0, shrinkage=0.05)
    np.testing.assert_array_equal(found.weights, PERSISTENCE)
    as_if_five_times = choose(past_of(tests), PERSISTENCE, ahead=1.0, shrinkage=0.05)
    assert as_if_five_times.reason == "mixture"
    assert (as_if_five_times.gains[:4] > 0.5).all()
    once = choose(past_of(tests[:2], at=[5.0, 5.0]), PERSISTENCE, ahead=1.0, shrinkage=0.05)
    assert np.isnan(once.gains).all()


def test_less_evidence_shrinks_more():
    """A candidate goes the right way and explains half of the change."""

    def weight(n, **options):
        tests = [(blobs(0, 1, 9, seed=s), blobs(2, seed=60 + s)[0]) for s in range(n)]
        ahead = options.pop("at", 1.0)
        return choose(past_of(tests, **options), PERSISTENCE, ahead=ahead, shrinkage=1.0).weights[1]

    once, often, short, far = weight(1), weight(4), weight(4, evidence=0.25), weight(4, at=8.0)
    assert 0 < once < often
    assert short < often
    assert far < often
    none = choose(
        past_of([(blobs(0, 1, 9), mixed())]).only(np.zeros(1, dtype=bool)), PERSISTENCE, ahead=1.0, shrinkage=1
    )
    assert none.reason == "prior"
    np.testing.assert_array_equal(none.weights, PERSISTENCE)


@pytest.mark.parametrize("n", [1, 7, 200])
def test_cells_are_assigned_in_proportion_and_evenly(n):
    start = np.random.default_rng(0).normal(size=(n, 2))
    weights = np.array([0.5, 0.0, 0.3, 0.2])
    which = assigned(weights, start)
    counts = np.bincount(which, minlength=4)
    assert (np.abs(counts - n * weights) <= 1).all()
    assert counts[1] == 0
    turned = np.random.default_rng(1).permutation(n)
    np.testing.assert_array_equal(assigned(weights, start[turned]), which[turned])
    if n == 200:
        for i in (0, 2, 3):
            assert abs(start[which == i, 0].mean() - start[:, 0].mean()) < 0.1


def fitted_auto(kind, train, target, **options):
    data, truth = snapshots(kind, train, target, n=100)
    auto = METHODS.implementation("auto")
    fitted = auto.fit(data, type(auto.default_config)(**options), seed=0)
    start = int(np.searchsorted(data.times, data.targets[0])) - 1
    cells = auto.predict(fitted, data.cells[start], data.times[start], data.targets[0], np.random.default_rng(0))
    distance = [energy_distance(truth, found) for found in (cells, data.cells[start])]
    return fitted, *distance


def test_a_law_is_followed_and_standing_still_is_known():
    fitted, moved, still = fitted_auto("line", [0, 1, 2, 3, 4, 5], 6)
    assert moved < 0.05 * still
    about = fitted.info["kinds"]["forecast"]["chosen"][0]
    assert about["n_better"] == about["n_tested"] == 10
    fitted, moved, still = fitted_auto("still", [0, 1, 2, 3, 4, 5], 6)
    assert moved == pytest.approx(still, abs=0.03)


def test_middle_times():
    fitted, moved, still = fitted_auto("line", [0, 1, 2, 4, 5, 6], 3)
    assert moved < 0.1 * still
    weights = fitted.info["kinds"]["interpolation"]["chosen"][0]["weights"]
    assert weights.get("blend", 0) + weights.get("ot_interpolation", 0) > 0.8  # both are right
    tests = fitted.info["kinds"]["interpolation"]["backtests"]
    assert [test["at"] for test in tests] == [1.0, 2.0, 5.0, 6.0]
    assert set(tests[0]["skill"]) == {"persistence", *DEFAULTS["interpolation"]}


def test_few_times_are_persistence():
    fitted, moved, still = fitted_auto("line", [0, 1], 2)
    assert moved == still
    kinds = fitted.info["kinds"]["forecast"]
    moving = ["ot_linear", "var_ridge", "reversion", "ridge_reversion", "states"]
    assert kinds["left_out"] == dict.fromkeys(moving, "needs 3 train times")


def adata_with(method="auto", **options):
    adata = split(adata_of(), **options)
    ho.tl.forecast(adata, "h", method=method)
    return adata


def test_files_cells_and_report(tmp_path):
    adata = adata_with()
    predicted = ho.tl.predict_cells(adata, at=8)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(ho.tl.predict_cells(again, at=8).X, predicted.X)
    start = adata[adata.obs["h"] == 6]
    kept = predicted.obs["start_cell"] != ""
    assert set(predicted.obs.loc[kept, "start_cell"]) <= set(start.obs_names)
    report = ho.tl.evaluate(again)
    wide = report.table.pivot(index="method", columns="metric", values="estimate")
    assert wide.loc["auto", "skill_corrected"] > 0.8
    assert "In this experiment auto removes" in str(report)
    assert "better than standing still at 4 of 4 past times" in " ".join(str(report).split())
    assert "of the cells by" in report.table.query("role == 'model'")["note"].iloc[0]


def test_known_candidates_are_not_fitted_again(monkeypatch):
    """Their scores are those of a fit of their own."""
    adata = adata_with()
    asked = ["var_ridge", "reversion", "ridge_reversion", "ot_linear"]
    monkeypatch.setattr("heldout.tasks.forecast.judge._fit", lambda *a, **k: pytest.fail("fitted again"))
    table = ho.tl.evaluate(adata, baselines=asked).table
    monkeypatch.undo()
    other = adata_with("var_ridge")
    alone = ho.tl.evaluate(other, baselines=asked[1:]).table
    for method in asked:
        rows = [
            t[(t["method"] == method) & (t["level"] == "h")].set_index("metric")["estimate"] for t in (table, alone)
        ]
        np.testing.assert_allclose(*rows, rtol=1e-6)


def test_backtests_as_a_table():
    adata = adata_with()
    table = ho.get.backtests(adata)
    assert set(table["method"]) == {"persistence", *DEFAULTS["forecast"]}
    assert (table.loc[table["method"] == "persistence", "skill"] == 0).all()
    assert (table["start"] < table["target"]).all()
    assert sum(table.attrs["chosen"][0]["weights"].values()) == pytest.approx(1, abs=0.01)
    ho.tl.forecast(adata, "h", method="persistence", key_added="other")
    with pytest.raises(ValueError, match="'other' was made by 'forecast.persistence', which compares no candidates"):
        ho.get.backtests(adata, "other")


def test_refused():
    adata = split(adata_of())
    for names, match in ((("prophet",), "is not a forecast method"), (("auto",), "must not contain 'auto'")):
        with pytest.raises(ValueError, match=match):
            ho.tl.forecast(adata, "h", config=ho.model.AutoConfig(candidates=names))
    ho.tl.forecast(adata, "h", config=ho.model.AutoConfig(candidates=("reversion", "ot_interpolation")))
    assert read_fit(adata, "forecast").info["fitted"]["kinds"]["forecast"]["left_out"] == {
        "ot_interpolation": "cannot do forecast"
    }
    with pytest.raises(ValueError, match=r"at=3.2 asks for interpolation, but the candidates of this fit were"):
        ho.tl.predict_cells(adata, at=3.2)


def test_both_sides_of_the_last_train_time():
    adata = adata_of()
    adata.obs["mine"] = np.where(adata.obs["h"].isin([3.5, 8]), "b", "a")
    ho.pp.split_assigned(adata, "mine", train=["a"], test=["b"])
    ho.tl.forecast(adata, "h")
    assert list(read_fit(adata, "forecast").info["fitted"]["kinds"]) == ["forecast", "interpolation"]
    report = ho.tl.evaluate(adata, baselines=["persistence", "pooled_past"])
    assert "time 8: predicts" in report.table.query("role == 'model'")["note"].iloc[0]
    assert "h 2 and h 6" in str(report)


@pytest.mark.slow
def test_a_network_can_be_a_candidate():
    """It is trained on each past again, and its seeds are shown."""
    data, _ = snapshots("line", [0, 1, 2, 3], 4, n=40)
    auto = METHODS.implementation("auto")
    fitted = auto.fit(data, type(auto.default_config)(candidates=("feedforward",)), seed=0)
    chosen = fitted.info["kinds"]["forecast"]
    assert chosen["names"] == ["persistence", "feedforward"]
    assert all(np.isfinite(test["skill"]["feedforward"]) for test in chosen["backtests"])
