"""Turn a column of written times into numbers, after checking that all times have the same prefix and unit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.checks import check_choice
from heldout._core.store import some, suggest
from heldout.splitting._time_text import SECONDS, WrittenTime, read_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class ReadTimes:
    """The number of each written time, the unit of the numbers, and what was decided to read them."""

    numbers: dict[str, float]
    unit: str
    decisions: list[str]


def read_times(
    texts: Sequence[str], time_key: str, *, unit: str | None = None, values: Mapping[str, float | None] | None = None
) -> ReadTimes:
    """Read the distinct values of a column.

    Parameters
    ----------
    texts
        Distinct values as text.
    time_key
        Name of the column for messages.
    unit
        Unit to convert to. If None, all times must have the same unit.
    values
        Number of each value that is not read. None stands for a missing time.

    Raises
    ------
    ValueError
        If a value is not a time, if prefixes or units differ, or if two different times get the same number.
    """
    if unit is not None:
        check_choice(unit, "unit", tuple(SECONDS))
    given = _given(values or {}, texts)
    read = {text: read_time(text) for text in texts if text not in given}
    unread = [text for text, time in read.items() if time is None]
    if unread:
        msg = (
            f"time_key={time_key!r} has {some(unread, 8)}, which cannot be read as a time. Pass the number of each, or "
            f"None for a missing time: values={{{unread[0]!r}: None}}."
        )
        raise ValueError(msg)
    times = {text: time for text, time in read.items() if time is not None}
    decisions: list[str] = []
    times = _hyphens(times, decisions)
    times = _zeros(times, decisions)
    times = _one_frame(times, time_key, unit, decisions)
    _check_limits(times, time_key)
    decisions += _bins(times)
    numbers = {text: time.number for text, time in times.items()}
    _check_distinct(times, time_key)
    found = next(iter(times.values())).words if times else "no unit"
    return ReadTimes({**numbers, **given}, found, decisions)


def _given(values: Mapping[str, Any], texts: Sequence[str]) -> dict[str, float]:
    given = {}
    for text, number in values.items():
        if str(text) not in texts:
            msg = f"values has {text!r}, which is not a value of time_key. {suggest(text, texts)}"
            raise ValueError(msg)
        is_number = isinstance(number, int | float | np.number) and not isinstance(number, bool)
        if number is not None and not (is_number and np.isfinite(number)):
            msg = f"values[{text!r}]={number!r} must be a finite number, or None for a missing time."
            raise ValueError(msg)
        given[str(text)] = np.nan if number is None else float(number)
    return given


def _hyphens(times: dict[str, WrittenTime], decisions: list[str]) -> dict[str, WrittenTime]:
    """Read the hyphen of ``day-3`` as a separator if all times have one, else as a minus."""
    with_hyphen = [text for text, time in times.items() if time.hyphen]
    if not with_hyphen:
        return times
    prefixed = [time for time in times.values() if time.kind == "point"]
    separates = all(time.hyphen for time in prefixed)
    decisions.append(f"the hyphen of {with_hyphen[0]!r} is a {'separator' if separates else 'minus'}")
    if not separates:
        return times
    return {t: replace(time, low=-time.low, high=-time.high) if time.hyphen else time for t, time in times.items()}


def _zeros(times: dict[str, WrittenTime], decisions: list[str]) -> dict[str, WrittenTime]:
    """Give a zero without a unit the unit of the other times."""
    bare = [text for text, time in times.items() if time.frame == ("", "") and time.low == time.high == 0]
    others = {time.frame for text, time in times.items() if text not in bare}
    if not bare or len(others) != 1 or ("", "") in others or next(iter(others))[0]:
        return times
    unit = next(iter(others))[1]
    decisions.append(f"{bare[0]!r} has the unit {unit!r} of the other times")
    return {text: replace(time, unit=unit) if text in bare else time for text, time in times.items()}


def _one_frame(
    times: dict[str, WrittenTime], time_key: str, unit: str | None, decisions: list[str]
) -> dict[str, WrittenTime]:
    """Convert to one unit. Refuse times with different prefixes or units that cannot be converted."""
    examples: dict[tuple[str, str], str] = {}
    for text, time in times.items():
        examples.setdefault(time.frame, text)
    convertible = all(not prefix and of_time in SECONDS for prefix, of_time in examples)
    if unit is None and len(examples) > 1:
        shown = " and ".join(f"{text!r} has {times[text].words}" for text in list(examples.values())[:3])
        advice = "Pass unit='h' to convert all times to hours" if convertible else "Pass the number of each time"
        other = "" if convertible else f": values={{{next(reversed(examples.values()))!r}: ...}}"
        msg = f"time_key={time_key!r} has times that do not agree: {shown}. {advice}{other}."
        raise ValueError(msg)
    if unit is None or not times:
        return times
    if not convertible:
        text = next(text for frame, text in examples.items() if frame[0] or frame[1] not in SECONDS)
        msg = (
            f"unit={unit!r} needs times in {', '.join(SECONDS)}, but {text!r} of time_key={time_key!r} has "
            f"{times[text].words}. Leave unit out, or pass the number of each such time in values."
        )
        raise ValueError(msg)
    if set(examples) != {("", unit)}:
        decisions.append(f"times in {' and '.join(of_time for _, of_time in examples)} are converted to {unit}")
    return {text: _converted(time, unit) for text, time in times.items()}


def _converted(time: WrittenTime, unit: str) -> WrittenTime:
    low, high = (float(f"{limit * SECONDS[time.unit] / SECONDS[unit]:.12g}") for limit in (time.low, time.high))
    return replace(time, low=low, high=high, unit=unit)


def _check_limits(times: Mapping[str, WrittenTime], time_key: str) -> None:
    """Refuse an open bin if another time is beyond its limit."""
    for text, time in times.items():
        for other, found in times.items():
            beyond = (time.kind == "above" and found.high > time.low) or (
                time.kind == "below" and found.low < time.high
            )
            if beyond and found.kind != time.kind:
                msg = (
                    f"time_key={time_key!r} has the open bin {text!r} and also {other!r}, which lies in it. Pass the "
                    f"number of the open bin: values={{{text!r}: ...}}."
                )
                raise ValueError(msg)


def _bins(times: Mapping[str, WrittenTime]) -> list[str]:
    """Say how bins are read, with one example of each kind."""
    example = {time.kind: (text, time) for text, time in times.items()}
    words = {"bin": "the middle of the bin", "above": "the limit of the open bin", "below": "the limit of the open bin"}
    return [
        f"{example[kind][0]!r} is {example[kind][1].number:g}, {what}"
        for kind, what in words.items()
        if kind in example
    ]


def _check_distinct(times: Mapping[str, WrittenTime], time_key: str) -> None:
    """Refuse two different times with the same number, such as ``650`` and ``> 650``."""
    seen: dict[float, str] = {}
    for text, time in times.items():
        other = seen.setdefault(time.number, text)
        if (times[other].kind, times[other].low, times[other].high) != (time.kind, time.low, time.high):
            msg = (
                f"time_key={time_key!r} has {other!r} and {text!r}, which would both be {time.number:g}. Pass the "
                f"number of one: values={{{text!r}: ...}}."
            )
            raise ValueError(msg)
