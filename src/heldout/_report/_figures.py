"""Pictures of :mod:`heldout.pl` as SVG inside the page, in the colours of the page.

A picture is drawn once. Two marker colours stand for the text and the background of the page. The page replaces them
by its own colours, so one picture serves light pages, dark pages and paper.
"""

from __future__ import annotations

import re
import warnings
from io import BytesIO
from itertools import count
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from heldout._report._parts import Figure

if TYPE_CHECKING:
    from collections.abc import Callable

    import matplotlib as mpl

PANEL = (3.7, 2.9)
"""Width and height of a picture in inches. A phone shows it at about this size, so that its text stays readable."""

INK, PAPER = "#0a0b0c", "#f4f5f3"
"""Marker colours of text and background, which no other element has."""

_MOST_POINTS = 3000
"""A layer with more points is stored as an image inside the SVG."""

_INK_PARAMS = (
    "text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "patch.edgecolor", "hatch.color",
)  # fmt: skip

_PARAMS: dict[str, Any] = {
    **dict.fromkeys(_INK_PARAMS, INK),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), PAPER),
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Geneva", "sans-serif"],
    "svg.fonttype": "none",
    "svg.hashsalt": "heldout",
}

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Pen:
    """Draw pictures and number them, so that names inside an SVG are unique on the page."""

    def __init__(self) -> None:
        self._number = count(1)

    def draw(
        self, caption: str, picture: Callable[..., Any], *args: Any, panels: int = 0, size: tuple[float, float] = PANEL,
        **options: Any,
    ) -> Figure:  # fmt: skip
        """Call a function of :mod:`heldout.pl`. If it refuses, the figure has the reason instead of a picture.

        Parameters
        ----------
        caption
            Caption.
        picture, args, options
            The function and its arguments.
        panels
            Number of panels, one below the other, for a function that takes ``axes``. If 0, it takes ``ax``.
        size
            Width and height in inches.
        """
        from matplotlib import style
        from matplotlib.figure import Figure as Canvas

        with style.context(["default", _PARAMS]):
            figure = Canvas(figsize=size, layout="constrained")
            axes = figure.subplots(max(panels, 1), squeeze=False).ravel()
            where: dict[str, Any] = {"axes": list(axes)} if panels else {"ax": axes[0]}
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # the browser has other fonts
                try:
                    picture(*args, **options, **where)
                except ValueError as error:
                    return Figure(caption, problem=str(error))
                return Figure(caption, _inline(figure, f"f{next(self._number)}-", caption))


def _inline(figure: mpl.figure.Figure, prefix: str, label: str) -> str:
    """The SVG for a place inside a page: without scripts, styles and metadata, and in the colours of the page."""
    from markupsafe import Markup

    for ax in figure.axes:
        for layer in ax.get_children():
            if _n_points(layer) > _MOST_POINTS:
                layer.set_rasterized(True)
    raw = BytesIO()
    figure.savefig(raw, format="svg", dpi=200, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(_NOT_XML.sub("", raw.getvalue().decode()))
    _prune(root)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {_plain(name): _here(name, value, prefix) for name, value in element.attrib.items()}
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": label}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _n_points(layer: Any) -> int:
    data = getattr(layer, "get_offsets", None) or getattr(layer, "get_xdata", None)
    return 0 if data is None else len(data())


def _prune(root: ElementTree.Element) -> None:
    """Remove the metadata, and the style, which would apply to the whole page."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)


def _plain(name: str) -> str:
    return name.rpartition("}")[2]


def _here(name: str, value: str, prefix: str) -> str:
    """The value of an attribute: names get the prefix of this picture, marker colours become those of the page."""
    if name == "id":
        return prefix + value
    if _plain(name) == "href" and value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    value = value.replace("url(#", f"url(#{prefix}")
    return value.replace(INK, "currentColor").replace(PAPER, "var(--paper)")
