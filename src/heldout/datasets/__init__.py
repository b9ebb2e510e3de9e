"""Data sets to learn and test with: simulators whose truth is known, and public data by accession."""

from heldout.datasets._branching import branching_cells, branching_simulated
from heldout.datasets._chu import chu16
from heldout.datasets._lmna import lmna_simulated
from heldout.datasets._lmna_study import lmna

__all__ = ["branching_cells", "branching_simulated", "chu16", "lmna", "lmna_simulated"]
