"""Tidy tables of what is stored in the AnnData."""

from heldout.get._tables import evaluation, fits, history, ledger, predictions, scores, split

__all__ = ["evaluation", "fits", "history", "ledger", "predictions", "scores", "split"]
