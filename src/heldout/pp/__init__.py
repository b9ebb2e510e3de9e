"""Splits, and preparation that is fitted on train cells only."""

from heldout.pp._embedding import embedding
from heldout.pp._folds import folds
from heldout.pp._from_convention import from_convention
from heldout.pp._highly_variable_genes import highly_variable_genes
from heldout.pp._lineages import lineages
from heldout.pp._numeric_time import numeric_time
from heldout.pp._pca import pca
from heldout.pp._read_libraries import read_libraries
from heldout.pp._recipe_karpe26 import recipe_karpe26
from heldout.pp._replay import replay
from heldout.pp._scale import scale
from heldout.pp._split import split_assigned, split_cells, split_matched
from heldout.pp._split_from import split_from
from heldout.pp._split_genes import split_genes
from heldout.pp._split_groups import split_groups
from heldout.pp._split_perturbations import split_perturbations
from heldout.pp._split_time import split_time
from heldout.pp._subsample import subsample

__all__ = [
    "embedding",
    "folds",
    "from_convention",
    "highly_variable_genes",
    "lineages",
    "numeric_time",
    "pca",
    "read_libraries",
    "recipe_karpe26",
    "replay",
    "scale",
    "split_assigned",
    "split_cells",
    "split_from",
    "split_genes",
    "split_groups",
    "split_matched",
    "split_perturbations",
    "split_time",
    "subsample",
]
