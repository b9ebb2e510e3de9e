"""Data sets to learn and test with: simulators whose truth is known."""

from heldout.datasets._lmna import lmna_simulated

__all__ = ["lmna_simulated"]
