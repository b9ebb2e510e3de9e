"""What past times say about the skill at a new time."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import heldout as ho
from heldout.tasks.forecast.damping import Direction, backtest
from heldout.tasks.forecast.interface import Snapshots
from heldout.tasks.forecast.past import PastSkill, past_skill
from heldout.tasks.forecast.space import fit_space
from tests.helpers.forecasts import adata_of, split


def mixture(gains: list[float], tests: list[tuple[int, float]], *, reason: str = "mixture") -> dict:
    """A record of backtests, each from the first n of the times 0, 1, 2, 3, 4, 6 to a later one."""
    times = [0.0, 1.0, 2.0, 3.0, 4.0, 6.0]
    records = [{"n_times": n, "start_time": times[n - 1], "at": at} for n, at in tests]
    chosen = [{"at": 7.0, "gain_on_past": gains, "reason": reason}]
    return {"times": times, "kinds": {"forecast": {"backtests": records, "chosen": chosen}}}


TESTS = [(2, 2.0), (2, 4.0), (3, 3.0), (3, 4.0), (4, 4.0), (4, 6.0)]
GAINS = [0.1, 0.9, -0.2, 0.8, 0.3, 0.7]


def test_one_test_of_each_set_of_times_counts():
    """That with the horizon of the target: one step from 6 to 8 in steps of 2, two from 6 to 10."""
    fitted = mixture(GAINS, TESTS)
    np.testing.assert_array_equal(past_skill("auto", fitted, 8.0, beyond=True).skills, [0.1, -0.2, 0.3])
    np.testing.assert_array_equal(past_skill("auto", fitted, 10.0, beyond=True).skills, [0.9, 0.8, 0.7])
    near = past_skill("auto", fitted, 8.0, beyond=True)
    assert near.n_better == 2
    assert near.expected == ho.metrics.next_value([0.1, -0.2, 0.3])
    assert near.expected.coverage == 0.5
    assert "at 2 of 3 past times, with a skill of -0.20 to 0.30" in near.words
    assert "with a probability of 50%" in near.words


def test_no_range_from_few_times_or_shares_chosen_on_them():
    two = PastSkill(np.array([0.1, -0.1]))
    assert two.expected is None
    assert "at 1 of 2 past times, too few" in two.words
    same = PastSkill(np.array([0.1, 0.2, 0.3]), fair=False)
    assert same.expected is None
    assert "which also set its shares" in same.words
    many = PastSkill(np.linspace(-0.1, 0.9, 21))
    assert "at 18 of 21 past times, most often with a skill of -0.05 to 0.85" in many.words
    still = past_skill("auto", mixture(GAINS, TESTS, reason="persistence"), 8.0, beyond=True)
    assert still.expected is None
    assert still.words == "It repeats the last cells, so its skill is 0."
    for empty in (mixture([], TESTS[:1]), {}, {"damping": {"share": [1.0], "origins": []}}):
        nothing = past_skill("auto", empty, 8.0, beyond=True)
        assert (len(nothing.skills), nothing.expected) == (0, None)
        assert nothing.words == "No past time says how it compares with standing still."


def test_shares_left_out_are_chosen_without_the_time_that_is_scored():
    """Cells go on at four past times, and turn back at the third. Shares from the other three are whole."""
    rng = np.random.default_rng(0)
    centres = [0.0, 2.0, 4.0, 6.0, 4.0, 6.0]
    cells = [rng.normal(size=(60, 2)) * 0.2 + [at, 0] for at in centres]
    data = Snapshots(np.arange(6.0), cells, fit_space(np.concatenate(cells), 2))

    def onwards(past: Snapshots, at: float) -> list[Direction]:
        step = np.broadcast_to([2.0, 0.0], past.cells[-1].shape)
        return [Direction(step, step)]

    found = backtest(data, onwards)
    assert found["origins"] == [2.0, 3.0, 4.0, 5.0]
    assert found["share"][0] < 1, "the time that turns back holds the movement back"
    assert found["skill_left_out"][2] < found["skill_on_past"][2], "without this time nothing does"
    assert len(backtest(Snapshots(np.arange(3.0), cells[:3], data.space), onwards)["skill_left_out"]) == 0


@pytest.fixture(scope="module")
def fitted():
    adata = split(adata_of())
    ho.tl.forecast(adata, "h")
    return adata


def test_the_table_needs_no_target(fitted, caplog):
    row = ho.get.past_skill(fitted).iloc[0]
    assert (row["target"], row["question"], row["method"], row["n"], row["n_better"]) == (8, "forecast", "auto", 4, 4)
    assert row["probability"] == 0.6
    assert 0 < row["skill_low"] <= row["skill_median"] <= row["skill_high"] <= 1
    unmeasured = ho.get.past_skill(fitted, at=9)
    assert unmeasured["target"].tolist() == [9.0]
    assert unmeasured["n"].item() == 4
    blind = fitted[fitted.obs["h"] < 8].copy()
    assert ho.get.past_skill(blind).iloc[0].equals(row)
    with caplog.at_level(logging.INFO, "heldout"):
        ho.tl.forecast(fitted, "h", method="var_ridge", key_added="other")
    assert "var_ridge for h=8. It was better than standing still at 4 of 4 past times" in caplog.text
    assert ho.get.past_skill(fitted, "other")["probability"].item() == 0.6
    ho.tl.forecast(fitted, "h", method="persistence", key_added="still")
    assert ho.get.past_skill(fitted, "still")["n"].item() == 0
    assert ho.get.past_skill(fitted, "still")["note"].item() == "It repeats the last cells, so its skill is 0."
    with pytest.raises(ValueError, match="at=6 is a train time"):
        ho.get.past_skill(fitted, "forecast", at=6)


def test_a_split_without_test_times_needs_a_time():
    adata = adata_of()
    adata.obs["all"] = "a"
    ho.pp.split_assigned(adata, "all", train=["a"], test=[])
    ho.tl.forecast(adata, "h", method="var_ridge")
    with pytest.raises(ValueError, match="has no test time. Pass at="):
        ho.get.past_skill(adata)
    assert ho.get.past_skill(adata, at=9)["n"].item() == 4
