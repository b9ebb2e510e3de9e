"""If the last cells are as near as noise, there is no gap that a forecast could remove, and the report says so."""

from __future__ import annotations

import numpy as np
import pytest

import heldout as ho
from heldout.tasks.forecast.past import PastSkill
from heldout.tasks.forecast.words import in_this_experiment
from tests.helpers.forecasts import noise_floor
from tests.tasks.forecast.test_shrinkage import noise


def test_the_noise_floor_is_that_of_halves():
    cells = np.random.default_rng(0).normal(size=(80, 6))
    halves = ho.metrics.split_half(cells, ho.metrics.energy_distance, n=2000, rng=1)
    assert noise_floor(cells, None, np.random.default_rng(0)) == pytest.approx(np.quantile(halves, 0.95), rel=0.15)


def test_more_cells_have_less_noise():
    cells = np.random.default_rng(0).normal(size=(3000, 4))
    floors = [noise_floor(cells[:n], None, np.random.default_rng(0)) for n in (750, 1500, 3000)]
    assert floors[0] / floors[1] == pytest.approx(2, rel=0.25)
    assert floors[1] / floors[2] == pytest.approx(2, rel=0.25)


def test_whole_libraries_are_halved():
    rng = np.random.default_rng(0)
    libraries = np.repeat(np.arange(8), 40)
    cells = rng.normal(size=(320, 4)) + rng.normal(size=(8, 4))[libraries]
    halves = ho.metrics.split_half(cells, ho.metrics.energy_distance, n=300, groups=libraries, rng=1)
    found = noise_floor(cells, libraries, np.random.default_rng(0))
    assert found == pytest.approx(np.quantile(halves, 0.95), rel=0.15)
    assert found > 5 * noise_floor(cells, None, np.random.default_rng(0))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("sizes", [[1, 1, 1, 1], [1, 1, 1, 3000], [1, 2, 1, 1, 4000]])
def test_small_libraries_take_part(sizes):
    """Of many cells 1,000 are halved, which may have no cell of a small library."""
    libraries = np.repeat(np.arange(len(sizes)), sizes).astype(str)
    cells = np.random.default_rng(0).normal(size=(len(libraries), 3))
    assert np.isfinite(noise_floor(cells, libraries, np.random.default_rng(0)))


def test_the_report_says_that_nothing_changed():
    adata = noise(60)
    ho.pp.split_time(adata, "day", test=4)
    ho.tl.forecast(adata, "day", method="persistence")
    report = ho.tl.evaluate(adata)
    said = " ".join(str(report).split())
    assert "The cells of day 3 are as close to those of 4 as two halves of these are to each other" in said
    assert "no gap that a forecast could remove." in said
    assert "removes" not in said


def words(skills, no_gap, away):
    return in_this_experiment(
        "auto",
        np.array(skills),
        starts=[3, 4],
        targets=[4, 5],
        no_gap=np.array(no_gap),
        away=np.array(away),
        time_key="day",
        past=PastSkill(np.full(0, np.nan)),
    )


def test_targets_without_a_gap_do_not_count():
    said = words([-40, 0.5], [True, False], [True, False])
    assert "no gap that a forecast could remove, and auto moves cells away. In this experiment auto removes 50%" in said
    assert "repeating the cells of day 4 leaves" in said
    said = words([0.3, 0.5], [False, False], [False, False])
    assert said.startswith("In this experiment auto removes 40% of the gap that repeating the cells of day 3 and day 4")
