"""Sentences about the scores of a forecast."""

from __future__ import annotations

from typing import Any

import numpy as np

_LITTLE = 0.05


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
        Whether a forecast of nothing but the mean scores better.
    start, target
        When the start cells were measured and when the target is, in words.
    """
    parts = []
    if n_targets == 1:
        parts.append(f"one target time: no statement beyond this experiment; {_stands(skill, start, target)}")
    elif not unit:
        parts.append(f"{n_targets} target times: too few for a statement beyond them; {_stands(skill, start, target)}")
    if unit == "groups":
        parts.append(f"interval over {n_units} groups of this experiment, not over target times")
    elif unit and n_units < 10:
        parts.append(f"only {n_units} target times: the interval is too narrow")
    if n_seeds:
        parts.append(f"range over {n_seeds} seeds of training and of the chains, no confidence interval")
    if collapsed_wins:
        parts.append("a forecast of nothing but the mean is nearer to the truth")
    return "; ".join(parts)


def damping_note(damping: dict[str, Any] | None, *, beyond: bool) -> str:
    """Describe how much of its movement a method applies after the last train time."""
    shares = (damping or {}).get("share")
    if not beyond or shares is None:
        return ""
    if not any(shares):
        return (
            "on past times nothing came nearer than persistence, so it predicts persistence: the last cells, unchanged"
        )
    names = (damping or {}).get("of", ["its own"])
    made = [f"{share:.0%} of {_movement(name)}" for share, name in zip(shares, names, strict=False) if share]
    return "makes " + " and ".join([", ".join(made[:-1]), made[-1]] if len(made) > 1 else made)


def _movement(name: str) -> str:
    return {
        "its own": "its movement",
        "its linear part": "its linear movement",
        "its network": "what its network adds",
    }.get(name, f"the movement of {name}")


def _stands(skill: float, start: str, target: str) -> str:
    if not np.isfinite(skill):
        return f"the cells of {target} are as those of {start}, so there was nothing to foretell"
    if skill > _LITTLE:
        return (
            f"the forecast is nearer to the cells of {target} than those of {start} are, and removes {skill:.0%} of "
            "what "
            "separates them"
        )
    if skill < -_LITTLE:
        return (
            f"persistence stands: the cells of {start}, left as they are, are nearer to those of {target} than the "
            "forecast is "
            f"(skill {skill:.2f})"
        )
    return (
        f"persistence stands: the cells of {start}, left as they are, are as near to those of {target} as the "
        "forecast is, so "
        f"nothing that was learnt from the past foretells how they change (skill {skill:.2f})"
    )
