"""Plots: each returns Axes that can be styled further, none shows or saves; matplotlib is imported when one is drawn."""

from heldout.pl._audit import audit
from heldout.pl._confusion import confusion
from heldout.pl._forecast import forecast
from heldout.pl._genes_per_cell import genes_per_cell
from heldout.pl._history import history
from heldout.pl._paired import paired
from heldout.pl._roc import roc
from heldout.pl._skill import skill
from heldout.pl._split import split
from heldout.pl._trajectories import trajectories

__all__ = [
    "audit",
    "confusion",
    "forecast",
    "genes_per_cell",
    "history",
    "paired",
    "roc",
    "skill",
    "split",
    "trajectories",
]
