"""Middle times by curved transport and cells of both sides: simulations with known paths, speed and composition."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import heldout as ho
from heldout._core.fits import read_fit
from heldout.metrics import energy_distance, split_half, variance_error
from heldout.tasks.forecast import METHODS
from heldout.tasks.forecast.blend import WEIGHTS, Blend, _errors, learn
from heldout.tasks.forecast.curves import curve_at
from heldout.tasks.forecast.growth import Pairing
from heldout.tasks.forecast.interface import Snapshots
from heldout.tasks.forecast.paths import draw, interval_of, stayed, stays, travelled
from heldout.tasks.forecast.space import Space
from tests.helpers.forecasts import adata_of, split

TIMES = np.arange(6.0)


def cells_at(kind, time, rng, *, n=150, d=10):
    """Cells whose progress differs, with noise in all directions."""
    z = rng.normal(0, 0.5, (n, d))
    progress = np.clip(time + rng.normal(0, 0.4, n), 0, 6)
    if kind == "bend":
        z[:, 0] += 6 * np.cos(progress * 0.7)
        z[:, 1] += 6 * np.sin(progress * 0.7)
    elif kind == "slowing":
        z[:, 0] += 8 * np.sqrt(progress)
    elif kind == "switch":
        z[:, :2] += np.outer(rng.random(n) < 1 / (1 + np.exp(2.5 - progress)), [8, 3])
    else:  # one of two branches outgrows the other
        second = rng.random(n) < 1 / (1 + np.exp(2.5 - time))
        z[:, 0] += 2 * progress
        z[:, 1] += np.where(second, 2 + progress, -2 - progress)
    return z


def course(kind, target, seed=0):
    """Snapshots of the other times, and the cells of the target."""
    rng = np.random.default_rng(seed)
    cells = [cells_at(kind, time, rng) for time in TIMES]
    d = cells[0].shape[1]
    rest = [c for time, c in zip(TIMES, cells, strict=True) if time != target]
    space = Space(np.zeros(d), np.eye(d))
    return Snapshots(TIMES[target != TIMES], rest, space, targets=(target,)), cells[int(target)]


def predicted(method, data, at, **config):
    implementation = METHODS[method].load()()
    fitted = implementation.fit(data, type(implementation.default_config)(**config), seed=0)
    first = int(np.searchsorted(data.times, at)) - 1
    cells = implementation.predict(fitted, data.cells[first], data.times[first], at, np.random.default_rng(0))
    return cells, fitted


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bend", "slowing", "switch", "growth"])
def test_it_is_near_the_better_of_displacement_and_mixture(kind):
    """On average over three middle times. In a bend and with a changing speed it is far better than both."""
    distances = []
    for target in (1.0, 2.0, 3.0):
        data, truth = course(kind, target)
        methods = ("blend", "ot_interpolation", "neighbour_mixture")
        distances.append([energy_distance(truth, predicted(method, data, target)[0]) for method in methods])
    blend, moved, mixed = np.mean(distances, axis=0)
    assert blend < (1.05 if kind in ("switch", "growth") else 0.7) * min(moved, mixed)


@pytest.mark.slow
def test_what_is_true_is_learnt():
    choices, curves = {}, {}
    for kind in ("bend", "slowing", "switch"):
        data, _ = course(kind, 2.0)
        choices[kind] = learn(Pairing(data.times, data.cells), ho.model.BlendConfig(), seed=0)
        curves[kind] = curve_at(data.times, np.array([c.mean(axis=0) for c in data.cells]), 2.0)
    assert choices["switch"]["weight"] >= 0.5 > 0.25 >= choices["bend"]["weight"]
    assert curves["slowing"].power < 0.8 < 0.9 < curves["bend"].power
    assert choices["bend"]["origins"] == [1.0, 3.0, 4.0]
    assert min(choices["bend"]["skill_on_origins"]) > 0.8


def test_each_cell_follows_a_parabola_through_all_times():
    """The cells are far apart, so their ancestors and descendants are known. The times are uneven."""
    rng = np.random.default_rng(0)
    shape, bend = 20 * np.eye(12), rng.normal(size=(12, 12))
    times = np.array([0, 1, 3, 4.0])
    cells = [shape + 0.3 * time**2 * bend for time in times]
    interval = interval_of(Pairing(times, cells), 1, n_neighbors=1)
    drawn = draw(interval, np.arange(12), rng)
    np.testing.assert_array_equal(drawn.columns, np.arange(12))
    curve = curve_at(times, interval.means, 2.0, power=1.0)
    curved, straight = (travelled(drawn, curve, curvature) for curvature in (1.0, 0.0))
    np.testing.assert_allclose(straight, shape + 0.3 * 5 * bend, atol=1e-4)
    off = np.linalg.norm(curved - shape - 0.3 * 4 * bend, axis=1) / np.linalg.norm(0.3 * bend, axis=1)
    assert off.max() < 0.25


def test_the_pairs_that_are_farthest_apart_stay():
    rng = np.random.default_rng(0)
    before = rng.normal(0, 0.3, (90, 4))
    after = rng.normal(0, 0.3, (90, 4)) + np.where(np.arange(90) < 30, 8.0, 0.5)[:, None] * [1, 0, 0, 0]
    drawn = draw(interval_of(Pairing(np.arange(2.0), [before, after]), 0, n_neighbors=5), np.arange(90), rng)
    jumped = after[drawn.columns, 0] > 4
    assert np.mean(jumped) == pytest.approx(1 / 3, abs=0.05)
    assert np.mean(stays(drawn, 1 / 3) == jumped) > 0.95
    assert not stays(drawn, 0.0).any()
    assert stays(drawn, 1.0).all()


def test_a_course_without_change_has_no_best_weight():
    cells = np.random.default_rng(0).normal(size=(60, 5))
    learnt = learn(Pairing(np.arange(4.0), [cells + 0.001 * time for time in range(4)]), ho.model.BlendConfig(), seed=0)
    assert np.isfinite(learnt["skill_on_origins"]).all()


@pytest.mark.slow
def test_noise_keeps_its_spread():
    """Averages of two cells lose half of the noise of the cells."""
    rng = np.random.default_rng(1)
    cells = [rng.normal(size=(200, 20)) + time for time in (0.0, 1.0, 2.0)]
    data = Snapshots(np.array([0.0, 2.0]), cells[::2], Space(np.zeros(20), np.eye(20)), targets=(1.0,))
    whole = predicted("blend", data, 1.0, weight=0.0)[0]
    bare = predicted("blend", data, 1.0, weight=0.0, n_neighbors=1)[0]
    assert variance_error(cells[1], whole) < 0.6 * variance_error(cells[1], bare)
    assert energy_distance(cells[1], whole) < split_half(cells[1], energy_distance, n=20).max()


@pytest.mark.slow
@pytest.mark.parametrize("score", ["energy_distance", "wasserstein"])
def test_errors_are_those_of_the_public_metric(score):
    data, truth = course("bend", 2.0)
    times, cells = np.array([1.0, 2.0, 3.0]), [data.cells[1], truth, data.cells[2]]
    found = _errors(Pairing(times, cells), 1, ho.model.BlendConfig(score=score), 0)
    metric = getattr(ho.metrics, score)
    interval, rng = interval_of(Pairing(times[::2], cells[::2]), 0, n_neighbors=30), np.random.default_rng(0)
    drawn = draw(interval, np.sort(rng.permutation(150)), rng)
    curve = curve_at(times[::2], interval.means, 2.0)
    moving, staying = travelled(drawn, curve, 1.0), stayed(drawn, curve)
    for weight, error in zip(WEIGHTS, found, strict=True):
        predicted_cells = np.where(stays(drawn, weight)[:, None], staying, moving)
        expected = metric(truth, predicted_cells) / metric(truth, cells[0])
        assert error == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
def test_given_options_are_used_and_two_times_teach_nothing():
    data, _ = course("bend", 2.0)
    given = predicted("blend", data, 2.0, weight=0.9, power=0.7, curvature=0.5)[1].info["blend"]
    assert (given["weight"], given["power"], given["curvature"], given["origins"]) == (0.9, 0.7, 0.5, [])
    assert predicted("blend", data, 2.0, power=0.7)[1].info["blend"]["origins"] == [1.0, 3.0, 4.0]
    two = Snapshots(data.times[1:3], data.cells[1:3], data.space, targets=(2.0,))
    found = predicted("blend", two, 2.0)[1].info["blend"]
    assert (found["weight"], found["origins"]) == (0.25, [])
    with pytest.raises(ValueError, match=r"score='w1'.*wasserstein"):
        ho.model.BlendConfig(score="w1")


@pytest.mark.slow
def test_all_weight_on_the_sides_is_a_mixture_of_their_cells():
    data, _ = course("switch", 2.0)
    cells, _ = predicted("blend", data, 2.0, weight=1.0, power=1.0)
    before, after = ({row.tobytes() for row in side.astype(np.float32)} for side in data.cells[1:3])
    rows = [row.tobytes() for row in cells.astype(np.float32)]
    assert all(row in before | after for row in rows)
    assert np.mean([row in after for row in rows]) == pytest.approx(0.5, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 40, 300])
def test_new_start_cells_keep_their_number(n):
    data, _ = course("bend", 2.0)
    implementation = Blend()
    fitted = implementation.fit(data, ho.model.BlendConfig(), seed=0)
    start = np.random.default_rng(3).normal(size=(n, 10)) + data.cells[1][0]
    cells = implementation.predict(fitted, start, 1.0, 2.0, np.random.default_rng(0))
    assert cells.shape == start.shape
    assert np.isfinite(cells).all()


@pytest.mark.slow
def test_dense_sparse_and_files_give_the_same_cells(tmp_path):
    adata = split(adata_of("circle"), test=3.5, direction="interpolate")
    ho.tl.forecast(adata, "h", method="blend")
    expected = ho.tl.predict_cells(adata, "forecast", at=3.5)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = ho.tl.predict_cells(ad.read_h5ad(tmp_path / "a.h5ad"), "forecast", at=3.5)
    np.testing.assert_array_equal(expected.X, again.X)
    other = adata.copy()
    del other.uns["heldout"]["fits"]["forecast"]
    other.X = sparse.csr_matrix(other.X)
    ho.tl.forecast(other, "h", method="blend")
    np.testing.assert_allclose(ho.tl.predict_cells(other, "forecast", at=3.5).X, expected.X, atol=1e-4)
    assert read_fit(other, "forecast").info["fitted"]["blend"] == read_fit(adata, "forecast").info["fitted"]["blend"]


def test_it_predicts_no_later_time():
    adata = split(adata_of())
    with pytest.raises(ValueError, match="method='blend' cannot predict the test time"):
        ho.tl.forecast(adata, "h", method="blend")
    with pytest.raises(ValueError, match=r"weight=1.5 must be a number"):
        ho.model.BlendConfig(weight=1.5)
