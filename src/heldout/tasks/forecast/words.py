"""What the scores of a forecast allow one to say."""

from __future__ import annotations

import numpy as np

_LITTLE = 0.05


def sentence(*, n_targets: int, unit: str, n_units: int, n_seeds: int, skill: float, collapsed_wins: bool) -> str:
    """One line for the row of the judged method.

    Parameters
    ----------
    n_targets
        Target times behind the row.
    unit, n_units
        What the interval is over, and how many; empty if there is none.
    n_seeds
        Seeds whose range stands in place of an interval; 0 if it does not.
    skill
        Floor-corrected skill against persistence.
    collapsed_wins
        Whether a forecast of nothing but the mean scores better.
    """
    parts = []
    if n_targets == 1:
        parts.append(f"one target time: no statement beyond this experiment; {_stands(skill)}")
    elif not unit:
        parts.append(f"{n_targets} target times: too few for a statement beyond them; {_stands(skill)}")
    if unit == "groups":
        parts.append(f"interval over {n_units} groups of this experiment, not over target times")
    elif unit and n_units < 10:
        parts.append(f"only {n_units} target times: the interval is too narrow")
    if n_seeds:
        parts.append(f"range over {n_seeds} seeds of training and of the chains, no confidence interval")
    if collapsed_wins:
        parts.append("a forecast of nothing but the mean is nearer to the truth")
    return "; ".join(parts)


def damping_note(shares: list[float] | None, *, beyond: bool) -> str:
    """How much of its movement a method makes after the last train time, as it learnt on past times."""
    if not beyond or shares is None:
        return ""
    if not any(shares):
        return "on past times nothing came nearer than persistence, so it predicts persistence"
    if len(shares) == 1:
        return f"makes {shares[0]:.0%} of its movement" if shares[0] != 1 else ""
    return f"makes {shares[0]:.0%} of its own movement and {shares[1]:.0%} of that of reversion"


def _stands(skill: float) -> str:
    if not np.isfinite(skill):
        return "persistence is as near as the truth to itself, so there was nothing to gain"
    if skill > _LITTLE:
        return f"here it is nearer to the truth than persistence (skill {skill:.2f})"
    if skill < -_LITTLE:
        return f"persistence stands: it is nearer to the truth (skill {skill:.2f})"
    return f"persistence stands: nothing was gained on it (skill {skill:.2f})"
