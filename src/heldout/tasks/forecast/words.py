"""Sentences about the scores of a forecast."""

from __future__ import annotations

from typing import Any

import numpy as np

_LITTLE = 0.05


FOLLOWED = "train has groups of the target at other times: the result holds for them, not for new groups"
"""Note of a forecast whose groups, such as donors, are followed over time."""


def sentence(
    *,
    n_targets: int,
    unit: str,
    n_units: int,
    n_seeds: int,
    skill: float,
    collapsed_wins: bool,
    start: str = "the last time before",
    target: str = "the target times",
) -> str:
    """Describe the scores of the evaluated method in one line.

    Parameters
    ----------
    n_targets
        Target times behind the row.
    unit, n_units
        What the interval is over, and how many; empty if there is none.
    n_seeds
        Number of seeds whose range is given instead of an interval; 0 if there is an interval.
    skill
        Floor-corrected skill against persistence.
    collapsed_wins
        Whether a forecast of only the mean scores better.
    start, target
        When the start cells were measured and when the target is, in words.
    """
    parts = []
    if n_targets == 1:
        parts.append(f"one target time: the result holds for this experiment only; {_stands(skill, start, target)}")
    elif not unit:
        parts.append(
            f"{n_targets} target times: too few to conclude about other times; {_stands(skill, start, target)}"
        )
    if unit == "groups":
        parts.append(f"interval over {n_units} groups of this experiment, not over target times")
    elif unit and n_units < 10:
        parts.append(f"only {n_units} target times: the interval is too narrow")
    if n_seeds:
        parts.append(f"range over {n_seeds} seeds of training and of the chains, not a confidence interval")
    if collapsed_wins:
        parts.append("a forecast of only the mean is closer to the truth")
    return "; ".join(parts)


def damping_note(damping: dict[str, Any] | None, *, beyond: bool) -> str:
    """Describe how much of its movement a method applies after the last train time."""
    shares = (damping or {}).get("share")
    if not beyond or shares is None:
        return ""
    if not any(shares):
        return "on past times no movement was closer than persistence, so it predicts persistence, the last cells"
    names = (damping or {}).get("of", ["its own"])
    made = [f"{share:.0%} of {_movement(name)}" for share, name in zip(shares, names, strict=False) if share]
    return "applies " + " and ".join([", ".join(made[:-1]), made[-1]] if len(made) > 1 else made)


def _movement(name: str) -> str:
    return {
        "its own": "its movement",
        "its linear part": "its linear movement",
        "its network": "the movement that its network adds",
    }.get(name, f"the movement of {name}")


def _stands(skill: float, start: str, target: str) -> str:
    if not np.isfinite(skill):
        return f"the cells of {target} do not differ from those of {start}, so there is no change to predict"
    if skill > _LITTLE:
        return (
            f"the forecast is closer to the cells of {target} than the cells of {start} are, and removes {skill:.0%} "
            "of the difference"
        )
    if skill < -_LITTLE:
        return (
            f"the forecast is worse than persistence: the cells of {start} are closer to those of {target} (skill "
            f"{skill:.2f})"
        )
    return (
        f"the forecast is as good as persistence: the cells of {start} are as close to those of {target}, so the past "
        f"does not predict how they change (skill {skill:.2f})"
    )
