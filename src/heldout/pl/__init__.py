"""Plots. Each function returns Axes and does not show or save the figure. Matplotlib is imported on first use."""

from heldout.pl._audit import audit
from heldout.pl._calibration import calibration
from heldout.pl._changes import changes
from heldout.pl._confusion import confusion
from heldout.pl._coverage import coverage
from heldout.pl._critical_differences import critical_differences
from heldout.pl._folds import folds
from heldout.pl._forecast import forecast
from heldout.pl._genes_per_cell import genes_per_cell
from heldout.pl._groups import groups
from heldout.pl._history import history
from heldout.pl._interactions import interactions
from heldout.pl._leaderboard import leaderboard
from heldout.pl._leak_map import leak_map
from heldout.pl._learning_curve import learning_curve
from heldout.pl._paired import paired
from heldout.pl._power import power
from heldout.pl._published_errors import published_errors
from heldout.pl._qc import qc
from heldout.pl._roc import roc
from heldout.pl._skill import skill
from heldout.pl._split import split
from heldout.pl._trajectories import trajectories

__all__ = [
    "audit",
    "calibration",
    "changes",
    "confusion",
    "coverage",
    "critical_differences",
    "folds",
    "forecast",
    "genes_per_cell",
    "groups",
    "history",
    "interactions",
    "leaderboard",
    "leak_map",
    "learning_curve",
    "paired",
    "power",
    "published_errors",
    "qc",
    "roc",
    "skill",
    "split",
    "trajectories",
]
