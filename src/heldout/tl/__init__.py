"""Fitting, predicting, evaluating."""

from heldout.tl._audit import audit
from heldout.tl._compare import compare
from heldout.tl._evaluate import evaluate
from heldout.tl._evaluate_forecast import evaluate_forecast
from heldout.tl._evaluate_forecast_genes import evaluate_forecast_genes
from heldout.tl._evaluate_genotype import evaluate_genotype
from heldout.tl._evaluate_perturbation import evaluate_perturbation
from heldout.tl._forecast import forecast
from heldout.tl._forecast_genes import forecast_genes
from heldout.tl._genotype import genotype
from heldout.tl._interactions import interactions
from heldout.tl._learning_curve import learning_curve
from heldout.tl._perturbation import perturbation
from heldout.tl._predict import predict
from heldout.tl._predict_cells import predict_cells
from heldout.tl._predict_profiles import predict_profiles
from heldout.tl._score_predictions import score_predictions
from heldout.tl._score_probabilities import score_probabilities
from heldout.tl._sweep import sweep
from heldout.tl._to_convention import to_convention
from heldout.tl._to_counts import to_counts

__all__ = [
    "audit",
    "compare",
    "evaluate",
    "evaluate_forecast",
    "evaluate_forecast_genes",
    "evaluate_genotype",
    "evaluate_perturbation",
    "forecast",
    "forecast_genes",
    "genotype",
    "interactions",
    "learning_curve",
    "perturbation",
    "predict",
    "predict_cells",
    "predict_profiles",
    "score_predictions",
    "score_probabilities",
    "sweep",
    "to_convention",
    "to_counts",
]
