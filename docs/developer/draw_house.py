"""Draw the floors and rooms of the package as docs/developer/house.svg.

python docs/developer/draw_house.py
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

SOURCE = Path(__file__).parents[2] / "src" / "heldout"
PICTURE = Path(__file__).with_name("house.svg")

FLOORS = (
    ("ways in", {"_accessor": "adata.ho: calls in a chain", "_cli": "heldout split, audit, evaluate, report"}),
    ("report", {"_report": "one HTML page about all that is stored"}),
    ("pictures", {"pl": "one plot per file, returns Axes"}),
    (
        "scanpy functions",
        {
            "pp": "splits, preparation",
            "tl": "fit, predict, evaluate, audit",
            "get": "tables of what is stored",
            "model": "scvi-tools classes",
        },
    ),
    (
        "methods",
        {
            "tasks": "one wing per question",
            "splitting": "who is held out",
            "auditing": "one item per file",
            "reading": "files, embeddings",
            "datasets": "simulated, public",
        },
    ),
    ("scores", {"metrics": "pure functions on arrays"}),
    (
        "contract",
        {"_core": "keys, partition, fits, ledger; method, metric and network records; arrays and dask blocks"},
    ),
)
"""Floors from the top to the ground, with their rooms and what is in them."""

WING_WORDS = {
    "genotype": "from cells to a label",
    "forecast": "cells at another time",
    "forecast_genes": "held-out genes",
    "perturbation": "unseen perturbations",
    "interactions": "non-additive pairs",
}
WIDTH, HEIGHT, GAP, LEFT, TOP = 1000, 74, 12, 170, 12
FONT = "font-family='Helvetica, Arial, sans-serif'"


def wings() -> list[str]:
    """Folders of ``tasks``, in the order of the words."""
    found = {path.name for path in (SOURCE / "tasks").iterdir() if (path / "__init__.py").is_file()}
    return [name for name in WING_WORDS if name in found] + sorted(found - set(WING_WORDS))


def text(
    x: float, y: float, words: str, size: int, *, weight: str = "normal", fill: str = "#1f2933", mid: bool = True
) -> str:
    anchor = "middle" if mid else "start"
    return (
        f"<text x='{x:g}' y='{y:g}' {FONT} font-size='{size}' font-weight='{weight}' fill='{fill}' "
        f"text-anchor='{anchor}'>{escape(words)}</text>"
    )


def box(x: float, y: float, width: float, height: float, name: str, words: str, fill: str) -> list[str]:
    middle = x + width / 2
    return [
        f"<rect x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}' rx='6' fill='{fill}' stroke='#52606d'/>",
        text(middle, y + height / 2 - 4, name, 15, weight="bold"),
        text(middle, y + height / 2 + 15, words, 11, fill="#3e4c59"),
    ]


def row(y: float, rooms: dict[str, str], fill: str) -> list[str]:
    width = (WIDTH - LEFT - GAP * len(rooms)) / len(rooms)
    parts = []
    for i, (name, words) in enumerate(rooms.items()):
        parts += box(LEFT + i * (width + GAP), y, width, HEIGHT, name, words, fill)
    return parts


def picture() -> str:
    """The picture as SVG."""
    parts, y = [], float(TOP)
    fills = ("#fdf2e9", "#fdf2e9", "#fdf2e9", "#e8f1fa", "#e9f5ec", "#f3eefa", "#eceff1")
    for (title, rooms), fill in zip(FLOORS, fills, strict=True):
        parts.append(text(48, y + HEIGHT / 2 + 4, title, 12, fill="#52606d", mid=False))
        parts += row(y, rooms, fill)
        y += HEIGHT + GAP
        if "tasks" in rooms:
            names = wings()
            frame = (
                f"x='{LEFT - 6}' y='{y - HEIGHT - GAP - 6:g}' width='{WIDTH - LEFT}' height='{2 * HEIGHT + GAP + 12}'"
            )
            parts.insert(0, f"<rect {frame} rx='8' fill='none' stroke='#9aa5b1' stroke-dasharray='5 4'/>")
            parts.append(text(48, y + HEIGHT / 2 + 4, "wings in tasks", 12, fill="#52606d", mid=False))
            parts += row(y, {name: WING_WORDS.get(name, "") for name in names}, "#d6ecdc")
            y += HEIGHT + GAP
    bottom = y - GAP
    parts += [
        f"<line x1='24' y1='{TOP + 8}' x2='24' y2='{bottom - 10:g}' stroke='#52606d' stroke-width='2'/>",
        f"<path d='M17 {bottom - 14:g} L31 {bottom - 14:g} L24 {bottom:g} Z' fill='#52606d'/>",
        f"<text x='16' y='{(TOP + bottom) / 2:g}' {FONT} font-size='12' fill='#52606d' text-anchor='middle' "
        f"transform='rotate(-90 16 {(TOP + bottom) / 2:g})'>imports run downwards only</text>",
    ]
    size = f"viewBox='0 0 {WIDTH} {bottom + TOP:g}'"
    head = f"<svg xmlns='http://www.w3.org/2000/svg' {size} role='img' aria-label='Floors and rooms of heldout'>"
    return "\n".join([head, f"<rect width='{WIDTH}' height='{bottom + TOP:g}' fill='white'/>", *parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(picture())
