"""The picture of the architecture shows the package as it is."""

from __future__ import annotations

from tests.helpers.paths import ROOT
from tests.helpers.scripts import load


def test_the_picture_is_that_of_the_script():
    assert (ROOT / "docs" / "developer" / "house.svg").read_text() == load("docs/developer/draw_house.py").picture()


def test_the_picture_has_every_room():
    house = load("docs/developer/draw_house.py")
    source = ROOT / "src" / "heldout"
    rooms = {path.stem for path in source.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert {name for _, floor in house.FLOORS for name in floor} == rooms - {"__init__"}
    assert set(house.wings()) == set(house.WING_WORDS)
