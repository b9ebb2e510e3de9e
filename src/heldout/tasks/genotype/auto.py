"""An average over simple methods: each counts by how well it predicts left-out groups of train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from heldout.tasks.genotype.combined import Combined
from heldout.tasks.genotype.config import AutoGroupsConfig
from heldout.tasks.genotype.left_out import log_losses
from heldout.tasks.genotype.penalty import likelihood_weights

if TYPE_CHECKING:
    from heldout._core.fits import Fit


class Auto(Combined):
    """Average the probabilities of methods, weighted by how well they predict left-out groups of train.

    Each candidate predicts groups that it was not fitted on (inner folds over groups). Its weight is the likelihood of
    these groups. Where train has few groups, no candidate is clearly better, and the prediction is an average, which is
    less certain where candidates disagree. Where it has many, the best candidate gets nearly all the weight.
    """

    default_config: ClassVar[Any] = AutoGroupsConfig()
    name: ClassVar[str] = "auto"
    argument: ClassVar[str] = "candidates"
    of_probabilities: ClassVar[bool] = True

    def weights_of(
        self, logits: np.ndarray, labels: np.ndarray, balance: np.ndarray, config: AutoGroupsConfig
    ) -> np.ndarray:
        """Weights by likelihood."""
        return likelihood_weights(np.array([balance @ log_losses(each, labels) for each in logits]))


def choice_in_words(fit: Fit) -> str:
    """Weights of a combination of methods, as a sentence after a space. Empty for other methods."""
    found = fit.info["fitted"]
    if "n_left_out" not in found:
        return ""
    order = np.argsort(found["weights"])[::-1]
    shares = ", ".join(f"{found['names'][i]} {found['weights'][i]:.2f}" for i in order if found["weights"][i] > 0)
    n = found["n_left_out"]
    how = f"by the log-loss of {n} left-out groups of train" if n else "with equal weights, as train has few groups"
    return f" {found['combined_by']} averages {shares} ({how})."
