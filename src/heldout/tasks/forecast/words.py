"""Sentences about the scores of a forecast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from heldout.tasks.forecast.past import PastSkill

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
    return f"applies {_listed(made)}"


def auto_note(fitted: Mapping[str, Any]) -> str:
    """Describe what a mixture uses for each target, and why; empty for another method."""
    parts: list[str] = []
    kinds = fitted.get("kinds", {})
    several = sum(len(about["chosen"]) for about in kinds.values()) > 1
    for kind, about in kinds.items():
        for chosen in about["chosen"]:
            target = f"time {chosen['at']:g}: " if several else ""
            parts.append(f"{target}{_used(chosen['weights'])}{_because(chosen, kind)}")
        parts += [f"{name} is no candidate ({why})" for name, why in about["left_out"].items()]
    return "; ".join(parts)


def _used(weights: Mapping[str, float]) -> str:
    shares = sorted(weights.items(), key=lambda item: -item[1])
    if len(shares) == 1:
        return f"predicts every cell by {shares[0][0]}"
    return "predicts " + _listed([f"{weight:.0%} of the cells by {name}" for name, weight in shares])


def _because(chosen: Mapping[str, Any], kind: str) -> str:
    if not chosen["n_tested"] and chosen["reason"] == "prior":
        return ", as there is no train time to compare candidates on"
    if chosen["reason"] == "persistence":
        return ", as no mixture was closer on past times"
    if not chosen["n_tested"]:
        return ", from the only past time" if kind == "forecast" else ", from the only inner train time"
    return ""


def in_this_experiment(
    method: str,
    skills: np.ndarray,
    *,
    starts: Sequence[float],
    targets: Sequence[float],
    no_gap: np.ndarray,
    away: np.ndarray,
    time_key: str,
    past: PastSkill,
) -> str:
    """Say what is known even if there are too few target times for a verdict.

    Parameters
    ----------
    method
        The evaluated method.
    skills
        Floor-corrected skill at each target, (n_targets,).
    starts, targets
        Time of the start cells of each target, and the target.
    no_gap
        Whether the start cells are as near to the observed ones as halves of these to each other, (n_targets,).
    away
        Whether the predicted cells are farther from the observed ones than halves of these, (n_targets,).
    time_key
        Column of the times.
    past
        Its skill on past times.
    """
    alike = [
        f"The cells of {time_key} {start:g} are as close to those of {target:g} as two halves of these are to each "
        f"other, so there is no gap that a forecast could remove{f', and {method} moves cells away' if far else ''}"
        for start, target, close, far in zip(starts, targets, no_gap, away, strict=True)
        if close
    ]
    nothing = "".join(f"{words}. " for words in alike)
    if no_gap.all():
        return f"{nothing}{past.words}"
    skill = float(np.mean(skills[~no_gap]))
    if not np.isfinite(skill):
        return ""
    repeated = _listed([f"{time_key} {at:g}" for at in dict.fromkeys(np.array(starts)[~no_gap].tolist())])
    gap = f"the gap that repeating the cells of {repeated} leaves"
    if skill > _LITTLE:
        result = f"In this experiment {method} removes {_share(skill)} of {gap}"
    elif skill < -_LITTLE:
        result = f"In this experiment {method} makes {gap} larger, by {-skill:.0%}"
    else:
        result = f"In this experiment {method} leaves {gap} as it is ({skill:+.0%})"
    return f"{nothing}{result}. {past.words}"


def _share(skill: float) -> str:
    """A skill as a share of a gap. By chance it can be above 1."""
    return "all" if skill >= 1 else f"{skill:.0%}"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _movement(name: str) -> str:
    return {
        "its own": "its movement",
        "its linear part": "its linear movement",
        "its network": "the movement that its network adds",
        "the new composition": "the change of the composition",
        "its movement within states": "its movement within states",
    }.get(name, f"the movement of {name}")


def _stands(skill: float, start: str, target: str) -> str:
    if not np.isfinite(skill):
        return f"the cells of {target} and those of {start} are alike within noise, so there is no change to predict"
    if skill > _LITTLE:
        return (
            f"the forecast is closer to the cells of {target} than the cells of {start} are, and removes "
            f"{_share(skill)} of the difference"
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
