"""Read times that are written as text: ``day 3``, ``E8.5``, ``36 h``, ``270-330``, ``> 650``."""

from __future__ import annotations

import re
from dataclasses import dataclass

SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
"""Length of the units that can be converted."""

_ALIASES = {
    "s": "s sec secs second seconds",
    "min": "min mins minute minutes",
    "h": "h hr hrs hour hours",
    "d": "d day days",
    "w": "w wk wks week weeks",
    "month": "mo month months",
    "year": "y yr yrs year years",
}
_UNITS = {alias: unit for unit, aliases in _ALIASES.items() for alias in aliases.split()}

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
_WORD = r"[a-zµ]+(?:[ .][a-zµ]+)*"
_BEFORE = rf"(?P<prefix>{_WORD})?[ _.:]*"
_AFTER = rf"[ _]*(?P<unit>{_WORD})?\.?"
_POINT = re.compile(rf"{_BEFORE}(?P<number>{_NUMBER}){_AFTER}")
_BIN = re.compile(
    rf"{_BEFORE}(?P<low>{_NUMBER})[ _]*(?P<unit_low>{_WORD})??\s*(?:-|to)\s*(?P<prefix_high>{_WORD})?[ _]*"
    rf"(?P<high>{_NUMBER}){_AFTER}"
)
_INTERVAL = re.compile(rf"{_BEFORE}[\[(]\s*(?P<low>{_NUMBER})\s*[,-]\s*(?P<high>{_NUMBER})\s*[\])]{_AFTER}")
_ABOVE = re.compile(rf"{_BEFORE}(?:>=?|≥)\s*(?P<number>{_NUMBER}){_AFTER}")
_OR_MORE = re.compile(rf"{_BEFORE}(?P<number>{_NUMBER})[ _]*(?P<unit>{_WORD})?\s*\+")
_BELOW = re.compile(rf"{_BEFORE}(?:<=?|≤)\s*(?P<number>{_NUMBER}){_AFTER}")
_CLOCK = re.compile(r"(?P<sign>-)?(?:(?P<days>\d+) days?,? *)?(?P<h>\d+):(?P<min>\d\d)(?::(?P<s>\d\d(?:\.\d+)?))?")


@dataclass(frozen=True)
class WrittenTime:
    """One time as it is written.

    ``low`` and ``high`` are its limits, which are equal for a point. ``kind`` is ``point``, ``bin``, ``above`` or
    ``below``. ``prefix`` and ``unit`` are the words before and after the number, in one spelling for each unit.
    ``hyphen`` tells that a hyphen is between the prefix and the number, which can be a minus or a separator.
    """

    low: float
    high: float
    kind: str = "point"
    prefix: str = ""
    unit: str = ""
    hyphen: bool = False

    @property
    def number(self) -> float:
        """The middle of a bin, the limit of an open bin, or the time of a point."""
        return (self.low + self.high) / 2

    @property
    def frame(self) -> tuple[str, str]:
        """The prefix and the unit."""
        return self.prefix, self.unit

    @property
    def words(self) -> str:
        """The prefix and the unit for a message."""
        return (
            " and ".join(
                [f"the prefix {self.prefix!r}"] * bool(self.prefix) + [f"the unit {self.unit!r}"] * bool(self.unit)
            )
            or "no unit"
        )


def read_time(text: str) -> WrittenTime | None:
    """Read one time. Return None if the text is not a time."""
    plain = " ".join(re.sub("[–—−]", "-", text).casefold().split())
    clock = _CLOCK.fullmatch(plain)
    if clock:
        parts = {
            unit: float(clock[name] or 0) for unit, name in (("d", "days"), ("h", "h"), ("min", "min"), ("s", "s"))
        }
        seconds = sum(SECONDS[unit] * value for unit, value in parts.items()) * (-1 if clock["sign"] else 1)
        return WrittenTime(seconds, seconds, unit="s")
    for kind, pattern in (("above", _ABOVE), ("above", _OR_MORE), ("below", _BELOW), ("point", _POINT)):
        if found := pattern.fullmatch(plain):
            number = float(found["number"])
            touches = found.end("prefix") == found.start("number") if found["prefix"] else False
            hyphen = touches and found["number"].startswith("-")
            return _framed(found["prefix"], found["unit"], low=number, high=number, kind=kind, hyphen=hyphen)
    found = _INTERVAL.fullmatch(plain) or _BIN.fullmatch(plain)
    if not found or float(found["low"]) >= float(found["high"]):
        return None
    words = {"unit_low": None, "prefix_high": None, **found.groupdict()}
    unit, prefix = words["unit"] or words["unit_low"], words["prefix"]
    if (words["unit_low"] or unit) != unit or (words["prefix_high"] or prefix) != prefix:
        return None
    return _framed(prefix, unit, low=float(found["low"]), high=float(found["high"]), kind="bin", hyphen=False)


def _framed(
    prefix: str | None, unit: str | None, *, low: float, high: float, kind: str, hyphen: bool
) -> WrittenTime | None:
    """Return the time with its unit in one spelling. ``day 3`` and ``3 days`` have the same unit."""
    before, after = (prefix or "").strip(" ."), (unit or "").strip(" .")
    after = _UNITS.get(after, after)
    if before in _UNITS:
        if after not in ("", _UNITS[before]):
            return None
        before, after = "", _UNITS[before]
    return WrittenTime(low, high, kind, before, after, hyphen)
