"""Forecast methods on arrays: known dynamics are recovered, nothing is invented where there are none."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import sparse

import heldout as ho
from heldout._core.method import Fitted
from heldout.tasks.forecast import METHODS
from heldout.tasks.forecast.damping import PRIOR, Direction, backtest, horizon, moved_by
from heldout.tasks.forecast.interface import Snapshots
from heldout.tasks.forecast.space import Spaces, fit_space
from tests.helpers.forecasts import TIMES, snapshots

PAST = [0, 1, 2, 3, 4, 5]
AROUND = [0, 1, 2, 4, 5]
FEW = {
    "flow": {"max_epochs": 5, "n_pairs": 256, "n_refinements": 1},
    "lstm": {"max_epochs": 10},
    "feedforward": {"max_epochs": 10},
}
SMALL = {"flow": {"max_epochs": 4, "n_pairs": 256}, "lstm": {"max_epochs": 2}, "feedforward": {"max_epochs": 2}}


def forecast(method, data, at, *, start=None, seed=0, **config):
    """Cells at a time, from the last snapshot before it."""
    implementation = METHODS[method].load()()
    fitted = implementation.fit(data, type(implementation.default_config)(**config), seed=seed)
    first = int(np.searchsorted(data.times, at)) - 1
    start = data.cells[first] if start is None else start
    return implementation.predict(fitted, start, float(data.times[first]), at, np.random.default_rng(0)), fitted


def skill(truth, cells, last):
    return 1 - ho.metrics.energy_distance(truth, cells) / ho.metrics.energy_distance(truth, last)


def floor(truth):
    return ho.metrics.split_half(truth, ho.metrics.energy_distance, n=20).max()


@pytest.mark.parametrize("kind", ["line", "circle"])
def test_the_flow_recovers_a_middle_time(kind):
    """Within the noise of two halves of the truth."""
    data, truth = snapshots(kind, AROUND, 3)
    cells, _ = forecast("flow", data, 3.5)
    assert ho.metrics.energy_distance(truth, cells) < floor(truth)


@pytest.mark.parametrize(
    ("method", "least"),
    [
        ("damped_shift", 0.9),
        ("ot_linear", 0.7),
        ("var_ridge", 0.85),
        ("flow", 0.85),
        ("lstm", 0.4),
        ("feedforward", 0.3),
    ],
)
def test_a_steady_line_is_continued(method, least):
    data, truth = snapshots("line", PAST, 6)
    cells, fitted = forecast(method, data, 8.0, **FEW.get(method, {}))
    assert skill(truth, cells, data.cells[-1]) > least
    assert fitted.info["damping"]["origins"] == [2.0, 3.5, 5.0, 6.0][-len(fitted.info["damping"]["origins"]) :]


@pytest.mark.parametrize(
    "method", ["damped_shift", "ot_linear", "var_ridge", "reversion", "flow", "lstm", "feedforward"]
)
def test_where_nothing_changes_persistence_is_learnt(method):
    data, truth = snapshots("still", PAST, 6)
    cells, fitted = forecast(method, data, 8.0, **FEW.get(method, {}))
    moved = np.linalg.norm(cells.mean(axis=0) - data.cells[-1].mean(axis=0))
    assert moved < 0.15
    assert ho.metrics.energy_distance(truth, cells) < floor(truth) + 0.01


@pytest.mark.parametrize("method", ["ot_interpolation", "neighbour_mixture", "flow"])
def test_middle_times(method):
    data, truth = snapshots("line", AROUND, 3)
    cells, _ = forecast(method, data, 3.5, **SMALL.get(method, {}))
    assert skill(truth, cells, data.cells[2]) > (0.6 if method == "neighbour_mixture" else 0.9)
    assert cells.shape == data.cells[2].shape


def test_ot_interpolation_moves_each_cell_between_its_neighbours():
    data, _ = snapshots("line", AROUND, 3)
    near, _ = forecast("ot_interpolation", data, 2.0 + 1e-9)
    np.testing.assert_allclose(near, data.cells[2], atol=1e-5)


def test_shift_by_hand():
    data, _ = snapshots("line", PAST, 6)
    cells, _ = forecast("damped_shift", data, 8.0, damping=1.0)
    rate = data.cells[5].mean(axis=0) - data.cells[4].mean(axis=0)
    np.testing.assert_allclose(cells, data.cells[5] + 2 * rate)
    halved, _ = forecast("damped_shift", data, 7.0, damping=0.5)
    np.testing.assert_allclose(halved, data.cells[5] + 0.5 * rate)


def test_real_times_count():
    """The same snapshots at other times give another forecast."""
    data, _ = snapshots("line", PAST, 6)
    stretched = dataclasses.replace(data, times=np.array([0, 1, 2, 3.5, 5, 9]))
    first, _ = forecast("damped_shift", data, 12.0, damping=1.0)
    second, _ = forecast("damped_shift", stretched, 12.0, damping=1.0)
    assert np.abs(first - second).max() > 1


def test_persistence_and_pooled_past():
    data, _ = snapshots("line", PAST, 6)
    cells, _ = forecast("persistence", data, 8.0)
    np.testing.assert_array_equal(cells, data.cells[-1])
    pooled, _ = forecast("pooled_past", data, 8.0)
    known = np.concatenate(data.cells).astype(np.float32)
    assert {row.tobytes() for row in pooled.astype(np.float32)} <= {row.tobytes() for row in known}
    assert len(np.unique(pooled, axis=0)) == len(pooled)


@pytest.mark.parametrize("method", list(SMALL))
def test_networks_repeat_bit_by_bit_and_leave_torch_alone(method):
    import torch

    data, _ = snapshots("line", [0, 1, 2, 3], 4, n=40)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    cells, fitted = forecast(method, data, 5.0, **SMALL[method])
    assert torch.equal(before, torch.random.get_rng_state())
    again, _ = forecast(method, data, 5.0, **SMALL[method])
    np.testing.assert_array_equal(cells, again)
    other, _ = forecast(method, data, 5.0, seed=1, damping=1.0, **SMALL[method])
    assert not np.array_equal(cells, other)
    assert {"epoch", "train_loss", "val_loss"} <= set(fitted.history)


@pytest.mark.parametrize("method", ["lstm", "feedforward"])
def test_steps_or_straight(method):
    data, _ = snapshots("line", [0, 1, 2, 3], 6, n=40)
    straight, _ = forecast(method, data, 8.0, damping=1.0, max_epochs=4)
    steps, _ = forecast(method, data, 8.0, damping=1.0, max_epochs=4, rollout="steps")
    assert not np.allclose(straight, steps)
    one, _ = forecast(method, data, 5.0, damping=1.0, max_epochs=4)
    same, _ = forecast(method, data, 5.0, damping=1.0, max_epochs=4, rollout="steps")
    np.testing.assert_array_equal(one, same)


def test_as_published():
    """Layers of the published study, no skip: an untrained network does not give persistence."""
    data, _ = snapshots("line", [0, 1, 2, 3], 4, n=40)
    cells, fitted = forecast("lstm_published", data, 5.0, max_epochs=1)
    assert fitted.arrays["net.layers.0.weight_hh_l0"].shape == (4 * 128, 128)
    assert fitted.arrays["net.layers.1.weight_hh_l0"].shape == (4 * 64, 64)
    assert np.abs(cells - data.cells[-1]).mean() > 0.1
    _, fitted = forecast("feedforward_published", data, 5.0, max_epochs=1)
    shapes = [a.shape[0] for name, a in fitted.arrays.items() if name.endswith("weight")]
    assert shapes == [128, 64, 32, 15]
    assert fitted.arrays["net.network.0.weight"].shape == (128, 3 * 15)


def test_val_cells_stop_the_training():
    data, _ = snapshots("line", [0, 1, 2, 3], 5, n=40)
    later, truth = snapshots("line", [0, 1, 2, 3], 4, n=40)
    val = dataclasses.replace(later, times=np.array([5.0]), cells=[truth], targets=())
    _, fitted = forecast("flow", dataclasses.replace(data, val=val), 6.0, max_epochs=3)
    assert np.isfinite(fitted.history["val_energy"]).all()


def test_a_flow_for_middle_times_does_not_forecast():
    data, _ = snapshots("line", AROUND, 3, n=40)
    implementation = METHODS["flow"].load()()
    fitted = implementation.fit(data, type(implementation.default_config)(max_epochs=1), seed=0)
    with pytest.raises(ValueError, match="made for times between the train times"):
        implementation.predict(fitted, data.cells[-1], 6.0, 8.0, np.random.default_rng(0))


def test_backtest_looks_at_the_past_only():
    data, _ = snapshots("line", PAST, 6, n=40)
    seen = []

    def move(past, at):
        seen.append((past.times.tolist(), at))
        assert past.val is None
        return [Direction(*[np.zeros_like(past.cells[-1])] * 2)]

    record = backtest(data, move)
    assert seen == [(TIMES[:i].tolist(), TIMES[i]) for i in range(2, 6)]
    assert record["share"] == [0.0]
    with pytest.raises(ValueError, match="needs 3 train times, there are 2"):
        backtest(data.until(2), move)


def past_of(gaps, n=200):
    """Snapshots whose mean moves by a gap each time, along the first coordinate."""
    rng = np.random.default_rng(0)
    at = np.cumsum([0.0, *gaps])
    cells = [rng.normal(size=(n, 3)) + [x, 0, 0] for x in at]
    space = fit_space(np.concatenate(cells), 3)
    return Snapshots(np.arange(float(len(at))), [space.encode(c) for c in cells], space)


def along(length):
    """A method that moves all cells by a length in the direction of the last change."""

    def move(past, at):
        change = past.cells[-1].mean(axis=0) - past.cells[-2].mean(axis=0)
        moved = np.tile(length * change / np.linalg.norm(change), (len(past.cells[-1]), 1))
        return [Direction(moved, moved)]

    return move


def test_one_past_time_counts_for_little():
    """A movement that goes the right way but too far is shrunk below what was best at the only past time."""
    once, often = past_of([1, 1]), past_of([1, 1, 1, 1, 1])
    share = [backtest(data, along(2.0))["share"][0] for data in (once, often)]
    assert share[1] == 0.5, "what was best at each of four past times"
    assert 0 < share[0] <= share[1]
    wild = backtest(once, along(8.0))
    assert wild["share"][0] <= 0.1


def test_a_law_is_followed_and_noise_is_not():
    assert backtest(past_of([1, 1, 1, 1]), along(1.0))["share"] == [1.0]
    assert backtest(past_of([1, -1, 1, -1]), along(1.0))["share"] == [0.0]
    assert backtest(past_of([0, 0, 0, 0]), along(0.05))["share"] == [0.0]
    assert PRIOR > 0


def test_the_past_is_judged_in_a_space_of_its_own():
    """Genes that come up only at the time to be forecast are in no component of the past."""
    rng = np.random.default_rng(0)
    genes = rng.normal(size=(3, 50, 6)) * [[[1, 1, 0.01, 0.01, 0.01, 0.01]]]
    genes[2, :, 5] += 5 * rng.normal(size=50)
    space = fit_space(np.concatenate(genes), 2)
    data = Snapshots(np.arange(3.0), [space.encode(x) for x in genes], space)

    def refitted(n):
        own = fit_space(np.concatenate(genes[:n]), 2)
        return Snapshots(np.arange(3.0), [own.encode(x) for x in genes], own)

    _, seen = data.origin(2)
    past, unseen = dataclasses.replace(data, refitted=refitted).origin(2)
    assert seen[0].std() > 2
    assert unseen[0].std() < 1.5
    assert len(past.cells) == 2
    assert past.refitted is None


@given(st.floats(0, 1), st.floats(1, 20))
@settings(max_examples=50, deadline=None)
@example(0.5, 3.0)
def test_a_damped_movement_fades(share, ahead):
    """The sum of a geometric series of steps. A law is followed, and a part without time is not damped."""
    step, there = np.ones(2), np.full(2, 100.0)
    made = Direction(there, step).damped(share, ahead)
    if share == 1 or ahead == 1:
        np.testing.assert_allclose(made, share * there)
    else:
        assert (made <= share / (1 - share) + 1e-9).all()
        assert (made >= share * step - 1e-12).all()
    if ahead == 3 and share < 1:
        np.testing.assert_allclose(made, share + share**2 + share**3)
    still = moved_by(np.zeros(2), [Direction(there, step, fades=False), Direction(there, step)], (share,), ahead)
    np.testing.assert_allclose(still, share * there)


def test_horizon_in_longest_steps():
    assert horizon(np.array([0, 12, 24, 36]), 36, 96) == 5
    assert horizon(np.array([0, 36, 48]), 48, 60) == 1


@pytest.mark.parametrize("n_comps", [3, 20])
def test_space_goes_there_and_back(n_comps):
    from sklearn.decomposition import PCA

    X = np.random.default_rng(0).normal(size=(60, 20)) @ np.diag(np.linspace(3, 1, 20)) + 4
    space = fit_space(X, n_comps)
    reference = PCA(n_comps, svd_solver="full").fit(X)
    np.testing.assert_allclose(np.abs(space.encode(X)), np.abs(reference.transform(X)), atol=1e-8)
    np.testing.assert_allclose(
        space.decode(space.encode(X)), reference.inverse_transform(reference.transform(X)), atol=1e-8
    )
    np.testing.assert_allclose(fit_space(sparse.csr_matrix(X), n_comps).components, space.components, atol=1e-8)


@pytest.mark.parametrize("kept", [(2, 3), ()], ids=["kept", "read again"])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_spaces_of_the_first_times_are_those_of_their_cells(kind, kept):
    """Sums of each time add up; with more genes than cells and 6,000, all cells are read at once."""
    rng = np.random.default_rng(0)
    for n_genes in (40, 6100):
        X = kind(rng.poisson(1.0, (90, n_genes)).astype(np.float32))
        edges, reads = np.array([0, 30, 50, 70, 90]), []

        def read(i, X=X, edges=edges, reads=reads):
            reads.append(i)
            return X[edges[i] : edges[i + 1]]

        spaces = Spaces(read, np.diff(edges), n_genes, kept)
        for n in (4, 2, 3):
            found, whole = spaces.fit(n, 10), fit_space(X[: edges[n]], 10)
            np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-6)
            np.testing.assert_allclose(found.components, whole.components, atol=1e-6)
        if n_genes == 40 and kept:
            assert reads == [0, 1, 2, 3], "each time is read once"
    assert len(spaces.fit(2, n_genes).components) == 50, "no more directions than cells"
    small = Spaces(lambda i: np.eye(5)[:3], np.array([3]), 5, ())
    assert len(small.fit(1, 4).components) == 2
    assert len(small.fit(1, 5).components) == 5, "all directions are kept"


def test_registry_and_options():
    for method in METHODS:
        assert {"forecast", "interpolation"} >= method.kinds != set()
        implementation = method.load()()
        assert isinstance(implementation.fit.__doc__, str)
        assert implementation.min_times >= 1
    for wrong, match in (({"damping": 3.0}, "damping=3.0"), ({"lr": 0}, "lr=0"), ({"n_pairs": 0.5}, "n_pairs=0.5")):
        with pytest.raises(ValueError, match=match):
            ho.model.FlowConfig(**wrong)
    for wrong, match in (
        ({"rollout": "jump"}, "'straight', 'steps'"),
        ({"dropout": 1.0}, "dropout"),
        ({"n_hidden": ()}, "n_hidden"),
    ):
        with pytest.raises(ValueError, match=match):
            ho.model.SequenceConfig(**wrong)
    assert ho.model.PublishedConfig().n_hidden is None
    assert isinstance(Fitted({}).info, dict)
