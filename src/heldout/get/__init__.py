"""Tidy tables of what is stored in the AnnData."""

from heldout.get._audit import audit
from heldout.get._backtests import backtests
from heldout.get._changes import changes
from heldout.get._claims import claims, summary
from heldout.get._comparison import comparison, sweep
from heldout.get._embedding import embedding
from heldout.get._evaluation import evaluation, scores
from heldout.get._folds import fold_keys, iterate_folds
from heldout.get._interactions import interaction_curve, interaction_pairs, interaction_scores, interactions
from heldout.get._leaderboard import leaderboard
from heldout.get._learning_curve import learning_curve
from heldout.get._libraries import libraries
from heldout.get._lineages import lineages
from heldout.get._modules import modules
from heldout.get._past_skill import past_skill
from heldout.get._perturbations import perturbations
from heldout.get._pseudobulk import pseudobulk
from heldout.get._published_errors import published_errors
from heldout.get._split_table import split_table
from heldout.get._strata import strata
from heldout.get._tables import fits, history, ledger, predictions, split

__all__ = [
    "audit",
    "backtests",
    "changes",
    "claims",
    "comparison",
    "embedding",
    "evaluation",
    "fits",
    "fold_keys",
    "history",
    "interaction_curve",
    "interaction_pairs",
    "interaction_scores",
    "interactions",
    "iterate_folds",
    "leaderboard",
    "learning_curve",
    "ledger",
    "libraries",
    "lineages",
    "modules",
    "past_skill",
    "perturbations",
    "predictions",
    "pseudobulk",
    "published_errors",
    "scores",
    "split",
    "split_table",
    "strata",
    "summary",
    "sweep",
]
