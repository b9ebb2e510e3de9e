"""How a forecast did on past times, and what this says about a new one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout.metrics import next_value
from heldout.tasks.forecast.damping import horizon

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heldout.metrics import NextValue

LEAST = 0.5
"""Smallest probability with which a range is given. With the whole range of n past times, it needs n = 3."""


@dataclass(frozen=True)
class PastSkill:
    """Skill on train times that were predicted from other train times, one for each set of times learnt from.

    Parameters
    ----------
    skills
        Share of the energy distance of persistence that was removed, (n,), not corrected for the noise floor.
    moves
        Whether the forecast is anything but persistence.
    fair
        Whether weights or shares were chosen without the time that was predicted.
    """

    skills: np.ndarray
    moves: bool = True
    fair: bool = True

    @property
    def n_better(self) -> int:
        """Number of past times at which the forecast was better than persistence."""
        return int((self.skills > 0).sum())

    @property
    def expected(self) -> NextValue | None:
        """Range of the skill at a new time, None if there are too few past times."""
        if not (self.moves and self.fair and len(self.skills)):
            return None
        found = next_value(self.skills)
        return found if found.coverage >= LEAST else None

    @property
    def words(self) -> str:
        """What the past says about a new time, in one or two sentences."""
        n = len(self.skills)
        if not self.moves:
            return "It repeats the last cells, so its skill is 0."
        if not n:
            return "No past time says how it compares with standing still."
        if not self.fair:
            return f"It was better than standing still at {self.n_better} of {n} past times, which also set its shares."
        counted = f"It was better than standing still at {self.n_better} of {n} past times"
        found = self.expected
        if found is None:
            return f"{counted}, too few for a range of its skill at a new time."
        all_inside = (found.low, found.high) == (self.skills.min(), self.skills.max())
        which = "with a skill of" if all_inside else "most often with a skill of"
        return (
            f"{counted}, {which} {found.low:.2f} to {found.high:.2f}. The skill at a new time is in this range "
            f"with a probability of {found.coverage:.0%} if that time could as well have been one of these; times of "
            "one course need not be so alike."
        )


def past_skill(
    method: str, fitted: Mapping[str, Any], at: float, *, beyond: bool, chosen: Mapping[str, Any] | None = None
) -> PastSkill:
    """Skill of a fit on past times, as far as it was tried on them.

    Parameters
    ----------
    method
        Name of the method.
    fitted
        What the method knows of its fit: ``kinds`` of a mixture, or ``damping`` of a method that learns shares.
    at
        The target time. Several backtests from the same times count as one: that whose horizon is most like its own.
    beyond
        Whether the target is after the last train time.
    chosen
        What a mixture chose for the target. If None, what is stored for it.
    """
    if method == "persistence":
        return PastSkill(np.full(0, np.nan), moves=False)
    if "kinds" in fitted:
        about = fitted["kinds"].get("forecast" if beyond else "interpolation")
        if about is None:
            return PastSkill(np.full(0, np.nan))
        chosen = min(about["chosen"], key=lambda entry: abs(entry["at"] - at)) if chosen is None else chosen
        skills = _of_mixture(chosen["gain_on_past"], about["backtests"], np.array(fitted["times"]), at, beyond=beyond)
        return PastSkill(skills, moves=chosen["reason"] != "persistence")
    damping = fitted.get("damping") or {}
    if not beyond or "skill_on_past" not in damping:
        return PastSkill(np.full(0, np.nan))
    fair = damping.get("skill_left_out") or []
    return PastSkill(np.array(fair or damping["skill_on_past"]), moves=any(damping["share"]), fair=bool(fair))


def _of_mixture(
    gains: list[float], tests: list[Mapping[str, Any]], times: np.ndarray, at: float, *, beyond: bool
) -> np.ndarray:
    """Gain in one backtest of each set of times that was learnt from, (n,). Backtests from the same times depend."""
    if len(gains) != len(tests):  # there is only one, whose weights are its own
        return np.full(0, np.nan)
    if not beyond:
        return np.array(gains)
    wanted = horizon(times, float(times[-1]), at)
    best: dict[int, tuple[float, float]] = {}
    for gain, test in zip(gains, tests, strict=True):
        n = int(test["n_times"])
        away = abs(np.log(horizon(times[:n], test["start_time"], test["at"]) / wanted))
        if n not in best or away < best[n][0]:
            best[n] = (float(away), gain)
    return np.array([gain for _, gain in best.values()])
