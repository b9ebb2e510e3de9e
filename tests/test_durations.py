"""The list of slow tests."""

from __future__ import annotations

from tests.helpers.durations import slow_tests
from tests.helpers.paths import ROOT


def test_a_function_is_listed_whole_if_most_of_its_cases_are_slow():
    seconds = {"a.py::f[1]": 2.0, "a.py::f[2]": 2.0, "a.py::f[3]": 0.1, "a.py::g[1]": 2.0, "a.py::g[2]": 0.1}
    seconds |= {"a.py::h[1]": 2.0, "a.py::h[2]": 0.1, "a.py::h[3]": 0.1, "a.py::fast": 0.1, "a.py::alone": 3.0}
    assert slow_tests(seconds, 1.0) == ["a.py::alone", "a.py::f", "a.py::g", "a.py::h[1]"]


def test_the_list_is_sorted_and_names_each_test_once():
    names = (ROOT / "tests" / "slow.txt").read_text().splitlines()
    assert names == sorted(set(names))
    assert all(name.startswith("tests/") and "::" in name for name in names)
