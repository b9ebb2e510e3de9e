"""Measure, wrap and shorten text, and keep labels apart. Lengths are inches and text sizes are points."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORD = re.compile(r"\(n = [^)]*\):?|\[[^]]*\]|\S+")
"""Words, numbers of units and intervals are not broken."""

_HINTING = 1.04
"""How much wider text is on screens of few pixels than in outlines."""


@lru_cache(4096)
def width_of(text: str, points: float, *, weight: str = "normal") -> float:
    """Width of the longest line of a text in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=points, weight=weight)
    lines = text.split("\n")
    widest = max(text_to_path.get_text_width_height_descent(line, font, ismath=False)[0] for line in lines)
    return _HINTING * widest / 72


def wrapped(text: str, width: float, points: float) -> str:
    """The same text with line breaks between words, so that no line is wider than ``width`` inches."""
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in _WORD.findall(paragraph):
            longer = f"{line} {word}" if line else word
            if line and width_of(longer, points) > width:
                lines.append(line)
                line = shortened(word, width, points)
            else:
                line = longer if line else shortened(word, width, points)
        lines.append(line)
    return "\n".join(lines)


def shortened(text: str, width: float, points: float) -> str:
    """The same text, or its beginning and an ellipsis if it is wider than ``width`` inches."""
    if width_of(text, points) <= width:
        return text
    short = text
    while len(short) > 1 and width_of(f"{short}…", points) > width:
        short = short[:-1]
    return f"{short.rstrip()}…"


def apart(values: Sequence[float], least: float, *, low: float, high: float) -> np.ndarray:
    """Positions as close as possible to the values that are at least ``least`` apart and between low and high, (n,).

    If there is no room for that, positions are spread evenly.
    """
    wanted = np.asarray(values, dtype=float)
    if len(wanted) < 2:
        return np.clip(wanted, low, high)
    least = min(least, (high - low) / (len(wanted) - 1))
    order = np.argsort(values, kind="stable")
    steps = least * np.arange(len(wanted))
    blocks: list[list[float]] = []  # mean and number of values that were pushed together
    for value in wanted[order] - steps:
        blocks.append([value, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, n = blocks.pop()
            blocks[-1] = [(blocks[-1][0] * blocks[-1][1] + mean * n) / (blocks[-1][1] + n), blocks[-1][1] + n]
    flat = np.concatenate([np.full(int(n), mean) for mean, n in blocks])
    placed = np.empty(len(wanted))
    placed[order] = np.clip(flat, low, high - steps[-1]) + steps
    return placed
