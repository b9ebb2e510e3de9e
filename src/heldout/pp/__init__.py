"""Splitting and train-only preparation."""

from heldout.pp._highly_variable_genes import highly_variable_genes
from heldout.pp._pca import pca
from heldout.pp._replay import replay
from heldout.pp._scale import scale
from heldout.pp._split import split_assigned, split_cells, split_groups, split_matched
from heldout.pp._subsample import subsample

__all__ = [
    "highly_variable_genes",
    "pca",
    "replay",
    "scale",
    "split_assigned",
    "split_cells",
    "split_groups",
    "split_matched",
    "subsample",
]
