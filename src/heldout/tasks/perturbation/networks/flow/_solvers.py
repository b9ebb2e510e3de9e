"""Integrate a velocity from time 0 to time 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torchdiffeq import odeint

if TYPE_CHECKING:
    from collections.abc import Callable


def solve(
    field: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    begin: torch.Tensor,
    solver: str,
    n_steps: int,
    tolerance: float,
) -> torch.Tensor:
    """Points at time 1, (n × k).

    Parameters
    ----------
    field
        Velocity at a time, a scalar, and at points, (n × k).
    begin
        Points at time 0, (n × k).
    solver
        ``"euler"``, ``"midpoint"``, ``"rk4"``, or the adaptive ``"dopri5"``.
    n_steps
        Number of equal steps of the first three.
    tolerance
        Absolute and relative tolerance of the last.
    """
    times = torch.tensor([0.0, 1.0], device=begin.device)
    if solver == "dopri5":
        how: dict[str, Any] = {"rtol": tolerance, "atol": tolerance}
    else:
        # the grid is given, because a step size that is not a sum of powers of two would add a last, tiny step
        grid = torch.linspace(0, 1, n_steps + 1, device=begin.device)
        how = {"options": {"grid_constructor": lambda *_: grid}}
    at_end: torch.Tensor = odeint(field, begin, times, method=solver, **how)[-1]
    return at_end
