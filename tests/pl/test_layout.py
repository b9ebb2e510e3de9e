"""All text of every picture is inside the figure and no two texts overlap, at the sizes of a journal.

Pixels are not compared: they depend on the fonts and on the version of the library that draws them, and an error such
as a label that is cut shows in the positions of the texts too.
"""

from __future__ import annotations

import itertools

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.text import Text

import heldout as ho
from heldout._core.settings import CLASS_COLORS, PARTITION_COLORS
from heldout.pl._layout import new_axes, new_panels, room_of, sizes_of
from heldout.pl._style import FAINT, ink, method_looks, text_on
from heldout.pl._words import apart, width_of, wrapped
from tests.helpers.scripts import load

mpl.use("Agg")

import matplotlib.pyplot as plt

gallery = load("docs/draw_gallery.py")
COLUMN = gallery.COLUMN
PAGE = (180 / 25.4, 140 / 25.4)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def written(figure):
    """The texts that are drawn, each with its box in pixels."""
    figure.draw_without_rendering()
    hidden = set()
    for axis in itertools.chain.from_iterable((ax.xaxis, ax.yaxis) for ax in figure.axes):
        shown = set(axis._update_ticks()) if axis.axes.axison else set()
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            hidden |= set() if tick in shown else {tick.label1, tick.label2}
        hidden |= set() if axis.axes.axison else {axis.label, axis.offsetText}
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent()) for text in texts if text not in hidden]


def faults(figure):
    """Texts that are cut at the edge, and pairs of texts that overlap by more than a pixel and a half."""
    texts, edge = written(figure), figure.bbox
    found = [text for text, box in texts if box.x0 < -1 or box.y0 < -1 or box.x1 > edge.x1 + 1 or box.y1 > edge.y1 + 1]
    for (text, box), (other, there) in itertools.combinations(texts, 2):
        wide = min(box.x1, there.x1) - max(box.x0, there.x0)
        high = min(box.y1, there.y1) - max(box.y0, there.y0)
        if min(wide, high) > 1.5:
            found.append(f"{text} | {other}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(gallery.PICTURES | gallery.PANELS))
@pytest.mark.parametrize("figsize", [COLUMN, None], ids=["column", "rcparams"])
def test_no_text_is_cut_or_covered(name, figsize):
    figure = gallery.figure_of((gallery.PICTURES | gallery.PANELS)[name](figsize=figsize))
    assert tuple(figure.get_size_inches()) == pytest.approx(figsize or plt.rcParams["figure.figsize"])
    assert faults(figure) == []


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, len(gallery.PICTURES), 4))
def test_no_text_is_cut_or_covered_in_four_panels(first):
    figure, axes = plt.subplots(2, 2, figsize=PAGE)
    names = sorted(gallery.PICTURES)
    names = [*names[first:], *names][:4]
    for name, ax in zip(names, axes.flat, strict=True):
        assert gallery.PICTURES[name](ax=ax) is ax
    assert tuple(figure.get_size_inches()) == pytest.approx(PAGE)
    assert faults(figure) == []


@pytest.mark.slow
@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_text_is_read_on_any_background(style):
    with plt.style.context(style):
        figure = gallery.figure_of(gallery.PICTURES["roc"](figsize=COLUMN))
        texts = [text for text in figure.findobj(Text) if text.get_text().strip()]
        behind = mpl.colors.to_hex(figure.get_facecolor())
        assert all(contrast(text.get_color(), behind) > 3 for text in texts)


def contrast(colour, behind):
    light = []
    for shade in (colour, behind):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in mpl.colors.to_rgb(shade)]
        light.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(light) + 0.05) / (min(light) + 0.05)


@pytest.mark.parametrize("colour", [FAINT, CLASS_COLORS[0], *(PARTITION_COLORS[name] for name in ("train", "test"))])
def test_colours_of_lines_are_seen_on_white_and_on_black(colour):
    assert min(contrast(colour, "white"), contrast(colour, "black")) > 3


def test_partitions_differ_in_lightness():
    grey = {name: contrast(colour, "black") for name, colour in PARTITION_COLORS.items()}
    named = sorted(grey[name] for name in ("train", "val", "test"))
    assert min(np.divide(named[1:], named[:-1])) > 1.4


def test_a_method_has_the_same_look_in_other_company():
    alone = method_looks(["additive"])
    together = method_looks(["additive", "linear", "mean"])
    assert len({colour for colour, _ in together.values()}) == 3
    assert alone["additive"] in together.values()


@pytest.mark.parametrize("figsize", [(3,), (0, 2), (3, np.inf), "wide"])
def test_a_size_is_two_numbers(figsize):
    with pytest.raises((ValueError, TypeError), match="figsize|could not convert"):
        new_axes(None, figsize)


def test_a_size_cannot_be_combined_with_axes():
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match=r"figsize=\(3, 2\) is the size of a new figure"):
        ho.pl.power([0.8], ax=ax, figsize=(3, 2))


def test_the_layout_of_the_user_is_kept():
    figure, ax = plt.subplots(layout="tight")
    assert new_axes(ax, None) is ax
    assert type(figure.get_layout_engine()).__name__ == "TightLayoutEngine"
    figure, ax = plt.subplots()
    new_axes(ax, None)
    assert type(figure.get_layout_engine()).__name__ == "ConstrainedLayoutEngine"


def test_panels_follow_the_shape_of_the_figure():
    wide, tall = (new_panels(None, size, 4, what="") for size in ((12, 2.5), (3, 9)))
    assert len({round(ax.get_position().y0, 2) for ax in wide}) == 1
    assert len({round(ax.get_position().x0, 2) for ax in tall}) == 1


def test_sizes_are_those_of_the_rcparams_and_shrink_with_the_panel():
    _, wide = plt.subplots(figsize=(8, 6))
    _, column = plt.subplots(figsize=COLUMN)
    _, axes = plt.subplots(2, 2, figsize=PAGE)
    assert room_of(axes[0, 0]) == pytest.approx((PAGE[0] / 2, PAGE[1] / 2))
    assert sizes_of(wide).label == 10
    assert 6 < sizes_of(column).label < 8
    assert sizes_of(axes[0, 0]).label == pytest.approx(sizes_of(column).label, rel=0.02)
    with mpl.rc_context({"font.size": 6}):
        assert sizes_of(column).label == 6
    assert sizes_of(column, crowd=100).tick == 5


def test_words_wrap_at_the_width_and_numbers_stay_with_their_unit():
    text = "libraries (n = 12): AUC 0.86 [0.71, 0.95]"
    lines = wrapped(text, 0.9, 7).split("\n")
    assert " ".join(lines) == text
    assert any(line.startswith("(n = 12):") or "(n = 12):" in line for line in lines)
    assert any("[0.71, 0.95]" in line for line in lines)
    assert max(width_of(line, 7) for line in lines) <= 0.9
    assert wrapped("unbreakable" * 9, 0.5, 7).endswith("…")


def test_positions_are_apart_and_close_to_the_values():
    placed = apart([0.5, 0.52, 0.9], 0.1, low=0, high=1)
    np.testing.assert_allclose(placed, [0.46, 0.56, 0.9])
    np.testing.assert_allclose(apart([5.0, 5.0, 5.0], 9, low=0, high=1), [0, 0.5, 1])
    np.testing.assert_allclose(apart([0.2], 0.1, low=0.3, high=1), [0.3])


def test_ink_is_the_text_colour_of_the_style():
    assert text_on(ink()) == "white"
    with plt.style.context("dark_background"):
        assert ink() == "#ffffff"
