"""Options that moved to another function: passing one is an error that names the function which has it now."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


def moved(**options: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function whose ``options`` have moved: name of the option → where it is now.

    The signature of the function stays as it is, so that an option that never existed is refused by Python itself.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name in options:
                    msg = f"heldout.tl.{function.__name__} has no option {name!r}. Use {options[name]}."
                    raise TypeError(msg)
            return function(*args, **kwargs)

        return checked

    return decorate
