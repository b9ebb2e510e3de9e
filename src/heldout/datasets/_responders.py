"""Which cells of a simulated screen respond to their perturbation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.checks import check_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heldout.datasets._screen import SimulatedScreen

Responders = float | tuple[float, float]
"""Share of the cells that respond, or a range from which the share of each perturbed gene is drawn."""


def checked(responders: object) -> Responders:
    """Return the share, or the two ends of the range, as floats; refuse what is not in [0, 1]."""
    if not isinstance(responders, tuple | list):
        return check_number(responders, "responders", least=0, most=1, or_else="two of them (low, high)")
    ends = [check_number(end, "responders", least=0, most=1) for end in responders]
    if len(ends) != 2 or ends[0] > ends[1]:
        msg = f"responders={responders!r} must be a number in [0, 1], or two of them (low, high) with low <= high."
        raise ValueError(msg)
    return (ends[0], ends[1])


@dataclass(frozen=True)
class Response:
    """Share of the cells that respond to each perturbed gene, and how the responses to two genes depend on each other.

    Parameters
    ----------
    shares
        Share of the cells that respond to each single, (S,).
    joint
        False: the responses to the two genes of a pair are independent. True: a cell that responds to the gene with the
        smaller share responds to the other gene too.
    """

    shares: NDArray[np.float64]
    joint: bool

    @classmethod
    def of(cls, responders: Responders, n_singles: int, rng: np.random.Generator, *, joint: bool) -> Response:
        """Take the same share for all singles, or draw the share of each from a range."""
        low, high = responders if isinstance(responders, tuple) else (responders, responders)
        return cls(rng.uniform(low, high, n_singles), joint)

    def expected(self, screen: SimulatedScreen) -> NDArray[np.float64]:
        """Expected share of the cells that respond to all their targets: control (0), singles and pairs, (P,)."""
        a, b = self.shares[screen.pairs].T
        return np.concatenate([[0.0], self.shares, np.minimum(a, b) if self.joint else a * b])

    def draw(
        self, screen: SimulatedScreen, perturbation: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Number of the profile that each cell has, and number of perturbed genes to which it responds, (n,) each.

        A cell of a pair that responds to one gene only has the profile of this single.
        """
        n_singles, n_pairs = len(screen.targets), len(screen.pairs)
        singles, pairs = np.arange(1, 1 + n_singles), np.arange(1 + n_singles, 1 + n_singles + n_pairs)
        profile = np.zeros((1 + n_singles + n_pairs, 2, 2), dtype=np.int64)  # by the responses to both genes
        n_responding = np.zeros_like(profile)
        profile[singles, 1], n_responding[singles, 1] = singles[:, None], 1
        profile[pairs, 1, 0], profile[pairs, 0, 1] = singles[screen.pairs].T
        profile[pairs, 1, 1] = pairs
        n_responding[pairs] = [[0, 1], [1, 2]]
        share = np.zeros((len(profile), 2))
        share[singles] = self.shares[:, None]
        share[pairs] = self.shares[screen.pairs]
        drawn = rng.random((len(perturbation), 2))
        responds = (drawn[:, :1] if self.joint else drawn) < share[perturbation]
        at = (perturbation, *responds.astype(np.int64).T)
        return profile[at], n_responding[at]
