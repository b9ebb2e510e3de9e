"""Palette, short names, readable text."""

from __future__ import annotations

import pytest

from heldout._core.settings import PARTITION_COLORS
from heldout._core.words import counted
from heldout.pl._style import by_number, natural, shorten, text_on


@pytest.mark.parametrize(
    ("names", "prefix", "short"),
    [
        (["GSM8325046", "GSM8325057"], "GSM83250", ["46", "57"]),
        (["SAMP1", "SAMP12", "SAMP123"], "SAMP", ["1", "12", "123"]),
        (["donor_a", "donor_b"], "donor_", ["a", "b"]),
        (["control", "conduit"], "", ["control", "conduit"]),
        (["A1", "A2"], "", ["A1", "A2"]),
        (["alone"], "", ["alone"]),
        (["lib1", "lib"], "", ["lib1", "lib"]),
    ],
)
def test_shorten_never_tears_a_word(names, prefix, short):
    assert shorten(names) == (prefix, short)


def test_names_are_ordered_and_counted_as_people_do():
    assert sorted(["d10", "d2", "d1"], key=natural) == ["d1", "d2", "d10"]
    assert by_number(["10", "9.5", "-1"]) == ["-1", "9.5", "10"]
    assert by_number(["b", "a"]) == ["b", "a"]
    assert [counted(2, noun) for noun in ("library", "day", "batch", "sample_id")] == [
        "2 libraries",
        "2 days",
        "2 batches",
        "2 sample_id",
    ]
    assert counted(1, "library") == "1 library"
    assert [counted(2, noun) for noun in ("s", "h", "id")] == ["2 s", "2 h", "2 id"], "names of columns, not words"
    assert counted(4, "sample_id group") == "4 sample_id groups"


def test_text_can_be_read_on_every_partition_colour():
    assert {name: text_on(color) for name, color in PARTITION_COLORS.items()}["test"] == "white"
    assert text_on("white") != "white"
    assert len(set(PARTITION_COLORS.values())) == 4
