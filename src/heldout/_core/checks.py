"""Checks of option values. Every error names the argument, its value and what is allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection


def check_integer(
    value: object, name: str, *, least: int | None = None, most: int | None = None, or_else: str = ""
) -> int:
    """Return ``value`` as an int; refuse anything but an integer between ``least`` and ``most``, both included.

    A bool is refused, because ``n=True`` is a mistake and not 1. ``or_else`` names other values that the caller accepts,
    such as ``"None"``, for the message.

    Raises
    ------
    ValueError
        If it is not an integer, or is out of range.
    """
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        number = int(value)
        if (least is None or number >= least) and (most is None or number <= most):
            return number
    msg = f"{name}={value!r} must be an integer{_limits(least, most)}{f', or {or_else}' if or_else else ''}."
    raise ValueError(msg)


def check_number(
    value: object,
    name: str,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    or_else: str = "",
) -> float:
    """Return ``value`` as a float; refuse anything but a finite number within the limits.

    ``least`` and ``most`` are allowed values, ``above`` and ``below`` are not. A bool is refused. ``or_else`` names other
    values that the caller accepts, such as ``"None"``, for the message.

    Raises
    ------
    ValueError
        If it is not a number, not finite, or out of range.
    """
    if (
        isinstance(value, int | float | np.integer | np.floating)
        and not isinstance(value, bool)
        and np.isfinite(float(value))
    ):
        number = float(value)
        if (
            (least is None or number >= least)
            and (most is None or number <= most)
            and (above is None or number > above)
            and (below is None or number < below)
        ):
            return number
    msg = (
        f"{name}={value!r} must be a number{_limits(least, most, above, below)}{f', or {or_else}' if or_else else ''}."
    )
    raise ValueError(msg)


def check_choice(value: object, name: str, allowed: Collection[object]) -> None:
    """Refuse a value that is not one of ``allowed``.

    Raises
    ------
    ValueError
        If it is not; the message lists the allowed values.
    """
    if value not in allowed:
        msg = f"{name}={value!r} must be one of {', '.join(map(repr, allowed))}."
        raise ValueError(msg)


def check_rng(rng: object) -> None:
    """Refuse anything but a seed, a Generator or None.

    Raises
    ------
    ValueError
        If it is something else, or a negative seed.
    """
    seed = isinstance(rng, int | np.integer) and not isinstance(rng, bool) and rng >= 0
    if not (seed or rng is None or isinstance(rng, np.random.Generator)):
        msg = f"rng={rng!r} must be an integer >= 0, a numpy.random.Generator or None, for example rng=0."
        raise ValueError(msg)


def _limits(least: float | None, most: float | None, above: float | None = None, below: float | None = None) -> str:
    """Text of the allowed range, such as ``" >= 1"`` or ``" in (0, 1)"``."""
    low, high = (above if least is None else least), (below if most is None else most)
    if low is not None and high is not None:
        return f" in {'(' if least is None else '['}{low:g}, {high:g}{')' if most is None else ']'}"
    if low is not None:
        return f" {'>' if least is None else '>='} {low:g}"
    if high is not None:
        return f" {'<' if most is None else '<='} {high:g}"
    return ""
