import numpy as np
import pytest

from heldout._core.checks import check_choice, check_integer, check_number, check_rng


@pytest.mark.parametrize("value", [1, 7, np.int64(3), np.uint8(5)])
def test_integers_pass_as_int(value):
    found = check_integer(value, "n", least=1)
    assert found == value
    assert type(found) is int


@pytest.mark.parametrize("value", [0, -1, True, np.True_, 2.0, np.float64(3), "2", None, [2]])
def test_other_values_are_no_integers(value):
    with pytest.raises(ValueError, match=r"^n=.* must be an integer >= 1\.$"):
        check_integer(value, "n", least=1)


def test_limits_of_integers_are_allowed():
    assert [check_integer(n, "n", least=2, most=4) for n in (2, 4)] == [2, 4]
    for n in (1, 5):
        with pytest.raises(ValueError, match=rf"^n={n} must be an integer in \[2, 4\]\.$"):
            check_integer(n, "n", least=2, most=4)
    with pytest.raises(ValueError, match=r"^n=9 must be an integer <= 4\.$"):
        check_integer(9, "n", most=4)
    with pytest.raises(ValueError, match=r"^n=0\.5 must be an integer\.$"):
        check_integer(0.5, "n")
    assert check_integer(-3, "n") == -3


@pytest.mark.parametrize("value", [0.5, 1, np.float32(0.25), np.int64(1)])
def test_numbers_pass_as_float(value):
    found = check_number(value, "lr", above=0)
    assert found == value
    assert type(found) is float


@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf, True, np.True_, "x", None, [1.0]])
def test_other_values_are_no_numbers(value):
    with pytest.raises(ValueError, match=r"^lr=.* must be a number > 0\.$"):
        check_number(value, "lr", above=0)


@pytest.mark.parametrize(
    ("limits", "inside", "outside", "words"),
    [
        ({"above": 0, "below": 1}, (0.01, 0.99), (0, 1), r"number in \(0, 1\)"),
        ({"least": 0, "below": 1}, (0, 0.99), (-0.1, 1), r"number in \[0, 1\)"),
        ({"least": 0, "most": 1}, (0, 1), (-0.1, 1.1), r"number in \[0, 1\]"),
        ({"above": 0, "most": 1}, (0.1, 1), (0, 1.1), r"number in \(0, 1\]"),
        ({"least": 0}, (0, 5), (-0.1,), "number >= 0"),
        ({"most": 0}, (0, -5), (0.1,), "number <= 0"),
        ({"below": 0}, (-0.1,), (0,), "number < 0"),
        ({}, (-5, 0), (np.nan,), r"number\."),
    ],
)
def test_limits_of_numbers(limits, inside, outside, words):
    for value in inside:
        check_number(value, "x", **limits)
    for value in outside:
        with pytest.raises(ValueError, match=rf"^x={value} must be a {words}"):
            check_number(value, "x", **limits)


def test_choices():
    check_choice("a", "kind", ("a", "b"))
    check_choice(2025, "edition", (2025, 2026))
    with pytest.raises(ValueError, match=r"^kind='c' must be one of 'a', 'b'\.$"):
        check_choice("c", "kind", ("a", "b"))


def test_random_number_generators():
    for rng in (0, np.int64(3), None, np.random.default_rng(0)):
        check_rng(rng)
    for rng in (-1, True, 0.5, "0"):
        with pytest.raises(ValueError, match=r"^rng=.* must be an integer >= 0, a numpy\.random\.Generator or None"):
            check_rng(rng)
