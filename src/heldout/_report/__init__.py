"""One page about everything that is stored in an AnnData."""

from heldout._report._report import report

__all__ = ["report"]
