"""Options proposed by optuna, which uses the val scores of earlier trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from heldout._core.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable

    Space = Callable[[Any], Mapping[str, Any]]


def search(
    space: Space,
    base: Any,
    *,
    n_trials: int | None,
    direction: Literal["maximize", "minimize"],
    seed: int,
    score: Callable[[str, Any], float],
) -> dict[str, Any]:
    """Try options, and return them by name in the order in which they were tried.

    Parameters
    ----------
    space
        Function of an ``optuna.Trial`` that returns the options to change.
    base
        Options that the space changes in part.
    n_trials
        Number of trials.
    direction
        Whether a higher or a lower score is better.
    seed
        Seed of optuna's default sampler.
    score
        Function of a name and options that fits and returns the score on val.

    Raises
    ------
    ImportError
        If optuna is not installed.
    ValueError
        If ``n_trials`` is missing, or the space returns no mapping or an unknown option.
    """
    if not isinstance(n_trials, int) or isinstance(n_trials, bool) or n_trials < 1:
        msg = (
            f"n_trials={n_trials!r} must be an integer >= 1 if grid is a function. It is the number of trials of "
            "optuna."
        )
        raise ValueError(msg)
    try:
        import optuna
    except ImportError as problem:
        msg = "grid is a function of an optuna trial, but optuna is not installed. Install it: pip install optuna"
        raise ImportError(msg) from problem
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.TPESampler(seed=seed))
    tried = {}
    for number in progress(range(n_trials), "trials"):
        trial = study.ask()
        name, options = f"trial_{number}", _options(space(trial), base)
        study.tell(trial, score(name, options))
        tried[name] = options
    return tried


def _options(changed: Any, base: Any) -> Any:
    known = base.options()
    if not isinstance(changed, Mapping):
        msg = f"grid must return a mapping of options to values for each trial, got {type(changed).__name__}."
        raise ValueError(msg)
    for name in changed:
        if name not in known:
            msg = f"grid returns {name!r}, which is not an option of {type(base).__name__}. It has {', '.join(known)}."
            raise ValueError(msg)
    return base.changed(**changed)
