"""Checks of option values. Every error names the argument, its value and what is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection


@dataclass(frozen=True)
class Rule:
    """Limits of the numbers that an option can have. Infinite values and NaN are never allowed.

    Parameters
    ----------
    at_least, above
        Lower limit, which is allowed (``at_least``) or not (``above``).
    at_most, below
        Upper limit, which is allowed (``at_most``) or not (``below``).
    hint
        Further words at the end of the error message.
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    hint: str = ""

    def allows(self, value: float) -> bool:
        """Whether a number is within the limits."""
        return bool(
            np.isfinite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        low = self.at_least if self.above is None else self.above
        high = self.at_most if self.below is None else self.below
        if low is not None and high is not None:
            return f" in {'(' if self.at_least is None else '['}{low:g}, {high:g}{')' if self.at_most is None else ']'}"
        if low is not None:
            return f" {'>=' if self.above is None else '>'} {low:g}"
        return "" if high is None else f" {'<=' if self.below is None else '<'} {high:g}"


def check_integer(
    value: object, name: str, *, least: int | None = None, most: int | None = None, or_else: str = ""
) -> int:
    """Return ``value`` as an int; refuse anything but an integer between ``least`` and ``most``, both included.

    A bool is refused, because ``n=True`` is a mistake and not 1. ``or_else`` names other values that the caller
    accepts, such as ``"None"``, for the message.

    Raises
    ------
    ValueError
        If it is not an integer, or is out of range.
    """
    rule = Rule(at_least=least, at_most=most)
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and rule.allows(int(value)):
        return int(value)
    msg = f"{name}={value!r} must be an integer{rule}{f', or {or_else}' if or_else else ''}."
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

    ``least`` and ``most`` are allowed values, ``above`` and ``below`` are not. A bool is refused. ``or_else`` names
    other values that the caller accepts, such as ``"None"``, for the message.

    Raises
    ------
    ValueError
        If it is not a number, not finite, or out of range.
    """
    rule = Rule(at_least=least, above=above, at_most=most, below=below)
    if isinstance(value, int | float | np.number) and not isinstance(value, bool) and rule.allows(float(value)):
        return float(value)
    msg = f"{name}={value!r} must be a number{rule}{f', or {or_else}' if or_else else ''}."
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
