"""Population dynamics on simulations with known rates of switching and growth."""

from __future__ import annotations

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.linalg import expm

import heldout as ho
from heldout._core.fits import read_fit
from heldout._core.partition import read_partition
from heldout.metrics import energy_distance, split_half
from heldout.tasks.forecast import METHODS
from heldout.tasks.forecast.chain import composition_after, descendants, growth_of, rates_of
from heldout.tasks.forecast.grouping import centres_of, states_of
from heldout.tasks.forecast.growth import Pairing, multiplied
from heldout.tasks.forecast.interface import Snapshots
from heldout.tasks.forecast.space import Space
from heldout.tasks.forecast.states import _counts, _exchange
from heldout.tasks.forecast.task import Task

RATES = np.array([[0, 0.3, 0.05], [0.02, 0, 0.4], [0, 0.1, 0]])
GROWTH = np.array([0.0, 0.5, -0.2])
STEPS = (1.0, 2.0, 0.5, 3.0)
CENTRES = np.array([[0.0, 0, 0, 0], [6, 0, 0, 0], [0, 6, 0, 0]])
TIMES = np.array([0.0, 1, 2, 3.5, 5])


def flows(growth):
    """Exact flows between states over steps of uneven length, and the compositions before them."""
    composition, found, before = np.array([0.8, 0.15, 0.05]), [], []
    for step in STEPS:
        generator = RATES - np.diag(RATES.sum(axis=1)) + np.diag(growth)
        flow = composition[:, None] * expm(generator * step)
        before.append(composition)
        found.append(flow / flow.sum())
        composition = found[-1].sum(axis=0)
    return found, before


def course(rates, growth, *, times=TIMES, seed=0, n=200, centres=CENTRES):
    """Cells of three types whose shares follow from the rates, as exactly as whole cells allow. Returns types too."""
    rng, generator = np.random.default_rng(seed), rates - np.diag(rates.sum(axis=1)) + np.diag(growth)
    types = []
    for time in times:
        composition = np.array([0.8, 0.15, 0.05]) @ expm(generator * time)
        types.append(np.repeat(np.arange(3), _counts(composition / composition.sum(), n)))
    cells = [centres[type_] + rng.normal(size=(n, 4)) for type_ in types]
    return cells, types


def snapshots(cells, times=TIMES, **options):
    return Snapshots(np.asarray(times), cells, Space(np.zeros(4), np.eye(4)), **options)


def states(data, at, **config):
    method = METHODS["states"].load()()
    fitted = method.fit(data, ho.model.StatesConfig(**config), seed=0)
    cells = method.predict(fitted, data.cells[-1], float(data.times[-1]), at, np.random.default_rng(0))
    return cells, fitted, method.kept(fitted, data.cells[-1], at)


@pytest.mark.parametrize("growth", [np.zeros(3), GROWTH])
def test_rates_are_those_that_gave_the_flows(growth):
    found = rates_of(flows(growth)[0], STEPS, growth)
    np.testing.assert_allclose(found, RATES, atol=0.03)


def test_growth_follows_from_the_number_of_descendants():
    found, before = flows(GROWTH)
    guess = growth_of(found, before, STEPS)
    centred = GROWTH - np.mean(before, axis=0) @ GROWTH
    assert np.corrcoef(guess, centred)[0, 1] > 0.98
    np.testing.assert_allclose(growth_of(*flows(np.zeros(3)), STEPS), 0, atol=1e-6)


def test_the_composition_after_two_steps_is_that_after_both():
    start = np.array([0.5, 0.3, 0.2])
    one = composition_after(composition_after(start, RATES, GROWTH, 1.0), RATES, GROWTH, 0.7)
    np.testing.assert_allclose(one, composition_after(start, RATES, GROWTH, 1.7))
    np.testing.assert_allclose(descendants(RATES, np.zeros(3), 2.0).sum(axis=1), 1)


@pytest.mark.slow
def test_groups_that_other_cells_do_not_show_are_one_group():
    rng = np.random.default_rng(0)
    assert len(centres_of([rng.normal(size=(150, 4)) for _ in range(3)], None, seed=0)) == 1
    cells, types = course(RATES, np.zeros(3))
    centres = centres_of(cells, None, seed=0)
    assert len(centres) == 3
    table = pd.crosstab(np.concatenate(types), states_of(np.concatenate(cells), centres)).to_numpy()
    assert table.max(axis=0).sum() > 0.98 * table.sum()
    assert len(centres_of([cells[0][:3]], 5, seed=0)) == 3  # no more groups than cells


def test_as_few_cells_as_possible_are_exchanged():
    labels = np.array([0, 0, 0, 1, 1, 2])
    rows, to = _exchange(labels, np.array([1, 4, 1]))
    assert set(labels[rows]) == {0}
    np.testing.assert_array_equal(to, [1, 1])
    np.testing.assert_array_equal(_counts(np.array([0.5, 0.26, 0.24]), 10), [5, 3, 2])


@pytest.mark.slow
@pytest.mark.parametrize("growth", [np.zeros(3), np.array([0.0, 0.2, 0.4])])
def test_rates_are_found_from_cells(growth):
    """Cells switch to the next type on a line. With growth that is not known, growing types seem to gain cells."""
    rates, centres = np.array([[0, 0.3, 0], [0, 0, 0.15], [0, 0, 0]]), 6 * np.eye(4)[[0, 0, 0]] * np.arange(3)[:, None]
    cells, types = course(rates, growth, centres=centres)
    method, found = METHODS["states"].load()(), {}
    for how, known in {"given": [growth[type_] for type_ in types], "none": None}.items():
        fitted = method.learn(snapshots(cells, growth=known), ho.model.StatesConfig(n_states=3), seed=0)
        order = states_of(centres, fitted.arrays["centres"])
        found[how] = fitted.arrays["rates"][np.ix_(order, order)]
    np.testing.assert_allclose(found["given"], rates, atol=0.04)
    assert (np.abs(found["none"] - rates).max() > 0.1) == growth.any()


@pytest.mark.slow
@pytest.mark.parametrize("growth", [np.zeros(3), np.array([0, 0.3, 0.6])])
def test_a_composition_that_changes_is_forecast(growth):
    """Closer than persistence by far, and within the noise of two halves of the truth."""
    rates = 0.5 * RATES
    cells, _ = course(rates, growth)
    truth = course(rates, growth, times=[7.0], seed=1)[0][0]
    predicted, fitted, kept = states(snapshots(cells), 7.0)
    assert fitted.info["n_states"] == 3
    assert energy_distance(truth, predicted) < 0.3 * energy_distance(truth, cells[-1])
    assert energy_distance(truth, predicted) < split_half(truth, energy_distance, n=20).max()
    still = fitted.info["damping"]["share"][1] == 0
    np.testing.assert_array_equal((predicted == cells[-1]).all(axis=1), kept & still)
    assert 0 < kept.mean() < 1


@pytest.mark.slow
def test_a_law_of_movement_is_followed_by_one_state():
    rng = np.random.default_rng(0)
    cells = [rng.normal(size=(150, 4)) + time * np.array([0.8, -0.4, 0, 0]) for time in [*TIMES, 7.0]]
    predicted, _, kept = states(snapshots(cells[:-1]), 7.0, n_states=1)
    assert kept.all()
    assert energy_distance(cells[-1], predicted) < 0.1 * energy_distance(cells[-1], cells[-2])


@pytest.mark.slow
def test_where_nothing_changes_the_last_cells_are_repeated():
    cells, _ = course(np.zeros((3, 3)), np.zeros(3))
    predicted, fitted, _ = states(snapshots(cells), 7.0)
    assert fitted.info["damping"]["share"] == [0, 0]
    np.testing.assert_array_equal(predicted, cells[-1])


def test_two_times_and_a_state_that_is_gone():
    """With shares that are given, two train times are enough. No cell of the third type is left at the last time."""
    cells, types = course(RATES, np.array([0, 0, 3.0]), times=[1.0, 1.2])
    gone = [cells[0], cells[1][types[1] != 2]]
    predicted, fitted, _ = states(snapshots(gone, [0.0, 1.0]), 3.0, n_states=3, damping=1.0)
    assert np.isfinite(predicted).all()
    assert min(fitted.info["composition"][-1]) == 0
    with pytest.raises(ValueError, match="needs 3 train times"):
        states(snapshots(gone, [0.0, 1.0]), 3.0)


def test_copies_take_the_places_of_rows_that_are_not_drawn():
    weights = np.array([3.0, 0.0, 1.0, 0.0, 1.0])
    np.testing.assert_array_equal(multiplied(weights), [0, 0, 2, 0, 4])
    np.testing.assert_array_equal(multiplied(np.full(7, 0.3)), np.arange(7))
    many = np.random.default_rng(0).gamma(1.0, size=50)
    assert (np.abs(np.bincount(multiplied(many), minlength=50) - 50 * many / many.sum()) <= 1).all()


def growing(seed=0, n=200):
    """Two branches that no cell leaves. The second one grows faster, and both move. Times 0, 2 and 4."""
    rng, found, rates = np.random.default_rng(seed), [], []
    for time in (0.0, 2.0, 4.0):
        second = np.arange(n) < n / (1 + 9 * np.exp(-1.1 * time))
        places = np.where(second[:, None], [8, 1.5 * time, 0, 0], [0, -time, 0, 0])
        found.append(places + 0.5 * rng.normal(size=(n, 4)))
        rates.append(1.1 * second)
    return found, rates


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ot_interpolation", "blend"])
def test_with_growth_no_cell_lies_between_two_branches(method):
    """Balanced transport sends cells of the first branch to the second, as if they had switched."""
    cells, rates = growing()
    truth = growing(seed=1)[0][1]
    fixed = {"weight": 0.0} if method == "blend" else {}
    growth = {"given": rates[::2]}
    found = {}
    for how in ("even", "given", "estimated"):
        data = snapshots(cells[::2], [0.0, 4.0], growth=growth.get(how))
        implementation = METHODS[method].load()()
        config = type(implementation.default_config)(**fixed, estimate_growth=how == "estimated")
        fitted = implementation.fit(data, config, seed=0)
        found[how] = implementation.predict(fitted, cells[0], 0.0, 2.0, np.random.default_rng(0))
    between = {how: np.mean((c[:, 0] > 2) & (c[:, 0] < 6)) for how, c in found.items()}
    error = {how: energy_distance(truth, c) for how, c in found.items()}
    assert between["even"] > 0.3
    assert between["given"] < 0.05
    assert error["given"] < 0.1 * error["even"]
    assert error["estimated"] < 0.6 * error["even"]


@pytest.mark.slow
def test_states_that_grow_are_not_states_that_cells_switch_to():
    cells, rates = growing()
    data = snapshots([*cells], [0.0, 2.0, 4.0], growth=rates)
    method = METHODS["states"].load()()
    switches = {}
    for name, snaps in {"given": data, "none": snapshots([*cells], [0.0, 2.0, 4.0])}.items():
        fitted = method.fit(snaps, ho.model.StatesConfig(n_states=2), seed=0)
        switches[name] = fitted.arrays["rates"].max()
    assert switches["none"] > 0.3
    assert switches["given"] < 0.03


@pytest.mark.slow
def test_couplings_follow_growth():
    cells, rates = growing()
    times = np.array([0.0, 2.0, 4.0])
    mass = {
        name: Pairing(times, cells, **options).between(0).mass
        for name, options in {"given": {"rates": rates}, "estimated": {"estimate": True}, "even": {}}.items()
    }
    second = rates[0] > 0
    np.testing.assert_allclose(mass["even"], 1, atol=1e-3)
    ratio = {name: m[second].mean() / m[~second].mean() for name, m in mass.items()}
    for how in ("given", "estimated"):
        assert ratio[how] == pytest.approx(np.exp(2.2), rel=0.15), how
    fewer = Pairing(times, cells, rates).without(1)
    np.testing.assert_array_equal(fewer.times, [0, 4])


def annotated():
    cells, rates = growing(n=60)
    obs = pd.DataFrame({"h": np.repeat([0.0, 2.0, 4.0], 60), "rate": np.concatenate(rates)})
    obs["text"] = "fast"
    obs.index = [f"cell {i}" for i in range(len(obs))]
    adata = ad.AnnData(np.concatenate(cells) + 5, obs=obs)
    return adata


@pytest.mark.slow
def test_growth_from_a_column_survives_a_file(tmp_path):
    adata = annotated()
    ho.pp.split_time(adata, "h", test=2, direction="interpolate")
    config = ho.model.InterpolationConfig(growth_key="rate")
    ho.tl.forecast(adata, "h", method="ot_interpolation", config=config, mask_var=None)
    cells = ho.tl.predict_cells(adata, "forecast", at=2)
    kept = cells.obs["start_cell"] != ""
    assert 0.3 < kept.mean() < 1
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(ho.tl.predict_cells(again, "forecast", at=2).X, cells.X)
    assert read_fit(again, "forecast").config["growth_key"] == "rate"


def test_wrong_growth_is_refused():
    adata = annotated()
    ho.pp.split_time(adata, "h", test=2, direction="interpolate")
    before = adata.uns.copy()

    def fit(key):
        ho.tl.forecast(adata, "h", method="blend", config=ho.model.BlendConfig(growth_key=key), mask_var=None)

    with pytest.raises(ValueError, match="growth_key='rat' is not a column"):
        fit("rat")
    with pytest.raises(ValueError, match="finite numbers for all 120 train cells"):
        fit("text")
    adata.obs["rate"] *= 60
    with pytest.raises(ValueError, match="differ by 66"):
        fit("rate")
    with pytest.raises(ValueError, match="either given"):
        ho.model.StatesConfig(growth_key="rate", estimate_growth=True)
    assert adata.uns.keys() == before.keys()


def test_growth_is_checked_before_the_cells_are_read(monkeypatch):
    adata = annotated()
    ho.pp.split_time(adata, "h", test=2, direction="interpolate")
    task = Task.of(adata, read_partition(adata), time_key="h", mask_var=None)
    monkeypatch.setattr(Task, "data", lambda _: pytest.fail("the cells were read"))
    with pytest.raises(ValueError, match="growth_key='rat' is not a column"):
        task.fit("blend", ho.model.BlendConfig(growth_key="rat"))


def test_rates_that_are_stored_as_objects_are_numbers():
    adata = annotated()
    ho.pp.split_time(adata, "h", test=2, direction="interpolate")
    task = Task.of(adata, read_partition(adata), time_key="h", mask_var=None)
    known = task.growth_rates("rate")
    adata.obs["rate"] = adata.obs["rate"].astype(object)
    for before, after in zip(known, task.growth_rates("rate"), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.slow
def test_auto_says_what_it_compares(caplog):
    cells, _ = course(RATES, np.zeros(3), n=60)
    data = snapshots(cells, targets=(7.0,))
    with caplog.at_level("INFO", logger="heldout"):
        METHODS.implementation("auto").fit(data, ho.model.AutoConfig(), seed=0)
    said = "\n".join(caplog.messages)
    assert "auto fits 6 candidates after the last train time: persistence, ot_linear" in said
    assert "candidates predict the train times 2, 3.5, 5: 6" in said
    assert "cells by states" in said or "cell by states" in said


def test_growth_and_the_space_of_the_past_are_both_kept():
    """With more than 100 genes, past times are judged in components of their own past. Growth follows its cells."""
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"h": np.repeat([0.0, 1.0, 2.0, 3.0], 20), "rate": np.arange(80.0) / 100})
    adata = ad.AnnData(rng.normal(5, 1, size=(80, 120)), obs=obs.set_index(np.array([f"cell {i}" for i in range(80)])))
    ho.pp.split_time(adata, "h", test=3)
    task = Task.of(adata, read_partition(adata), time_key="h", mask_var=None)
    data = replace(task.data(), growth=task.growth_rates("rate"))
    past, later = data.origin(2)
    assert past.space.components.shape[0] < data.space.components.shape[0]
    np.testing.assert_array_equal(np.concatenate(past.growth), obs["rate"][:40])
    np.testing.assert_array_equal(np.concatenate(data.without(1).growth), np.r_[obs["rate"][:20], obs["rate"][40:60]])
    assert [len(g) for g in data.thinned(7).growth] == [7, 7, 7]
    np.testing.assert_allclose(later[0], past.space.encode(adata.X[40:60]))
